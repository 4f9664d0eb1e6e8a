//! What an S3 store has to know.
//!
//! Refuses: to go looking for credentials. The AWS chain of profiles and instance roles is not built in, so keys are
//! given or the store does not open.

use std::{fmt, time::Duration};

use super::super::{ObjectError, ObjectErrorKind};

/// The smallest part S3 takes, save the last of an upload.
pub const MIN_PART_SIZE_BYTES: u64 = 5 * 1024 * 1024;
/// The largest number of parts S3 takes.
pub const MAX_PARTS: u64 = 10_000;
/// Signature version 4 signs for a week at most.
const MAX_PRESIGN_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// A secret that does not print.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A bucket, and how to reach it.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `https://…` of an S3-compatible store; `None` for AWS itself.
    pub endpoint: Option<String>,
    pub region: String,
    pub bucket: String,
    pub access_key: Option<String>,
    pub secret_key: Option<SecretKey>,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`: what most stores other than AWS want.
    pub path_style: bool,
    /// At least 5 MiB. All parts of an upload but the last have this size (R2 insists on equal ones).
    pub part_size_bytes: u64,
    /// How long a URL handed to a reader plays; at most a week.
    pub presign_lifetime: Duration,
    pub timeouts: S3Timeouts,
}

/// How long to wait for the store. The SDK's own defaults hung on a stalled endpoint for as long as one looked.
#[derive(Clone, Copy, Debug)]
pub struct S3Timeouts {
    pub connect: Duration,
    /// For one request without a body; a body adds its size at [`SLOWEST_BYTES_PER_SECOND`].
    pub attempt: Duration,
    /// For a call with its repetition, without a body.
    pub operation: Duration,
}

/// The slowest uplink that still finishes a part: half a megabit a second, so that 8 MiB get 128 s. A link that
/// stands still is noticed much earlier, by the SDK's stalled stream protection.
pub(super) const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;

impl Default for S3Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), attempt: Duration::from_secs(5), operation: Duration::from_secs(15) }
    }
}

impl S3Timeouts {
    /// What the transfer of a body of `len` bytes may take on top.
    pub(super) const fn transfer_of(len: u64) -> Duration {
        Duration::from_millis(len.saturating_mul(1000) / SLOWEST_BYTES_PER_SECOND)
    }
}

impl S3Options {
    /// The keys, when everything else makes sense too.
    pub(super) fn checked_keys(&self) -> Result<(&str, &SecretKey), ObjectError> {
        let refuse = |why: &'static str| ObjectError::new(ObjectErrorKind::Permanent, "configure the S3 store", why);
        let (Some(access_key), Some(secret_key)) = (&self.access_key, &self.secret_key) else {
            return Err(refuse(
                "an access key and a secret key are required: instance roles and AWS profiles are not looked up",
            ));
        };
        if self.bucket.is_empty() || self.region.is_empty() {
            return Err(refuse("a bucket and a region are required (stores without regions take \"us-east-1\")"));
        }
        if self.part_size_bytes < MIN_PART_SIZE_BYTES {
            return Err(refuse("parts must have 5 MiB at least"));
        }
        if self.presign_lifetime.is_zero() || self.presign_lifetime > MAX_PRESIGN_LIFETIME {
            return Err(refuse("the lifetime of a URL must be between a second and a week"));
        }
        Ok((access_key, secret_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> S3Options {
        S3Options {
            endpoint: None,
            region: "eu-central-1".into(),
            bucket: "audio".into(),
            access_key: Some("access".into()),
            secret_key: Some(SecretKey::new("hidden-word")),
            path_style: false,
            part_size_bytes: MIN_PART_SIZE_BYTES,
            presign_lifetime: Duration::from_hours(1),
            timeouts: S3Timeouts::default(),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        assert!(options().checked_keys().is_ok());
        let refusals = [
            (S3Options { secret_key: None, ..options() }, "secret key"),
            (S3Options { access_key: None, ..options() }, "access key"),
            (S3Options { bucket: String::new(), ..options() }, "bucket"),
            (S3Options { part_size_bytes: MIN_PART_SIZE_BYTES - 1, ..options() }, "5 MiB"),
            (S3Options { presign_lifetime: Duration::from_hours(169), ..options() }, "week"),
        ];
        for (options, word) in refusals {
            let error = options.checked_keys().unwrap_err();
            assert_eq!(error.kind(), ObjectErrorKind::Permanent);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn the_secret_does_not_print() {
        assert!(!format!("{:?}", options()).contains("hidden-word"));
    }

    #[test]
    fn a_large_body_gets_time() {
        assert_eq!(S3Timeouts::transfer_of(8 * 1024 * 1024), Duration::from_secs(128));
        assert_eq!(S3Timeouts::transfer_of(0), Duration::ZERO);
    }
}
