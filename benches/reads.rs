//! `GET /sessions` of everything, beside `psql \copy` of the same rows in the same rounds.
//!
//! `cargo bench --bench reads -- --events 10000,100000,1000000`. What the columns mean: benches/README.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod common;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use common::{Machine, median, mib, millis};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, sqlite::SqliteConnectOptions};
use support::{
    postgres::{Listen, TestPostgres},
    process::Process,
    server::{Backend, TestServer},
};

/// Two hundred sessions with a million events are an ordinary month.
const EVENTS_OF_A_SESSION: u64 = 5_000;

#[derive(Parser)]
struct Arguments {
    /// How many events are read.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    events: Vec<u64>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One answer as its reader saw it.
struct Read {
    bytes: u64,
    first_byte: Duration,
    whole: Duration,
    memory_above_idle_bytes: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    println!("{Machine}; {} rounds, medians\n", arguments.rounds);
    println!(
        "| events | answer | psql, any order | psql, same order | Postgres | to psql, any | to psql, same | first byte | memory above idle | SQLite | first byte | memory above idle |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for &events in &arguments.events {
        row(events, arguments.rounds).await;
    }
}

async fn row(events: u64, rounds: usize) {
    let postgres = TestPostgres::start_private(Listen::SocketOnly);
    let on_postgres = Backend::production(&postgres).await;
    let Backend::Production { database_url, .. } = &on_postgres else { unreachable!() };
    let url = database_url.clone();
    let on_postgres = TestServer::start(on_postgres);
    fill_postgres(&url, events).await;
    let on_sqlite = TestServer::start(Backend::Embedded);
    fill_sqlite(&on_sqlite, events).await;

    let [mut any, mut same, mut from_postgres, mut from_sqlite] = [vec![], vec![], vec![], vec![]];
    let mut reads = [Vec::new(), Vec::new()];
    // The first round fills caches and shows nothing.
    for round in 0..=rounds {
        let figures = [copy(&url, ANY_ORDER), copy(&url, SAME_ORDER)];
        let answers = [read(&on_postgres, events).await, read(&on_sqlite, events).await];
        if round > 0 {
            any.push(figures[0]);
            same.push(figures[1]);
            from_postgres.push(millis(answers[0].whole));
            from_sqlite.push(millis(answers[1].whole));
            for (kept, answer) in reads.iter_mut().zip(answers) {
                kept.push(answer);
            }
        }
    }
    let first_byte = |reads: &[Read]| median(reads.iter().map(|read| millis(read.first_byte)).collect());
    let memory = |reads: &[Read]| reads.iter().map(|read| mib(read.memory_above_idle_bytes)).fold(0.0, f64::max);
    let [any, same, from_postgres, from_sqlite] = [any, same, from_postgres, from_sqlite].map(median);
    println!(
        "| {events} | {:.0} MiB | {any:.0} ms | {same:.0} ms | {from_postgres:.0} ms | {:.2} | {:.2} | {:.1} ms | {:.1} MiB | {from_sqlite:.0} ms | {:.1} ms | {:.1} MiB |",
        mib(reads[0][0].bytes),
        from_postgres / any,
        from_postgres / same,
        first_byte(&reads[0]),
        memory(&reads[0]),
        first_byte(&reads[1]),
        memory(&reads[1]),
    );
}

async fn read(server: &TestServer, events: u64) -> Read {
    let process = Process(server.pid());
    process.forget_peak();
    let idle = process.memory_bytes();
    let began = Instant::now();
    let mut response = reqwest::get(server.url("/sessions")).await.unwrap();
    let (mut bytes, mut first_byte, mut end) = (0, None, Vec::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        first_byte.get_or_insert_with(|| began.elapsed());
        bytes += chunk.len() as u64;
        end = chunk.to_vec();
    }
    let whole = began.elapsed();
    let last = events.min(EVENTS_OF_A_SESSION);
    assert!(end.ends_with(format!("\"numEvents\":{last}}}]}}").as_bytes()), "the answer is whole");
    let memory_above_idle_bytes = process.peak_memory_bytes().saturating_sub(idle);
    Read { bytes, first_byte: first_byte.unwrap(), whole, memory_above_idle_bytes }
}

const ANY_ORDER: &str = "SELECT session_id, name, seq, data, client_at, received_at FROM events";
const SAME_ORDER: &str = "SELECT e.session_id, e.name, e.seq, e.data, e.client_at, e.received_at \
                          FROM sessions s JOIN events e ON e.session_id = s.id \
                          ORDER BY s.opened_at DESC, s.id DESC, e.received_at, e.stream_id, e.seq";

/// Milliseconds that `psql` needs for it.
fn copy(url: &str, query: &str) -> f64 {
    let began = Instant::now();
    let status = Command::new("psql")
        .args([url, "--quiet", "--no-psqlrc", "--command", &format!("\\copy ({query}) to stdout")])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "psql");
    millis(began.elapsed())
}

/// What shoppers do: much mouse, some scrolling, few clicks, now and then a changed page.
macro_rules! data {
    ($repeat:literal, $end:literal) => {
        concat!(
            "CASE WHEN n % 50 = 0 THEN '{\"html\":\"' || ",
            $repeat,
            "1000 + n % 3000",
            $end,
            " || '\"}' WHEN n % 12 = 0 THEN '{\"element\":\"' || ",
            $repeat,
            "280",
            $end,
            " || '\"}' WHEN n % 5 = 0 THEN '{\"scroll\":\"' || ",
            $repeat,
            "65",
            $end,
            " || '\"}' ELSE '{\"position\":\"' || ",
            $repeat,
            "105",
            $end,
            " || '\"}' END"
        )
    };
}

async fn fill_postgres(url: &str, events: u64) {
    let last = EVENTS_OF_A_SESSION;
    let mut connection = PgConnection::connect(url).await.unwrap();
    let id = "('019aac6e-0000-7000-8000-' || lpad(to_hex((n - 1) / {last}), 12, '0'))::uuid";
    let statements = [
        "INSERT INTO users SELECT 'user ' || n, NULL, NULL, now(), now() FROM generate_series(0, {sessions}) n"
            .to_owned(),
        format!(
            "INSERT INTO sessions SELECT {id}, 'user ' || ((n - 1) / {{last}}), 'ended', '/', \
             timestamptz '2026-11-01' + n * interval '1 ms', timestamptz '2026-11-01' + n * interval '1 ms', \
             timestamptz '2026-11-02' + n * interval '1 ms' FROM generate_series(1, {{events}}, {{last}}) n"
        ),
        format!(
            "INSERT INTO events SELECT {id}, n, 'user ' || ((n - 1) / {{last}}), {id}, 'mouse:position', {}, \
             timestamptz '2026-11-01' + n * interval '1 ms', timestamptz '2026-11-01' + n * interval '1 ms' \
             FROM generate_series(1, {{events}}) n",
            data!("repeat('x', (", ")::int)")
        ),
        "VACUUM ANALYZE".to_owned(),
    ];
    for statement in statements {
        let sessions = (events - 1) / last;
        let statement = statement
            .replace("{last}", &last.to_string())
            .replace("{events}", &events.to_string())
            .replace("{sessions}", &sessions.to_string());
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

async fn fill_sqlite(server: &TestServer, events: u64) {
    let last = EVENTS_OF_A_SESSION;
    let options = SqliteConnectOptions::new().filename(server.data_dir().join("shopaloud.sqlite"));
    let mut connection = options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap();
    let id = format!("unhex('019aac6e000070008000' || printf('%012x', (n - 1) / {last}))");
    let at = "(1793491200000 + n)";
    let numbers = |step: u64| {
        format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + {step} FROM numbers WHERE n + {step} <= {events})"
        )
    };
    let statements = [
        format!(
            "{} INSERT INTO users (id, name, email, created_at, updated_at) \
             SELECT 'user ' || ((n - 1) / {last}), NULL, NULL, {at}, {at} FROM numbers",
            numbers(last)
        ),
        format!(
            "{} INSERT INTO sessions (id, user_id, status, page, opened_at, alive_at, ended_at) \
             SELECT {id}, 'user ' || ((n - 1) / {last}), 'ended', '/', {at}, {at}, {at} FROM numbers",
            numbers(last)
        ),
        format!(
            "{} INSERT INTO events (stream_id, seq, user_id, session_id, name, data, client_at, received_at) \
             SELECT {id}, n, 'user ' || ((n - 1) / {last}), {id}, 'mouse:position', {}, {at}, {at} FROM numbers",
            numbers(1),
            data!("substr(hex(zeroblob(2000)), 1, ", ")")
        ),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}
