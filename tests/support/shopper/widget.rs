//! The published widget's page: a stream for each connection, nothing said twice.
//!
//! What it says without asking for anything is durable when a later message of the same kind is: that is what its
//! checkpoints are for.

use std::{collections::VecDeque, time::Duration};

use tokio::time::sleep_until;

use super::{
    content::{HEADER_BYTES, StreamName},
    door::{Asked, Connection, Door, Happening, Heard, Introduction, Saying, What},
    ledger::StreamLedger,
    visit::{Left, Phase, Shopper},
};

/// One event, and one chunk, in so many asks for an acknowledgement.
const CHECKPOINT_EVERY: u64 = 16;
/// What a page keeps for a server that does not read, before it says nothing new.
const MAX_DUE: usize = 8;

pub(crate) struct Widget {
    shopper: Shopper,
    user: String,
    page: Page,
}

/// One page: one connection.
struct Page {
    name: StreamName,
    chunks: u64,
    due: VecDeque<Due>,
    /// The last words are due or said; it leaves once they are acknowledged.
    is_leaving: bool,
    last_error: Option<String>,
}

#[derive(Clone, Copy)]
enum Due {
    Identity,
    Event { is_checkpoint: bool },
    Chunk { is_checkpoint: bool },
    End,
}

impl Page {
    fn new(name: StreamName) -> Self {
        let due = VecDeque::from([Due::Identity]);
        Self { name, chunks: 0, due, is_leaving: false, last_error: None }
    }

    fn prepare_to_leave(&mut self, ends_recording: bool) {
        self.is_leaving = true;
        if self.chunks > 0 {
            self.due.push_back(Due::Chunk { is_checkpoint: true });
        }
        self.due.push_back(Due::Event { is_checkpoint: true });
        if ends_recording {
            self.due.push_back(Due::End);
        }
    }
}

impl Widget {
    pub(crate) fn new(shopper: Shopper) -> Self {
        let user = shopper.content.user(shopper.number);
        let page = Page::new(StreamName { shopper: shopper.number, stream: 0 });
        Self { shopper, user, page }
    }

    /// Page after page, until it is time to finish or to give up.
    pub(crate) async fn shop(mut self) {
        let mut delay = Duration::ZERO;
        loop {
            let user = self.user.clone();
            let who = Introduction { user: &user, stream: None, audio_offset: 0 };
            let Some(mut connection) = self.shopper.come(Door::SocketIo, &who, &mut delay).await else { return };
            let name = self.page.name;
            self.shopper.ledger.lock().streams.push(StreamLedger::new(name, user, false));
            let left = self.visit(&mut connection).await;
            if matches!(left, Left::Navigated { .. }) {
                delay = Duration::ZERO;
            }
            if !self.shopper.left(left, connection, &mut delay).await {
                return;
            }
            self.page = Page::new(StreamName { stream: name.stream + 1, ..name });
        }
    }

    fn with_ledger<T>(&self, act: impl FnOnce(&mut StreamLedger) -> T) -> T {
        let mut ledger = self.shopper.ledger.lock();
        act(&mut ledger.streams[self.page.name.stream as usize])
    }

    async fn visit(&mut self, connection: &mut Connection) -> Left {
        loop {
            let phase = self.shopper.phase();
            if phase == Phase::GiveUp {
                return Left::GivenUp;
            }
            if phase == Phase::Finish && !self.page.is_leaving {
                self.page.prepare_to_leave(true);
            }
            if self.page.is_leaving && self.page.due.is_empty() && self.is_acknowledged() {
                let is_done = phase == Phase::Finish;
                return if is_done { Left::Finished } else { Left::Navigated { in_order: true } };
            }
            let is_talkative = self.page.due.len() < MAX_DUE && !self.page.is_leaving;
            let pace = &self.shopper.pace;
            let (event_at, leave_at) = (pace.event_at, pace.leave_at);
            let chunk_at = pace.chunk_at.filter(|_| is_talkative);
            let has_next = !self.page.due.is_empty();
            tokio::select! {
                happening = connection.next(has_next) => match happening {
                    Happening::Room => self.say_next(connection),
                    Happening::Heard(heard) => {
                        if let Some(left) = self.on_heard(heard) {
                            return left;
                        }
                    }
                },
                () = sleep_until(event_at), if is_talkative => {
                    let is_checkpoint = self.with_ledger(|ledger| ledger.sent.is_multiple_of(CHECKPOINT_EVERY));
                    self.page.due.push_back(Due::Event { is_checkpoint });
                    self.shopper.pace.next_event();
                }
                () = sleep_until(chunk_at.unwrap_or(event_at)), if chunk_at.is_some() => {
                    let is_checkpoint = self.page.chunks.is_multiple_of(CHECKPOINT_EVERY);
                    self.page.due.push_back(Due::Chunk { is_checkpoint });
                    self.shopper.pace.next_chunk();
                }
                () = sleep_until(leave_at), if is_talkative && phase == Phase::Shop => {
                    self.shopper.pace.next_page();
                    if self.shopper.pace.flips() {
                        return Left::Navigated { in_order: false };
                    }
                    self.page.prepare_to_leave(false);
                }
                _ = self.shopper.phase.changed() => {}
            }
        }
    }

    fn is_acknowledged(&self) -> bool {
        self.with_ledger(|ledger| ledger.is_acknowledged(ledger.sent) && ledger.audio_acknowledged == ledger.audio_sent)
    }

    fn on_heard(&mut self, heard: Heard) -> Option<Left> {
        match heard {
            Heard::Acknowledged(Asked::Upto(n)) => self.with_ledger(|ledger| ledger.acknowledge_upto(n)),
            Heard::Acknowledged(Asked::AudioUpto(offset)) => {
                self.with_ledger(|ledger| ledger.acknowledge_audio_upto(offset));
            }
            Heard::Error { seq: Some(_), .. } => {
                self.shopper.complain("an error names a number that nobody gave".to_owned());
            }
            Heard::Error { code, seq: None } => self.page.last_error = Some(code),
            Heard::Closed { in_order } => return Some(Left::Closed { code: self.page.last_error.take(), in_order }),
            Heard::Welcome { .. } => self.shopper.complain("a widget was welcomed".to_owned()),
            Heard::Nonsense(text) => self.shopper.complain(format!("cannot be understood: {text}")),
            Heard::Acknowledged(_) | Heard::AudioUpto(_) | Heard::News => {}
        }
        None
    }

    fn say_next(&mut self, connection: &mut Connection) {
        let (content, name) = (self.shopper.content, self.page.name);
        match self.page.due.pop_front() {
            None => {}
            Some(Due::Identity) => {
                connection.say(Saying { what: What::Identity(&self.user), number: None, asked: None });
            }
            Some(Due::Event { is_checkpoint }) => {
                let n = self.with_ledger(|ledger| {
                    ledger.sent += 1;
                    ledger.sent
                });
                let event = content.event(name, n);
                let what = What::Event { name: event.name, data: &event.data };
                connection.say(Saying { what, number: None, asked: is_checkpoint.then_some(Asked::Upto(n)) });
            }
            Some(Due::Chunk { is_checkpoint }) => {
                let length = if self.page.chunks == 0 { HEADER_BYTES } else { self.shopper.pace.chunk_bytes() };
                self.page.chunks += 1;
                let (from, to) = self.with_ledger(|ledger| {
                    let from = ledger.audio_sent;
                    if from == 0 {
                        ledger.audio_runs.push(from);
                    }
                    ledger.audio_sent += length;
                    (from, ledger.audio_sent)
                });
                let what = What::WidgetAudio(content.audio(name, from, to, &[0]), &self.user);
                connection.say(Saying { what, number: None, asked: is_checkpoint.then_some(Asked::AudioUpto(to)) });
            }
            Some(Due::End) => connection.say(Saying { what: What::End, number: None, asked: None }),
        }
    }
}
