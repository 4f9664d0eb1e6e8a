//! Compares what shoppers were told with what the service shows, event by event and byte by byte.
//!
//! Promises: nothing is taken on trust: events are read from `/sessions` and `/users`, audio from the URLs that are
//! shown there. Acknowledged and missing is lost; there twice is doubled; there and never sent is invented; there and
//! different is corrupt. Of a silent stream only a beginning may be there: a hole in it is a loss too.
//! Refuses: to look at users that no ledger knows.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    content::{Content, StreamName},
    ledger::{ShopperLedger, StreamLedger},
};

/// Problems told one by one; the counts tell of the rest.
const MAX_PROBLEMS: usize = 20;

/// What was found.
#[derive(Default, Debug)]
pub(crate) struct Findings {
    pub(crate) events: Tally,
    pub(crate) audio_bytes: Tally,
    /// Sent by silent streams behind what is stored of them: received too late to be kept, or not at all.
    pub(crate) unreceived_events: u64,
    pub(crate) unfinished_shoppers: usize,
    /// The first few, in words.
    pub(crate) problems: Vec<String>,
}

/// Counts of events, or of bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) stored: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) invented: u64,
    pub(crate) corrupt: u64,
}

impl Tally {
    const fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.invented + self.corrupt == 0
    }
}

impl Findings {
    /// Everything that was acknowledged is there once, as it was sent, and nobody complains.
    pub(crate) fn is_clean(&self) -> bool {
        self.events.is_clean() && self.audio_bytes.is_clean() && self.problems.is_empty()
    }

    fn problem(&mut self, describe: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(describe());
        }
    }
}

/// The answer of `GET /sessions` or of `GET /users`, as far as it matters here.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, alias = "sessions", alias = "users")]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    /// Of a session; a user has only an id.
    user_id: Option<String>,
    id: String,
    #[serde(borrow)]
    events: Vec<EventEntry<'a>>,
    #[serde(default)]
    audio: Audio,
}

#[derive(Deserialize)]
struct EventEntry<'a> {
    name: String,
    seq: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Audio {
    parts: Vec<Part>,
}

/// Where stored audio is to be had.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    pub(crate) url: String,
    pub(crate) size_bytes: u64,
}

/// An audit under way.
pub(crate) struct Audit<'a> {
    content: Content,
    streams: BTreeMap<StreamName, &'a StreamLedger>,
    users: HashMap<&'a str, u32>,
    seen_events: HashMap<StreamName, BTreeMap<u64, u64>>,
    /// Stored stretches of each stream's audio.
    seen_audio: HashMap<StreamName, Vec<(u64, u64)>>,
    findings: Findings,
}

impl<'a> Audit<'a> {
    pub(crate) fn of(content: Content, shoppers: &'a [ShopperLedger]) -> Self {
        let streams: BTreeMap<_, _> =
            shoppers.iter().flat_map(|shopper| &shopper.streams).map(|stream| (stream.name, stream)).collect();
        let users = streams.values().map(|stream| (stream.user.as_str(), stream.name.shopper)).collect();
        let mut findings = Findings {
            unfinished_shoppers: shoppers.iter().filter(|shopper| !shopper.is_finished).count(),
            ..Findings::default()
        };
        for complaint in shoppers.iter().flat_map(|shopper| &shopper.complaints) {
            findings.problem(|| format!("a shopper complains: {complaint}"));
        }
        for stream in streams.values() {
            findings.events.acknowledged += stream.acknowledged_events();
            findings.audio_bytes.acknowledged += stream.audio_acknowledged;
        }
        Self { content, streams, users, seen_events: HashMap::new(), seen_audio: HashMap::new(), findings }
    }

    /// Takes the text of `GET /sessions`, or of `GET /users`. The audio to hear.
    ///
    /// # Errors
    /// When it is no such text.
    pub(crate) fn read(&mut self, answer: &str) -> Result<Vec<Part>, serde_json::Error> {
        let answer: Answer<'_> = serde_json::from_str(answer)?;
        let mut parts = Vec::new();
        for entry in answer.entries {
            let user = entry.user_id.as_ref().unwrap_or(&entry.id);
            let Some(shopper) = self.users.get(user.as_str()).copied() else { continue };
            for event in &entry.events {
                self.event(shopper, event);
            }
            parts.extend(entry.audio.parts);
        }
        Ok(parts)
    }

    fn event(&mut self, shopper: u32, event: &EventEntry<'_>) {
        self.findings.events.stored += 1;
        let label = Content::label_of(event.data.get());
        let known = label.and_then(|(name, n)| self.streams.get(&name).map(|stream| (*stream, n)));
        let Some((stream, n)) = known.filter(|(stream, n)| (1..=stream.sent).contains(n) && !stream.words.contains(n))
        else {
            self.findings.events.invented += 1;
            self.findings.problem(|| format!("invented: {label:?}, {} as {}", event.name, event.seq));
            return;
        };
        let sent = self.content.event(stream.name, n);
        let is_same = sent.data == event.data.get() && sent.name == event.name && stream.name.shopper == shopper;
        if !is_same || (stream.is_numbered && event.seq != n) || stream.rejected.contains(&n) {
            self.findings.events.corrupt += 1;
            self.findings.problem(|| format!("corrupt: {:?} {n}, stored as {} by {shopper}", stream.name, event.seq));
        }
        let times = self.seen_events.entry(stream.name).or_default().entry(n).or_default();
        *times += 1;
        if *times > 1 {
            self.findings.events.doubled += 1;
            self.findings.problem(|| format!("doubled: {:?} {n}, again as {}", stream.name, event.seq));
        }
    }

    /// Whether as much is shown as was acknowledged.
    pub(crate) const fn shows_enough(&self, audio_bytes: u64) -> bool {
        let Findings { events, audio_bytes: audio, .. } = &self.findings;
        events.stored >= events.acknowledged && audio_bytes >= audio.acknowledged
    }

    /// Takes the bytes of a part.
    pub(crate) fn hear(&mut self, part: &Part, bytes: &[u8]) {
        let length = bytes.len() as u64;
        self.findings.audio_bytes.stored += length;
        if length != part.size_bytes {
            self.findings.audio_bytes.corrupt += length.abs_diff(part.size_bytes);
            self.findings.problem(|| format!("a part has {length} bytes and says {}", part.size_bytes));
        }
        let place = self.content.locate(bytes);
        let Some((stream, from)) = place.and_then(|(name, from)| Some((*self.streams.get(&name)?, from))) else {
            self.findings.audio_bytes.invented += length;
            self.findings.problem(|| format!("{length} bytes of audio are nobody's: {place:?}"));
            return;
        };
        let sent_length = length.min(stream.audio_sent.saturating_sub(from));
        if sent_length < length {
            self.findings.audio_bytes.invented += length - sent_length;
            self.findings.problem(|| format!("invented audio: {:?} at {from}, {length} bytes", stream.name));
        }
        let sent = self.content.audio(stream.name, from, from + sent_length, &stream.audio_runs);
        if let Some(at) = sent.iter().zip(bytes).position(|(sent, stored)| sent != stored) {
            let corrupt = sent.iter().zip(bytes).filter(|(sent, stored)| sent != stored).count();
            self.findings.audio_bytes.corrupt += corrupt as u64;
            let at = from + at as u64;
            self.findings.problem(|| format!("corrupt audio: {:?} from {at}, {corrupt} bytes", stream.name));
        }
        self.seen_audio.entry(stream.name).or_default().push((from, from + sent_length));
    }

    /// Everything was taken.
    pub(crate) fn end(mut self) -> Findings {
        for stream in std::mem::take(&mut self.streams).into_values() {
            self.end_events(stream);
            self.end_audio(stream);
        }
        self.findings
    }

    fn end_events(&mut self, stream: &StreamLedger) {
        let nothing = BTreeMap::new();
        let seen = self.seen_events.get(&stream.name).unwrap_or(&nothing);
        let last_stored = seen.keys().next_back().copied().unwrap_or_default();
        for n in (1..=stream.sent).filter(|n| !stream.words.contains(n) && !seen.contains_key(n)) {
            let is_hole = !stream.is_numbered && n < last_stored;
            if (stream.is_acknowledged(n) && !stream.rejected.contains(&n)) || is_hole {
                self.findings.events.lost += 1;
                self.findings.problem(|| format!("lost: {:?} {n}, last stored {last_stored}", stream.name));
            } else if !stream.is_numbered {
                self.findings.unreceived_events += 1;
            }
        }
    }

    fn end_audio(&mut self, stream: &StreamLedger) {
        let mut stretches = self.seen_audio.remove(&stream.name).unwrap_or_default();
        stretches.sort_unstable();
        let mut heard_upto = 0;
        let last_heard = stretches.last().map_or(0, |(_, to)| *to);
        for (from, to) in stretches.iter().copied().chain([(u64::MAX, u64::MAX)]) {
            // Between two stretches nothing may be missing of a stream that was only sent once.
            let owed_upto =
                if stream.is_numbered { stream.audio_acknowledged } else { stream.audio_acknowledged.max(last_heard) };
            let lost = from.min(owed_upto).saturating_sub(heard_upto);
            if lost > 0 {
                self.findings.audio_bytes.lost += lost;
                self.findings.problem(|| format!("lost audio: {:?} from {heard_upto}, {lost} bytes", stream.name));
            }
            let doubled = heard_upto.min(to).saturating_sub(from);
            if doubled > 0 {
                self.findings.audio_bytes.doubled += doubled;
                self.findings.problem(|| format!("doubled audio: {:?} from {from}, {doubled} bytes", stream.name));
            }
            heard_upto = heard_upto.max(to);
        }
    }
}

impl fmt::Display for Findings {
    /// What is wrong, line by line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "events {:?}\naudio bytes {:?}", self.events, self.audio_bytes)?;
        writeln!(f, "unfinished shoppers {}", self.unfinished_shoppers)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}
