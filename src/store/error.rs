//! What goes wrong with a database, told apart by what the caller can do about it.

/// What a caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// The database is away, overloaded or restarting: the same call may succeed later.
    Retryable,
    /// The database answered and will not take this data: bisect, reject the guilty row.
    Permanent,
}

/// A failed call, with what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {source}")]
pub struct StoreError {
    kind: StoreErrorKind,
    context: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// `context` says what was tried: "write a batch".
    pub fn new(
        kind: StoreErrorKind,
        context: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context, source: source.into() }
    }

    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == StoreErrorKind::Retryable
    }
}
