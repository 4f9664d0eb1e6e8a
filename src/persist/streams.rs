//! The streams of one actor: who listens, what is owed to them.
//!
//! Promises: a ticket is told once, and only when everything up to it has ended; an owner that dies with streams open
//! tells their subscribers so.
//! Refuses: to know how records are stored. Memory for what is owed does not grow with the number of appends: while
//! a backlog is worked off, a stream's tickets are held in two places, the one owed next and the newest.

use std::collections::{HashMap, VecDeque};

use super::{FenceReason, OpenStream, RecordsStored, RejectedRecord, StreamFenced, StreamReady, StreamSubscriber};
use crate::{
    domain::{StreamId, UserId},
    journal::Position,
};

#[derive(Default)]
pub(super) struct Streams {
    entries: HashMap<StreamId, Entry>,
    /// Closed streams with records that are not committed yet.
    closing: VecDeque<(Position, StreamId)>,
}

struct Entry {
    stream: StreamId,
    user: UserId,
    connection: u64,
    /// `None` once the connection closed the stream.
    subscriber: Option<StreamSubscriber>,
    /// Whether this actor took records of the stream before the present connection.
    known_before: bool,
    /// Where the last record of the stream is.
    last_position: Position,
    /// Highest ticket told.
    told: u64,
    owed_next: Option<OwedTicket>,
    owed_last: Option<OwedTicket>,
    /// To be told with the first ticket at or behind the position.
    rejected: Vec<(Position, RejectedRecord)>,
}

#[derive(Clone, Copy)]
struct OwedTicket {
    ticket: u64,
    /// It has ended when everything up to here has.
    position: Position,
}

/// How an opening went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Taken,
    /// Another user's, as far as this actor knows.
    Foreign,
}

impl Drop for Entry {
    /// Streams are let go of one by one when their connections are gone; one that still has a subscriber goes because
    /// its actor died.
    fn drop(&mut self) {
        self.fence(FenceReason::Aborted);
    }
}

impl Entry {
    fn fence(&mut self, reason: FenceReason) {
        if let Some(subscriber) = self.subscriber.take() {
            // A connection that is gone need not be told.
            let _ = subscriber.fenced.try_send(StreamFenced { stream: self.stream, reason });
        }
    }

    fn tell(&mut self, ticket: u64, rejected: Vec<RejectedRecord>) {
        if ticket <= self.told && rejected.is_empty() {
            return;
        }
        self.told = self.told.max(ticket);
        if let Some(subscriber) = &self.subscriber {
            // A connection that is gone need not be told.
            let _ = subscriber.stored.try_send(RecordsStored { stream: self.stream, ticket: self.told, rejected });
        }
    }

    /// Rejected records that lie at or before `upto`.
    fn take_rejected(&mut self, upto: Position) -> Vec<RejectedRecord> {
        self.rejected.extract_if(.., |(position, _)| *position <= upto).map(|(_, rejected)| rejected).collect()
    }

    fn pay(&mut self, upto: Position) {
        let mut paid = None;
        while let Some(owed) = self.owed_next.take_if(|owed| owed.position <= upto) {
            paid = Some(owed);
            self.owed_next = self.owed_last.take();
        }
        let rejected = match (paid, self.owed_next) {
            // Nothing is owed any more that it could be told with.
            (_, None) => self.take_rejected(upto),
            (Some(paid), Some(_)) => self.take_rejected(paid.position),
            (None, Some(_)) => Vec::new(),
        };
        self.tell(paid.map_or(0, |paid| paid.ticket), rejected);
    }
}

impl Streams {
    /// The connection takes the stream; the one that had it is told.
    pub(super) fn open(&mut self, open: &OpenStream) -> Opened {
        let OpenStream { stream, connection, user, session, .. } = open;
        if let Some(entry) = self.entries.get_mut(stream) {
            if entry.user != *user {
                return Opened::Foreign;
            }
            if entry.connection != *connection {
                entry.fence(FenceReason::Replaced);
            }
            entry.connection = *connection;
            entry.subscriber = Some(session.clone());
            entry.known_before = true;
            entry.told = 0;
            (entry.owed_next, entry.owed_last) = (None, None);
            entry.rejected.clear();
        } else {
            let entry = Entry {
                stream: *stream,
                user: user.clone(),
                connection: *connection,
                subscriber: Some(session.clone()),
                known_before: false,
                last_position: Position::default(),
                told: 0,
                owed_next: None,
                owed_last: None,
                rejected: Vec::new(),
            };
            self.entries.insert(*stream, entry);
        }
        Opened::Taken
    }

    /// The connection is gone. What it sent is still known until it is `committed`.
    pub(super) fn close(&mut self, stream: StreamId, connection: u64, committed: Position) {
        let Some(entry) = self.entry(stream, connection) else { return };
        entry.subscriber = None;
        let last_position = entry.last_position;
        self.closing.push_back((last_position, stream));
        self.forget_closed(committed);
    }

    /// Lets go of closed streams of which everything is committed.
    pub(super) fn forget_closed(&mut self, committed: Position) {
        while let Some((_, stream)) = self.closing.pop_front_if(|(last_position, _)| *last_position <= committed) {
            let is_done = |entry: &Entry| entry.subscriber.is_none() && entry.last_position <= committed;
            if self.entries.get(&stream).is_some_and(is_done) {
                self.entries.remove(&stream);
            }
        }
    }

    /// Answers the opening. `state` and the session as the database knows them.
    pub(super) fn ready(&mut self, connection: u64, mut ready: StreamReady) {
        use super::StreamLookup::{Foreign, Known, New};
        let stream = ready.stream;
        let Some(entry) = self.entry(stream, connection) else { return };
        if ready.state == New && entry.known_before {
            // Records of it were taken, only none is committed yet.
            ready.state = Known { last_seq: 0, audio_end: 0 };
        }
        let is_foreign = ready.state == Foreign;
        if let Some(subscriber) = &entry.subscriber {
            // A connection that is gone need not be told.
            let _ = subscriber.ready.try_send(ready);
        }
        if is_foreign {
            entry.subscriber = None;
            self.entries.remove(&stream);
        }
    }

    /// Records of the stream are in the journal up to `position`.
    pub(super) fn appended(&mut self, stream: StreamId, connection: u64, position: Position) {
        if let Some(entry) = self.entry(stream, connection) {
            entry.last_position = position;
        }
    }

    /// The ticket will have ended when everything up to `position` has.
    pub(super) fn owe(&mut self, stream: StreamId, connection: u64, ticket: u64, position: Position) {
        let Some(entry) = self.entry(stream, connection) else { return };
        let owed = OwedTicket { ticket, position };
        let newest = entry.owed_last.or(entry.owed_next).map_or(entry.told, |owed| owed.ticket);
        if ticket <= newest {
            // The newer one speaks for it.
        } else if entry.owed_next.is_none() {
            entry.owed_next = Some(owed);
        } else {
            entry.owed_last = Some(owed);
        }
    }

    /// A record at `position` was rejected.
    pub(super) fn reject(&mut self, stream: StreamId, position: Position, rejected: RejectedRecord) {
        if let Some(entry) = self.entries.get_mut(&stream).filter(|entry| entry.subscriber.is_some()) {
            entry.rejected.push((position, rejected));
        }
    }

    /// Tells what [`Self::owe`] promised, as far as it has ended.
    pub(super) fn pay(&mut self, upto: Position) {
        for entry in self.entries.values_mut() {
            entry.pay(upto);
        }
    }

    /// What is owed will be told with [`Self::tell`] instead.
    pub(super) fn forget_owed(&mut self) {
        for entry in self.entries.values_mut() {
            (entry.owed_next, entry.owed_last) = (None, None);
        }
    }

    /// Everything up to `ticket` has ended.
    pub(super) fn tell(&mut self, stream: StreamId, connection: u64, ticket: u64, rejected: Vec<RejectedRecord>) {
        if let Some(entry) = self.entry(stream, connection) {
            let mut all = entry.take_rejected(Position(u64::MAX));
            all.extend(rejected);
            entry.tell(ticket, all);
        }
    }

    fn entry(&mut self, stream: StreamId, connection: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&stream).filter(|entry| entry.connection == connection)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What is to be told after a batch: one notice for each stream.
#[derive(Default)]
pub(super) struct Notices(HashMap<(StreamId, u64), (u64, Vec<RejectedRecord>)>);

impl Notices {
    /// A ticket of a connection has ended.
    pub(super) fn add(&mut self, stream: StreamId, connection: u64, ticket: u64, rejected: Vec<RejectedRecord>) {
        let (highest, all) = self.0.entry((stream, connection)).or_default();
        *highest = ticket.max(*highest);
        all.extend(rejected);
    }

    pub(super) fn tell(self, streams: &mut Streams) {
        for ((stream, connection), (ticket, rejected)) in self.0 {
            streams.tell(stream, connection, ticket, rejected);
        }
    }
}

#[cfg(test)]
mod tests;
