//! Points in time, in milliseconds since the Unix epoch, UTC.
//!
//! Promises: prints as RFC 3339 with milliseconds and `Z`, for every value a client can send.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

/// Years 0001 to 9999: what RFC 3339 can print and both databases can hold.
const MIN_MS: i64 = -62_135_596_800_000;
const MAX_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// `None` outside the years 1 to 9999.
    #[must_use]
    pub const fn from_unix_ms(ms: i64) -> Option<Self> {
        if ms < MIN_MS || ms > MAX_MS { None } else { Some(Self(ms)) }
    }

    /// The wall clock's time.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_millis()).unwrap_or(MAX_MS).min(MAX_MS))
    }

    #[must_use]
    pub const fn as_unix_ms(self) -> i64 {
        self.0
    }

    #[must_use]
    pub fn from_datetime(datetime: OffsetDateTime) -> Self {
        let ms = datetime.unix_timestamp_nanos().div_euclid(1_000_000);
        Self(i64::try_from(ms).unwrap_or(MAX_MS).clamp(MIN_MS, MAX_MS))
    }

    #[must_use]
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// How many ms later than `earlier`; negative when it is not.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// Earlier by `duration`, not before the year 1.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)).max(MIN_MS))
    }

    /// Later by `duration`, not after the year 9999.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)).min(MAX_MS))
    }

    /// From `earlier` to this; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.to_datetime();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_795_358_661_007).to_string(), "2026-11-22T14:44:21.007Z");
        assert_eq!(Timestamp(MIN_MS).to_string(), "0001-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(MAX_MS).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_cannot_be_printed_is_refused() {
        assert_eq!(Timestamp::from_unix_ms(MAX_MS + 1), None);
        assert_eq!(Timestamp::from_unix_ms(MIN_MS - 1), None);
    }

    #[test]
    fn survives_the_way_through_a_datetime() {
        for ms in [MIN_MS, -1, 0, 1, 1_795_358_661_007, MAX_MS] {
            assert_eq!(Timestamp::from_datetime(Timestamp(ms).to_datetime()), Timestamp(ms));
        }
    }
}
