//! The audio of one stream: where its bytes belong, in the stream and in a run, and which acks are owed.
//!
//! Promises: every byte gets its place in the stream; a run goes on over a lost connection, where its bytes do.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{
    effect::{AudioEffect, Effect},
    live::Live,
    registry::{LostRun, StreamMemo},
    state::Surroundings,
};
use crate::{
    domain::{AudioFormat, RunId, SessionId},
    protocol::{AckTag, ErrorCode, ProtocolError, ServerMessage},
    runtime::Permit,
    upload::{AudioJournaled, BeginRun, FinishReason, FinishRun},
};

/// Where a stream's audio stands.
#[derive(Debug)]
pub(super) struct AudioLane {
    run: Option<ActiveRun>,
    /// Bytes taken, durable or not: where in the stream the client's next byte belongs.
    position: u64,
    durable: u64,
    ticket: u64,
    /// Chunks on their way to the journal, in order.
    under_way: VecDeque<Chunk>,
}

/// A chunk that is not known to be durable, or has one before it that is not.
#[derive(Debug)]
struct Chunk {
    ticket: u64,
    stream_end: u64,
    tag: AckTag,
    is_journaled: bool,
}

#[derive(Debug, Clone, Copy)]
struct ActiveRun {
    run: RunId,
    session: SessionId,
}

impl AudioLane {
    /// `stored` is what the database knows to be durable, `claimed` what the client was told to be: by another node, perhaps,
    /// that has it in its journal still.
    pub(super) fn new(memo: Option<&StreamMemo>, stored: u64, claimed: u64) -> Self {
        let durable = memo.map_or(0, |memo| memo.audio_durable).max(stored).max(claimed);
        Self { run: None, position: durable, durable, ticket: 0, under_way: VecDeque::new() }
    }

    pub(super) const fn durable(&self) -> u64 {
        self.durable
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Its session was deleted, and the run with it.
    pub(super) fn forget_run_of(&mut self, session: SessionId) {
        self.run.take_if(|active| active.session == session);
    }

    pub(super) fn run(&self) -> Option<RunId> {
        self.run.map(|active| active.run)
    }

    /// Two runs may go to two actors, so a later chunk can be journaled before an earlier one: what counts is that
    /// nothing before is missing.
    pub(super) fn on_journaled(&mut self, journaled: AudioJournaled) -> Vec<Effect> {
        if let Some(chunk) = self.under_way.iter_mut().find(|chunk| chunk.ticket == journaled.ticket) {
            chunk.is_journaled = true;
        }
        let mut effects = Vec::new();
        let mut counted = None;
        while let Some(chunk) = self.under_way.pop_front_if(|chunk| chunk.is_journaled) {
            self.durable = self.durable.max(chunk.stream_end);
            match chunk.tag {
                AckTag::None => {}
                // One byte count answers all chunks before it; an id needs an answer of its own.
                tag @ AckTag::Seq(_) => counted = Some(tag),
                tag @ AckTag::Id(_) => {
                    effects.push(Effect::Send(ServerMessage::AudioAcked { tag, stream_end: self.durable }));
                }
            }
        }
        effects.extend(counted.map(|tag| Effect::Send(ServerMessage::AudioAcked { tag, stream_end: self.durable })));
        effects
    }

    /// Bytes that were handed over are not durable and never will be: the client is to send them again, into a run of
    /// their own.
    pub(super) const fn on_refused(&mut self) {
        self.run = None;
        self.position = self.durable;
    }
}

impl Live {
    /// Whether audio that may start a recording has to: none is on, and it is no late chunk of the one that ended.
    pub(super) fn audio_needs_session(
        &mut self,
        bytes: &Bytes,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.current_session(around, effects).is_some() {
            return false;
        }
        let is_late = AudioFormat::sniff(bytes).is_none() && self.ended_within_grace(around).is_some();
        !is_late
    }

    pub(super) fn on_audio(
        &mut self,
        bytes: &Bytes,
        tag: AckTag,
        permit: Permit,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ProtocolError> {
        if bytes.is_empty() {
            // A recorder's last blob may be empty, and its sender wait for an answer all the same.
            if tag.is_wanted() {
                effects.push(Effect::Send(ServerMessage::AudioAcked { tag, stream_end: self.audio.durable }));
            }
            return Ok(());
        }
        let Some((session, is_late)) = self
            .current_session(around, effects)
            .map(|session| (session, false))
            .or_else(|| self.ended_within_grace(around).map(|session| (session, true)))
        else {
            return Err(ProtocolError::new(ErrorCode::NotRecording, "audio came without a recording"));
        };
        let begins = AudioFormat::sniff(bytes);
        let run = if is_late {
            self.late_run(session, begins, around, effects)
        } else {
            self.run_for(session, begins, around, effects)
        };
        self.audio.position += bytes.len() as u64;
        self.audio.ticket += 1;
        let (ticket, stream_end) = (self.audio.ticket, self.audio.position);
        self.audio.under_way.push_back(Chunk { ticket, stream_end, tag, is_journaled: false });
        effects.push(Effect::AppendAudio(AudioEffect {
            run,
            stream: self.stream(),
            at: self.received_at(around),
            bytes: bytes.clone(),
            ticket,
            stream_end,
            permit,
        }));
        if !is_late {
            self.touch_for_audio(around, effects);
        }
        Ok(())
    }

    /// The run that bytes of an open session belong to: the active one, one that lost its connection, or a new one.
    fn run_for(
        &mut self,
        session: SessionId,
        begins: Option<AudioFormat>,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> RunId {
        if let Some(active) = self.audio.run
            && active.session == session
            && begins.is_none()
        {
            return active.run;
        }
        self.finish_run(Duration::ZERO, effects);
        if begins.is_none()
            && let Some(lost) = self.claim_run(session, around)
        {
            // A run of an earlier process is not known here yet.
            around.registry.run_begun(session, lost.run, around.now.steady);
            self.audio.run = Some(ActiveRun { run: lost.run, session });
            return lost.run;
        }
        self.begin_run(session, begins, around, effects)
    }

    fn claim_run(&self, session: SessionId, around: Surroundings<'_>) -> Option<LostRun> {
        let place = (self.stream(), self.audio.position);
        around.registry.claim_run(self.user(), session, place, around.now.steady)
    }

    /// The run that late bytes of an ended session belong to.
    fn late_run(
        &mut self,
        session: SessionId,
        begins: Option<AudioFormat>,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> RunId {
        if let (Some(run), None) = (self.ended.and_then(|ended| ended.run), begins) {
            return run;
        }
        let run = self.begin_run(session, begins, around, effects);
        if let Some(ended) = &mut self.ended {
            ended.run = Some(run);
        }
        self.finish_run(around.settings.end_grace, effects);
        run
    }

    fn begin_run(
        &mut self,
        session: SessionId,
        begins: Option<AudioFormat>,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> RunId {
        let run = RunId::new();
        self.audio.run = Some(ActiveRun { run, session });
        around.registry.run_begun(session, run, around.now.steady);
        // Bytes without a container's beginning do not play, whatever their client calls them.
        let format = begins.unwrap_or(AudioFormat::Unknown);
        effects.push(Effect::BeginRun(BeginRun {
            run,
            session,
            user: self.user().clone(),
            stream: self.stream(),
            stream_offset: self.audio.position,
            format,
            at: self.received_at(around),
        }));
        run
    }

    /// No more bytes for the active run after `grace`.
    pub(super) fn finish_run(&mut self, grace: Duration, effects: &mut Vec<Effect>) {
        self.finish_run_because(FinishReason::Ended, grace, effects);
    }

    fn finish_run_because(&mut self, reason: FinishReason, grace: Duration, effects: &mut Vec<Effect>) {
        if let Some(active) = self.audio.run.take() {
            effects.push(Effect::FinishRun(FinishRun { run: active.run, grace, reason }));
        }
    }

    /// The connection is gone: the run waits a while for the user's next one.
    pub(super) fn lose_run(&mut self, around: Surroundings<'_>, effects: &mut Vec<Effect>) {
        let Some(active) = self.audio.run else { return };
        let grace = around.settings.reconnect_grace;
        let until = around.now.steady + grace;
        let lost = LostRun {
            run: active.run,
            session: active.session,
            stream: self.stream(),
            stream_end: self.audio.position,
            until,
        };
        around.registry.lose_run(self.user(), lost);
        self.finish_run_because(FinishReason::ConnectionLost, grace, effects);
    }
}
