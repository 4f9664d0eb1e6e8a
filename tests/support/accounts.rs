//! `/metrics` of a node, read as accounts: what came in, what it became, what waits.

use std::collections::BTreeMap;

use super::server::{PATIENCE, TestServer};

/// What one node says, by name and labels.
#[derive(Debug)]
pub(crate) struct Accounts(BTreeMap<String, u64>);

impl Accounts {
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Self(samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Those of a node, whatever moves.
    pub(crate) async fn now(server: &TestServer) -> Self {
        Self::parse(&server.get("/metrics").await.text().await.unwrap())
    }

    /// Those of a node at which nothing moves any more.
    pub(crate) async fn at_rest(server: &TestServer) -> Self {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let accounts = Self::now(server).await;
            let waiting = ["events_waiting", "audio_bytes_waiting", "backlog_bytes"].map(|name| accounts.of(name));
            if waiting == [0, 0, 0] && accounts.unbalanced().is_none() {
                return accounts;
            }
            let unbalanced = accounts.unbalanced();
            assert!(tokio::time::Instant::now() < deadline, "never at rest: {waiting:?} {unbalanced:?} {accounts:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        let value = self.0.get(&format!("shopaloud_{name}"));
        *value.unwrap_or_else(|| panic!("there is no {name} in {self:#?}"))
    }

    /// Sum over all labels.
    fn all(&self, name: &str) -> u64 {
        let prefix = format!("shopaloud_{name}{{");
        self.0.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, value)| value).sum()
    }

    /// What does not add up.
    fn unbalanced(&self) -> Option<String> {
        ["events", "audio_bytes"].into_iter().find_map(|what| {
            let [received, recovered] =
                ["received", "recovered"].map(|origin| self.of(&format!("{what}_{origin}_total")));
            let (ended, waiting) = (self.all(&format!("{what}_ended_total")), self.of(&format!("{what}_waiting")));
            (received + recovered != ended + waiting)
                .then(|| format!("{what}: {received} + {recovered} is not {ended} + {waiting}"))
        })
    }
}
