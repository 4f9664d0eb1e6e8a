//! A load on the doors, closed loop or at a rate, audited afterwards, beside what the same database takes by hand.
//!
//! `cargo bench --bench load -- --connections 50,500`. What the columns mean: benches/README.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod baseline;
mod ceiling;
#[path = "../common/mod.rs"]
mod common;
mod driver;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use common::Machine;
use driver::{Door, Load, Outcome};
use report::{Figures, Report};
use support::{
    postgres::{Listen, TestPostgres},
    process::Process,
    server::{Backend, TestServer},
};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Storage {
    Postgres,
    Sqlite,
}

#[derive(Parser)]
struct Arguments {
    /// Aim at a server that runs already, and needs no key; without baselines and memory.
    #[arg(long)]
    address: Option<SocketAddr>,
    #[arg(long, value_enum, default_value = "postgres")]
    storage: Storage,
    #[arg(long, value_enum, default_value = "socketio")]
    door: Door,
    /// One row for each.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 500])]
    connections: Vec<usize>,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections are opened over this time.
    #[arg(long, default_value_t = 1)]
    ramp_seconds: u64,
    /// Closed loop: events of a connection that wait for their acks at a time.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Open loop: events in a second over all connections, instead of a window.
    #[arg(long)]
    rate: Option<f64>,
    /// Each connection also records: 16 kB/s in chunks of 300 ms.
    #[arg(long)]
    audio: bool,
    /// One event in so many has 300 kB; 0: none.
    #[arg(long, default_value_t = 0)]
    large_every: u64,
    /// Connections that stay idle, for the memory each needs.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Where the figures go, for programs.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    const fn load(&self, address: SocketAddr, connections: usize) -> Load {
        Load {
            address,
            door: self.door,
            connections,
            ramp: Duration::from_secs(self.ramp_seconds),
            duration: Duration::from_secs(self.seconds),
            window: self.window,
            rate: self.rate,
            audio: self.audio,
            large_every: self.large_every,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    // Each connection is a socket here and one in the server.
    let _ = rlimit::increase_nofile_limit(rlimit::INFINITY);
    println!("{Machine}; server, database and driver share it\n");
    let mut report = Report::default();
    Report::heading();
    for &connections in &arguments.connections {
        report.ceiling(ceiling::of_the_driver(&arguments.load(([127, 0, 0, 1], 0).into(), connections)).await);
        match arguments.address {
            Some(address) => {
                let outcome = driver::run(&arguments.load(address, connections)).await;
                report.row(&Figures { connections, outcome, ..Figures::default() });
            }
            None => report.row(&on_own_server(&arguments, connections).await),
        }
    }
    if let Some(path) = &arguments.json {
        report.write(path);
    }
}

/// One address is all of them here.
const SETTINGS: &str = "[limits]\naddress_sockets = 0\naddress_connections = 0\naddress_requests_per_sec = 0\n\
                        address_messages_per_sec = 0\naddress_bytes_per_sec = 0\naddress_new_connections_per_sec = 0\n";

async fn on_own_server(arguments: &Arguments, connections: usize) -> Figures {
    let postgres = (arguments.storage == Storage::Postgres).then(|| TestPostgres::start_private(Listen::SocketOnly));
    let backend = match &postgres {
        Some(postgres) => Backend::production(postgres).await,
        None => Backend::Embedded,
    };
    let database_url = match &backend {
        Backend::Production { database_url, .. } => Some(database_url.clone()),
        Backend::Embedded => None,
    };
    let server = TestServer::start_with(backend, SETTINGS);
    let process = Process(server.pid());
    let mut figures = Figures { connections, ..Figures::default() };
    figures.start_ms = time_to_first_answer();
    figures.idle_memory_bytes = process.memory_bytes();
    if arguments.idle > 0 {
        figures.idle_connection_bytes = Some(idle(&server, arguments).await);
    }
    let database = postgres.as_ref().map(|postgres| Process(postgres.pid()));
    // The driver's descendants are the others.
    let cpu_secs = || [process.cpu_secs(), database.map_or(0.0, Process::tree_cpu_secs), Process::own().cpu_secs()];
    let before = cpu_secs();
    process.forget_peak();
    let outcome = driver::run(&arguments.load(server.address(), connections)).await;
    figures.peak_memory_bytes = process.peak_memory_bytes();
    let events = outcome.acknowledged.max(1) as f64;
    let after = cpu_secs();
    let [server_us, database_us, driver_us] = [0, 1, 2].map(|who| (after[who] - before[who]) * 1e6 / events);
    figures.server_us = Some(server_us);
    figures.database_us = database.map(|_| database_us);
    figures.driver_us = Some(driver_us);
    audit(&server, &outcome).await;
    figures.outcome = outcome;
    if let Some(url) = database_url {
        figures.copy_per_sec = Some(baseline::copy(&url).await);
        figures.insert = Some(baseline::inserts(&url).await);
    }
    figures
}

/// What was acknowledged is there, once: each connection is a user with a recording of its own.
async fn audit(server: &TestServer, outcome: &Outcome) {
    let stored = server.json("/sessions?events=count").await;
    let stored: std::collections::HashMap<&str, u64> = stored["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (session["userId"].as_str().unwrap(), session["numEvents"].as_u64().unwrap()))
        .collect();
    for (user, acknowledged) in &outcome.of_users {
        let there = stored.get(user.as_str()).copied().unwrap_or_default();
        assert_eq!(there, *acknowledged, "{user}: acknowledged is what is stored");
    }
}

/// Milliseconds from the start of a process on SQLite to its first answer.
fn time_to_first_answer() -> f64 {
    let mut server = TestServer::new(Backend::Embedded, "");
    let began = std::time::Instant::now();
    server.restart();
    let answered = std::net::TcpStream::connect(server.address()).map(|mut stream| {
        use std::io::{Read, Write};
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    answered.unwrap();
    common::millis(began.elapsed())
}

/// Bytes of the server's memory for each connection that says nothing.
async fn idle(server: &TestServer, arguments: &Arguments) -> f64 {
    let process = Process(server.pid());
    let before = process.memory_bytes();
    let load = Load { window: 0, audio: false, ..arguments.load(server.address(), arguments.idle) };
    let connections = driver::open_idle(&load).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = process.memory_bytes();
    drop(connections);
    tokio::time::sleep(Duration::from_secs(1)).await;
    after.saturating_sub(before) as f64 / arguments.idle as f64
}
