//! Objects in a bucket of S3 or of a store that speaks its protocol.
//!
//! Owns: the AWS SDK.
//! Promises: bodies go from the file to the socket and never lie in memory whole; each carries its SHA-256 twice, as
//! a checksum header and as the signed payload, so that a store that ignores the one checks the other; every call
//! ends within its deadline.
//! Refuses: to list a bucket, and to rely on what only AWS itself does.

mod call;
mod options;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::SdkError,
    operation::get_object::GetObjectError,
    presigning::PresigningConfig,
    types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_http_client::tls;
use tokio::io::AsyncWriteExt as _;

pub use options::{MAX_PARTS, MIN_PART_SIZE_BYTES, S3Options, S3Timeouts, SecretKey};

use self::call::{SignedDigest, body_of, failed, unexpected};
use super::{
    Expected, FileSlice, Location, ObjectError, ObjectErrorKind, ObjectKey, ObjectStore, UploadedPart, Verdict,
    digest::{Sha256Hasher, base64_of, composite_of, parse_hex},
};

/// One repetition inside the SDK, at once: it hides a pooled connection that the store closed meanwhile. Everything
/// longer is up to the caller, who keeps the bytes and backs off.
const ATTEMPTS: u32 = 2;
const FIRST_RETRY_AFTER: Duration = Duration::from_millis(50);
/// A transfer that moves no byte for this long is given up before its deadline.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Putting many parts together takes a store longer than answering a question.
const COMPLETION: Duration = Duration::from_secs(30);

/// A bucket. Connections are pooled and made when needed.
pub struct S3Store {
    client: Client,
    bucket: String,
    part_size_bytes: u64,
    presigning: PresigningConfig,
    timeouts: S3Timeouts,
}

impl S3Store {
    /// Checks the options; the store itself is reached when used.
    ///
    /// # Errors
    /// [`ObjectErrorKind::Permanent`] for options that cannot work, missing keys above all.
    pub fn new(options: &S3Options) -> Result<Self, ObjectError> {
        let (access_key, secret_key) = options.checked_keys()?;
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts = options.timeouts;
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(Region::new(options.region.clone()))
            .credentials_provider(Credentials::new(access_key, secret_key.reveal(), None, None, "configuration"))
            .force_path_style(options.path_style)
            // Stores that know no CRC trailers refuse requests that carry them; ours carry a SHA-256 of their own.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_RETRY_AFTER))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALLED_AFTER).build())
            .timeout_config(deadlines(timeouts, Duration::ZERO));
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let presigning = PresigningConfig::expires_in(options.presign_lifetime)
            .map_err(|error| ObjectError::new(ObjectErrorKind::Permanent, "configure the S3 store", error))?;
        Ok(Self {
            client: Client::from_conf(config.build()),
            bucket: options.bucket.clone(),
            part_size_bytes: options.part_size_bytes,
            presigning,
            timeouts,
        })
    }

    /// Settings of one call that takes longer than a question and an answer.
    fn with_time_for(&self, extra: Duration) -> aws_sdk_s3::config::Builder {
        Config::builder().timeout_config(deadlines(self.timeouts, extra))
    }

    /// For stores that keep no checksum: the whole object, read in pieces.
    async fn verify_by_reading(&self, key: &ObjectKey, expected: &Expected) -> Result<Verdict, ObjectError> {
        const CONTEXT: &str = "read an object back";
        let reading = async {
            let answer = match self.client.get_object().bucket(&self.bucket).key(key.as_str()).send().await {
                Ok(answer) => answer,
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                    return Ok(Verdict::Missing);
                }
                Err(error) => return Err(failed(CONTEXT, &error)),
            };
            let mut body = answer.body;
            let mut hasher = Sha256Hasher::default();
            while let Some(bytes) = body.next().await {
                hasher.update(&bytes.map_err(|error| unexpected(CONTEXT, error))?);
            }
            let sha256 = hasher.finish();
            Ok(if sha256 == expected.sha256 {
                Verdict::Intact
            } else {
                Verdict::Different(format!("{sha256} instead of {}", expected.sha256))
            })
        };
        let deadline = self.timeouts.operation + S3Timeouts::transfer_of(expected.size_bytes);
        tokio::time::timeout(deadline, reading).await.map_err(|error| unexpected(CONTEXT, error))?
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put(&self, key: &ObjectKey, content_type: &str, body: FileSlice) -> Result<(), ObjectError> {
        const CONTEXT: &str = "put an object";
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(content_type)
            .checksum_sha256(base64_of(&body.sha256))
            .body(body_of(CONTEXT, &body).await?)
            .customize()
            .config_override(self.with_time_for(S3Timeouts::transfer_of(body.len)))
            .interceptor(SignedDigest(body.sha256))
            .send()
            .await
            .map_err(|error| failed(CONTEXT, &error))?;
        Ok(())
    }

    async fn begin(&self, key: &ObjectKey, content_type: &str) -> Result<String, ObjectError> {
        const CONTEXT: &str = "begin an upload";
        let answer = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(content_type)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .send()
            .await
            .map_err(|error| failed(CONTEXT, &error))?;
        answer.upload_id.ok_or_else(|| unexpected(CONTEXT, "the store gave no upload id"))
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: FileSlice,
    ) -> Result<UploadedPart, ObjectError> {
        const CONTEXT: &str = "put a part";
        let answer = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(number)
            .checksum_sha256(base64_of(&body.sha256))
            .body(body_of(CONTEXT, &body).await?)
            .customize()
            .config_override(self.with_time_for(S3Timeouts::transfer_of(body.len)))
            .interceptor(SignedDigest(body.sha256))
            .send()
            .await
            .map_err(|error| failed(CONTEXT, &error))?;
        let etag = answer.e_tag.ok_or_else(|| unexpected(CONTEXT, "the store gave no ETag"))?;
        Ok(UploadedPart { number, etag, size_bytes: body.len, sha256: body.sha256.to_string() })
    }

    async fn complete(&self, key: &ObjectKey, upload_id: &str, parts: &[UploadedPart]) -> Result<(), ObjectError> {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .e_tag(&part.etag)
                .set_checksum_sha256(parse_hex(&part.sha256).as_ref().map(base64_of))
                .build()
        });
        self.client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build())
            .customize()
            .config_override(self.with_time_for(COMPLETION))
            .send()
            .await
            .map_err(|error| failed("complete an upload", &error))?;
        Ok(())
    }

    async fn abort(&self, key: &ObjectKey, upload_id: &str) -> Result<(), ObjectError> {
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .send()
            .await
            .map_err(|error| failed("abort an upload", &error));
        match aborted {
            Err(error) if error.kind() != ObjectErrorKind::NoSuchUpload => Err(error),
            _ => Ok(()),
        }
    }

    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verdict, ObjectError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        let head = match head {
            Ok(head) => head,
            Err(SdkError::ServiceError(error)) if error.err().is_not_found() => return Ok(Verdict::Missing),
            Err(error) => return Err(failed("verify an object", &error)),
        };
        let len = head.content_length.unwrap_or_default();
        if u64::try_from(len) != Ok(expected.size_bytes) {
            return Ok(Verdict::Different(format!("{len} bytes long instead of {}", expected.size_bytes)));
        }
        match head.checksum_sha256().and_then(|told| compare(told, expected)) {
            Some(Verdict::Intact) => Ok(Verdict::Intact),
            // Stores differ in what they call the checksum of an object of many parts. The bytes have the last word.
            _ => self.verify_by_reading(key, expected).await,
        }
    }

    async fn locate(&self, key: &ObjectKey) -> Result<Location, ObjectError> {
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .presigned(self.presigning.clone())
            .await
            .map_err(|error| failed("sign a URL", &error))?;
        Ok(Location::Url(request.uri().to_owned()))
    }

    async fn fetch(&self, key: &ObjectKey, scratch: &Path) -> Result<PathBuf, ObjectError> {
        let object = self.client.get_object().bucket(&self.bucket).key(key.as_str()).send().await;
        let mut body = match object {
            Ok(object) => object.body,
            Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => {
                return Err(ObjectError::new(ObjectErrorKind::Permanent, "read an object", "there is none"));
            }
            Err(error) => return Err(failed("read an object", &error)),
        };
        let broken = |error: std::io::Error| ObjectError::new(ObjectErrorKind::Retryable, "copy an object", error);
        let mut file = tokio::fs::File::create(scratch).await.map_err(broken)?;
        while let Some(bytes) = body.try_next().await.map_err(|error| broken(std::io::Error::other(error)))? {
            file.write_all(&bytes).await.map_err(broken)?;
        }
        file.flush().await.map_err(broken)?;
        Ok(scratch.to_owned())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .send()
            .await
            .map_err(|error| failed("delete an object", &error))?;
        Ok(())
    }

    async fn ping(&self) -> Result<(), ObjectError> {
        self.client
            .head_bucket()
            .bucket(&self.bucket)
            .send()
            .await
            .map_err(|error| failed("reach the bucket", &error))?;
        Ok(())
    }

    fn part_size(&self) -> u64 {
        self.part_size_bytes
    }
}

/// Two attempts fit into an operation, however large the body.
fn deadlines(timeouts: S3Timeouts, extra: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(timeouts.connect)
        .operation_attempt_timeout(timeouts.attempt + extra)
        .operation_timeout(timeouts.operation + extra * ATTEMPTS)
        .build()
}

/// What the checksum that a store tells says; `None` when it says nothing about these bytes.
fn compare(told: &str, expected: &Expected) -> Option<Verdict> {
    let known = if told.contains('-') { composite_of(&expected.parts)? } else { base64_of(&expected.sha256) };
    Some(if told == known {
        Verdict::Intact
    } else {
        Verdict::Different(format!("checksum {told} instead of {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sha256;

    fn expected(parts: usize) -> Expected {
        let part = |index: usize| UploadedPart {
            number: i32::try_from(index).unwrap() + 1,
            etag: String::new(),
            size_bytes: 1,
            sha256: Sha256([u8::try_from(index).unwrap(); 32]).to_string(),
        };
        Expected { size_bytes: 1, sha256: Sha256([7; 32]), parts: (0..parts).map(part).collect() }
    }

    #[test]
    fn a_told_checksum_decides() {
        let whole = base64_of(&Sha256([7; 32]));
        assert_eq!(compare(&whole, &expected(2)), Some(Verdict::Intact));
        assert!(matches!(compare(&base64_of(&Sha256([8; 32])), &expected(0)), Some(Verdict::Different(_))));

        let composite = composite_of(&expected(2).parts).unwrap();
        assert_eq!(compare(&composite, &expected(2)), Some(Verdict::Intact));
        assert!(matches!(compare(&composite, &expected(3)), Some(Verdict::Different(_))));
    }

    #[test]
    fn a_composite_says_nothing_about_an_object_put_whole() {
        assert_eq!(compare("bm90IGtub3du-1", &expected(0)), None);
    }
}
