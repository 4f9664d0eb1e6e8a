//! The contract of [`Store`]: whatever the database, the same calls have the same outcome.
//!
//! A test is a function that takes a [`Fixture`]; [`on_every_store!`] runs it over each backend.

mod deletion;
mod events;
mod failure;
mod filters;
mod outage;
mod paging;
mod presence;
mod sessions;
mod setup;
mod streams;
mod troubles;
mod views;

use std::{sync::Arc, time::Duration};

use shopaloud::{
    domain::{
        Arrivals, AudioFormat, AudioPart, Deletion, Doomed, Event, EventName, JsonText, NodeId, Presence, Profile,
        Record, RunId, SessionClosed, SessionId, SessionOpened, SessionStatus, SessionTouched, Sha256, StreamId,
        StreamOpened, Timestamp, UserId,
    },
    store::{
        EventFilter, EventQuery, EventRow, ROWS_A_STEP, SessionFilter, SessionQuery, Store, StoreOptions, StoreWriter,
        UserFilter, UserQuery, WriteOutcome, open,
    },
};
use tempfile::TempDir;

use crate::support::postgres::TestPostgres;

/// Makes a `#[tokio::test]` of each function named, for each backend.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::store::Fixture::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::store::Fixture::postgres().await).await;
            })+
        }
    };
}
use on_every_store;

/// An empty database with the current schema.
struct Fixture {
    store: Arc<dyn Store>,
    options: StoreOptions,
    node: NodeId,
    _folder: Option<TempDir>,
}

impl Fixture {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("deeper/shopaloud.db").display());
        Self::migrated(url, Some(folder)).await
    }

    async fn postgres() -> Self {
        Self::migrated(TestPostgres::shared().create_database().await, None).await
    }

    async fn migrated(url: String, folder: Option<TempDir>) -> Self {
        let options = options(url);
        let store = open(&options).await.unwrap();
        store.migrate().await.unwrap();
        Self { store, options, node: NodeId::new(), _folder: folder }
    }

    async fn writer(&self) -> Box<dyn StoreWriter> {
        self.store.writer().await.unwrap()
    }

    /// Writes with a fresh writer.
    async fn write(&self, records: &[Record]) -> WriteOutcome {
        self.writer().await.write(self.node, records).await.unwrap()
    }

    /// Runs a statement behind the store's back.
    async fn execute(&self, statement: &'static str) {
        if self.options.url.starts_with("sqlite:") {
            let pool = sqlx::SqlitePool::connect(&self.options.url).await.unwrap();
            sqlx::raw_sql(statement).execute(&pool).await.unwrap();
            pool.close().await;
        } else {
            let pool = sqlx::PgPool::connect(&self.options.url).await.unwrap();
            sqlx::raw_sql(statement).execute(&pool).await.unwrap();
            pool.close().await;
        }
    }

    /// All events of a session, read in pages of `page` rows.
    async fn session_events(&self, session: SessionId, page: u32) -> Vec<EventRow<SessionId>> {
        let mut events = Vec::new();
        loop {
            let after = events.last().map(EventRow::cursor);
            let rows = self.store.session_events(&[session], &EventQuery::page(after, page)).await.unwrap();
            if rows.is_empty() {
                return events;
            }
            events.extend(rows);
        }
    }

    /// Everything that readers can see, for comparison.
    async fn everything(&self) -> String {
        let now = at(0);
        let sessions = self.store.sessions(&SessionQuery::page(None, 1000)).await.unwrap();
        let ids: Vec<_> = sessions.iter().map(|row| row.session).collect();
        let users = self.store.users(&UserQuery::page(None, 1000), now).await.unwrap();
        let names: Vec<_> = users.iter().map(|row| row.user.clone()).collect();
        format!(
            "{sessions:?} {users:?} {names:?} {:?} {:?} {:?}",
            self.store.session_events(&ids, &EventQuery::page(None, 1000)).await.unwrap(),
            self.store.user_events(&names, &EventQuery::page(None, 1000)).await.unwrap(),
            self.store.audio_parts(&ids).await.unwrap(),
        )
    }
}

const fn options(url: String) -> StoreOptions {
    let limit = Duration::from_secs(30);
    StoreOptions { url, readers: 4, connect_timeout: limit, statement_timeout: limit }
}

/// Milliseconds after a fixed moment in 2026.
const fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_790_000_000_000 + ms).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn profile(name: Option<&str>, email: Option<&str>) -> Profile {
    Profile::parse(name, email).unwrap()
}

/// An event of Anna's outside any session, received `seq` milliseconds after the fixed moment.
fn event(stream: StreamId, seq: i64) -> Event {
    Event {
        stream,
        seq,
        user: user("anna"),
        session: None,
        name: EventName::parse("mouse:position").unwrap(),
        data: JsonText::parse(format!("{{\"x\":{seq}}}")).unwrap(),
        client_at: Some(at(seq - 40)),
        received_at: at(seq),
    }
}

fn event_in(session: SessionId, stream: StreamId, seq: i64) -> Record {
    Record::Event(Event { session: Some(session), ..event(stream, seq) })
}

fn stream_opened(stream: StreamId, name: &str, ms: i64) -> Record {
    Record::StreamOpened(StreamOpened { stream, user: user(name), profile: Profile::default(), at: at(ms) })
}

fn presence(name: &str, connected: bool, ms: i64) -> Record {
    Record::Presence(Presence { user: user(name), connected, at: at(ms) })
}

fn session_opened(session: SessionId, name: &str, ms: i64) -> Record {
    Record::SessionOpened(SessionOpened {
        session,
        user: user(name),
        stream: StreamId::new(),
        seq: None,
        page: Some("https://shop.example/cart".into()),
        at: at(ms),
    })
}

fn touched(session: SessionId, ms: i64) -> Record {
    Record::SessionTouched(SessionTouched { session, user: user("anna"), at: at(ms) })
}

fn closed(session: SessionId, status: SessionStatus, ms: i64) -> Record {
    let (user, stream) = (user("anna"), StreamId::new());
    Record::SessionClosed(SessionClosed { session, user, stream, seq: None, status, at: at(ms) })
}

fn part(session: SessionId, stream: StreamId, stream_offset: u64, size_bytes: u64) -> AudioPart {
    let run = RunId::new();
    AudioPart {
        run,
        session,
        user: user("anna"),
        stream,
        stream_offset,
        started_at: at(100),
        ended_at: at(200),
        object_key: format!("sessions/{session}/{run}.webm"),
        format: AudioFormat::WebM,
        size_bytes,
        sha256: Sha256([7; 32]),
        arrivals: Arrivals::default(),
    }
}
