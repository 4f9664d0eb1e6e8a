//! A rate, kept by one number: when everything taken so far is paid for.
//!
//! The generic cell rate algorithm: what was taken moves that moment into the future, and nothing may be taken while it
//! is further away than the burst. One atomic word for each rate, no timer, nothing to refill.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How much may be taken each second, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Never 0: no limit is no rate.
    per_sec: u32,
    burst: Duration,
}

impl Rate {
    /// `None` for 0: no limit.
    #[must_use]
    pub(super) const fn new(per_sec: u32, burst: Duration) -> Option<Self> {
        if per_sec == 0 { None } else { Some(Self { per_sec, burst }) }
    }

    fn cost_ns(self, amount: u64) -> u64 {
        u64::try_from(u128::from(amount) * 1_000_000_000 / u128::from(self.per_sec)).unwrap_or(u64::MAX)
    }

    fn burst_ns(self) -> u64 {
        u64::try_from(self.burst.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What was taken of a rate. Times are since some moment that all calls share.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// In nanoseconds.
    paid_at: AtomicU64,
}

impl Bucket {
    /// # Errors
    /// How long to wait before asking again; nothing is taken then.
    pub(super) fn try_take(&self, amount: u64, rate: Rate, now: Duration) -> Result<(), Duration> {
        let (now, burst) = (nanoseconds(now), rate.burst_ns());
        let taken = self.paid_at.try_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
            let next = paid_at.max(now).saturating_add(rate.cost_ns(amount));
            (next - now <= burst).then_some(next)
        });
        taken.map(|_| ()).map_err(|paid_at| {
            let next = paid_at.max(now).saturating_add(rate.cost_ns(amount));
            Duration::from_nanos((next - now).saturating_sub(burst))
        })
    }

    /// Takes what is there already, and says how long to wait before the next.
    pub(super) fn take(&self, amount: u64, rate: Rate, now: Duration) -> Option<Duration> {
        let now = nanoseconds(now);
        let next_after = |paid_at: u64| paid_at.max(now).saturating_add(rate.cost_ns(amount));
        let before = self.paid_at.update(Ordering::Relaxed, Ordering::Relaxed, next_after);
        let owed = (next_after(before) - now).saturating_sub(rate.burst_ns());
        (owed > 0).then(|| Duration::from_nanos(owed))
    }

    /// Nothing is owed: as good as new.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.paid_at.load(Ordering::Relaxed) <= nanoseconds(now)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_may_be_taken_at_once_and_then_the_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, at(1_000)).unwrap());
        for _ in 0..10 {
            assert_eq!(bucket.try_take(1, rate, at(5_000)), Ok(()));
        }
        assert_eq!(bucket.try_take(1, rate, at(5_000)), Err(at(100)));
        assert_eq!(bucket.try_take(1, rate, at(5_099)), Err(at(1)));
        assert_eq!(bucket.try_take(1, rate, at(5_100)), Ok(()));
        assert!(!bucket.is_idle(at(6_000)) && bucket.is_idle(at(6_100)));
    }

    #[test]
    fn what_came_already_is_taken_and_paid_for_later() {
        let (bucket, rate) = (Bucket::default(), Rate::new(1_000, at(1_000)).unwrap());
        assert_eq!(bucket.take(1_000, rate, at(0)), None);
        assert_eq!(bucket.take(500, rate, at(0)), Some(at(500)));
        assert_eq!(bucket.take(10_000, rate, at(500)), Some(at(10_000)));
        assert_eq!(bucket.take(1, rate, at(12_000)), None);
    }

    #[test]
    fn no_limit_is_no_rate() {
        assert_eq!(Rate::new(0, at(1)), None);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let (bucket, rate) = (Bucket::default(), Rate::new(1, at(1)).unwrap());
        assert!(bucket.take(u64::MAX, rate, at(0)).is_some());
        assert!(bucket.take(u64::MAX, rate, Duration::MAX).is_none_or(|wait| !wait.is_zero()));
    }
}
