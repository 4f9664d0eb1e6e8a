//! What an event of a page means: the words of the published widget, the words of this service, and anything else.
//!
//! The published widget puts everything into one object, `{username, data}`, and says `recording:start` with every
//! chunk of audio. What it sends as an event is kept as it was sent, the whole first argument with `username` and all:
//! whoever reads it later finds what the page's code passed to `emit`.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{
        AckTag, ClientEvent, ClientMessage, ProtocolError, StartRecording,
        plain::{json_error, parse_page, parse_time},
    },
    event::{EventParts, EventText},
};
use crate::domain::{EventName, JsonText, Timestamp, UserId};

/// What an event is for this service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Message(ClientMessage),
    /// Who the page is for. It stores nothing, so that it may be acknowledged at once.
    Identity(UserId),
}

/// A last argument that numbers and dates the message, rather than being part of it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Numbering<'a> {
    seq: i64,
    at: Option<f64>,
    /// The connection has one stream, which its handshake named.
    #[serde(borrow, rename = "stream")]
    _stream: Option<&'a RawValue>,
}

/// The widget's one argument.
#[derive(Deserialize, Default)]
struct Payload<'a> {
    #[serde(borrow)]
    username: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct StartFields<'a> {
    #[serde(borrow)]
    page: Option<Cow<'a, str>>,
}

/// `videoStream:start`: the only event of the widget that tells its time.
#[derive(Deserialize)]
struct VideoData {
    events: VideoEvents,
}

#[derive(Deserialize)]
struct VideoEvents {
    timestamp: f64,
}

/// # Errors
/// [`ProtocolError`] for a word whose arguments make no sense, and for data that cannot be kept.
pub(super) fn meaning(event: &EventText, ack: Option<i64>) -> Result<Meaning, ProtocolError> {
    let parts = event.parts()?;
    let ack = ack.map_or(AckTag::None, AckTag::Id);
    let numbering = numbering(&parts)?;
    let seq = numbering.as_ref().map(|numbering| numbering.seq);
    let payload = payload(parts.first);
    let user = payload.username.and_then(text).and_then(|id| UserId::parse(&id).ok());
    let message = match parts.name.as_ref() {
        "user:connected" => {
            let id = parts.first.and_then(text).ok_or_else(|| ProtocolError::bad_message("a user id is a string"))?;
            return UserId::parse(&id).map(Meaning::Identity).map_err(ProtocolError::bad_message);
        }
        "recording:start" => match one_attachment(event, &parts, &payload)? {
            Some(bytes) => ClientMessage::Audio { user, bytes, ack, starts_recording: true },
            None => start_recording(parts.first, named(&parts).or(user), seq, ack)?,
        },
        "audio" => match one_attachment(event, &parts, &payload)? {
            Some(bytes) => ClientMessage::Audio { user, bytes, ack, starts_recording: false },
            None => return Err(ProtocolError::bad_message("audio comes as one binary")),
        },
        "recording:end" => ClientMessage::EndRecording { user: named(&parts).or(user), seq, ack },
        name => {
            let at = match numbering.and_then(|numbering| numbering.at) {
                Some(at) => Some(parse_time(at)?),
                None => video_time(name, payload.data),
            };
            let name = EventName::parse(name).map_err(ProtocolError::bad_message)?;
            ClientMessage::Event(ClientEvent { user, name, data: data(event, &parts, seq.is_some())?, seq, at, ack })
        }
    };
    Ok(Meaning::Message(message))
}

/// The last argument as `{seq, stream?, at?}`. Only beside another argument: alone it is data like any other.
fn numbering<'a>(parts: &EventParts<'a>) -> Result<Option<Numbering<'a>>, ProtocolError> {
    if parts.count < 2 {
        return Ok(None);
    }
    let numbering = parts.last.and_then(|last| serde_json::from_str::<Numbering<'_>>(last.get()).ok());
    match numbering {
        Some(numbering) if numbering.seq < 1 => Err(ProtocolError::bad_message("seq counts from 1")),
        numbering => Ok(numbering),
    }
}

/// Arguments that are no such object have nothing to tell here.
fn payload(first: Option<&RawValue>) -> Payload<'_> {
    first.and_then(|first| serde_json::from_str(first.get()).ok()).unwrap_or_default()
}

/// The user of a word whose first argument is a user id.
fn named(parts: &EventParts<'_>) -> Option<UserId> {
    parts.first.and_then(text).and_then(|id| UserId::parse(&id).ok())
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// The bytes of a word that carries audio: the first argument, or its `data`.
fn one_attachment(
    event: &EventText,
    parts: &EventParts<'_>,
    payload: &Payload<'_>,
) -> Result<Option<Bytes>, ProtocolError> {
    if event.attachments().is_empty() {
        return Ok(None);
    }
    let attachment = parts.first.and_then(|first| event.attachment(first));
    let attachment = attachment.or_else(|| payload.data.and_then(|data| event.attachment(data)));
    match attachment {
        Some(bytes) if event.attachments().len() == 1 => Ok(Some(bytes.clone())),
        _ => Err(ProtocolError::bad_message("audio comes as one binary")),
    }
}

fn start_recording(
    first: Option<&RawValue>,
    user: Option<UserId>,
    seq: Option<i64>,
    ack: AckTag,
) -> Result<ClientMessage, ProtocolError> {
    let object = first.filter(|first| first.get().starts_with('{'));
    let fields = object.map_or(Ok(StartFields::default()), |object| serde_json::from_str(object.get()));
    let fields = fields.map_err(json_error)?;
    let page = fields.page.map(|page| parse_page(&page)).transpose()?;
    Ok(ClientMessage::StartRecording(StartRecording { user, page, seq, ack }))
}

/// A clock that makes no sense is no reason to lose the event.
fn video_time(name: &str, data: Option<&RawValue>) -> Option<Timestamp> {
    if name != "videoStream:start" {
        return None;
    }
    let data = serde_json::from_str::<VideoData>(data?.get()).ok()?;
    parse_time(data.events.timestamp).ok()
}

/// No argument: `null`. One: that one. Several: an array of all of them.
fn data(event: &EventText, parts: &EventParts<'_>, is_numbered: bool) -> Result<JsonText, ProtocolError> {
    let (count, last) = if is_numbered { (parts.count - 1, parts.before_last) } else { (parts.count, parts.last) };
    let (Some(first), Some(last)) = (parts.first, last) else { return Ok(JsonText::null()) };
    let text = event.inlined(event.between(first, last));
    let text = if count == 1 { text } else { format!("[{text}]").into() };
    JsonText::from_syntax_checked(text).map_err(ProtocolError::bad_message)
}
