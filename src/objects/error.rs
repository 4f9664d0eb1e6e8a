//! What goes wrong with an object store, told apart by what the caller can do about it.

/// What a caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectErrorKind {
    /// Away, slow, busy, or refusing for now (also 403: keys get repaired): the same call may succeed later.
    Retryable,
    /// The multipart upload, or a part of it, is not known: look whether the object is complete, else upload again
    /// from the start.
    NoSuchUpload,
    /// The local bytes cannot be read or are not what their digest says, or the request makes no sense: trying again
    /// changes nothing.
    Permanent,
}

/// A failed call, with what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {source}")]
pub struct ObjectError {
    kind: ObjectErrorKind,
    context: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ObjectError {
    /// `context` says what was tried: "put an object".
    pub fn new(
        kind: ObjectErrorKind,
        context: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context, source: source.into() }
    }

    #[must_use]
    pub const fn kind(&self) -> ObjectErrorKind {
        self.kind
    }
}
