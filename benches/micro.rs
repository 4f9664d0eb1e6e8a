//! The steps of an event's way, each beside the naive way of doing it.
//!
//! `cargo bench --bench micro`, or `-- journal` for a part of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

use std::{fs::File, hint::black_box, io::Write, path::Path, time::Duration};

use actix::{Actor, Context, Handler, Message};
use bytes::Bytes;
use bytestring::ByteString;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use shopaloud::{
    domain::{RunId, Timestamp},
    journal::{AudioChunk, Entry, Journal, JournalOptions},
    protocol::{
        Codec, Frame,
        engineio::decode_payload,
        plain::PlainCodec,
        socketio::SocketIoCodec,
        websocket::{FrameDecoder, Step},
    },
    runtime::Budget,
};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

const LIMIT_BYTES: usize = 1 << 20;

/// As much as a mouse says.
fn mouse() -> String {
    format!(r#"{{"x":417,"y":1093,"page":"/cart","pad":"{:x<72}"}}"#, "")
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let array = format!(r#"["mouse:position",{}]"#, mouse());
    group.throughput(Throughput::Elements(1));
    let mut codec = SocketIoCodec::new(LIMIT_BYTES);
    codec.decode(Frame::Text(ByteString::from_static("0"))).unwrap();
    let event = ByteString::from(format!("217{array}"));
    group.bench_function("socketio event", |bencher| {
        bencher.iter(|| codec.decode(Frame::Text(black_box(&event).clone())).unwrap());
    });
    let chunk = Bytes::from(vec![7; 4_800]);
    let head = ByteString::from_static(r#"51-["audio",{"_placeholder":true,"num":0}]"#);
    group.bench_function("socketio audio chunk", |bencher| {
        bencher.iter(|| {
            codec.decode(Frame::Text(black_box(&head).clone())).unwrap();
            codec.decode(Frame::Binary(chunk.clone())).unwrap()
        });
    });
    let plain = ByteString::from(format!(r#"{{"event":"mouse:position","seq":17,"data":{}}}"#, mouse()));
    group.bench_function("plain event", |bencher| {
        bencher.iter(|| PlainCodec.decode(Frame::Text(black_box(&plain).clone())).unwrap());
    });
    group.bench_function("naive: the whole event as a serde_json::Value", |bencher| {
        bencher.iter(|| serde_json::from_str::<Value>(black_box(&array)).unwrap());
    });
    let payload = Bytes::from(vec![format!("4217{array}"); 8].join("\u{1e}"));
    group.throughput(Throughput::Elements(8));
    group.bench_function("polling payload of 8 events", |bencher| {
        bencher.iter(|| decode_payload(black_box(&payload).clone(), LIMIT_BYTES));
    });
    let frames = Bytes::from(masked(event.as_bytes()).repeat(64));
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 websocket frames in one read", |bencher| {
        bencher.iter(|| {
            let mut decoder = FrameDecoder::new(LIMIT_BYTES);
            decoder.feed(black_box(&frames));
            let mut messages = 0;
            loop {
                match decoder.step().unwrap() {
                    Step::NeedBytes => return assert_eq!(messages, 64),
                    Step::NeedRoom(_) => decoder.admit(),
                    Step::Message(_) => messages += 1,
                }
            }
        });
    });
    group.finish();
}

/// A text frame as a browser sends it.
fn masked(payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![0x81, 0xFE, length[0], length[1]];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What arrives together from 64 connections becomes durable.
fn journal(criterion: &mut Criterion) {
    const TOGETHER: u64 = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("64 records on the disk");
    group.throughput(Throughput::Elements(TOGETHER)).measurement_time(Duration::from_secs(5));

    let options = JournalOptions { dir: folder.path().join("journal"), segment_bytes: 16 << 20, limit_bytes: 1 << 30 };
    let journal = Journal::open(options, |error| panic!("{error}")).unwrap();
    let consumer = journal.consumer("bench");
    let entry = Entry::AudioChunk(AudioChunk {
        run: RunId::from_bytes([7; 16]),
        offset: 0,
        at: Timestamp::now(),
        bytes: mouse().into_bytes().into(),
    });
    group.bench_function("journal, one sync for all", |bencher| {
        bencher.iter(|| {
            let mut last = journal.end();
            for _ in 0..TOGETHER {
                last = journal.append(std::slice::from_ref(&entry)).unwrap();
            }
            runtime.block_on(journal.synced_at(last)).unwrap();
            consumer.release(last);
        });
    });
    let mut sqlite = runtime.block_on(open_sqlite(&folder.path().join("sqlite")));
    group.bench_function("naive: SQLite, one transaction", |bencher| {
        bencher.iter(|| runtime.block_on(insert(&mut sqlite, TOGETHER)));
    });
    group.sample_size(10);
    group.bench_function("naive: one file for each connection, each synced", |bencher| {
        bencher.iter_batched_ref(
            || (0..TOGETHER).map(|n| file(folder.path(), n)).collect::<Vec<_>>(),
            |files| {
                for file in files {
                    file.write_all(mouse().as_bytes()).unwrap();
                    file.sync_data().unwrap();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    journal.close();
}

fn file(folder: &Path, number: u64) -> File {
    File::options().create(true).append(true).open(folder.join(number.to_string())).unwrap()
}

async fn open_sqlite(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE records (data TEXT)").execute(&mut connection).await.unwrap();
    connection
}

async fn insert(connection: &mut SqliteConnection, rows: u64) {
    let mut transaction = connection.begin().await.unwrap();
    for _ in 0..rows {
        sqlx::query("INSERT INTO records VALUES ($1)").bind(mouse()).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

struct Echo;

#[derive(Message)]
#[rtype(result = "u64")]
struct Number(u64);

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Number> for Echo {
    type Result = u64;

    fn handle(&mut self, Number(number): Number, _: &mut Self::Context) -> u64 {
        number
    }
}

fn hops(criterion: &mut Criterion) {
    let system = actix::System::new();
    let mut group = criterion.benchmark_group("hops");
    let budget = Budget::new(1 << 27, 1 << 24).connection();
    group.bench_function("room in the memory budget", |bencher| {
        bencher.iter(|| system.block_on(budget.take(black_box(200))));
    });
    let here = system.block_on(async { Echo.start() });
    group.bench_function("actor of this thread, and back", |bencher| {
        bencher.iter(|| system.block_on(here.send(Number(7))).unwrap());
    });
    let arbiter = actix::Arbiter::new();
    let there = Echo::start_in_arbiter(&arbiter.handle(), |_| Echo);
    group.bench_function("actor of another thread, and back", |bencher| {
        bencher.iter(|| system.block_on(there.send(Number(7))).unwrap());
    });
    group.bench_function("naive: a task for each message", |bencher| {
        bencher.iter(|| system.block_on(async { tokio::spawn(async { black_box(7_u64) }).await.unwrap() }));
    });
    group.finish();
}

criterion_group!(benches, decode, journal, hops);
criterion_main!(benches);
