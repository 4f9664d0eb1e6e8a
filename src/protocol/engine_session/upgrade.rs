//! The session's side of its websocket: the probe, the taking over, the messages.

use std::time::Instant;

use super::{Effect, EngineSession, Phase, Refusal, Socket, UPGRADE_HOLD, WaitingPoll};
use crate::protocol::{CloseCode, ProtocolError, engineio::Packet};

impl EngineSession {
    /// A websocket wants to take over. False: close it, the session goes on as it is.
    pub fn websocket_opens(&mut self, now: Instant) -> (Vec<Effect>, bool) {
        let effects = self.tick(now);
        let is_welcome = self.phase == Phase::Open && self.socket == Socket::None;
        if is_welcome {
            let give_up_at = now + self.timing.upgrade_timeout;
            self.socket = Socket::Probing { is_answered: false, give_up_at };
        }
        (effects, is_welcome)
    }

    pub fn websocket_packet(&mut self, now: Instant, packet: Packet) -> Vec<Effect> {
        let mut effects = self.tick(now);
        match self.socket {
            Socket::Probing { is_answered, give_up_at } => {
                self.probe_packet(now, is_answered, give_up_at, &packet, &mut effects);
            }
            Socket::Active if self.phase == Phase::Open => self.take(now, packet, &mut effects),
            Socket::Active | Socket::Abandoned | Socket::None => {}
        }
        effects
    }

    /// The websocket sent what is no packet at all.
    pub fn websocket_broken(&mut self, now: Instant, error: ProtocolError) -> Vec<Effect> {
        let mut effects = self.tick(now);
        match self.socket {
            Socket::Active => self.violate(now, error, &mut effects),
            Socket::Probing { .. } => self.abandon_probe(&mut effects),
            Socket::Abandoned | Socket::None => {}
        }
        effects
    }

    /// The websocket is gone.
    pub fn websocket_lost(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = self.tick(now);
        let was_active = self.socket == Socket::Active;
        self.socket = Socket::None;
        self.unhold_poll();
        if was_active {
            self.leave(&mut effects);
        }
        effects
    }

    fn probe_packet(
        &mut self,
        now: Instant,
        is_answered: bool,
        give_up_at: Instant,
        packet: &Packet,
        effects: &mut Vec<Effect>,
    ) {
        match packet {
            Packet::ProbePing if !is_answered => {
                self.socket = Socket::Probing { is_answered: true, give_up_at };
                effects.push(Effect::SendWebSocket(Packet::ProbePong));
                match self.poll.take() {
                    Some(poll) if poll.during_probe => {
                        self.poll = Some(WaitingPoll { release_at: Some(now + UPGRADE_HOLD), ..poll });
                    }
                    Some(poll) => effects.push(Effect::AnswerPoll { poll: poll.id, packets: vec![Packet::Noop] }),
                    None => {}
                }
            }
            Packet::Upgrade if is_answered => {
                self.socket = Socket::Active;
                if let Some(poll) = self.poll.take() {
                    effects.push(Effect::RefusePoll { poll: poll.id, refusal: Refusal::BadRequest });
                }
                effects.extend(self.outbox.drain(..).map(Effect::SendWebSocket));
            }
            _ => self.abandon_probe(effects),
        }
    }

    pub(super) fn abandon_probe(&mut self, effects: &mut Vec<Effect>) {
        if let Socket::Probing { .. } = self.socket {
            self.socket = Socket::Abandoned;
            effects.push(Effect::CloseWebSocket { code: CloseCode::NORMAL, reason: "no upgrade".to_owned() });
        }
        self.unhold_poll();
    }

    const fn unhold_poll(&mut self) {
        if let Some(poll) = &mut self.poll {
            poll.release_at = None;
        }
    }
}
