//! A page that numbers what it says, and says it until it is acknowledged.

use std::time::Duration;

use tokio::time::{sleep_until, timeout};

use super::{
    content::{HEADER_BYTES, StreamName},
    door::{Asked, Connection, Door, Happening, Heard, Introduction, Saying, What},
    habits::Kind,
    ledger::StreamLedger,
    outbox::{Next, Outbox},
    visit::{Left, Phase, Shopper, WELCOME_PATIENCE},
};

pub(crate) struct Numbered {
    shopper: Shopper,
    door: Door,
    name: StreamName,
    user: String,
    stream: String,
    outbox: Outbox,
    /// The recorder was started anew: the next chunk is a header.
    begins_run: bool,
    last_error: Option<String>,
}

impl Numbered {
    pub(crate) fn new(shopper: Shopper, kind: Kind) -> Self {
        let name = StreamName { shopper: shopper.number, stream: 0 };
        let user = shopper.content.user(shopper.number);
        shopper.ledger.lock().streams.push(StreamLedger::new(name, user.clone(), true));
        let door = if kind == Kind::SocketIo { Door::SocketIo } else { Door::Plain };
        let stream = uuid::Uuid::now_v7().to_string();
        Self { shopper, door, name, user, stream, outbox: Outbox::default(), begins_run: true, last_error: None }
    }

    /// Until everything is said, or it is time to give up.
    pub(crate) async fn shop(mut self) {
        let mut delay = Duration::ZERO;
        loop {
            let audio_offset = self.with_ledger(|ledger, _| ledger.audio_acknowledged);
            let (user, stream) = (self.user.clone(), self.stream.clone());
            let who = Introduction { user: &user, stream: Some(&stream), audio_offset };
            let Some(mut connection) = self.shopper.come(self.door, &who, &mut delay).await else { return };
            self.last_error = None;
            let left = match timeout(WELCOME_PATIENCE, self.be_welcomed(&mut connection)).await {
                Err(_) => Left::Ignored,
                Ok(Some(left)) => left,
                Ok(None) => {
                    delay = Duration::ZERO;
                    self.visit(&mut connection).await
                }
            };
            if matches!(left, Left::Navigated { .. }) {
                self.begins_run = self.shopper.pace.flips();
            }
            if !self.shopper.left(left, connection, &mut delay).await {
                return;
            }
        }
    }

    /// Does something with this stream's ledger.
    fn with_ledger<T>(&mut self, act: impl FnOnce(&mut StreamLedger, &mut Outbox) -> T) -> T {
        let mut ledger = self.shopper.ledger.lock();
        // The one stream was added first of all.
        let stream = &mut ledger.streams[0];
        act(stream, &mut self.outbox)
    }

    async fn be_welcomed(&mut self, connection: &mut Connection) -> Option<Left> {
        loop {
            match connection.next(false).await {
                Happening::Room => {}
                Happening::Heard(Heard::Welcome { next_seq, audio_offset, is_recording }) => {
                    let complaint = self
                        .with_ledger(|ledger, outbox| outbox.welcomed(next_seq, audio_offset, is_recording, ledger));
                    if let Some(complaint) = complaint {
                        self.shopper.complain(complaint);
                    }
                    return None;
                }
                Happening::Heard(other) => {
                    if let Some(left) = self.on_heard(other) {
                        return Some(left);
                    }
                }
            }
        }
    }

    async fn visit(&mut self, connection: &mut Connection) -> Left {
        loop {
            let phase = self.shopper.phase();
            if phase == Phase::GiveUp {
                self.shopper.complain(format!("still waiting: {:?}", self.outbox));
                return Left::GivenUp;
            }
            if phase == Phase::Finish {
                if self.outbox.is_recording() {
                    self.with_ledger(|ledger, outbox| outbox.add_end(ledger));
                }
                if self.outbox.is_empty() {
                    return Left::Finished;
                }
            }
            let is_talkative = phase == Phase::Shop && self.outbox.len() < self.shopper.max_unacknowledged;
            let has_next = self.outbox.has_next();
            let pace = &self.shopper.pace;
            let (event_at, toggle_at, leave_at) = (pace.event_at, pace.toggle_at, pace.leave_at);
            let chunk_at = pace.chunk_at.filter(|_| is_talkative && self.outbox.is_recording());
            let records = pace.chunk_at.is_some();
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
                    self.with_ledger(|ledger, outbox| outbox.add_event(ledger));
                    self.shopper.pace.next_event();
                }
                () = sleep_until(chunk_at.unwrap_or(event_at)), if chunk_at.is_some() => self.add_chunk(),
                () = sleep_until(toggle_at), if is_talkative && records => self.toggle(),
                () = sleep_until(leave_at), if phase == Phase::Shop => {
                    self.shopper.pace.next_page();
                    return Left::Navigated { in_order: self.shopper.pace.flips() };
                }
                _ = self.shopper.phase.changed() => {}
            }
        }
    }

    fn add_chunk(&mut self) {
        let bytes = if self.begins_run { HEADER_BYTES } else { self.shopper.pace.chunk_bytes() };
        let begins_run = std::mem::take(&mut self.begins_run);
        self.with_ledger(|ledger, outbox| outbox.add_audio(bytes, begins_run, ledger));
        self.shopper.pace.next_chunk();
    }

    /// Starts or stops to record. A recorder's last chunk comes a moment after the end.
    fn toggle(&mut self) {
        if self.outbox.is_recording() {
            self.with_ledger(|ledger, outbox| outbox.add_end(ledger));
            if !self.begins_run && self.shopper.pace.flips() {
                self.add_chunk();
            }
        } else {
            self.with_ledger(|ledger, outbox| outbox.add_start(ledger));
            self.begins_run = true;
        }
        self.shopper.pace.next_toggle();
    }

    fn on_heard(&mut self, heard: Heard) -> Option<Left> {
        match heard {
            Heard::Acknowledged(asked) => self.with_ledger(|ledger, outbox| outbox.acknowledged(asked, ledger)),
            Heard::AudioUpto(count) => self.with_ledger(|ledger, outbox| {
                let offset = outbox.audio_offset_of(count);
                outbox.acknowledged(Asked::AudioUpto(offset), ledger);
            }),
            Heard::Error { seq: Some(n), .. } => self.with_ledger(|ledger, outbox| outbox.rejected(n, ledger)),
            Heard::Error { code, seq: None } => self.last_error = Some(code),
            Heard::Closed { in_order } => return Some(Left::Closed { code: self.last_error.take(), in_order }),
            Heard::Welcome { .. } => self.shopper.complain("welcomed twice".to_owned()),
            Heard::Nonsense(text) => self.shopper.complain(format!("cannot be understood: {text}")),
            Heard::News => {}
        }
        None
    }

    fn say_next(&mut self, connection: &mut Connection) {
        let Some(next) = self.with_ledger(|ledger, outbox| outbox.next(ledger)) else { return };
        let asked = |number: Option<u64>| number.map_or(Asked::Nothing, Asked::Number);
        match next {
            Next::Event { n, is_again } => {
                let content = self.shopper.content.event(self.name, n);
                let what = What::Event { name: content.name, data: &content.data };
                let asked = if is_again { Asked::Nothing } else { Asked::Number(n) };
                if is_again {
                    self.shopper.ledger.lock().resent_events += 1;
                }
                connection.say(Saying { what, number: Some(n), asked: Some(asked) });
            }
            Next::Start(number) => connection.say(Saying { what: What::Start, number, asked: Some(asked(number)) }),
            Next::End(None) => {
                connection.say(Saying { what: What::End, number: None, asked: Some(Asked::End) });
            }
            Next::End(number) => connection.say(Saying { what: What::End, number, asked: Some(asked(number)) }),
            Next::Audio { from, to } => {
                let (content, name) = (self.shopper.content, self.name);
                let bytes = self.with_ledger(|ledger, _| content.audio(name, from, to, &ledger.audio_runs));
                let asked = Some(Asked::AudioUpto(to));
                connection.say(Saying { what: What::Audio(bytes), number: None, asked });
            }
        }
    }
}
