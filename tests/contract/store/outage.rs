//! Databases that are away, stuck or silent: every call ends within its limit, and works again afterwards.

use std::time::Instant;

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokio::net::TcpListener;

use super::*;
use crate::support::{postgres::Listen, proxy::TcpProxy};

/// Long enough for calls that should succeed, on a busy machine.
const SHORT: Duration = Duration::from_secs(1);

fn impatient(url: &str) -> StoreOptions {
    StoreOptions { connect_timeout: SHORT, statement_timeout: SHORT, readers: 1, ..options(url.to_owned()) }
}

/// Each way to reach the database fails as one to be tried again.
async fn assert_away(store: &dyn Store, writer: Option<&mut Box<dyn StoreWriter>>) {
    let started = Instant::now();
    assert!(store.ping().await.unwrap_err().is_retryable());
    assert!(store.sessions(&SessionQuery::page(None, 1)).await.unwrap_err().is_retryable());
    if let Some(writer) = writer {
        assert!(writer.write(NodeId::new(), &[presence("anna", true, 0)]).await.unwrap_err().is_retryable());
    }
    match store.writer().await {
        Ok(mut writer) => {
            assert!(writer.write(NodeId::new(), &[presence("anna", true, 0)]).await.unwrap_err().is_retryable());
        }
        Err(error) => assert!(error.is_retryable()),
    }
    assert!(started.elapsed() < 20 * SHORT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn postgres_crashes_and_comes_back() {
    let server = TestPostgres::start_private(Listen::Tcp);
    let fixture = Fixture::migrated(server.tcp_url("postgres"), None).await;
    let store = open(&impatient(&fixture.options.url)).await.unwrap();
    let stream = StreamId::new();
    let mut writer = store.writer().await.unwrap();
    writer.write(fixture.node, &[Record::Event(event(stream, 1)), stream_opened(stream, "anna", 0)]).await.unwrap();
    store.ping().await.unwrap();

    server.stop();
    assert_away(&*store, Some(&mut writer)).await;

    server.start();
    assert!(writer.write(fixture.node, &[]).await.unwrap_err().is_retryable(), "a writer that failed stays failed");
    let outcome = fixture.write(&[Record::Event(event(stream, 1)), Record::Event(event(stream, 2))]).await;
    assert_eq!(outcome, WriteOutcome { events_stored: 1, events_duplicate: 1 });
    assert_eq!(store.stream_state(stream).await.unwrap().unwrap().last_seq, 2);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://shopaloud@{}/shop?sslmode=disable", silent.local_addr().unwrap());
    let store = open(&impatient(&url)).await.unwrap();
    assert_away(&*store, None).await;
    assert!(store.migrate().await.unwrap_err().is_retryable());
    store.close().await;
}

/// As the last test, but the connections were good before.
#[tokio::test]
async fn a_network_that_swallows_everything_is_given_up_and_comes_back() {
    let server = TestPostgres::start_private(Listen::Tcp);
    let proxy = TcpProxy::before(server.tcp_port());
    let url = format!("postgres://shopaloud@{}/postgres?sslmode=disable", proxy.address());
    let fixture = Fixture::migrated(url.clone(), None).await;
    let store = open(&impatient(&url)).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    store.ping().await.unwrap();

    proxy.freeze();
    assert_away(&*store, Some(&mut writer)).await;

    proxy.thaw();
    store.ping().await.unwrap();
    assert_eq!(fixture.write(&[Record::Event(event(StreamId::new(), 1))]).await.events_stored, 1);
}

#[tokio::test]
async fn a_lock_in_postgres_is_waited_for_no_longer_than_allowed() {
    let fixture = Fixture::postgres().await;
    let store = open(&impatient(&fixture.options.url)).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    let mut other = PgConnection::connect(&fixture.options.url).await.unwrap();
    other.execute("BEGIN; LOCK TABLE sessions, presence").await.unwrap();

    assert!(store.sessions(&SessionQuery::page(None, 1)).await.unwrap_err().is_retryable());
    assert!(writer.write(fixture.node, &[presence("anna", true, 0)]).await.unwrap_err().is_retryable());
    store.ping().await.unwrap();

    // What was given up here ends there too: it must not get the lock, later, before those who still want it.
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut other).await.unwrap() > 0 {
        tokio::task::yield_now().await;
    }

    other.execute("COMMIT").await.unwrap();
    assert_eq!(store.sessions(&SessionQuery::page(None, 1)).await.unwrap(), []);
    let mut writer = store.writer().await.unwrap();
    writer.write(fixture.node, &[presence("anna", true, 0)]).await.unwrap();
}

/// A reader leaves in the middle of an answer, as a browser tab does. The server goes on with it until its own limit,
/// far away; the one place in the pool must be free before.
#[tokio::test]
async fn an_abandoned_read_does_not_keep_its_place() {
    let fixture = Fixture::postgres().await;
    let wait = Duration::from_secs(5);
    let store = open(&StoreOptions { readers: 1, connect_timeout: wait, ..fixture.options.clone() }).await.unwrap();
    let mut other = PgConnection::connect(&fixture.options.url).await.unwrap();
    other.execute("BEGIN; LOCK TABLE sessions").await.unwrap();

    tokio::time::timeout(Duration::from_millis(300), store.sessions(&SessionQuery::page(None, 1))).await.unwrap_err();

    store.ping().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_that_another_process_writes_is_waited_for_no_longer_than_allowed() {
    let fixture = Fixture::sqlite().await;
    let store = open(&impatient(&fixture.options.url)).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    let mut other = SqliteConnection::connect(&fixture.options.url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();

    let error = writer.write(fixture.node, &[presence("anna", true, 0)]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(store.expire_sessions(at(0), at(0)).await.unwrap_err().is_retryable());
    assert_eq!(store.sessions(&SessionQuery::page(None, 1)).await.unwrap(), [], "readers do not wait for writers");

    other.execute("COMMIT").await.unwrap();
    store.writer().await.unwrap().write(fixture.node, &[presence("anna", true, 0)]).await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_that_is_not_there_yet_is_only_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&impatient(&format!("sqlite:{}", folder.path().join("shop.db").display()))).await.unwrap();
    assert!(store.ping().await.unwrap_err().is_retryable());

    store.migrate().await.unwrap();
    store.ping().await.unwrap();
}

/// In the mode that files have otherwise, readers and the writer wait for each other.
#[tokio::test]
async fn a_sqlite_file_has_a_write_ahead_log() {
    let fixture = Fixture::sqlite().await;
    let mut other = SqliteConnection::connect(&fixture.options.url).await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut other).await.unwrap();
    assert_eq!(mode, "wal");
}
