//! The database: one trait, two backends.
//!
//! Owns: SQL, migrations and the shapes of rows. Nobody else knows sqlx.
//! Promises: [`StoreWriter::write`] is atomic and idempotent; both backends pass the same contract suite. An error is
//! [`StoreErrorKind::Permanent`] only when the data itself is to blame.
//! Refuses: to retry (its callers know what is at stake) and to parse what it stores.

mod batch;
mod decode;
mod erase;
mod error;
mod listing;
mod postgres;
mod query;
mod refusal;
mod rows;
mod session_news;
mod sql;
mod sqlite;
mod tracks;
mod view;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub use erase::{Erase, Erased, ROWS_A_STEP};
pub use error::{StoreError, StoreErrorKind};
pub use postgres::PostgresStore;
pub use query::{EventFilter, EventQuery, SessionFilter, SessionQuery, UserFilter, UserQuery};
pub use refusal::refusal;
pub use rows::{
    EventCursor, EventRow, ExpiredSession, OpenSession, SessionCursor, SessionRow, StreamState, UserCursor, UserRow,
    WriteOutcome,
};
pub use sqlite::SqliteStore;
pub use tracks::{MadeTrack, TrackJob, TrackRow, TrackState, Tracks};

use crate::domain::{AudioPart, NodeId, Record, RunId, SessionId, StreamId, Timestamp, UserId};

/// What lists are made of.
#[async_trait]
pub trait Reads: Send + Sync {
    async fn sessions(&self, query: &SessionQuery) -> Result<Vec<SessionRow>, StoreError>;

    /// Events of the sessions given. Grouped by session in no particular order of sessions; within one by
    /// `(received_at, stream, seq)`. A cursor is for a call with a single session.
    async fn session_events(
        &self,
        sessions: &[SessionId],
        query: &EventQuery,
    ) -> Result<Vec<EventRow<SessionId>>, StoreError>;

    /// The stored audio parts of the sessions given, by session, then by start.
    async fn audio_parts(&self, sessions: &[SessionId]) -> Result<Vec<AudioPart>, StoreError>;

    /// `now` decides who counts as connected.
    async fn users(&self, query: &UserQuery, now: Timestamp) -> Result<Vec<UserRow>, StoreError>;

    /// Events of the users given that lie outside any session. Same order and paging as [`Self::session_events`].
    async fn user_events(&self, users: &[UserId], query: &EventQuery) -> Result<Vec<EventRow<UserId>>, StoreError>;
}

/// The same at one moment: see [`Store::view`].
#[async_trait]
pub trait View: Reads {
    /// Gives the connection back for others; a view that is dropped instead closes it.
    async fn end(&self);
}

/// A database that is open. Reads run on a pool of their own and never wait for writers.
#[async_trait]
pub trait Store: Reads + Erase + Tracks + Send + Sync + 'static {
    /// Brings the schema up to date. Several nodes may do so at once.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// A connection of its own for one writing actor. After an error it must be dropped, not used again.
    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError>;

    /// One round trip.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Forgets the presence that an earlier process of this node left behind, and says that the node lives.
    async fn begin_node(&self, node: NodeId, at: Timestamp) -> Result<(), StoreError>;

    /// The node lives. Presence counts only for nodes heard of lately (see [`NODE_LIFETIME`]).
    async fn heartbeat(&self, node: NodeId, at: Timestamp) -> Result<(), StoreError>;

    /// Who owns a stream, and how far it is stored. `None` for a stream never heard of.
    async fn stream_state(&self, stream: StreamId) -> Result<Option<StreamState>, StoreError>;

    /// The user's newest session that is recording, was alive at or after `alive_since` and opened at or after
    /// `opened_since`.
    async fn open_session(
        &self,
        user: &UserId,
        alive_since: Timestamp,
        opened_since: Timestamp,
    ) -> Result<Option<OpenSession>, StoreError>;

    /// Marks sessions as expired that were last alive before `alive_before` or opened before `opened_before`, ended
    /// at the time they were last alive. At most 500 a call.
    async fn expire_sessions(
        &self,
        alive_before: Timestamp,
        opened_before: Timestamp,
    ) -> Result<Vec<ExpiredSession>, StoreError>;

    /// Reads as of one moment, the first query's. For at most 30 s: a reader that takes longer reads on as if it had none.
    async fn view(&self) -> Result<Arc<dyn View>, StoreError>;

    async fn session(&self, session: SessionId) -> Result<Option<SessionRow>, StoreError>;

    /// The stored audio parts of a stream, in the order of its bytes.
    async fn stream_parts(&self, stream: StreamId) -> Result<Vec<AudioPart>, StoreError>;

    /// One part, by its run.
    async fn audio_part(&self, run: RunId) -> Result<Option<AudioPart>, StoreError>;

    async fn user(&self, user: &UserId, now: Timestamp) -> Result<Option<UserRow>, StoreError>;

    /// Ends the pools. Later calls fail.
    async fn close(&self);
}

/// How long after its last heartbeat a node's presence still counts.
pub const NODE_LIFETIME: Duration = Duration::from_secs(90);

/// How long a node that fell silent is remembered: it may come back from a long partition with its users still
/// connected. Nodes without a disk take a new id at each start, so they cannot be kept for ever.
const DEAD_NODE_KEPT: Duration = Duration::from_hours(24);

/// Sessions that one call expires: its locks are held for milliseconds, the caller asks again.
const MAX_EXPIRED: i64 = 500;

/// A migration may rewrite a table, so it gets more time than a statement; still not for ever.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(15);

/// The writing side: one connection, used by one actor.
#[async_trait]
pub trait StoreWriter: Send {
    /// Writes all records or none, in one transaction. Records already stored are skipped and counted.
    /// `node` owns the presence records. Records may come in any number and mixture; for the same key the last
    /// one counts (presence, touch), for streams, sessions, events and parts the first.
    ///
    /// Any record may come again, also after later ones, and those of one session in any order, also through different
    /// writers: news of a user never overwrite newer ones, a touch counts only when it is later than the last sign of
    /// life, an expiry only when it is not earlier, and a session exists from the first record that names it. No byte of a
    /// stream's audio gets two parts: one that overlaps a part that is stored is left out, see [`Store::stream_parts`].
    async fn write(&mut self, node: NodeId, records: &[Record]) -> Result<WriteOutcome, StoreError>;
}

/// Opens the database that `url` names: `postgres://…` or `sqlite:…`.
///
/// # Errors
/// [`StoreErrorKind::Permanent`] for a URL that cannot be read; a database that is away is no error here: pools
/// connect when used.
pub async fn open(options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
        Ok(Arc::new(PostgresStore::open(options)?))
    } else {
        Ok(Arc::new(SqliteStore::open(options).await?))
    }
}

/// What a backend has to know. Durations bound every call, so that a black hole becomes an error.
#[derive(Clone)]
pub struct StoreOptions {
    /// `postgres://user:password@host/database` or `sqlite:path`.
    pub url: String,
    /// Connections for reads. Writers have their own.
    pub readers: u32,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for one batch or one read page.
    pub statement_timeout: Duration,
}
