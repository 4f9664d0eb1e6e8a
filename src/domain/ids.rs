//! Identifiers made by this service: UUID version 7, so that they sort by creation and index well; but for sessions that
//! a numbered word starts, whose ids follow from the word.
//!
//! Promises: one type per thing, so that a session id is never passed where a stream id is meant.
//! Refuses: to be made from anything that is not a UUID.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id that sorts after those made before it.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One process with its own data directory and journal.
    NodeId
);
uuid_id!(
    /// One recording of one user.
    SessionId
);
uuid_id!(
    /// The ordered flow of one page: one connection, or several that resume it.
    StreamId
);
uuid_id!(
    /// One `MediaRecorder` run, and the audio part it becomes.
    RunId
);

impl RunId {
    /// The part that the bytes from `offset` of this run become when others have stored the rest of it. Every process that
    /// cuts the run there makes the same part.
    #[must_use]
    pub fn piece_at(self, offset: u64) -> Self {
        Self(Uuid::new_v5(&self.0, &offset.to_be_bytes()))
    }
}

impl RunId {
    /// The session's track, which all of its runs become: one name for it, however often it is made.
    #[must_use]
    pub fn of_track(session: SessionId) -> Self {
        Self(Uuid::new_v5(&session.0, b"track"))
    }
}

impl SessionId {
    /// The session that the message `seq` of a stream starts. Every process that is told this message, on whatever node,
    /// opens the same session.
    #[must_use]
    pub fn of_start(stream: StreamId, seq: i64) -> Self {
        Self(Uuid::new_v5(&stream.0, &seq.to_be_bytes()))
    }
}
