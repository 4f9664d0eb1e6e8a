//! The state of an Engine.IO session under any order of requests, packets and time.
//!
//! Promises checked: a poll is answered or refused at most once; nothing is delivered after the end; the end is told
//! once; after it, waiting long enough always finishes the session.

#![no_main]

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use shopaloud::protocol::{
    CloseCode, ErrorCode, Frame, ProtocolError,
    engine_session::{Effect, EngineSession, PollId, Timing},
    engineio::Packet,
};

#[derive(Arbitrary, Debug)]
enum Step {
    Poll,
    AbortPoll(u8),
    AnswerLost,
    PostBegins,
    PostPacket(Said),
    PostEnds,
    PostAborted,
    SocketOpens,
    SocketPacket(Said),
    SocketBroken,
    SocketLost,
    Send,
    Close,
    Broken,
    ApplicationGone,
    Wait(u16),
}

#[derive(Arbitrary, Debug)]
enum Said {
    Close,
    Ping,
    Pong,
    ProbePing,
    ProbePong,
    Upgrade,
    Noop,
    Message,
}

impl Said {
    fn packet(&self) -> Packet {
        match self {
            Self::Close => Packet::Close,
            Self::Ping => Packet::Ping,
            Self::Pong => Packet::Pong,
            Self::ProbePing => Packet::ProbePing,
            Self::ProbePong => Packet::ProbePong,
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
            Self::Message => Packet::Message(message()),
        }
    }
}

#[derive(Default)]
struct Seen {
    waiting: HashSet<u64>,
    ended: bool,
    finished: bool,
}

impl Seen {
    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::AnswerPoll { poll, packets } => {
                    assert!(self.waiting.remove(&poll.0), "a poll was answered twice");
                    assert!(!packets.is_empty(), "an empty answer is no payload");
                }
                Effect::RefusePoll { poll, .. } => assert!(self.waiting.remove(&poll.0), "a poll was refused twice"),
                Effect::Deliver(_) => assert!(!self.ended, "delivered after the end"),
                Effect::Ended(_) => {
                    assert!(!self.ended, "ended twice");
                    self.ended = true;
                }
                Effect::Finished => self.finished = true,
                Effect::SendWebSocket(_) | Effect::CloseWebSocket { .. } => {}
            }
        }
    }
}

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (begins_with_polling, steps) = input;
    let timing = Timing {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        upgrade_timeout: Duration::from_millis(100),
    };
    let mut now = Instant::now();
    let mut session =
        if begins_with_polling { EngineSession::polling(timing, now) } else { EngineSession::websocket(timing, now) };
    let mut seen = Seen::default();
    let mut polls = 0;
    for step in steps {
        let effects = match step {
            Step::Poll => {
                polls += 1;
                seen.waiting.insert(polls);
                session.poll(now, PollId(polls))
            }
            Step::AbortPoll(number) => {
                let number = u64::from(number);
                let effects = session.poll_aborted(now, PollId(number));
                seen.waiting.remove(&number);
                effects
            }
            Step::AnswerLost => session.answer_lost(now),
            Step::PostBegins => session.post_begins(now).0,
            Step::PostPacket(said) => session.post_packet(now, said.packet()),
            Step::PostEnds => session.post_ends(now),
            Step::PostAborted => session.post_aborted(now),
            Step::SocketOpens => session.websocket_opens(now).0,
            Step::SocketPacket(said) => session.websocket_packet(now, said.packet()),
            Step::SocketBroken => session.websocket_broken(now, error()),
            Step::SocketLost => session.websocket_lost(now),
            Step::Send => session.send(now, message()),
            Step::Close => session.close(now, CloseCode::GOING_AWAY, String::new()),
            Step::Broken => session.broken(now, error()),
            Step::ApplicationGone => {
                session.application_gone(now);
                Vec::new()
            }
            Step::Wait(ms) => {
                now += Duration::from_millis(u64::from(ms));
                session.tick(now)
            }
        };
        seen.take(effects);
        if seen.finished {
            return;
        }
    }
    // Whoever waits long enough, as the actor does, sees the end.
    session.application_gone(now);
    for _ in 0..100 {
        let Some(deadline) = session.next_deadline() else { break };
        now = now.max(deadline);
        seen.take(session.tick(now));
        if seen.finished {
            return;
        }
    }
    assert!(seen.finished, "a session that nobody speaks to stays for ever");
});

fn message() -> Frame {
    Frame::Text(ByteString::from_static("hello"))
}

fn error() -> ProtocolError {
    ProtocolError::new(ErrorCode::BadFrame, "broken")
}
