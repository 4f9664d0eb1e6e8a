//! Events inside an answer: fetched in pages, written in order, never all in memory.
//!
//! Owns: the size of a page. Small owners share one query, so that a list of a thousand short sessions is not a
//! thousand round trips; a large one is read page by page.
//! Promises: memory of one page; every event that was committed before the request, once.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use async_trait::async_trait;

use super::json::{JsonWriter, Stopped};
use crate::{
    domain::{SessionId, UserId},
    store::{EventCursor, EventRow, Store, StoreError},
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
    async fn events(
        store: &dyn Store,
        owners: &[Self],
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<EventRow<Self>>, StoreError>;
}

#[async_trait]
impl Owner for SessionId {
    async fn events(
        store: &dyn Store,
        owners: &[Self],
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<EventRow<Self>>, StoreError> {
        store.session_events(owners, after, limit).await
    }
}

#[async_trait]
impl Owner for UserId {
    async fn events(
        store: &dyn Store,
        owners: &[Self],
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<EventRow<Self>>, StoreError> {
        store.user_events(owners, after, limit).await
    }
}

/// Fetches events for owners in the order they are listed.
pub(super) struct EventReader<O> {
    store: Arc<dyn Store>,
    page_rows: u32,
    /// Whole answers for the next owners; an owner that is not in here is read page by page.
    fetched: HashMap<O, Vec<EventRow<O>>>,
    /// How many owners are still covered by `fetched`.
    covered: usize,
}

impl<O: Owner> EventReader<O> {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, page_rows: FIRST_PAGE_ROWS, fetched: HashMap::new(), covered: 0 }
    }

    /// Writes `"events":[…],"numEvents":n` of the first owner of `ahead`: the owners still to come, with the number
    /// of events each is said to have. The number written is the number of events written.
    pub(super) async fn write(&mut self, ahead: &[(O, u64)], out: &mut JsonWriter) -> Result<(), Stopped> {
        let Some((owner, expected)) = ahead.first() else { return Ok(()) };
        if self.covered == 0 {
            self.fetch_ahead(ahead).await?;
        }
        self.covered -= 1;
        out.raw("\"events\":[");
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
        let mut room = u64::from(self.page_rows);
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
        let limit = self.page_rows + 1;
        let rows = O::events(&*self.store, &owners, None, limit).await?;
        if rows.len() >= limit as usize {
            return Ok(());
        }
        self.learn(&rows);
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
            let limit = self.page_rows;
            let rows = O::events(&*self.store, std::slice::from_ref(owner), after, limit).await?;
            let is_last = rows.len() < limit as usize;
            self.learn(&rows);
            after = rows.last().map(EventRow::cursor).or(after);
            write_rows(rows, written, out).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sizes the next page by the rows of this one: events are 100 bytes or 10 MB.
    fn learn(&mut self, rows: &[EventRow<O>]) {
        if rows.is_empty() {
            return;
        }
        let bytes: usize = rows.iter().map(|row| row.data.len() + size_of::<EventRow<O>>()).sum();
        let fitting = PAGE_BYTES / (bytes / rows.len()).max(1);
        self.page_rows = u32::try_from(fitting).unwrap_or(MAX_PAGE_ROWS).clamp(1, MAX_PAGE_ROWS);
    }
}

async fn write_rows<O>(rows: Vec<EventRow<O>>, written: &mut u64, out: &mut JsonWriter) -> Result<(), Stopped> {
    for row in rows {
        out.raw(if *written == 0 { "{\"name\":" } else { ",{\"name\":" });
        *written += 1;
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
        out.pass_on().await?;
    }
    Ok(())
}
