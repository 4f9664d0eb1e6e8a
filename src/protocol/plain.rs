//! The plain WebSocket door's wire format: JSON in text frames, audio in binary frames.
//!
//! Promises: `data` is passed on as the slice of the frame that it was; numbers are checked, unknown fields ignored.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    AckTag, ClientEvent, ClientMessage, Codec, Decoded, ErrorCode, Frame, Hello, ProtocolError, ServerMessage,
    StartRecording,
};
use crate::domain::{EventName, JsonText, Profile, SessionId, StreamId, Timestamp, UserId};

/// Longest address of a page in bytes; browsers cut theirs far below it.
const MAX_PAGE_BYTES: usize = 8_192;

/// A petabyte: far above any recording, and far below what a signed number of 64 bits holds.
const MAX_AUDIO_OFFSET: u64 = 1 << 50;

/// The codec; it keeps nothing between frames.
#[derive(Debug, Default, Clone, Copy)]
pub struct PlainCodec;

#[derive(Deserialize)]
struct TextFrame<'a> {
    #[serde(borrow)]
    event: std::borrow::Cow<'a, str>,
    seq: Option<i64>,
    /// `performance.timeOrigin + performance.now()` has fractions.
    at: Option<f64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HelloData<'a> {
    #[serde(borrow)]
    user_id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    email: Option<std::borrow::Cow<'a, str>>,
    stream: Option<StreamId>,
    #[serde(default)]
    audio_offset: Option<u64>,
    session_id: Option<SessionId>,
    key: Option<String>,
    token: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct StartData<'a> {
    #[serde(borrow)]
    page: Option<std::borrow::Cow<'a, str>>,
}

impl Codec for PlainCodec {
    fn decode(&mut self, frame: Frame) -> Result<Decoded, ProtocolError> {
        match frame {
            Frame::Binary(bytes) => {
                // Every chunk is answered by the stream's byte count, so the tag only says that an answer is wanted.
                let ack = AckTag::Seq(0);
                Ok(ClientMessage::Audio { user: None, bytes, ack, starts_recording: false }.into())
            }
            Frame::Text(text) => decode_text(&text).map(Decoded::from),
        }
    }

    fn encode(&mut self, message: &ServerMessage) -> Vec<Frame> {
        encode(message).into_iter().map(Frame::Text).collect()
    }
}

fn decode_text(text: &ByteString) -> Result<ClientMessage, ProtocolError> {
    let frame: TextFrame<'_> = serde_json::from_str(text).map_err(json_error)?;
    if let Some(seq) = frame.seq
        && seq < 1
    {
        return Err(ProtocolError::bad_message("seq counts from 1"));
    }
    let ack = frame.seq.map_or(AckTag::None, AckTag::Seq);
    match frame.event.as_ref() {
        "hello" => decode_hello(frame.data).map(ClientMessage::Hello),
        "recording:start" => {
            let data = frame.data.map_or(Ok(None), |data| serde_json::from_str::<Option<StartData<'_>>>(data.get()));
            let data = data.map_err(json_error)?.unwrap_or_default();
            Ok(ClientMessage::StartRecording(StartRecording {
                user: None,
                page: data.page.map(|page| parse_page(&page)).transpose()?,
                seq: frame.seq,
                ack,
            }))
        }
        "recording:end" => Ok(ClientMessage::EndRecording { user: None, seq: frame.seq, ack }),
        name => {
            let data = match frame.data {
                None => JsonText::null(),
                Some(raw) => {
                    JsonText::from_syntax_checked(text.slice_ref(raw.get())).map_err(ProtocolError::bad_message)?
                }
            };
            Ok(ClientMessage::Event(ClientEvent {
                user: None,
                name: EventName::parse(name).map_err(ProtocolError::bad_message)?,
                data,
                seq: frame.seq,
                at: frame.at.map(parse_time).transpose()?,
                ack,
            }))
        }
    }
}

pub(super) fn decode_hello(data: Option<&RawValue>) -> Result<Hello, ProtocolError> {
    let data = data.map_or("{}", RawValue::get);
    let data: HelloData<'_> = serde_json::from_str(data).map_err(json_error)?;
    Ok(Hello {
        user: data.user_id.map(|id| UserId::parse(&id)).transpose().map_err(ProtocolError::bad_message)?,
        profile: Profile::parse(data.name.as_deref(), data.email.as_deref()).map_err(ProtocolError::bad_message)?,
        stream: data.stream,
        audio_offset: parse_audio_offset(data.audio_offset)?,
        session: data.session_id,
        key: data.key,
        token: data.token,
        names_user_later: false,
    })
}

/// # Errors
/// [`ErrorCode::BadMessage`] beyond what a database can count.
fn parse_audio_offset(offset: Option<u64>) -> Result<u64, ProtocolError> {
    let offset = offset.unwrap_or(0);
    // Bytes come behind it, and their end is counted too.
    if offset > MAX_AUDIO_OFFSET {
        return Err(ProtocolError::bad_message("audioOffset is larger than any recording"));
    }
    Ok(offset)
}

/// A page's address, short enough to keep.
///
/// # Errors
/// [`ErrorCode::BadMessage`] when it is longer than 8 KiB or has a NUL in it.
pub(super) fn parse_page(page: &str) -> Result<String, ProtocolError> {
    if page.len() > MAX_PAGE_BYTES || page.contains('\0') {
        return Err(ProtocolError::bad_message("page is no address of at most 8192 bytes"));
    }
    Ok(page.to_owned())
}

/// # Errors
/// [`ErrorCode::BadMessage`] outside the years 1 to 9999.
pub(super) fn parse_time(unix_ms: f64) -> Result<Timestamp, ProtocolError> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a saturated time is out of range")]
    let whole_ms = unix_ms.floor() as i64;
    Timestamp::from_unix_ms(whole_ms)
        .ok_or_else(|| ProtocolError::bad_message("at is no time in milliseconds since 1970"))
}

pub(super) fn json_error(error: serde_json::Error) -> ProtocolError {
    if error.is_data() {
        ProtocolError::bad_message(error)
    } else {
        ProtocolError::new(ErrorCode::BadJson, error.to_string())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", untagged)]
enum Answer<'a> {
    Welcome {
        welcome: Welcome<'a>,
    },
    Ack {
        ack: i64,
    },
    #[serde(rename_all = "camelCase")]
    AudioAck {
        audio_ack: u64,
    },
    Event {
        event: &'static str,
        data: EventData<'a>,
    },
    Error {
        error: ErrorBody<'a>,
    },
}

/// Both doors welcome alike.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Welcome<'a> {
    pub(super) user_id: &'a UserId,
    pub(super) stream: StreamId,
    pub(super) session_id: Option<SessionId>,
    pub(super) next_seq: i64,
    pub(super) audio_offset: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", untagged)]
enum EventData<'a> {
    #[serde(rename_all = "camelCase")]
    Started { session_id: SessionId, resumed: bool },
    #[serde(rename_all = "camelCase")]
    Saved { session_id: SessionId, audio_urls: &'a [String] },
    #[serde(rename_all = "camelCase")]
    Ended { session_id: Option<SessionId> },
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
}

fn encode(message: &ServerMessage) -> Vec<ByteString> {
    let answers = match message {
        ServerMessage::Welcome { user, stream, session, next_seq, audio_offset } => {
            vec![Answer::Welcome {
                welcome: Welcome {
                    user_id: user,
                    stream: *stream,
                    session_id: *session,
                    next_seq: *next_seq,
                    audio_offset: *audio_offset,
                },
            }]
        }
        ServerMessage::Acked(tag) => ack(*tag).into_iter().collect(),
        // A plain hello is answered by its welcome; numbers are acknowledged together, and the error named this one.
        ServerMessage::Admitted | ServerMessage::Refused { .. } => Vec::new(),
        ServerMessage::AudioAcked { stream_end, .. } => vec![Answer::AudioAck { audio_ack: *stream_end }],
        ServerMessage::RecordingStarted { tag, session, resumed } => {
            let data = EventData::Started { session_id: *session, resumed: *resumed };
            std::iter::once(Answer::Event { event: "recording:started", data }).chain(ack(*tag)).collect()
        }
        ServerMessage::RecordingEnded { tag, session } => {
            let data = EventData::Ended { session_id: *session };
            std::iter::once(Answer::Event { event: "recording:ended", data }).chain(ack(*tag)).collect()
        }
        ServerMessage::AudioSaved { session, audio_urls } => {
            vec![Answer::Event { event: "audio:saved", data: EventData::Saved { session_id: *session, audio_urls } }]
        }
        ServerMessage::Error { code, message, seq } => {
            vec![Answer::Error { error: ErrorBody { code: code.as_str(), message, seq: *seq } }]
        }
    };
    // Serialising these shapes cannot fail: no maps with odd keys, no values that refuse.
    answers.iter().filter_map(|answer| serde_json::to_string(answer).ok().map(ByteString::from)).collect()
}

const fn ack<'a>(tag: AckTag) -> Option<Answer<'a>> {
    match tag {
        AckTag::Seq(ack) => Some(Answer::Ack { ack }),
        AckTag::None | AckTag::Id(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn decode(text: &str) -> Result<ClientMessage, ProtocolError> {
        decode_text(&ByteString::from(text))
    }

    fn code(text: &str) -> ErrorCode {
        decode(text).unwrap_err().code
    }

    fn encoded(message: &ServerMessage) -> Vec<String> {
        encode(message).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_event_keeps_its_data_as_sent() {
        let message = decode(r#"{"event":"click:event","seq":7,"at":1700000000000.5,"data":{ "x" :1.0 },"more":1}"#);
        let Ok(ClientMessage::Event(event)) = message else { panic!("{message:?}") };
        assert_eq!(event.data.as_str(), r#"{ "x" :1.0 }"#);
        assert_eq!((event.name.as_str(), event.seq, event.ack), ("click:event", Some(7), AckTag::Seq(7)));
        assert_eq!(event.at, Timestamp::from_unix_ms(1_700_000_000_000));
    }

    #[test]
    fn data_may_be_absent_or_null() {
        for text in [r#"{"event":"e"}"#, r#"{"event":"e","data":null}"#] {
            let Ok(ClientMessage::Event(event)) = decode(text) else { panic!("{text}") };
            assert_eq!((event.data.as_str(), event.ack), ("null", AckTag::None));
        }
    }

    #[test]
    fn hello_says_what_audio_the_client_still_has() {
        let hello = |offset: &str| decode(&format!(r#"{{"event":"hello","data":{{"audioOffset":{offset}}}}}"#));
        for (offset, expected) in [("123456", 123_456), ("null", 0), ("1125899906842624", MAX_AUDIO_OFFSET)] {
            let Ok(ClientMessage::Hello(hello)) = hello(offset) else { panic!("{offset}") };
            assert_eq!(hello.audio_offset, expected);
        }
        for offset in ["-1", "1125899906842625", "1.5", r#""1""#] {
            assert_eq!(hello(offset).unwrap_err().code, ErrorCode::BadMessage, "{offset}");
        }
    }

    #[test]
    fn hello_is_read_and_checked() {
        let Ok(ClientMessage::Hello(hello)) = decode(r#"{"event":"hello","data":{"userId":"anna","name":"Anna"}}"#)
        else {
            panic!("no hello")
        };
        assert_eq!(hello.user.unwrap().as_str(), "anna");
        assert_eq!(hello.profile.name(), Some("Anna"));
        assert_eq!(decode(r#"{"event":"hello"}"#).unwrap(), ClientMessage::Hello(Hello::default()));
        assert_eq!(code(r#"{"event":"hello","data":{"userId":""}}"#), ErrorCode::BadMessage);
        assert_eq!(code(r#"{"event":"hello","data":{"userId":7}}"#), ErrorCode::BadMessage);
        assert_eq!(code(r#"{"event":"hello","data":{"stream":"x"}}"#), ErrorCode::BadMessage);
    }

    #[test]
    fn recording_words_are_read() {
        let start = r#"{"event":"recording:start","seq":1,"data":{"mimeType":"audio/webm;codecs=opus","page":"/a"}}"#;
        let Ok(ClientMessage::StartRecording(start)) = decode(start) else { panic!("no start") };
        assert_eq!(start.page.as_deref(), Some("/a"));
        assert!(matches!(
            decode(r#"{"event":"recording:start","data":null}"#),
            Ok(ClientMessage::StartRecording(StartRecording { page: None, .. }))
        ));
        assert!(matches!(
            decode(r#"{"event":"recording:end","seq":9}"#),
            Ok(ClientMessage::EndRecording { seq: Some(9), .. })
        ));
    }

    #[test]
    fn nonsense_has_a_name() {
        assert_eq!(code("hello"), ErrorCode::BadJson);
        assert_eq!(code(r#"{"event":"e""#), ErrorCode::BadJson);
        assert_eq!(code("[]"), ErrorCode::BadMessage);
        assert_eq!(code("{}"), ErrorCode::BadMessage);
        assert_eq!(code(r#"{"event":""}"#), ErrorCode::BadMessage);
        assert_eq!(code(r#"{"event":"e","seq":0}"#), ErrorCode::BadMessage);
        assert_eq!(code(r#"{"event":"e","seq":"1"}"#), ErrorCode::BadMessage);
        assert_eq!(code(r#"{"event":"e","at":1e300}"#), ErrorCode::BadMessage);
        let deep = format!(r#"{{"event":"e","data":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(code(&deep), ErrorCode::BadMessage);
    }

    #[test]
    fn a_binary_frame_is_audio() {
        let decoded = PlainCodec.decode(Frame::Binary(Bytes::from_static(b"abc"))).unwrap();
        assert!(matches!(&decoded.messages[..], [ClientMessage::Audio { starts_recording: false, .. }]));
    }

    #[test]
    fn answers_have_the_documented_shapes() {
        let id = SessionId::from_bytes([7; 16]);
        let stream = StreamId::from_bytes([9; 16]);
        let welcome = ServerMessage::Welcome {
            user: UserId::parse("anna").unwrap(),
            stream,
            session: None,
            next_seq: 1,
            audio_offset: 0,
        };
        assert_eq!(
            encoded(&welcome),
            [format!(
                r#"{{"welcome":{{"userId":"anna","stream":"{stream}","sessionId":null,"nextSeq":1,"audioOffset":0}}}}"#
            )]
        );
        assert_eq!(encoded(&ServerMessage::Acked(AckTag::Seq(3))), [r#"{"ack":3}"#]);
        assert_eq!(encoded(&ServerMessage::Acked(AckTag::None)), [""; 0]);
        assert_eq!(encoded(&ServerMessage::AudioAcked { tag: AckTag::None, stream_end: 5 }), [r#"{"audioAck":5}"#]);
        assert_eq!(
            encoded(&ServerMessage::RecordingStarted { tag: AckTag::Seq(1), session: id, resumed: false }),
            [
                format!(r#"{{"event":"recording:started","data":{{"sessionId":"{id}","resumed":false}}}}"#),
                r#"{"ack":1}"#.to_owned()
            ]
        );
        assert_eq!(
            encoded(&ServerMessage::RecordingEnded { tag: AckTag::None, session: None }),
            [r#"{"event":"recording:ended","data":{"sessionId":null}}"#]
        );
        assert_eq!(
            encoded(&ServerMessage::AudioSaved { session: id, audio_urls: vec!["u".into()] }),
            [format!(r#"{{"event":"audio:saved","data":{{"sessionId":"{id}","audioUrls":["u"]}}}}"#)]
        );
        assert_eq!(
            encoded(&ServerMessage::Error { code: ErrorCode::TooLarge, message: "a\"b".into(), seq: None }),
            [r#"{"error":{"code":"too_large","message":"a\"b"}}"#]
        );
    }
}
