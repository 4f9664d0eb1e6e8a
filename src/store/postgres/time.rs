//! Times as Postgres sends them: microseconds since 2000-01-01T00:00:00Z, with no calendar in between.
//!
//! Refuses: times outside of what a [`Timestamp`] holds; nothing here writes any.

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef},
    types::time::OffsetDateTime,
};

use crate::domain::Timestamp;

/// 2000-01-01T00:00:00Z in milliseconds since the Unix epoch.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

/// A `timestamptz`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PgTime {
    since_2000_us: i64,
}

impl PgTime {
    /// Later than every time, as Postgres writes `infinity`.
    pub(super) const INFINITY: Self = Self { since_2000_us: i64::MAX };
    /// Earlier than every time: `-infinity`.
    pub(super) const MINUS_INFINITY: Self = Self { since_2000_us: i64::MIN };

    pub(super) fn into_timestamp(self) -> Result<Timestamp, &'static str> {
        Timestamp::from_unix_ms(self.since_2000_us.div_euclid(1000) + POSTGRES_EPOCH_MS)
            .ok_or("time outside years 1 to 9999")
    }
}

impl From<Timestamp> for PgTime {
    fn from(at: Timestamp) -> Self {
        // Cannot overflow: a timestamp's years 1 to 9999 are at most 2.6e17 microseconds away.
        Self { since_2000_us: (at.as_unix_ms() - POSTGRES_EPOCH_MS) * 1000 }
    }
}

impl Type<Postgres> for PgTime {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for PgTime {
    fn array_type_info() -> PgTypeInfo {
        <OffsetDateTime as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for PgTime {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Postgres>>::encode(self.since_2000_us, buffer)
    }
}

impl Decode<'_, Postgres> for PgTime {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        // Prepared statements, and there are no others here, answer in binary.
        Ok(Self { since_2000_us: <i64 as Decode<Postgres>>::decode(value)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timestamp_comes_back() {
        for ms in [-62_135_596_800_000, -1, 0, POSTGRES_EPOCH_MS, 1_795_358_661_007, 253_402_300_799_999] {
            let at = Timestamp::from_unix_ms(ms).unwrap();
            assert_eq!(PgTime::from(at).into_timestamp(), Ok(at));
        }
    }

    #[test]
    fn microseconds_are_cut_towards_the_past() {
        let time = PgTime { since_2000_us: -1 };
        assert_eq!(time.into_timestamp().unwrap().as_unix_ms(), POSTGRES_EPOCH_MS - 1);
    }

    #[test]
    fn infinities_are_no_timestamps() {
        assert!(PgTime::INFINITY.into_timestamp().is_err());
        assert!(PgTime::MINUS_INFINITY.into_timestamp().is_err());
    }
}
