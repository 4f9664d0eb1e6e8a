//! Runs an audit over HTTP, once what shoppers were promised has had the time to arrive.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    audit::{Audit, Findings, Part},
    content::Content,
    ledger::ShopperLedger,
};

/// Between two looks at whether everything is there. Each look is a whole answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Why there is no audit.
#[derive(Debug)]
pub(crate) enum InspectError {
    Http(reqwest::Error),
    Json(serde_json::Error),
}

impl From<reqwest::Error> for InspectError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}

impl From<serde_json::Error> for InspectError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// Waits until as much is shown as was acknowledged, and `is_quiet` says that no more is on its way; at most
/// `patience`. Then compares all of it.
///
/// # Errors
/// When a server does not answer, or not with JSON.
pub(crate) async fn inspect(
    base_url: &str,
    content: Content,
    shoppers: &[ShopperLedger],
    patience: Duration,
    is_quiet: impl Fn() -> bool,
) -> Result<Findings, InspectError> {
    let deadline = Instant::now() + patience;
    loop {
        let was_quiet = is_quiet();
        let (mut audit, parts) = look(base_url, content, shoppers).await?;
        let shown_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
        let is_complete = was_quiet && audit.shows_enough(shown_bytes);
        if is_complete || Instant::now() >= deadline {
            for part in parts {
                // What cannot be fetched is not there, and will be missed.
                let bytes = match reqwest::get(&part.url).await?.error_for_status() {
                    Ok(response) => response.bytes().await?,
                    Err(_) => continue,
                };
                audit.hear(&part, &bytes);
            }
            return Ok(audit.end());
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn look<'a>(
    base_url: &str,
    content: Content,
    shoppers: &'a [ShopperLedger],
) -> Result<(Audit<'a>, Vec<Part>), InspectError> {
    let mut audit = Audit::of(content, shoppers);
    let mut parts = Vec::new();
    for path in ["/sessions", "/users"] {
        let text = reqwest::get(format!("{base_url}{path}")).await?.error_for_status()?.text().await?;
        parts.extend(audit.read(&text)?);
    }
    Ok((audit, parts))
}
