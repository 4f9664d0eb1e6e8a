//! The same database by hand: a copy of the same rows, and one row at a time.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use sqlx::{Connection, Executor, PgConnection};

/// One row, one statement, one commit.
pub(crate) struct Inserts {
    pub(crate) per_sec: f64,
    /// Microseconds.
    pub(crate) latency: Histogram<u64>,
}

fn psql(url: &str, command: &str) {
    let status = Command::new("psql").args([url, "--quiet", "--no-psqlrc", "--command", command]).status().unwrap();
    assert!(status.success(), "psql: {command}");
}

/// Rows in a second of `\copy` from a file into a table with the same indexes: those rows that the load stored.
pub(crate) async fn copy(url: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute("CREATE TABLE copied (LIKE events INCLUDING ALL)").await.unwrap();
    psql(url, &format!("\\copy events to '{}'", file.display()));
    let began = Instant::now();
    psql(url, &format!("\\copy copied from '{}'", file.display()));
    let took = began.elapsed();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM copied").fetch_one(&mut connection).await.unwrap();
    rows as f64 / took.as_secs_f64()
}

pub(crate) async fn inserts(url: &str) -> Inserts {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute("CREATE TABLE inserted (LIKE events INCLUDING ALL)").await.unwrap();
    let (stream, data) = (uuid::Uuid::now_v7(), format!(r#"{{"x":"{:x<105}"}}"#, ""));
    let mut latency = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
    let began = Instant::now();
    let mut seq = 0_i64;
    while began.elapsed() < Duration::from_secs(3) {
        seq += 1;
        let sent = Instant::now();
        sqlx::query("INSERT INTO inserted VALUES ($1, $2, 'anna', $1, 'mouse:position', $3, now(), now())")
            .bind(stream)
            .bind(seq)
            .bind(&data)
            .execute(&mut connection)
            .await
            .unwrap();
        latency.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
    }
    Inserts { per_sec: seq as f64 / began.elapsed().as_secs_f64(), latency }
}
