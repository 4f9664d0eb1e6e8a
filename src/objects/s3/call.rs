//! What every call to the store shares: a body out of a file, a signature over its digest, an error that says what
//! to do next.

use std::error::Error;

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut},
    error::{ProvideErrorMetadata, SdkError},
    primitives::{ByteStream, Length},
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use super::super::{FileSlice, ObjectError, ObjectErrorKind};
use crate::domain::Sha256;

/// Puts the digest into the signature, where the SDK by default signs "whatever the body is" for a stream. Every
/// store has to check it, also one that does not know checksum headers.
#[derive(Debug)]
pub(super) struct SignedDigest(pub(super) Sha256);

#[dyn_dispatch_hint]
impl Intercept for SignedDigest {
    fn name(&self) -> &'static str {
        "SignedDigest"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.to_string()));
        Ok(())
    }
}

/// The bytes of a slice, read when they are sent, and again when they are sent again.
pub(super) async fn body_of(context: &'static str, slice: &FileSlice) -> Result<ByteStream, ObjectError> {
    ByteStream::read_from()
        .path(&slice.path)
        .offset(slice.offset)
        .length(Length::Exact(slice.len))
        .build()
        .await
        .map_err(|error| ObjectError::new(ObjectErrorKind::Permanent, context, error))
}

/// An answer that makes no sense, or the middle of a body that did not come: the next try may fare better.
pub(super) fn unexpected(context: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> ObjectError {
    ObjectError::new(ObjectErrorKind::Retryable, context, source)
}

/// Everything is worth another try, wrong keys and missing buckets too (an operator mends them, and the bytes wait),
/// save an upload that the store has forgotten.
pub(super) fn failed<E>(context: &'static str, error: &SdkError<E>) -> ObjectError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = match error.code() {
        Some("NoSuchUpload" | "InvalidPart") => ObjectErrorKind::NoSuchUpload,
        _ => ObjectErrorKind::Retryable,
    };
    ObjectError::new(kind, context, in_words(error))
}

/// The SDK's own text is "service error": what happened is in the answer, or down the chain of causes.
fn in_words<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let (Some(code), Some(answer)) = (error.code(), error.raw_response()) {
        return format!("{code} ({}): {}", answer.status(), error.message().unwrap_or("no message"));
    }
    if let Some(answer) = error.raw_response() {
        return format!("status {}", answer.status());
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
