//! The JSON array of an event, `["name", argument, …]`, and the attachments its placeholders stand for.
//!
//! Promises: arguments are slices of the text they came in; every attachment has its placeholder and every
//! placeholder its attachment; memory does not grow with the number of arguments.

use std::{borrow::Cow, collections::VecDeque, fmt, ops::Range};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{ProtocolError, plain::json_error};

/// An event as it came: checked JSON, and what was attached.
#[derive(Debug)]
pub struct EventText {
    array: ByteString,
    attachments: VecDeque<Bytes>,
}

/// The parts of an event that a reader may want. There may be any number of arguments between the first and the last.
#[derive(Debug)]
pub struct EventParts<'a> {
    pub name: Cow<'a, str>,
    pub count: usize,
    pub first: Option<&'a RawValue>,
    pub before_last: Option<&'a RawValue>,
    pub last: Option<&'a RawValue>,
}

/// Where an attachment stands in a JSON text.
#[derive(Debug, PartialEq, Eq)]
struct Placeholder {
    at: Range<usize>,
    number: usize,
}

impl EventText {
    /// # Errors
    /// [`ProtocolError`] when `array` is no JSON array that begins with a string, or placeholders and attachments do
    /// not match.
    pub(super) fn new(array: ByteString, attachments: VecDeque<Bytes>) -> Result<Self, ProtocolError> {
        Self::check(&array)?;
        if !attachments.is_empty() {
            let mut is_used = vec![false; attachments.len()];
            for placeholder in placeholders(&array) {
                match is_used.get_mut(placeholder.number) {
                    Some(used) => *used = true,
                    None => return Err(ProtocolError::bad_message("a placeholder has no attachment")),
                }
            }
            if is_used.contains(&false) {
                return Err(ProtocolError::bad_message("an attachment has no placeholder"));
            }
        }
        Ok(Self { array, attachments })
    }

    pub(super) fn check(array: &str) -> Result<(), ProtocolError> {
        serde_json::from_str::<EventParts<'_>>(array).map(|_| ()).map_err(json_error)
    }

    /// # Errors
    /// Never: the text was read before.
    pub fn parts(&self) -> Result<EventParts<'_>, ProtocolError> {
        serde_json::from_str(&self.array).map_err(json_error)
    }

    #[must_use]
    pub const fn attachments(&self) -> &VecDeque<Bytes> {
        &self.attachments
    }

    /// The text from the beginning of `first` to the end of `last`, both arguments of this event.
    #[must_use]
    pub fn between(&self, first: &RawValue, last: &RawValue) -> &str {
        let begin = offset(&self.array, first.get());
        let end = offset(&self.array, last.get()) + last.get().len();
        self.array.get(begin..end).unwrap_or_default()
    }

    /// The attachment that `argument` is, if it is nothing but a placeholder.
    #[must_use]
    pub fn attachment(&self, argument: &RawValue) -> Option<&Bytes> {
        let Placeholder { at, number } = placeholder_at(argument.get().as_bytes(), 0)?;
        if at.len() == argument.get().len() { self.attachments.get(number) } else { None }
    }

    /// `argument` with what is attached to it inside, as `{"_base64":"…"}`: JSON that stands for itself. Without
    /// attachments it is the slice of the text that it was.
    #[must_use]
    pub fn inlined(&self, argument: &str) -> ByteString {
        let mut rest = 0;
        let mut inlined = String::new();
        if !self.attachments.is_empty() {
            for Placeholder { at, number } in placeholders(argument) {
                let Some(bytes) = self.attachments.get(number) else { continue };
                inlined.push_str(argument.get(rest..at.start).unwrap_or_default());
                inlined.push_str("{\"_base64\":\"");
                STANDARD.encode_string(bytes, &mut inlined);
                inlined.push_str("\"}");
                rest = at.end;
            }
        }
        if rest == 0 {
            return self.array.slice_ref(argument);
        }
        inlined.push_str(argument.get(rest..).unwrap_or_default());
        inlined.into()
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

impl<'de> Deserialize<'de> for EventParts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = EventParts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of an event's name and its arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let name = elements.next_element::<Name<'de>>()?;
                let Name(name) = name.ok_or_else(|| A::Error::custom("an event has no name"))?;
                let mut parts = EventParts { name, count: 0, first: None, before_last: None, last: None };
                while let Some(argument) = elements.next_element::<&RawValue>()? {
                    parts.count += 1;
                    parts.first.get_or_insert(argument);
                    parts.before_last = parts.last.replace(argument);
                }
                Ok(parts)
            }
        }

        deserializer.deserialize_seq(Parts)
    }
}

/// A string that is borrowed unless it has escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The placeholders in a JSON text that was read before.
fn placeholders(json: &str) -> Vec<Placeholder> {
    let bytes = json.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'{' => match placeholder_at(bytes, at) {
                Some(placeholder) => {
                    at = placeholder.at.end;
                    found.push(placeholder);
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    found
}

/// After the quote that ends the string beginning at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// `{"_placeholder":true,"num":0}` at `start`, with its two members in either order and any spaces.
fn placeholder_at(bytes: &[u8], start: usize) -> Option<Placeholder> {
    let mut at = expect(bytes, start, b"{")?;
    let (mut is_placeholder, mut number) = (false, None);
    loop {
        if let Some(value) = member(bytes, at, b"\"_placeholder\"") {
            at = expect(bytes, value, b"true")?;
            is_placeholder = true;
        } else {
            let value = member(bytes, at, b"\"num\"")?;
            let digits = bytes.get(value..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
            number = Some(std::str::from_utf8(bytes.get(value..value + digits)?).ok()?.parse().ok()?);
            at = value + digits;
        }
        match expect(bytes, at, b",") {
            Some(next) => at = next,
            None => break,
        }
    }
    let end = expect(bytes, at, b"}")?;
    let number = number.filter(|_| is_placeholder)?;
    Some(Placeholder { at: start..end, number })
}

/// Where the value of the member `name` begins, if that is the next one.
fn member(bytes: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let colon = expect(bytes, at, name)?;
    let value = expect(bytes, colon, b":")?;
    Some(skip_spaces(bytes, value))
}

/// After `token`, if that is what comes next.
fn expect(bytes: &[u8], at: usize, token: &[u8]) -> Option<usize> {
    let at = skip_spaces(bytes, at);
    bytes.get(at..)?.starts_with(token).then_some(at + token.len())
}

fn skip_spaces(bytes: &[u8], at: usize) -> usize {
    let spaces = bytes.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace());
    at + spaces.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(array: &'static str, attachments: &[&'static [u8]]) -> Result<EventText, ProtocolError> {
        EventText::new(
            ByteString::from_static(array),
            attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
        )
    }

    #[test]
    fn parts_are_slices_of_the_text() {
        let event = event(r#"["a\u0062", {"x" : 1} ,[2], "3"]"#, &[]).unwrap();
        let parts = event.parts().unwrap();
        assert_eq!((parts.name.as_ref(), parts.count), ("ab", 3));
        assert_eq!(parts.first.unwrap().get(), r#"{"x" : 1}"#);
        assert_eq!(parts.before_last.unwrap().get(), "[2]");
        assert_eq!(parts.last.unwrap().get(), r#""3""#);
        assert_eq!(event.between(parts.first.unwrap(), parts.before_last.unwrap()), r#"{"x" : 1} ,[2]"#);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for array in ["{}", "[]", "[1]", "[null]", "\"a\"", "[\"a\",]", "[\"a\"", "[\"a\"] ]", ""] {
            assert!(event(array, &[]).is_err(), "{array}");
        }
    }

    #[test]
    fn placeholders_are_found_in_any_spelling_and_nowhere_else() {
        let found = |json| placeholders(json).into_iter().map(|found| found.number).collect::<Vec<_>>();
        assert_eq!(found(r#"["a",{"_placeholder":true,"num":0},{"b":{"num":12,"_placeholder":true}}]"#), [0, 12]);
        assert_eq!(found("[{ \"_placeholder\" : true ,\n\"num\" : 3 }]"), [3]);
        for json in [
            r#"["{\"_placeholder\":true,\"num\":0}"]"#,
            r#"["\\","{\"_placeholder\":true,\"num\":0}"]"#,
            r#"[{"_placeholder":false,"num":0}]"#,
            r#"[{"_placeholder":true}]"#,
            r#"[{"num":0}]"#,
            r#"[{"_placeholder":true,"num":0,"more":1}]"#,
            r#"[{"_placeholder":true,"num":-1}]"#,
            r#"[{"_placeholder":true,"num":1.5}]"#,
            r#"[{"_placeholder":true,"num":99999999999999999999999}]"#,
            "[{}]",
        ] {
            assert_eq!(found(json), [0; 0], "{json}");
        }
    }

    #[test]
    fn attachments_and_placeholders_must_match() {
        const ONE: &str = r#"["a",{"_placeholder":true,"num":0}]"#;
        assert!(event(ONE, &[b"x"]).is_ok());
        assert!(event(ONE, &[b"x", b"y"]).is_err());
        assert!(event(r#"["a",{"_placeholder":true,"num":1}]"#, &[b"x"]).is_err());
        assert!(event(r#"["a",1]"#, &[b"x"]).is_err());
    }

    #[test]
    fn attachments_are_found_by_their_number_and_inlined_in_place() {
        let event = event(
            r#"["a",{"x":{"_placeholder":true,"num":1},"y":[{"_placeholder":true,"num":0}] },{"_placeholder":true,"num":1}]"#,
            &[b"zero", b"one"],
        )
        .unwrap();
        let parts = event.parts().unwrap();
        let first = parts.first.unwrap();
        assert_eq!(event.attachment(first), None);
        assert_eq!(event.attachment(parts.last.unwrap()).unwrap(), "one");
        assert_eq!(event.inlined(first.get()), r#"{"x":{"_base64":"b25l"},"y":[{"_base64":"emVybw=="}] }"#);
    }
}
