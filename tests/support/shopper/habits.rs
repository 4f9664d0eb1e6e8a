//! When shoppers do what: all from a seed.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::content::{EventSizes, WORD_BYTES};

/// How a shopper's page speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The plain door: numbers, cumulative acknowledgements, streams that are resumed.
    Plain,
    /// The Socket.IO door with numbers, streams and an acknowledgement for each message.
    SocketIo,
    /// The published widget: a stream for each connection, nothing sent twice; asks for an acknowledgement only now
    /// and then.
    Widget,
}

/// What all shoppers of a load have in common.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Shoppers take these in turn.
    pub(crate) kinds: Vec<Kind>,
    /// Of each shopper. Faster than the server takes them: as fast as it does.
    pub(crate) events_per_second: f64,
    /// 0: nobody speaks.
    pub(crate) chunks_per_second: f64,
    /// On average.
    pub(crate) chunk_bytes: u32,
    /// Until the page is left for the next one, on average.
    pub(crate) page: Duration,
    /// Until a recording ends and another begins, on average.
    pub(crate) recording: Duration,
    /// What may wait for its acknowledgement before a page says nothing new.
    pub(crate) max_unacknowledged: usize,
    pub(crate) event_sizes: EventSizes,
}

impl Default for Habits {
    /// Twice as busy as pages are, so that a few seconds show something.
    fn default() -> Self {
        Self {
            kinds: vec![Kind::Plain, Kind::SocketIo, Kind::Widget],
            events_per_second: 20.0,
            chunks_per_second: 6.0,
            chunk_bytes: 4_000,
            page: Duration::from_secs(3),
            recording: Duration::from_secs(2),
            max_unacknowledged: 20_000,
            event_sizes: EventSizes { large_every: 300, max_bytes: 200_000 },
        }
    }
}

/// One shopper's timetable.
pub(crate) struct Pace {
    rng: Rng,
    event_interval: Duration,
    chunk_interval: Option<Duration>,
    page: Duration,
    recording: Duration,
    chunk_bytes: u64,
    pub(crate) event_at: Instant,
    /// `None`: never.
    pub(crate) chunk_at: Option<Instant>,
    pub(crate) leave_at: Instant,
    pub(crate) toggle_at: Instant,
}

impl Pace {
    pub(crate) fn new(habits: &Habits, seed: u64) -> Self {
        let now = Instant::now();
        let interval = |per_second: f64| Duration::from_secs_f64(1.0 / per_second.max(0.001));
        let chunk_interval = (habits.chunks_per_second > 0.0).then(|| interval(habits.chunks_per_second));
        let mut pace = Self {
            rng: Rng::with_seed(seed),
            event_interval: interval(habits.events_per_second),
            chunk_interval,
            page: habits.page,
            recording: habits.recording,
            chunk_bytes: u64::from(habits.chunk_bytes),
            event_at: now,
            chunk_at: chunk_interval.map(|_| now),
            leave_at: now,
            toggle_at: now,
        };
        // Not all at once.
        pace.event_at = now + pace.about(pace.event_interval);
        pace.next_page();
        pace.next_toggle();
        pace
    }

    /// Half to one and a half times as much.
    fn about(&mut self, average: Duration) -> Duration {
        average.mul_f64(0.5 + self.rng.f64())
    }

    pub(crate) fn next_event(&mut self) {
        self.event_at = Instant::now() + self.about(self.event_interval);
    }

    pub(crate) fn next_chunk(&mut self) {
        if let Some(interval) = self.chunk_interval {
            self.chunk_at = Some(Instant::now() + self.about(interval));
        }
    }

    pub(crate) fn next_page(&mut self) {
        self.leave_at = Instant::now() + self.about(self.page);
    }

    pub(crate) fn next_toggle(&mut self) {
        self.toggle_at = Instant::now() + self.about(self.recording);
    }

    pub(crate) fn chunk_bytes(&mut self) -> u64 {
        let words = self.chunk_bytes / WORD_BYTES;
        self.rng.u64(words / 2 + 1..=words * 3 / 2 + 1) * WORD_BYTES
    }

    pub(crate) fn flips(&mut self) -> bool {
        self.rng.bool()
    }

    pub(crate) fn choose(&mut self, below: usize) -> usize {
        self.rng.usize(..below.max(1))
    }

    /// About `delay`, so that clients do not come back all at once.
    pub(crate) fn jitter(&mut self, delay: Duration) -> Duration {
        self.about(delay)
    }
}
