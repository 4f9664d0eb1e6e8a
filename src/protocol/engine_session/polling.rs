//! The session's side of HTTP long polling: one GET that waits, one POST at a time.

use std::time::Instant;

use super::{
    Effect, EndCause, EngineSession, Phase, PollId, RELEASE_LINGER, Refusal, Socket, UPGRADE_HOLD, WaitingPoll,
};
use crate::protocol::{ErrorCode, ProtocolError, engineio::Packet};

impl EngineSession {
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
                effects.push(Effect::AnswerPoll { poll, packets: self.take_outbox() });
                if self.outbox.is_empty() {
                    self.finish(&mut effects);
                }
            }
            Phase::Open | Phase::Violated { .. } => self.poll_while_open(now, poll, &mut effects),
        }
        effects
    }

    fn poll_while_open(&mut self, now: Instant, poll: PollId, effects: &mut Vec<Effect>) {
        if self.socket == Socket::Active {
            effects.push(Effect::RefusePoll { poll, refusal: Refusal::BadRequest });
        } else if let Some(waiting) = self.poll.take() {
            effects.push(Effect::AnswerPoll { poll: waiting.id, packets: vec![Packet::Close] });
            effects.push(Effect::RefusePoll { poll, refusal: Refusal::BadRequest });
            self.violate(now, ProtocolError::new(ErrorCode::BadFrame, "two polls at a time"), effects);
        } else if self.outbox.is_empty() {
            let is_answered = matches!(self.socket, Socket::Probing { is_answered: true, .. });
            self.poll = Some(WaitingPoll {
                id: poll,
                during_probe: matches!(self.socket, Socket::Probing { .. }),
                after_violation: self.phase != Phase::Open,
                release_at: is_answered.then(|| now + UPGRADE_HOLD),
            });
        } else {
            effects.push(Effect::AnswerPoll { poll, packets: self.take_outbox() });
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
        let refusal = match self.phase {
            Phase::Open if self.socket == Socket::Active => Some(Refusal::BadRequest),
            Phase::Violated { .. } => Some(Refusal::BadRequest),
            Phase::Open if self.is_posting => {
                self.violate(now, ProtocolError::new(ErrorCode::BadFrame, "two posts at a time"), &mut effects);
                Some(Refusal::BadRequest)
            }
            Phase::Open => {
                self.is_posting = true;
                None
            }
            Phase::Draining { .. } | Phase::Released { .. } | Phase::Finished => Some(Refusal::UnknownSession),
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

    /// The client gave up a POST. One that was refused changes nothing.
    pub fn post_aborted(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if std::mem::take(&mut self.is_posting) {
            self.leave(&mut effects);
        }
        effects
    }

    /// `1`: the client closes. A poll of its that waits, or is on its way, is released.
    pub(super) fn closed_by_packet(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.socket != Socket::Active && self.poll.is_none() {
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
}
