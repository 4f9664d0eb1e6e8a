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
//! - the upgrade packet and a last poll cross: [`Probe`] and [`WaitingPoll::release_at`].

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

/// Names a websocket of the session. A message of a websocket that is not the session's any more is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PumpId(pub u64);

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
    SendWebSocket {
        pump: PumpId,
        packet: Packet,
    },
    CloseWebSocket {
        pump: PumpId,
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
    transport: Transport,
    poll: Option<WaitingPoll>,
    is_posting: bool,
    /// What waits for a poll.
    outbox: VecDeque<Packet>,
    heartbeat: Heartbeat,
    probe: Option<Probe>,
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Polling,
    WebSocket(PumpId),
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

/// A websocket that may take over.
#[derive(Debug)]
struct Probe {
    pump: PumpId,
    answered: bool,
    give_up_at: Instant,
}

impl EngineSession {
    /// A session that begins with HTTP long polling.
    #[must_use]
    pub fn polling(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            phase: Phase::Open,
            transport: Transport::Polling,
            poll: None,
            is_posting: false,
            outbox: VecDeque::new(),
            heartbeat: Heartbeat::PingAt(now + timing.ping_interval),
            probe: None,
        }
    }

    /// A session that begins with a websocket.
    #[must_use]
    pub fn websocket(timing: Timing, now: Instant, pump: PumpId) -> Self {
        Self { transport: Transport::WebSocket(pump), ..Self::polling(timing, now) }
    }

    /// A GET came.
    pub fn poll(&mut self, now: Instant, poll: PollId) -> Vec<Effect> {
        let mut effects = self.tick(now);
        match self.phase {
            Phase::Finished => effects.push(Effect::RefusePoll { poll, refusal: Refusal::UnknownSession }),
            Phase::Released { .. } => {
                effects.push(Effect::AnswerPoll { poll, packets: vec![Packet::Noop] });
                self.finish(&mut effects);
            }
            Phase::Draining { .. } => {
                self.outbox.push_back(Packet::Close);
                effects.push(Effect::AnswerPoll { poll, packets: self.outbox.drain(..).collect() });
                self.finish(&mut effects);
            }
            Phase::Open | Phase::Violated { .. } => self.poll_while_open(now, poll, &mut effects),
        }
        effects
    }

    fn poll_while_open(&mut self, now: Instant, poll: PollId, effects: &mut Vec<Effect>) {
        if self.transport != Transport::Polling {
            effects.push(Effect::RefusePoll { poll, refusal: Refusal::BadRequest });
        } else if let Some(waiting) = self.poll.take() {
            effects.push(Effect::AnswerPoll { poll: waiting.id, packets: vec![Packet::Close] });
            effects.push(Effect::RefusePoll { poll, refusal: Refusal::BadRequest });
            self.violate(now, ProtocolError::new(ErrorCode::BadFrame, "two polls at a time"), effects);
        } else if self.outbox.is_empty() {
            let is_answered = self.probe.as_ref().is_some_and(|probe| probe.answered);
            self.poll = Some(WaitingPoll {
                id: poll,
                during_probe: self.probe.is_some(),
                after_violation: self.phase != Phase::Open,
                release_at: is_answered.then(|| now + UPGRADE_HOLD),
            });
        } else {
            effects.push(Effect::AnswerPoll { poll, packets: self.outbox.drain(..).collect() });
        }
    }

    /// The client gave up a GET, or its answer could not be handed over: that is how polling clients leave.
    pub fn poll_aborted(&mut self, now: Instant, poll: PollId) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if self.poll.as_ref().is_some_and(|waiting| waiting.id == poll) {
            self.poll = None;
            self.leave(&mut effects);
        }
        effects
    }

    /// What was sent in the answer to a GET did not reach the client.
    pub fn answer_lost(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = self.tick(now);
        self.leave(&mut effects);
        effects
    }

    /// A POST came; its body is not read yet. `Some`: refuse it.
    pub fn post_begins(&mut self, now: Instant) -> (Vec<Effect>, Option<Refusal>) {
        let mut effects = self.tick(now);
        let refusal = match (self.phase, self.transport) {
            (Phase::Open, Transport::WebSocket(_)) | (Phase::Violated { .. }, _) => Some(Refusal::BadRequest),
            (Phase::Open, Transport::Polling) if self.is_posting => {
                self.violate(now, ProtocolError::new(ErrorCode::BadFrame, "two posts at a time"), &mut effects);
                Some(Refusal::BadRequest)
            }
            (Phase::Open, Transport::Polling) => {
                self.is_posting = true;
                None
            }
            _ => Some(Refusal::UnknownSession),
        };
        (effects, refusal)
    }

    /// One packet of the POST's body.
    pub fn post_packet(&mut self, now: Instant, packet: Packet) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if self.phase == Phase::Open {
            self.take(now, packet, &mut effects);
        }
        effects
    }

    /// The POST's body is done with.
    pub fn post_ends(&mut self, now: Instant) -> Vec<Effect> {
        self.is_posting = false;
        self.tick(now)
    }

    /// The client gave up a POST.
    pub fn post_aborted(&mut self, now: Instant) -> Vec<Effect> {
        self.is_posting = false;
        let mut effects = self.tick(now);
        self.leave(&mut effects);
        effects
    }

    /// A transport found that the client broke a rule, here or in what it sent.
    pub fn broken(&mut self, now: Instant, error: ProtocolError) -> Vec<Effect> {
        let mut effects = self.tick(now);
        self.violate(now, error, &mut effects);
        effects
    }

    /// A websocket wants to take over. False: close it, the session goes on as it is.
    pub fn websocket_opened(&mut self, now: Instant, pump: PumpId) -> (Vec<Effect>, bool) {
        let effects = self.tick(now);
        let is_welcome = self.phase == Phase::Open && self.transport == Transport::Polling && self.probe.is_none();
        if is_welcome {
            self.probe = Some(Probe { pump, answered: false, give_up_at: now + self.timing.upgrade_timeout });
        }
        (effects, is_welcome)
    }

    pub fn websocket_packet(&mut self, now: Instant, pump: PumpId, packet: Packet) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if self.probe.as_ref().is_some_and(|probe| probe.pump == pump) {
            self.probe_packet(now, pump, &packet, &mut effects);
        } else if self.transport == Transport::WebSocket(pump) && self.phase == Phase::Open {
            self.take(now, packet, &mut effects);
        }
        effects
    }

    /// A websocket ended; `violation` tells why, when the client was at fault.
    pub fn websocket_lost(&mut self, now: Instant, pump: PumpId, violation: Option<ProtocolError>) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if self.probe.as_ref().is_some_and(|probe| probe.pump == pump) {
            self.drop_probe();
            if violation.is_some() {
                let code = CloseCode::NORMAL;
                effects.push(Effect::CloseWebSocket { pump, code, reason: "no upgrade".to_owned() });
            }
        } else if self.transport == Transport::WebSocket(pump) {
            match violation {
                Some(error) => self.violate(now, error, &mut effects),
                None => self.leave(&mut effects),
            }
        }
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
        match (self.transport, self.poll.take()) {
            (Transport::WebSocket(pump), _) => {
                effects.push(Effect::CloseWebSocket { pump, code, reason });
                self.finish(&mut effects);
            }
            (Transport::Polling, Some(poll)) if poll.after_violation => {
                effects.push(Effect::RefusePoll { poll: poll.id, refusal: Refusal::UnknownSession });
                self.finish(&mut effects);
            }
            (Transport::Polling, Some(poll)) => {
                effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Close] });
                self.finish(&mut effects);
            }
            // Who broke a rule and was told nothing by the application learns it from being unknown.
            (Transport::Polling, None) if !was_open && self.outbox.is_empty() => self.finish(&mut effects),
            (Transport::Polling, None) => self.phase = Phase::Draining { until: now + DRAIN_LINGER },
        }
        effects
    }

    /// The application is gone without a word.
    pub fn application_died(&mut self, now: Instant) -> Vec<Effect> {
        self.close(now, ErrorCode::Aborted.close_code(), ErrorCode::Aborted.to_string())
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
            return self.close(now, CloseCode::GOING_AWAY, "the application does not answer".to_owned());
        }
        if let Some(release_at) = self.poll.as_ref().and_then(|poll| poll.release_at)
            && now >= release_at
            && let Some(poll) = self.poll.take()
        {
            effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Noop] });
        }
        if self.probe.as_ref().is_some_and(|probe| now >= probe.give_up_at) {
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
        let probe = self.probe.as_ref().map(|probe| probe.give_up_at);
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
            }
        }
    }

    fn probe_packet(&mut self, now: Instant, pump: PumpId, packet: &Packet, effects: &mut Vec<Effect>) {
        let Some(probe) = &mut self.probe else { return };
        match packet {
            Packet::ProbePing if !probe.answered => {
                probe.answered = true;
                effects.push(Effect::SendWebSocket { pump, packet: Packet::ProbePong });
                match self.poll.take() {
                    Some(poll) if poll.during_probe => {
                        self.poll = Some(WaitingPoll { release_at: Some(now + UPGRADE_HOLD), ..poll });
                    }
                    Some(poll) => effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Noop] }),
                    None => {}
                }
            }
            Packet::Upgrade if probe.answered => {
                self.probe = None;
                self.transport = Transport::WebSocket(pump);
                if let Some(poll) = self.poll.take() {
                    effects.push(Effect::RefusePoll { poll: poll.id, refusal: Refusal::BadRequest });
                }
                effects.extend(self.outbox.drain(..).map(|packet| Effect::SendWebSocket { pump, packet }));
            }
            _ => self.abandon_probe(effects),
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

    fn closed_by_packet(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.transport == Transport::Polling && self.poll.is_none() {
            effects.push(Effect::Ended(EndCause::ClosedByPeer));
            self.abandon_probe(effects);
            self.phase = Phase::Released { until: now + RELEASE_LINGER };
            return;
        }
        if let Some(poll) = self.poll.take() {
            effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Noop] });
        }
        self.leave(effects);
    }

    /// The client is gone, or says so.
    fn leave(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Open {
            effects.push(Effect::Ended(EndCause::ClosedByPeer));
        }
        if let Transport::WebSocket(pump) = self.transport
            && self.phase != Phase::Finished
        {
            effects.push(Effect::CloseWebSocket { pump, code: CloseCode::NORMAL, reason: String::new() });
        }
        self.abandon_probe(effects);
        self.finish(effects);
    }

    fn violate(&mut self, now: Instant, error: ProtocolError, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Open {
            self.phase = Phase::Violated { until: now + VIOLATION_GRACE };
            effects.push(Effect::Ended(EndCause::Violation(error)));
        }
    }

    fn put(&mut self, packet: Packet, effects: &mut Vec<Effect>) {
        match self.transport {
            Transport::WebSocket(pump) => effects.push(Effect::SendWebSocket { pump, packet }),
            Transport::Polling => {
                self.outbox.push_back(packet);
                if let Some(poll) = self.poll.take() {
                    effects.push(Effect::AnswerPoll { poll: poll.id, packets: self.outbox.drain(..).collect() });
                }
            }
        }
    }

    fn abandon_probe(&mut self, effects: &mut Vec<Effect>) {
        if let Some(probe) = &self.probe {
            let (pump, code) = (probe.pump, CloseCode::NORMAL);
            effects.push(Effect::CloseWebSocket { pump, code, reason: "no upgrade".to_owned() });
        }
        self.drop_probe();
    }

    fn drop_probe(&mut self) {
        self.probe = None;
        if let Some(poll) = &mut self.poll {
            poll.release_at = None;
        }
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
