//! What Postgres says while something is wrong with it, or with who asks: none of it costs a row.

use shopaloud::store::{StoreError, StoreErrorKind};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::*;

/// A second connection to the same database, as a superuser.
async fn operator(fixture: &Fixture) -> PgConnection {
    PgConnection::connect(&fixture.options.url).await.unwrap()
}

async fn sql(connection: &mut PgConnection, statement: impl Into<String>) {
    connection.execute(AssertSqlSafe(statement.into())).await.unwrap();
}

/// A batch that needs a transaction of several statements: an event, its stream, its session.
fn batch(stream: StreamId, session: SessionId) -> Vec<Record> {
    vec![stream_opened(stream, "anna", 0), session_opened(session, "anna", 1), event_in(session, stream, 1)]
}

/// The same batch is taken once the trouble is over, and is there once.
async fn assert_stored_once(fixture: &Fixture, batch: &[Record], session: SessionId) {
    fixture.write(batch).await;
    assert_eq!(fixture.write(batch).await, WriteOutcome { events_stored: 0, events_duplicate: 1 });
    assert_eq!(fixture.session_events(session, 10).await.len(), 1);
}

/// The URL of the fixture's database for another role.
fn url_as(fixture: &Fixture, role: &str) -> String {
    fixture.options.url.replacen("shopaloud@", &format!("{role}@"), 1)
}

async fn refusal(url: String) -> StoreError {
    let store = open(&options(url)).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert_eq!(store.writer().await.err().unwrap().kind(), error.kind());
    store.close().await;
    error
}

#[tokio::test]
async fn an_unknown_role_or_database_is_an_operators_mistake() {
    let fixture = Fixture::postgres().await;
    let role = refusal(url_as(&fixture, "nobody_we_know")).await;
    assert_eq!(role.kind(), StoreErrorKind::Denied, "{role}");
    let database = refusal(fixture.options.url.replacen("/test_", "/no_such_", 1)).await;
    assert_eq!(database.kind(), StoreErrorKind::Denied, "{database}");
    assert!(database.is_retryable(), "data waits for the operator");
}

#[tokio::test]
async fn a_right_that_is_missing_rejects_nothing() {
    let fixture = Fixture::postgres().await;
    sql(&mut operator(&fixture).await, "CREATE ROLE reader_of_all LOGIN").await;
    let store = open(&options(url_as(&fixture, "reader_of_all"))).await.unwrap();
    let written = store.writer().await.unwrap().write(fixture.node, &batch(StreamId::new(), SessionId::new())).await;
    let error = written.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Retryable, "{error}");
}

#[tokio::test]
async fn a_database_that_lacks_characters_is_refused_at_once() {
    let fixture = Fixture::postgres().await;
    let mut operator = operator(&fixture).await;
    sql(&mut operator, "CREATE DATABASE western ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").await;
    let (server, arguments) = fixture.options.url.split_once("/test_").unwrap();
    let host = arguments.split_once('?').unwrap().1;
    let store = open(&options(format!("{server}/western?{host}"))).await.unwrap();

    let error = store.migrate().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::Permanent);
    assert!(error.to_string().contains("LATIN1"), "{error}");
    store.close().await;
    sql(&mut operator, "DROP DATABASE western").await;
}

#[tokio::test]
async fn too_many_connections_pass() {
    let fixture = Fixture::postgres().await;
    let mut operator = operator(&fixture).await;
    sql(
        &mut operator,
        "CREATE ROLE crowded LOGIN CONNECTION LIMIT 1; GRANT ALL ON ALL TABLES IN SCHEMA public TO crowded",
    )
    .await;
    let only_one = PgConnection::connect(&url_as(&fixture, "crowded")).await.unwrap();
    let store = open(&options(url_as(&fixture, "crowded"))).await.unwrap();

    let error = store.writer().await.err().unwrap();
    assert_eq!(error.kind(), StoreErrorKind::Retryable, "{error}");
    assert!(error.to_string().contains("too many connections"), "{error}");

    only_one.close().await.unwrap();
    // The server may take a moment to notice.
    let mut writer = loop {
        if let Ok(writer) = store.writer().await {
            break writer;
        }
        tokio::task::yield_now().await;
    };
    writer.write(fixture.node, &batch(StreamId::new(), SessionId::new())).await.unwrap();
}

/// As in a failover: the connection is cut while the transaction waits for a lock, with half of it done.
#[tokio::test]
async fn a_connection_that_is_cut_in_mid_transaction_leaves_nothing_and_loses_nothing() {
    let fixture = Fixture::postgres().await;
    let (stream, session) = (StreamId::new(), SessionId::new());
    let mut operator = operator(&fixture).await;
    sql(&mut operator, "BEGIN; LOCK TABLE sessions").await;
    let (mut writer, node, records) = (fixture.writer().await, fixture.node, batch(stream, session));
    let writing = tokio::spawn(async move { writer.write(node, &records).await });

    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(terminate).fetch_one(&mut operator).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }

    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Retryable, "{error}");
    sql(&mut operator, "COMMIT").await;
    assert_eq!(fixture.store.stream_state(stream).await.unwrap(), None);
    assert_stored_once(&fixture, &batch(stream, session), session).await;
}

/// The server became a standby, or is one: it reads, and refuses to write until it is promoted.
#[tokio::test]
async fn a_server_that_only_reads_is_waited_for() {
    let fixture = Fixture::postgres().await;
    let (stream, session) = (StreamId::new(), SessionId::new());
    let mut operator = operator(&fixture).await;
    let database: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut operator).await.unwrap();
    sql(&mut operator, format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;

    for records in [batch(stream, session), vec![Record::Event(event(stream, 1))]] {
        let error = fixture.writer().await.write(fixture.node, &records).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Retryable, "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    assert_eq!(fixture.store.sessions(&SessionQuery::page(None, 1)).await.unwrap(), []);

    sql(&mut operator, "SET default_transaction_read_only = off").await;
    sql(&mut operator, format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await;
    assert_stored_once(&fixture, &batch(stream, session), session).await;
}

/// Someone else's transaction takes the same rows the other way round.
#[tokio::test]
async fn a_deadlock_is_tried_again() {
    let fixture = Fixture::postgres().await;
    let (stream, session) = (StreamId::new(), SessionId::new());
    fixture.write(&[presence("anna", true, 0), presence("berta", true, 0)]).await;
    let mut operator = operator(&fixture).await;
    // Only the writer looks for circles.
    sql(&mut operator, "SET deadlock_timeout = '1h'; BEGIN; UPDATE users SET name = 'B' WHERE id = 'berta'").await;
    let mut records = batch(stream, session);
    records.push(presence("berta", true, 1));
    let (mut writer, node, written) = (fixture.writer().await, fixture.node, records.clone());
    let writing = tokio::spawn(async move { writer.write(node, &written).await });
    let stuck = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(stuck).fetch_one(&mut operator).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }

    sql(&mut operator, "UPDATE users SET name = 'A' WHERE id = 'anna'; COMMIT").await;

    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Retryable, "{error}");
    assert_stored_once(&fixture, &records, session).await;
}
