//! Events inside an answer: fetched in pages, written in order, never all in memory.
//!
//! Owns: the size of a page. Small owners share one query, so that a list of a thousand short sessions is not a
//! thousand round trips; a large one is read page by page.
//! Promises: memory of one page; every event that was committed before the request, once.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use async_trait::async_trait;

use super::{
    json::{JsonWriter, Stopped},
    parameters::EventsShown,
};
use crate::{
    domain::{SessionId, UserId},
    store::{EventQuery, EventRow, Reads, StoreError},
};

/// Above this many rows a page gets no faster.
const MAX_PAGE_ROWS: u32 = 2_000;
/// Before the size of the rows is known.
const FIRST_PAGE_ROWS: u32 = 500;
/// What a page may hold in memory, by the size of the rows seen last.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Who has events: a session, or a user outside of sessions.
#[async_trait]
pub(super) trait Owner: Clone + Eq + Hash + Send + Sync {
    async fn events(reads: &dyn Reads, owners: &[Self], query: &EventQuery) -> Result<Vec<EventRow<Self>>, StoreError>;
}

#[async_trait]
impl Owner for SessionId {
    async fn events(reads: &dyn Reads, owners: &[Self], query: &EventQuery) -> Result<Vec<EventRow<Self>>, StoreError> {
        reads.session_events(owners, query).await
    }
}

#[async_trait]
impl Owner for UserId {
    async fn events(reads: &dyn Reads, owners: &[Self], query: &EventQuery) -> Result<Vec<EventRow<Self>>, StoreError> {
        reads.user_events(owners, query).await
    }
}

/// How many rows to fetch at a time: events are 100 bytes or 10 MB.
pub(super) struct PageSize(u32);

impl Default for PageSize {
    fn default() -> Self {
        Self(FIRST_PAGE_ROWS)
    }
}

impl PageSize {
    pub(super) const fn rows(&self) -> u32 {
        self.0
    }

    /// Sizes the next page by the rows of this one.
    pub(super) fn learn<O>(&mut self, rows: &[EventRow<O>]) {
        if rows.is_empty() {
            return;
        }
        let bytes: usize = rows.iter().map(|row| row.data.len() + size_of::<EventRow<O>>()).sum();
        let fitting = PAGE_BYTES / (bytes / rows.len()).max(1);
        self.0 = u32::try_from(fitting).unwrap_or(MAX_PAGE_ROWS).clamp(1, MAX_PAGE_ROWS);
    }
}

/// Fetches events for owners in the order they are listed.
pub(super) struct EventReader<O> {
    reads: Arc<dyn Reads>,
    shown: EventsShown,
    size: PageSize,
    /// Whole answers for the next owners; an owner that is not in here is read page by page.
    fetched: HashMap<O, Vec<EventRow<O>>>,
    /// How many owners are still covered by `fetched`.
    covered: usize,
}

impl<O: Owner> EventReader<O> {
    pub(super) fn new(reads: Arc<dyn Reads>, shown: EventsShown) -> Self {
        Self { reads, shown, size: PageSize::default(), fetched: HashMap::new(), covered: 0 }
    }

    /// Writes `,"events":[…],"numEvents":n`, or as much of it as is shown, of the first owner of `ahead`: the owners still
    /// to come, with the number of events each is said to have. The number written is the number of events written.
    pub(super) async fn write(&mut self, ahead: &[(O, u64)], out: &mut JsonWriter) -> Result<(), Stopped> {
        let Some((owner, expected)) = ahead.first() else { return Ok(()) };
        match self.shown {
            EventsShown::Full => {}
            EventsShown::Count => {
                out.raw(",\"numEvents\":");
                out.display(expected);
                return Ok(());
            }
            EventsShown::None => return Ok(()),
        }
        if self.covered == 0 {
            self.fetch_ahead(ahead).await?;
        }
        self.covered -= 1;
        out.raw(",\"events\":[");
        let mut written = 0_u64;
        if let Some(rows) = self.fetched.remove(owner) {
            write_rows(rows, &mut written, out).await?;
        } else if *expected > 0 {
            self.write_pages(owner, &mut written, out).await?;
        }
        out.raw("],\"numEvents\":");
        out.display(written);
        Ok(())
    }

    /// One query for as many owners as fit into a page.
    async fn fetch_ahead(&mut self, ahead: &[(O, u64)]) -> Result<(), Stopped> {
        let mut room = u64::from(self.size.rows());
        let fitting = ahead.iter().take_while(|(_, expected)| {
            let fits = *expected <= room;
            room = room.saturating_sub(*expected);
            fits
        });
        let covered = fitting.count();
        self.covered = covered.max(1);
        let owners: Vec<O> =
            ahead[..covered].iter().filter(|(_, expected)| *expected > 0).map(|(owner, _)| owner.clone()).collect();
        if owners.is_empty() {
            return Ok(());
        }
        // One more than can be there: if it comes, events were added meanwhile and others may be missing.
        let limit = self.size.rows() + 1;
        let rows = O::events(&*self.reads, &owners, &EventQuery::page(None, limit)).await?;
        if rows.len() >= limit as usize {
            return Ok(());
        }
        self.size.learn(&rows);
        self.fetched.extend(owners.into_iter().map(|owner| (owner, Vec::new())));
        for row in rows {
            if let Some(events) = self.fetched.get_mut(&row.owner) {
                events.push(row);
            }
        }
        Ok(())
    }

    async fn write_pages(&mut self, owner: &O, written: &mut u64, out: &mut JsonWriter) -> Result<(), Stopped> {
        let mut after = None;
        loop {
            let limit = self.size.rows();
            let rows = O::events(&*self.reads, std::slice::from_ref(owner), &EventQuery::page(after, limit)).await?;
            let is_last = rows.len() < limit as usize;
            self.size.learn(&rows);
            after = rows.last().map(EventRow::cursor).or(after);
            write_rows(rows, written, out).await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

async fn write_rows<O>(rows: Vec<EventRow<O>>, written: &mut u64, out: &mut JsonWriter) -> Result<(), Stopped> {
    for row in rows {
        if *written > 0 {
            out.raw(",");
        }
        *written += 1;
        write_row(&row, out);
        out.pass_on().await?;
    }
    Ok(())
}

/// One event as a JSON object.
pub(super) fn write_row<O>(row: &EventRow<O>, out: &mut JsonWriter) {
    out.raw("{\"name\":");
    out.string(row.name.as_str());
    out.raw(",\"seq\":");
    out.display(row.seq);
    out.raw(",\"data\":");
    out.raw(&row.data);
    out.raw(",\"timestamp\":\"");
    out.display(row.client_at.unwrap_or(row.received_at));
    out.raw("\",\"receivedAt\":\"");
    out.display(row.received_at);
    out.raw("\"}");
}

#[cfg(test)]
mod tests {
    use std::{
        hash::Hasher,
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use super::*;
    use crate::{
        domain::{EventName, StreamId, Timestamp},
        store::{SqliteStore, StoreOptions},
    };

    /// The limits of the queries asked.
    type Limits = Arc<Mutex<Vec<u32>>>;

    /// An owner that answers for itself; the store behind it is never asked.
    #[derive(Clone)]
    struct Shelf {
        id: u8,
        rows: u32,
        row_bytes: usize,
        /// Shared by all shelves of a test.
        limits: Limits,
    }

    impl PartialEq for Shelf {
        fn eq(&self, other: &Self) -> bool {
            self.id == other.id
        }
    }

    impl Eq for Shelf {}

    impl Hash for Shelf {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.id.hash(state);
        }
    }

    #[async_trait]
    impl Owner for Shelf {
        async fn events(_: &dyn Reads, owners: &[Self], query: &EventQuery) -> Result<Vec<EventRow<Self>>, StoreError> {
            let limit = query.limit;
            owners[0].limits.lock().unwrap_or_else(PoisonError::into_inner).push(limit);
            let first = query.after.map_or(1, |cursor| cursor.seq + 1);
            let rows = owners.iter().flat_map(|owner| {
                (first..=i64::from(owner.rows)).map(|seq| EventRow {
                    owner: owner.clone(),
                    stream: StreamId::from_bytes([owner.id; 16]),
                    seq,
                    name: EventName::parse("e").unwrap(),
                    data: format!("\"{}\"", "x".repeat(owner.row_bytes)),
                    client_at: None,
                    received_at: Timestamp::from_unix_ms(seq).unwrap(),
                })
            });
            Ok(rows.take(limit as usize).collect())
        }
    }

    /// What is written for each shelf: the sequence numbers, and `numEvents`.
    async fn written(shelves: &[(Shelf, u64)]) -> Vec<(Vec<i64>, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            url: format!("sqlite:{}", folder.path().join("unused").display()),
            readers: 1,
            connect_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
        };
        let mut reader = EventReader::new(Arc::new(SqliteStore::open(&options).await.unwrap()), EventsShown::Full);
        let shelves = shelves.to_vec();
        let text = super::super::json::collect(|mut out| async move {
            for index in 0..shelves.len() {
                out.raw(if index == 0 { "[{\"id\":0" } else { ",{\"id\":0" });
                reader.write(&shelves[index..], &mut out).await?;
                out.raw("}");
            }
            out.raw("]");
            out.flush().await
        });
        let answer: Vec<serde_json::Value> = serde_json::from_str(&text.await).unwrap();
        answer
            .iter()
            .map(|shelf| {
                let events = shelf["events"].as_array().unwrap().iter();
                (events.map(|event| event["seq"].as_i64().unwrap()).collect(), shelf["numEvents"].as_u64().unwrap())
            })
            .collect()
    }

    fn shelves(sizes: &[(u32, u64)], row_bytes: usize) -> (Vec<(Shelf, u64)>, Limits) {
        let limits = Limits::default();
        let shelf = |id: usize, rows| Shelf { id: u8::try_from(id).unwrap(), rows, row_bytes, limits: limits.clone() };
        let shelves = sizes.iter().enumerate().map(|(id, (rows, expected))| (shelf(id, *rows), *expected)).collect();
        (shelves, limits)
    }

    #[tokio::test]
    async fn small_owners_share_a_query_and_large_ones_are_paged() {
        let (shelves, limits) = shelves(&[(2, 2), (0, 0), (3, 3), (4_500, 4_500), (1, 1)], 100);
        let counts: Vec<_> = written(&shelves).await.into_iter().map(|(events, _)| events.len()).collect();
        assert_eq!(counts, [2, 0, 3, 4_500, 1]);
        assert_eq!(*limits.lock().unwrap(), [501, 2_000, 2_000, 2_000, 2_001]);
    }

    #[tokio::test]
    async fn events_that_came_since_the_count_push_nobody_else_out() {
        let (shelves, _) = shelves(&[(600, 1), (2, 2), (5, 5)], 1);
        for ((events, count), expected) in written(&shelves).await.into_iter().zip([600, 2, 5]) {
            assert!(events.into_iter().eq(1..=expected));
            assert_eq!(i64::try_from(count).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn large_rows_come_in_small_pages() {
        let (shelves, limits) = shelves(&[(1_000, 1_000)], 100_000);
        assert!(written(&shelves).await[0].0.iter().copied().eq(1..=1_000));
        let limits = limits.lock().unwrap();
        assert_eq!(limits[0], FIRST_PAGE_ROWS);
        assert!(limits[1..].iter().all(|limit| *limit as usize * 100_000 <= PAGE_BYTES), "{limits:?}");
    }
}
