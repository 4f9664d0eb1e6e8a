//! Everything that may go wrong, at random and for long, while shoppers record on two nodes; and the audit at the end.
//!
//! `cargo build --release && cargo run --release --example soak -- --minutes 60`. Ends with the row of the audit, or fails
//! with what was lost, doubled or does not add up. `--seed` makes the same choices again; what the machine does in
//! between is its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a soak fails by panicking")]

#[path = "../tests/faults/scene.rs"]
#[allow(dead_code, reason = "of the faults' scene this uses a part")]
mod scene;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use scene::{HASTY, Scene};
use support::shopper::habits::Habits;
use tokio::time::sleep;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    #[arg(long, default_value_t = 24)]
    shoppers: u32,
    /// By default another one each time; it is printed.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    KillAndRestart,
    KillAndStayAway,
    KillBoth,
    Terminate,
    PostgresAway,
    PostgresAwayAndKill,
    LineCut,
    LineFrozen,
    LineSlow,
    CommitAnswersLost,
    BucketAway,
    BucketAwayAndKill,
}

const FAULTS: [Fault; 12] = [
    Fault::KillAndRestart,
    Fault::KillAndStayAway,
    Fault::KillBoth,
    Fault::Terminate,
    Fault::PostgresAway,
    Fault::PostgresAwayAndKill,
    Fault::LineCut,
    Fault::LineFrozen,
    Fault::LineSlow,
    Fault::CommitAnswersLost,
    Fault::BucketAway,
    Fault::BucketAwayAndKill,
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Arguments { minutes, shoppers, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("--seed {seed}");
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let mut scene = Scene::begin_with("everything at random", HASTY, 2, shoppers, &Habits::default()).await;
    let began = Instant::now();
    let mut faults = 0;
    while began.elapsed() < Duration::from_mins(minutes) {
        pause(&mut rng, 1..4_000).await;
        let fault = FAULTS[rng.usize(..FAULTS.len())];
        let totals = scene.load.totals();
        println!(
            "{:>6.1} s {fault:?}, after {} events and {} kB acknowledged",
            began.elapsed().as_secs_f64(),
            totals.acknowledged_events,
            totals.acknowledged_audio_bytes / 1_000,
        );
        commit(fault, &mut scene, &mut rng).await;
        faults += 1;
    }
    println!("{faults} faults; everybody finishes");
    scene.end().await;
}

async fn pause(rng: &mut Rng, milliseconds: std::ops::Range<u64>) {
    sleep(Duration::from_millis(rng.u64(milliseconds))).await;
}

/// Does it, and makes it good again.
async fn commit(fault: Fault, scene: &mut Scene, rng: &mut Rng) {
    let node = rng.usize(..2);
    match fault {
        Fault::KillAndRestart => scene.kill_and_restart(node),
        Fault::KillAndStayAway => {
            scene.nodes[node].kill();
            let other = scene.nodes[1 - node].address();
            scene.announce([other]);
            pause(rng, 100..5_000).await;
            scene.restart(node);
        }
        Fault::KillBoth => {
            scene.announce([]);
            for node in &mut scene.nodes {
                node.kill();
            }
            pause(rng, 1..2_000).await;
            for node in [0, 1] {
                scene.nodes[node].restart();
            }
            scene.restarted();
        }
        Fault::Terminate => {
            let other = scene.nodes[1 - node].address();
            scene.announce([other]);
            let status = scene.nodes[node].terminate();
            // 1: behind after another fault, so that some of it waits in the journal.
            assert!(matches!(status.code(), Some(0 | 1)), "{status}\n{}", scene.nodes[node].log());
            scene.restart(node);
        }
        Fault::PostgresAway | Fault::PostgresAwayAndKill => {
            scene.postgres.stop();
            pause(rng, 100..8_000).await;
            if fault == Fault::PostgresAwayAndKill {
                scene.kill_and_restart(node);
                pause(rng, 100..3_000).await;
            }
            scene.postgres.start();
        }
        Fault::LineCut => scene.line.cut(),
        Fault::LineFrozen => {
            scene.line.freeze();
            pause(rng, 100..6_000).await;
            scene.line.thaw();
        }
        Fault::LineSlow => {
            scene.line.delay(Duration::from_millis(rng.u64(1..80)));
            pause(rng, 100..6_000).await;
            scene.line.delay(Duration::ZERO);
        }
        Fault::CommitAnswersLost => scene.line.lose_commit_answers(rng.u64(1..20)),
        Fault::BucketAway | Fault::BucketAwayAndKill => {
            scene.s3.lock().unwrap().stop();
            pause(rng, 100..8_000).await;
            if fault == Fault::BucketAwayAndKill {
                scene.kill_and_restart(node);
                pause(rng, 100..3_000).await;
            }
            scene.s3.lock().unwrap().restart();
        }
    }
}
