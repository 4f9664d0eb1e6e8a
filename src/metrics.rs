//! `GET /metrics`: every count of the node, in the text format of `OpenMetrics`, which Prometheus reads.
//!
//! Promises: what came in is what ended and what waits, by `shopaloud_events_*` and `shopaloud_audio_bytes_*`:
//! `received + recovered = Σ ended + waiting` whenever nothing moves.
//! Refuses: to count. Each part counts for itself; this asks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry as Exposition,
};

use crate::{
    auth::Access,
    http::RenderMetrics,
    journal::Journal,
    persist::PersistStats,
    runtime::Budget,
    session::{Refusals, Registry},
    tracks::TrackStats,
    upload::UploadStats,
};

/// Who is asked.
pub struct Sources {
    pub persist: Arc<PersistStats>,
    pub upload: Arc<UploadStats>,
    pub tracks: Arc<TrackStats>,
    pub journal: Journal,
    pub access: Access,
    pub registry: Arc<Registry>,
    pub refusals: Arc<Refusals>,
}

/// What `GET /metrics` calls.
#[must_use]
pub fn renderer(sources: Sources, budget: Budget) -> RenderMetrics {
    let mut exposition = Exposition::with_prefix("shopaloud");
    exposition.register_collector(Box::new(Node { sources, budget }));
    Arc::new(move || {
        let mut rendered = String::new();
        text::encode(&mut rendered, &exposition).map(|()| rendered)
    })
}

struct Node {
    sources: Sources,
    budget: Budget,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Collector for Node {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut metrics = Metrics(encoder);
        self.events(&mut metrics)?;
        self.audio(&mut metrics)?;
        self.tracks(&mut metrics)?;
        self.journal(&mut metrics)?;
        self.doors(&mut metrics)
    }
}

impl Node {
    fn events(&self, metrics: &mut Metrics) -> fmt::Result {
        let stats = self.sources.persist.snapshot();
        metrics.count("events_received", "Events taken from connections", stats.events_received)?;
        metrics.count(
            "events_recovered",
            "Events read from the journal: left there by an earlier process, or by this one",
            stats.events_replayed,
        )?;
        metrics.counts(
            "events_ended",
            "What became of events: stored; duplicate: there already, or of what was deleted; rejected for good by the \
             database; left to the journal, to be recovered",
            "as",
            [
                ("stored", stats.events_stored),
                ("duplicate", stats.events_duplicate),
                ("rejected", stats.events_rejected),
                ("left", stats.events_left),
            ],
        )?;
        metrics.gauge("events_waiting", "Events in memory that are not stored yet", stats.events_waiting)?;
        metrics.count("batches", "Batches committed", stats.batches)?;
        metrics.count("batch_records", "Records in those batches", stats.batch_rows)?;
        metrics.count("batch_bytes", "Bytes in those batches", stats.batch_bytes)?;
        metrics.seconds("batch_write", "Time from the start of a write to its commit, summed up", stats.write_us)?;
        metrics.count("batch_failures", "Writes that failed and were tried again", stats.failures)?;
        metrics.gauge("database_failing_writers", "Writers whose last write failed", stats.failing_actors)?;
        metrics.gauge("backlog_bytes", "Journal that is still to be stored, after an outage", stats.backlog_bytes)
    }

    fn audio(&self, metrics: &mut Metrics) -> fmt::Result {
        let stats = &*self.sources.upload;
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        metrics.count("audio_bytes_received", "Audio taken from connections", of(&stats.bytes_staged))?;
        metrics.count(
            "audio_bytes_recovered",
            "Audio left by an earlier process, or by an actor that died",
            of(&stats.bytes_recovered),
        )?;
        metrics.counts(
            "audio_bytes_ended",
            "What became of audio: stored; shared: another node had a part of it, and all of it is stored; rejected for \
             good by the database; deleted before it was stored; left to be recovered",
            "as",
            [
                ("stored", of(&stats.bytes_stored)),
                ("shared", of(&stats.bytes_shared)),
                ("rejected", of(&stats.bytes_rejected)),
                ("deleted", of(&stats.bytes_deleted)),
                ("left", of(&stats.bytes_left)),
            ],
        )?;
        metrics.gauge("audio_bytes_waiting", "Audio staged here that is not stored yet", of(&stats.bytes_waiting))?;
        metrics.count(
            "audio_bytes_refused",
            "Audio that was not taken, since its recording had ended",
            of(&stats.bytes_refused),
        )?;
        metrics.gauge("audio_runs_open", "Recordings that take audio", of(&stats.runs_open))?;
        metrics.count("audio_runs_stored", "Recordings stored and verified", of(&stats.runs_stored))?;
        metrics.count("audio_retries", "Requests to the object store tried again", of(&stats.retries))?;
        metrics.count(
            "audio_verify_failures",
            "Objects that were not what was recorded, and were uploaded again",
            of(&stats.verify_failures),
        )?;
        metrics.count("audio_pauses", "Times that audio waited for journal or disk", of(&stats.pauses))?;
        metrics.count("audio_staging_failures", "Staged files not synced or read", of(&stats.staging_failures))
    }

    fn tracks(&self, metrics: &mut Metrics) -> fmt::Result {
        let stats = &*self.sources.tracks;
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        metrics.counts(
            "tracks",
            "What became of the audio tracks of sessions: made; failed for good; postponed, to be tried again",
            "as",
            [("made", of(&stats.made)), ("failed", of(&stats.failed)), ("postponed", of(&stats.postponed))],
        )?;
        metrics.gauge("tracks_making", "Audio tracks in work", of(&stats.making))
    }

    fn journal(&self, metrics: &mut Metrics) -> fmt::Result {
        let stats = self.sources.journal.stats();
        metrics.count("journal_entries", "Entries appended", stats.entries)?;
        metrics.count("journal_bytes", "Bytes appended", stats.bytes)?;
        metrics.count("journal_syncs", "Calls of fdatasync", stats.syncs)?;
        metrics.gauge("journal_disk_bytes", "Bytes of the journal's files", stats.disk_bytes)?;
        metrics.gauge("journal_limit_bytes", "The most they may be", stats.limit_bytes)?;
        metrics.gauge("journal_kept_bytes", "From what is still needed to the end", stats.kept_bytes)?;
        metrics.gauge("journal_unsynced_bytes", "Appended and not synced yet", stats.unsynced_bytes)?;
        metrics.gauge("journal_full", "1 while somebody waits for room", u64::from(stats.full))?;
        metrics.counts(
            "journal_damage",
            "What was found when the journal was opened and read",
            "kind",
            [
                ("torn_tail", stats.torn_tails),
                ("damaged_place", stats.damaged_places),
                ("undecodable_entry", stats.undecodable_entries),
                ("missing_segment", stats.missing_segments),
            ],
        )?;
        metrics.count("journal_skipped_bytes", "Bytes that were no entry", stats.skipped_bytes)
    }

    fn doors(&self, metrics: &mut Metrics) -> fmt::Result {
        let connections = self.sources.registry.connections() as u64;
        metrics.gauge("connections", "Clients that introduced themselves", connections)?;
        metrics.gauge("memory_budget_used_bytes", "Bytes of messages in memory", self.budget.used_bytes() as u64)?;
        let told = self.sources.refusals.snapshot().map(|(code, count)| (code.as_str(), count));
        metrics.counts("client_errors", "Errors that clients were told, by their code", "code", told)?;
        let refused = self.sources.access.stats().snapshot();
        metrics.counts("access", "What was refused or slowed down, by its name", "kind", refused)
    }
}

/// Writes one metric after the other.
struct Metrics<'e>(DescriptorEncoder<'e>);

impl Metrics<'_> {
    fn write<M: EncodeMetric + TypedMetric>(&mut self, name: &str, help: &str, metric: &M) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, M::TYPE)?)
    }

    fn count(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn seconds(&mut self, name: &str, help: &str, micros: u64) -> fmt::Result {
        let seconds = std::time::Duration::from_micros(micros).as_secs_f64();
        self.write(&format!("{name}_seconds"), help, &ConstCounter::new(seconds))
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.write(name, help, &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn counts(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, <ConstCounter<u64> as TypedMetric>::TYPE)?;
        for (value, count) in values {
            let labels = [(label, value)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
