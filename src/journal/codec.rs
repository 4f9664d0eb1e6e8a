//! The binary form of an [`Entry`]: a kind byte, then its fields. Pure: bytes in, entry out.
//!
//! Promises: reads back what it wrote, or says that it cannot; no input makes it panic, or allocate more than the
//! bytes that are there. Audio and event data are slices of the input, not copies.
//! Refuses: to change the meaning of a kind. A new form gets a new kind; the old ones stay readable, since the journal
//! of the version before is replayed by the version after.

use bytes::{Buf, Bytes};
use bytestring::ByteString;

use super::{AudioBegun, AudioChunk, AudioFinished, Entry, ShardRecord};
use crate::domain::{
    Arrivals, AudioFormat, AudioPart, Event, EventName, JsonText, Presence, Profile, Record, RunId, SessionClosed,
    SessionId, SessionOpened, SessionStatus, SessionTouched, Sha256, StreamId, StreamOpened, Timestamp, UserId,
};

const STREAM_OPENED: u8 = 1;
const PRESENCE: u8 = 2;
const SESSION_OPENED: u8 = 3;
const EVENT: u8 = 6;
const AUDIO_ATTACHED: u8 = 7;
// 4 and 5 were forms of these two without the user; no release wrote them.
const SESSION_TOUCHED: u8 = 8;
const SESSION_CLOSED: u8 = 9;
const AUDIO_BEGUN: u8 = 16;
const AUDIO_CHUNK: u8 = 17;
const AUDIO_FINISHED: u8 = 18;
const AUDIO_STORED: u8 = 19;

/// Why bytes are no entry. Their checksum was right, so this is another version's entry, or a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown kind of entry: {0}")]
    UnknownKind(u8),
    #[error("entry ends early")]
    Short,
    #[error("{0} bytes follow the entry")]
    Trailing(usize),
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Appends the binary form of `entry`.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    match entry {
        Entry::Record(ShardRecord { shard, record }) => encode_record(*shard, record, out),
        Entry::AudioBegun(begun) => {
            out.push(AUDIO_BEGUN);
            out.extend_from_slice(begun.run.as_bytes());
            out.extend_from_slice(begun.session.as_bytes());
            out.extend_from_slice(begun.stream.as_bytes());
            put_text(out, begun.user.as_str());
            put_u64(out, begun.stream_offset);
            out.push(format_code(begun.format));
            put_time(out, begun.at);
        }
        Entry::AudioChunk(chunk) => {
            out.push(AUDIO_CHUNK);
            out.extend_from_slice(chunk.run.as_bytes());
            put_u64(out, chunk.offset);
            put_time(out, chunk.at);
            out.extend_from_slice(&chunk.bytes);
        }
        Entry::AudioFinished(finished) => {
            out.push(AUDIO_FINISHED);
            out.extend_from_slice(finished.run.as_bytes());
            put_time(out, finished.at);
        }
        Entry::AudioStored(run) => {
            out.push(AUDIO_STORED);
            out.extend_from_slice(run.as_bytes());
        }
    }
}

fn encode_record(shard: u16, record: &Record, out: &mut Vec<u8>) {
    out.push(match record {
        Record::StreamOpened(_) => STREAM_OPENED,
        Record::Presence(_) => PRESENCE,
        Record::SessionOpened(_) => SESSION_OPENED,
        Record::SessionTouched(_) => SESSION_TOUCHED,
        Record::SessionClosed(_) => SESSION_CLOSED,
        Record::Event(_) => EVENT,
        Record::AudioAttached(_) => AUDIO_ATTACHED,
    });
    out.extend_from_slice(&shard.to_le_bytes());
    match record {
        Record::StreamOpened(opened) => {
            out.extend_from_slice(opened.stream.as_bytes());
            put_text(out, opened.user.as_str());
            put_optional(out, opened.profile.name(), put_text);
            put_optional(out, opened.profile.email(), put_text);
            put_time(out, opened.at);
        }
        Record::Presence(presence) => {
            put_text(out, presence.user.as_str());
            out.push(u8::from(presence.connected));
            put_time(out, presence.at);
        }
        Record::SessionOpened(opened) => {
            out.extend_from_slice(opened.session.as_bytes());
            put_text(out, opened.user.as_str());
            out.extend_from_slice(opened.stream.as_bytes());
            put_optional(out, opened.seq, put_i64);
            put_optional(out, opened.page.as_deref(), put_text);
            put_time(out, opened.at);
        }
        Record::SessionTouched(touched) => {
            out.extend_from_slice(touched.session.as_bytes());
            put_text(out, touched.user.as_str());
            put_time(out, touched.at);
        }
        Record::SessionClosed(closed) => {
            out.extend_from_slice(closed.session.as_bytes());
            put_text(out, closed.user.as_str());
            out.extend_from_slice(closed.stream.as_bytes());
            put_optional(out, closed.seq, put_i64);
            out.push(match closed.status {
                SessionStatus::Recording => 0,
                SessionStatus::Ended => 1,
                SessionStatus::Expired => 2,
            });
            put_time(out, closed.at);
        }
        Record::Event(event) => {
            out.extend_from_slice(event.stream.as_bytes());
            put_i64(out, event.seq);
            put_text(out, event.user.as_str());
            put_optional(out, event.session, |out, session| out.extend_from_slice(session.as_bytes()));
            put_text(out, event.name.as_str());
            put_optional(out, event.client_at, put_time);
            put_time(out, event.received_at);
            out.extend_from_slice(event.data.as_str().as_bytes());
        }
        Record::AudioAttached(part) => {
            out.extend_from_slice(part.run.as_bytes());
            out.extend_from_slice(part.session.as_bytes());
            out.extend_from_slice(part.stream.as_bytes());
            put_text(out, part.user.as_str());
            put_u64(out, part.stream_offset);
            put_time(out, part.started_at);
            put_time(out, part.ended_at);
            put_text(out, &part.object_key);
            out.push(format_code(part.format));
            put_u64(out, part.size_bytes);
            out.extend_from_slice(&part.sha256.0);
        }
    }
}

/// Reads an entry back. Event data and audio share the memory of `payload`.
pub(super) fn decode(payload: Bytes) -> Result<Entry, DecodeError> {
    let mut input = Input(payload);
    let entry = match input.byte()? {
        AUDIO_BEGUN => Entry::AudioBegun(AudioBegun {
            run: RunId::from_bytes(input.array()?),
            session: SessionId::from_bytes(input.array()?),
            stream: StreamId::from_bytes(input.array()?),
            user: input.user()?,
            stream_offset: input.u64()?,
            format: input.format()?,
            at: input.time()?,
        }),
        AUDIO_CHUNK => Entry::AudioChunk(AudioChunk {
            run: RunId::from_bytes(input.array()?),
            offset: input.u64()?,
            at: input.time()?,
            bytes: input.rest(),
        }),
        AUDIO_FINISHED => {
            Entry::AudioFinished(AudioFinished { run: RunId::from_bytes(input.array()?), at: input.time()? })
        }
        AUDIO_STORED => Entry::AudioStored(RunId::from_bytes(input.array()?)),
        kind => {
            let shard = u16::from_le_bytes(input.array()?);
            Entry::Record(ShardRecord { shard, record: decode_record(kind, &mut input)? })
        }
    };
    if input.0.is_empty() { Ok(entry) } else { Err(DecodeError::Trailing(input.0.len())) }
}

fn decode_record(kind: u8, input: &mut Input) -> Result<Record, DecodeError> {
    Ok(match kind {
        STREAM_OPENED => {
            let (stream, user) = (StreamId::from_bytes(input.array()?), input.user()?);
            let (name, email) = (input.optional(Input::text)?, input.optional(Input::text)?);
            let profile =
                Profile::parse(name.as_deref(), email.as_deref()).map_err(|_| DecodeError::Invalid("profile"))?;
            Record::StreamOpened(StreamOpened { stream, user, profile, at: input.time()? })
        }
        PRESENCE => Record::Presence(Presence { user: input.user()?, connected: input.flag()?, at: input.time()? }),
        SESSION_OPENED => Record::SessionOpened(SessionOpened {
            session: SessionId::from_bytes(input.array()?),
            user: input.user()?,
            stream: StreamId::from_bytes(input.array()?),
            seq: input.optional(Input::i64)?,
            page: input.optional(Input::text)?.map(String::from),
            at: input.time()?,
        }),
        SESSION_TOUCHED => Record::SessionTouched(SessionTouched {
            session: SessionId::from_bytes(input.array()?),
            user: input.user()?,
            at: input.time()?,
        }),
        SESSION_CLOSED => Record::SessionClosed(SessionClosed {
            session: SessionId::from_bytes(input.array()?),
            user: input.user()?,
            stream: StreamId::from_bytes(input.array()?),
            seq: input.optional(Input::i64)?,
            status: match input.byte()? {
                0 => SessionStatus::Recording,
                1 => SessionStatus::Ended,
                2 => SessionStatus::Expired,
                _ => return Err(DecodeError::Invalid("session status")),
            },
            at: input.time()?,
        }),
        EVENT => Record::Event(Event {
            stream: StreamId::from_bytes(input.array()?),
            seq: input.i64()?,
            user: input.user()?,
            session: input.optional(|input| Ok(SessionId::from_bytes(input.array()?)))?,
            name: EventName::parse(input.text()?).map_err(|_| DecodeError::Invalid("event name"))?,
            client_at: input.optional(Input::time)?,
            received_at: input.time()?,
            data: JsonText::from_stored(utf8(input.rest())?),
        }),
        AUDIO_ATTACHED => Record::AudioAttached(AudioPart {
            run: RunId::from_bytes(input.array()?),
            session: SessionId::from_bytes(input.array()?),
            stream: StreamId::from_bytes(input.array()?),
            user: input.user()?,
            stream_offset: input.u64()?,
            started_at: input.time()?,
            ended_at: input.time()?,
            object_key: input.text()?.into(),
            format: input.format()?,
            size_bytes: input.u64()?,
            sha256: Sha256(input.array()?),
            arrivals: Arrivals::default(),
        }),
        kind => return Err(DecodeError::UnknownKind(kind)),
    })
}

const fn format_code(format: AudioFormat) -> u8 {
    match format {
        AudioFormat::Unknown => 0,
        AudioFormat::WebM => 1,
        AudioFormat::Ogg => 2,
        AudioFormat::Mp4 => 3,
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_time(out: &mut Vec<u8>, at: Timestamp) {
    put_i64(out, at.as_unix_ms());
}

/// The length in groups of seven bits, lowest first: one byte for nearly every text.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    while length >= 0x80 {
        out.push(0x80 | u8::try_from(length & 0x7F).unwrap_or_default());
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
    out.extend_from_slice(text.as_bytes());
}

fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn utf8(bytes: Bytes) -> Result<ByteString, DecodeError> {
    ByteString::try_from(bytes).map_err(|_| DecodeError::Invalid("text"))
}

struct Input(Bytes);

impl Input {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Short)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        self.0.try_copy_to_slice(&mut array).map_err(|_| DecodeError::Short)?;
        Ok(array)
    }

    const fn rest(&mut self) -> Bytes {
        std::mem::replace(&mut self.0, Bytes::new())
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.0.try_get_u64_le().map_err(|_| DecodeError::Short)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.0.try_get_i64_le().map_err(|_| DecodeError::Short)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("flag")),
        }
    }

    fn time(&mut self) -> Result<Timestamp, DecodeError> {
        Timestamp::from_unix_ms(self.i64()?).ok_or(DecodeError::Invalid("time"))
    }

    fn text(&mut self) -> Result<ByteString, DecodeError> {
        let (mut length, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            length |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift > 28 {
                return Err(DecodeError::Invalid("text length"));
            }
        }
        let length = usize::try_from(length).map_err(|_| DecodeError::Short)?;
        if length > self.0.len() {
            return Err(DecodeError::Short);
        }
        utf8(self.0.split_to(length))
    }

    fn user(&mut self) -> Result<UserId, DecodeError> {
        UserId::parse(&self.text()?).map_err(|_| DecodeError::Invalid("user id"))
    }

    fn format(&mut self) -> Result<AudioFormat, DecodeError> {
        match self.byte()? {
            0 => Ok(AudioFormat::Unknown),
            1 => Ok(AudioFormat::WebM),
            2 => Ok(AudioFormat::Ogg),
            3 => Ok(AudioFormat::Mp4),
            _ => Err(DecodeError::Invalid("audio format")),
        }
    }

    fn optional<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests;
