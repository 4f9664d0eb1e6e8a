//! JSON text that is kept exactly as it was sent.
//!
//! Promises: syntactically valid JSON, nested at most [`MAX_JSON_DEPTH`] deep, so that any reader's parser takes it.
//! Refuses: to normalise, re-order or re-encode: what a page sent is what the dashboard reads.

use bytestring::ByteString;
use serde_json::value::RawValue;

/// Deepest nesting taken: what `serde_json`, and most parsers of the other languages, read by default.
pub const MAX_JSON_DEPTH: usize = 127;

/// Why a text is no storable JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("nested deeper than {MAX_JSON_DEPTH} levels")]
    TooDeep,
}

/// A JSON value as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonText(ByteString);

impl JsonText {
    /// `null`, the data of an event that was sent without any.
    #[must_use]
    pub const fn null() -> Self {
        Self(ByteString::from_static("null"))
    }

    /// # Errors
    /// [`JsonError`] when `text` is not one JSON value, or nested too deep.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, JsonError> {
        let text = text.into();
        serde_json::from_str::<&RawValue>(&text)?;
        Self::from_syntax_checked(text)
    }

    /// For text that `serde_json` has read already (a [`RawValue`]); the depth is still checked, since a raw value
    /// is skipped without recursion and may be of any depth.
    ///
    /// # Errors
    /// [`JsonError::TooDeep`].
    pub fn from_syntax_checked(text: ByteString) -> Result<Self, JsonError> {
        if is_deeper_than(text.as_bytes(), MAX_JSON_DEPTH) {
            return Err(JsonError::TooDeep);
        }
        Ok(Self(text))
    }

    /// For text that was a `JsonText` before: out of the journal or the database.
    #[must_use]
    pub fn from_stored(text: impl Into<ByteString>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: the shortest JSON text is one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Counts brackets first, which the compiler turns into vector code: most events have too few to be deep at all.
fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    if json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_byte_for_byte() {
        let sent = "{ \"b\":1.0, \"a\":\"\\u0000\\ud800\", \"b\":1e400 }";
        assert_eq!(JsonText::parse(sent).unwrap().as_str(), sent);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "nul", "1 2", "{\"a\":\"\n\"}"] {
            assert!(matches!(JsonText::parse(text), Err(JsonError::Syntax(_))), "{text:?}");
        }
    }

    #[test]
    fn depth_is_limited_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(JsonText::parse(nested(MAX_JSON_DEPTH)).is_ok());
        assert!(matches!(JsonText::parse(nested(MAX_JSON_DEPTH + 1)), Err(JsonError::TooDeep)));
        assert!(JsonText::parse(format!("\"{}\\\"[\"", "[".repeat(1000))).is_ok());
        assert!(JsonText::parse(format!("[{}0]", "[],".repeat(1000))).is_ok());
    }
}
