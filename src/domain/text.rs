//! Names that clients choose: user ids, event names, a user's name and mail address.
//!
//! Promises: every such text is short, non-empty where it identifies, and free of control characters, so that
//! databases, logs and headers take it as it is.

use std::{fmt, sync::Arc};

use bytestring::ByteString;
use serde::{Serialize, Serializer};

/// Longest user id in characters: mail addresses (254) fit.
const MAX_USER_ID_CHARS: usize = 256;
/// Longest event name in characters.
const MAX_EVENT_NAME_CHARS: usize = 128;
/// Longest name or mail address of a user in characters.
const MAX_PROFILE_CHARS: usize = 512;

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} is {chars} characters long, at most {limit} are taken")]
    TooLong { what: &'static str, chars: usize, limit: usize },
    #[error("{what} contains a control character")]
    ControlCharacter { what: &'static str },
}

fn check(what: &'static str, text: &str, limit: usize) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty { what });
    }
    // A character takes a byte at least: most texts need no counting.
    if text.len() > limit {
        let chars = text.chars().count();
        if chars > limit {
            return Err(TextError::TooLong { what, chars, limit });
        }
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::ControlCharacter { what });
    }
    Ok(())
}

/// The shop's name for a shopper. Cheap to clone: every event carries one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// # Errors
    /// [`TextError`] when empty, longer than 256 characters, or with control characters.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        check("user id", text, MAX_USER_ID_CHARS)?;
        Ok(Self(text.into()))
    }

    /// An id for a shopper whose page names none.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(format!("anonymous-{}", uuid::Uuid::now_v7().simple()).into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    /// User ids are often mail addresses: they stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({} bytes)", self.0.len())
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What happened, in the client's words: `click:event`, `mouse:position`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EventName(ByteString);

impl EventName {
    /// # Errors
    /// [`TextError`] when empty, longer than 128 characters, or with control characters.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, TextError> {
        let text = text.into();
        check("event name", &text, MAX_EVENT_NAME_CHARS)?;
        Ok(Self(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a shop may tell about a user besides the id.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Profile {
    name: Option<Box<str>>,
    email: Option<Box<str>>,
}

impl Profile {
    /// # Errors
    /// [`TextError`] when a given value is empty, longer than 512 characters, or has control characters.
    pub fn parse(name: Option<&str>, email: Option<&str>) -> Result<Self, TextError> {
        let take = |what, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => check(what, text, MAX_PROFILE_CHARS).map(|()| Some(text.into())),
        };
        Ok(Self { name: take("name", name)?, email: take("email", email)? })
    }

    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile(name: {}, email: {})", self.name.is_some(), self.email.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_bounded_and_clean() {
        assert_eq!(UserId::parse("anna@example.com").unwrap().as_str(), "anna@example.com");
        assert_eq!(UserId::parse(""), Err(TextError::Empty { what: "user id" }));
        assert_eq!(
            UserId::parse(&"x".repeat(257)),
            Err(TextError::TooLong { what: "user id", chars: 257, limit: 256 })
        );
        assert_eq!(UserId::parse("a\0b"), Err(TextError::ControlCharacter { what: "user id" }));
    }

    #[test]
    fn event_names_are_bounded_and_clean() {
        assert_eq!(EventName::parse("click:event").unwrap().as_str(), "click:event");
        assert!(EventName::parse("").is_err());
        assert!(EventName::parse("é".repeat(128)).is_ok());
        assert!(EventName::parse("é".repeat(129)).is_err());
        assert!(EventName::parse("a\nb").is_err());
    }

    #[test]
    fn ids_and_profiles_do_not_print_what_they_hold() {
        let profile = Profile::parse(Some("Anna"), None).unwrap();
        assert!(!format!("{profile:?} {:?}", UserId::parse("Anna").unwrap()).contains("Anna"));
    }

    #[test]
    fn a_given_but_empty_profile_field_is_refused() {
        assert_eq!(Profile::parse(Some(""), None), Err(TextError::Empty { what: "name" }));
    }
}
