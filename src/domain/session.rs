//! The life of a session.

use std::str::FromStr;

use serde::Serialize;

/// Where a session is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// Open: events and audio are added, a reconnecting user resumes it.
    Recording,
    /// Ended by the client's `recording:end`.
    Ended,
    /// Ended by the idle limit or the longest duration.
    Expired,
}

impl SessionStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Ended => "ended",
            Self::Expired => "expired",
        }
    }
}

/// A text that is none of `recording`, `ended`, `expired`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown session status: one of recording, ended, expired is meant")]
pub struct UnknownStatus;

impl FromStr for SessionStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "recording" => Ok(Self::Recording),
            "ended" => Ok(Self::Ended),
            "expired" => Ok(Self::Expired),
            _ => Err(UnknownStatus),
        }
    }
}
