//! Rows of the table, and the same for programs.

use std::{fmt::Write, fs, path::Path};

use serde_json::{Value, json};

use super::{baseline::Inserts, common::mib, driver::Outcome};

/// Of one load.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) connections: usize,
    pub(crate) outcome: Outcome,
    pub(crate) copy_per_sec: Option<f64>,
    pub(crate) insert: Option<Inserts>,
    /// CPU time for each acknowledged event.
    pub(crate) server_us: Option<f64>,
    pub(crate) database_us: Option<f64>,
    pub(crate) driver_us: Option<f64>,
    pub(crate) start_ms: f64,
    pub(crate) idle_memory_bytes: u64,
    pub(crate) idle_connection_bytes: Option<f64>,
    pub(crate) peak_memory_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Report {
    ceiling: f64,
    rows: Vec<Value>,
}

const COLUMNS: [&str; 15] = [
    "connections",
    "events/s",
    "driver's ceiling",
    "to copy",
    "to one INSERT each",
    "ack p50",
    "ack p99",
    "to one COMMIT p50",
    "p99",
    "CPU server",
    "database",
    "driver",
    "memory peak",
    "start",
    "idle connection",
];

impl Report {
    pub(crate) fn heading() {
        println!("| {} |\n|{}", COLUMNS.join(" | "), " --- |".repeat(COLUMNS.len()));
    }

    pub(crate) const fn ceiling(&mut self, events_per_sec: f64) {
        self.ceiling = events_per_sec;
    }

    pub(crate) fn row(&mut self, figures: &Figures) {
        let Figures { connections, outcome, copy_per_sec, insert, .. } = figures;
        let per_sec = outcome.acknowledged as f64 / outcome.took.as_secs_f64();
        let quantile = |q: f64| outcome.latency.value_at_quantile(q) as f64;
        let [p50, p99] = [quantile(0.5), quantile(0.99)];
        let to_commit = |q: f64| insert.as_ref().map(|insert| quantile(q) / insert.latency.value_at_quantile(q) as f64);
        let mut row = String::new();
        let mut cell = |text: Option<String>| write!(row, "| {} ", text.unwrap_or_default()).unwrap();
        let times = |ratio: f64| format!("{ratio:.2}");
        let micros = |us: f64| format!("{us:.1} us");
        cell(Some(connections.to_string()));
        cell(Some(format!("{per_sec:.0}")));
        cell(Some(format!("{:.0}", self.ceiling)));
        cell(copy_per_sec.map(|copy| times(per_sec / copy)));
        cell(insert.as_ref().map(|insert| times(per_sec / insert.per_sec)));
        cell(Some(format!("{:.1} ms", p50 / 1e3)));
        cell(Some(format!("{:.1} ms", p99 / 1e3)));
        cell(to_commit(0.5).map(times));
        cell(to_commit(0.99).map(times));
        cell(figures.server_us.map(micros));
        cell(figures.database_us.map(micros));
        cell(figures.driver_us.map(micros));
        cell(figures.server_us.map(|_| format!("{:.0} MiB", mib(figures.peak_memory_bytes))));
        cell(figures.server_us.map(|_| format!("{:.0} ms", figures.start_ms)));
        cell(figures.idle_connection_bytes.map(|bytes| format!("{:.1} kB", bytes / 1e3)));
        println!("{row}|");
        self.rows.push(json!({
            "connections": connections,
            "eventsPerSec": per_sec,
            "driverCeilingPerSec": self.ceiling,
            "copyPerSec": copy_per_sec,
            "insertPerSec": insert.as_ref().map(|insert| insert.per_sec),
            "audioBytes": outcome.audio_bytes,
            "acknowledged": outcome.acknowledged,
            "ackP50Us": p50,
            "ackP99Us": p99,
            "ackMaxUs": outcome.latency.max(),
            "serverCpuUs": figures.server_us,
            "databaseCpuUs": figures.database_us,
            "driverCpuUs": figures.driver_us,
            "startMs": figures.start_ms,
            "idleMemoryBytes": figures.idle_memory_bytes,
            "peakMemoryBytes": figures.peak_memory_bytes,
            "idleConnectionBytes": figures.idle_connection_bytes,
        }));
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, serde_json::to_string_pretty(&self.rows).unwrap()).unwrap();
    }
}
