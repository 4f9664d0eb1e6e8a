//! One Engine.IO session, without I/O: what to answer, deliver and send when a request, a websocket message, the
//! application or the clock says something.
//!
//! Owns: which transport is in use, the upgrade from polling to a websocket, the heartbeat, what waits for the next
//! poll, and how a session ends.
//! Promises: [`Effect::Ended`] once and [`Effect::Finished`] once, in this order; after the end nothing is delivered.
//! Every poll is answered or refused, or its session is finished. Deadlines are absolute and looked at with every
//! call, so that a late timer changes nothing.
//! Refuses: clocks (the time is handed in, and never goes back), byte limits of what waits (the application's end
//! counts those), and any idea of what the messages mean.
//!
//! Several workers make races that one event loop does not have; each has a test below:
//! - a POST with a close overtakes the poll that it should release: [`Phase::Released`];
//! - the upgrade packet and a last poll cross: [`WaitingPoll::release_at`].

mod polling;
mod upgrade;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{CloseCode, ErrorCode, Frame, ProtocolError, engineio::Packet};

/// How long a poll that came during an upgrade waits to see whether the upgrade completes: then it is refused, as it
/// came too late; else it is released with a noop. Longer than two workers take to see two packets of one client,
/// shorter than anyone notices.
const UPGRADE_HOLD: Duration = Duration::from_millis(50);
/// How long a session that its client closed by POST still releases a poll that was on its way at the same time.
const RELEASE_LINGER: Duration = Duration::from_millis(250);
/// How long what was sent last, and the close, wait for a poll: a polling client is back within a round trip.
const DRAIN_LINGER: Duration = Duration::from_secs(5);
/// Packets in one answer to a poll. `python-engineio` gives a connection up that brings it more in one payload.
const MAX_PACKETS_PER_ANSWER: usize = 16;
/// How long the application may take to tell a client what it did wrong.
const VIOLATION_GRACE: Duration = Duration::from_secs(1);

/// The session's clockwork.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// From the websocket's opening to the upgrade packet.
    pub upgrade_timeout: Duration,
}

/// Names a GET request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PollId(pub u64);

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    AnswerPoll {
        poll: PollId,
        packets: Vec<Packet>,
    },
    RefusePoll {
        poll: PollId,
        refusal: Refusal,
    },
    SendWebSocket(Packet),
    CloseWebSocket {
        code: CloseCode,
        reason: String,
    },
    /// For the application.
    Deliver(Frame),
    /// Nothing more is delivered. After a violation the application may still send, and closes.
    Ended(EndCause),
    /// Nothing is left to do: forget the session.
    Finished,
}

/// Why a request is refused; each has its own standard body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such session (any more).
    UnknownSession,
    /// There is, but this request does not fit its state.
    BadRequest,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndCause {
    ClosedByPeer,
    ClosedByUs,
    Violation(ProtocolError),
}

/// The state of one session.
#[derive(Debug)]
pub struct EngineSession {
    timing: Timing,
    phase: Phase,
    socket: Socket,
    poll: Option<WaitingPoll>,
    is_posting: bool,
    /// What waits for a poll.
    outbox: VecDeque<Packet>,
    heartbeat: Heartbeat,
    /// The heartbeat was lost: nothing is kept for a client that is not there.
    is_silent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// The client broke a rule; the application tells it so and closes.
    Violated {
        until: Instant,
    },
    /// Closed by this server; the last packets wait for a poll.
    Draining {
        until: Instant,
    },
    /// Closed by the client; a poll that was on its way is released once.
    Released {
        until: Instant,
    },
    Finished,
}

/// The session's one websocket. A second is not let in before the first is known to be gone, so that no message needs
/// to be told apart from those of an older socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Socket {
    /// Polling is the transport.
    None,
    /// Polling is the transport, and the websocket may take over.
    Probing { is_answered: bool, give_up_at: Instant },
    /// The websocket is the transport.
    Active,
    /// Polling is the transport; the websocket was told to close, and what it still says is ignored.
    Abandoned,
}

#[derive(Debug)]
struct WaitingPoll {
    id: PollId,
    /// It came while a websocket was about to take over.
    during_probe: bool,
    after_violation: bool,
    release_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    PingAt(Instant),
    PongBy(Instant),
}

impl EngineSession {
    /// A session that begins with HTTP long polling.
    #[must_use]
    pub fn polling(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            phase: Phase::Open,
            socket: Socket::None,
            poll: None,
            is_posting: false,
            outbox: VecDeque::new(),
            heartbeat: Heartbeat::PingAt(now + timing.ping_interval),
            is_silent: false,
        }
    }

    /// A session that begins with a websocket.
    #[must_use]
    pub fn websocket(timing: Timing, now: Instant) -> Self {
        Self { socket: Socket::Active, ..Self::polling(timing, now) }
    }

    /// Bytes came in at `at`, or this side was not listening: the client's silence before it tells nothing.
    pub fn heard(&mut self, at: Instant) {
        if let Heartbeat::PongBy(by) = self.heartbeat {
            self.heartbeat = Heartbeat::PongBy(by.max(at + self.timing.ping_timeout));
        }
    }

    /// A POST broke a rule, or the client does not read what it is sent.
    pub fn broken(&mut self, now: Instant, error: ProtocolError) -> Vec<Effect> {
        let mut effects = self.tick(now);
        self.violate(now, error, &mut effects);
        effects
    }

    /// The application sends a message.
    pub fn send(&mut self, now: Instant, frame: Frame) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if matches!(self.phase, Phase::Open | Phase::Violated { .. }) {
            self.put(Packet::Message(frame), &mut effects);
        }
        effects
    }

    /// The application closes the session, after everything it sent before.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: String) -> Vec<Effect> {
        let mut effects = self.tick(now);
        let was_open = self.phase == Phase::Open;
        if !was_open && !matches!(self.phase, Phase::Violated { .. }) {
            return effects;
        }
        if was_open {
            effects.push(Effect::Ended(EndCause::ClosedByUs));
        }
        self.abandon_probe(&mut effects);
        match (self.socket, self.poll.take()) {
            (Socket::Active, _) => {
                effects.push(Effect::CloseWebSocket { code, reason });
                self.finish(&mut effects);
            }
            (_, Some(poll)) if poll.after_violation => {
                effects.push(Effect::RefusePoll { poll: poll.id, refusal: Refusal::UnknownSession });
                self.finish(&mut effects);
            }
            (_, Some(poll)) => {
                effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Close] });
                self.finish(&mut effects);
            }
            // Who broke a rule and was told nothing by the application learns it from being unknown.
            (_, None) if self.is_silent || (!was_open && self.outbox.is_empty()) => self.finish(&mut effects),
            (_, None) => {
                self.outbox.push_back(Packet::Close);
                self.phase = Phase::Draining { until: now + DRAIN_LINGER };
            }
        }
        effects
    }

    /// The application is gone. If it said so, its close is on the way; if it died, the session ends after a moment.
    pub fn application_gone(&mut self, now: Instant) {
        if self.phase == Phase::Open {
            self.phase = Phase::Violated { until: now + VIOLATION_GRACE };
        }
    }

    /// Whether the application is still to tell the client what it did wrong, and to close.
    #[must_use]
    pub const fn awaits_close(&self) -> bool {
        matches!(self.phase, Phase::Violated { .. })
    }

    /// Whether the websocket is the transport.
    #[must_use]
    pub const fn has_websocket(&self) -> bool {
        matches!(self.socket, Socket::Active)
    }

    /// Does what is due. Call it at [`Self::next_deadline`] at the latest.
    pub fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Phase::Draining { until } | Phase::Released { until } = self.phase
            && now >= until
        {
            self.finish(&mut effects);
        }
        if let Phase::Violated { until } = self.phase
            && now >= until
        {
            // Move the deadline before the call: it looks at the clock again.
            self.phase = Phase::Violated { until: now + VIOLATION_GRACE };
            return self.close(now, ErrorCode::Aborted.close_code(), ErrorCode::Aborted.to_string());
        }
        if let Some(release_at) = self.poll.as_ref().and_then(|poll| poll.release_at)
            && now >= release_at
            && let Some(poll) = self.poll.take()
        {
            effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Noop] });
        }
        if let Socket::Probing { give_up_at, .. } = self.socket
            && now >= give_up_at
        {
            self.abandon_probe(&mut effects);
        }
        if self.phase == Phase::Open {
            self.beat(now, &mut effects);
        }
        effects
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Open => Some(match self.heartbeat {
                Heartbeat::PingAt(at) | Heartbeat::PongBy(at) => at,
            }),
            Phase::Violated { until } | Phase::Draining { until } | Phase::Released { until } => Some(until),
            Phase::Finished => return None,
        };
        let poll = self.poll.as_ref().and_then(|poll| poll.release_at);
        let probe = match self.socket {
            Socket::Probing { give_up_at, .. } => Some(give_up_at),
            Socket::None | Socket::Active | Socket::Abandoned => None,
        };
        [phase, poll, probe].into_iter().flatten().min()
    }

    fn beat(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Heartbeat::PingAt(at) = self.heartbeat
            && now >= at
        {
            self.heartbeat = Heartbeat::PongBy(at + self.timing.ping_timeout);
            self.put(Packet::Ping, effects);
        }
        if let Heartbeat::PongBy(by) = self.heartbeat
            && now >= by
        {
            if self.is_posting {
                // Something is coming in at this moment, and the pong may be in it.
                self.heartbeat = Heartbeat::PongBy(now + self.timing.ping_timeout);
            } else {
                self.violate(now, ProtocolError::new(ErrorCode::HeartbeatLost, "no pong in time"), effects);
                self.is_silent = true;
            }
        }
    }

    /// A packet of the transport in use.
    fn take(&mut self, now: Instant, packet: Packet, effects: &mut Vec<Effect>) {
        if let Heartbeat::PongBy(by) = self.heartbeat {
            // Whatever comes in shows that the client lives: its pong may be queued behind a long message.
            self.heartbeat = match packet {
                Packet::Pong => Heartbeat::PingAt(now + self.timing.ping_interval),
                _ => Heartbeat::PongBy(by.max(now + self.timing.ping_timeout)),
            };
        }
        match packet {
            Packet::Message(frame) => effects.push(Effect::Deliver(frame)),
            Packet::Pong => {}
            Packet::Close => self.closed_by_packet(now, effects),
            Packet::Ping | Packet::ProbePing | Packet::ProbePong | Packet::Upgrade | Packet::Noop => {
                let reason = "this packet is not the client's to send now";
                self.violate(now, ProtocolError::new(ErrorCode::BadFrame, reason), effects);
            }
        }
    }

    /// The client is gone, or says so.
    fn leave(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Open {
            effects.push(Effect::Ended(EndCause::ClosedByPeer));
        }
        if self.socket == Socket::Active && self.phase != Phase::Finished {
            effects.push(Effect::CloseWebSocket { code: CloseCode::NORMAL, reason: String::new() });
        }
        self.abandon_probe(effects);
        self.finish(effects);
    }

    fn violate(&mut self, now: Instant, error: ProtocolError, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Open {
            self.phase = Phase::Violated { until: now + VIOLATION_GRACE };
            // No ping keeps a session alive that is over.
            self.outbox.retain(|packet| matches!(packet, Packet::Message(_)));
            effects.push(Effect::Ended(EndCause::Violation(error)));
        }
    }

    fn put(&mut self, packet: Packet, effects: &mut Vec<Effect>) {
        if self.socket == Socket::Active {
            effects.push(Effect::SendWebSocket(packet));
            return;
        }
        if packet == Packet::Ping {
            // A client gives up when no ping comes in time; it must not stand behind all that waits.
            self.outbox.push_front(packet);
        } else {
            self.outbox.push_back(packet);
        }
        if let Some(poll) = self.poll.take() {
            effects.push(Effect::AnswerPoll { poll: poll.id, packets: self.take_outbox() });
        }
    }

    fn take_outbox(&mut self) -> Vec<Packet> {
        let count = self.outbox.len().min(MAX_PACKETS_PER_ANSWER);
        self.outbox.drain(..count).collect()
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Finished {
            return;
        }
        self.phase = Phase::Finished;
        self.outbox.clear();
        if let Some(poll) = self.poll.take() {
            effects.push(Effect::RefusePoll { poll: poll.id, refusal: Refusal::UnknownSession });
        }
        effects.push(Effect::Finished);
    }
}

#[cfg(test)]
mod tests;
