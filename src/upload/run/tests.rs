//! Stories of a run: what it decides when, without a disk.

use super::*;

const PART: u64 = 100;
const LIMITS: Limits = Limits { part_size_bytes: PART, idle_timeout: Duration::from_secs(1_000) };

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn part(number: i32, size_bytes: u64) -> UploadedPart {
    UploadedPart { number, etag: format!("etag-{number}"), size_bytes, sha256: String::new() }
}

/// A run and a clock that stands still unless told.
struct Story {
    run: Run,
    now: Instant,
}

impl Story {
    fn of(len: u64) -> Self {
        let now = Instant::now();
        let mut run = Run::new(now);
        if len > 0 {
            run.appended(len, now);
        }
        Self { run, now }
    }

    fn finished(len: u64) -> Self {
        let mut story = Self::of(len);
        story.run.finish();
        story
    }

    fn recovered(len: u64, finished: bool, parts: Vec<UploadedPart>) -> Self {
        let now = Instant::now();
        let upload = Some(Multipart { id: "old".into(), parts });
        Self { run: Run::recovered(now, len, finished, upload, LIMITS), now }
    }

    fn next(&self) -> Step {
        self.run.next(self.now, LIMITS)
    }

    fn later(&mut self, by: Duration) -> &mut Self {
        self.now += by;
        self
    }

    #[track_caller]
    fn expect(&mut self, step: &Step) -> &mut Self {
        assert_eq!(&self.next(), step);
        self
    }

    /// The step that is next begins, and ends so.
    #[track_caller]
    fn ends(&mut self, result: Result<Done, ObjectErrorKind>) -> Ended {
        let step = self.next();
        assert!(!matches!(step, Step::Wait { .. } | Step::Finish | Step::Settle), "{step:?}");
        self.run.started(step);
        assert!(matches!(self.next(), Step::Wait { .. }), "one request at a time");
        self.run.ended(result, self.now)
    }

    #[track_caller]
    fn ends_well(&mut self, done: Done) -> &mut Self {
        assert_eq!(self.ends(Ok(done)), Ended::Well);
        self
    }

    /// Waits for a retry, and no longer than one may take.
    #[track_caller]
    fn retry(&mut self) -> &mut Self {
        let Step::Wait { until: Some(at) } = self.next() else { panic!("{:?} instead of a delay", self.next()) };
        assert!(at > self.now && at <= self.now + LONGEST_RETRY);
        self.now = at;
        self
    }
}

#[test]
fn a_small_run_is_put_verified_attached_and_settled() {
    let mut story = Story::finished(PART - 1);
    story.expect(&Step::Put).ends_well(Done::Stored);
    story.expect(&Step::Verify).ends_well(Done::Verified(Verdict::Intact));
    story.expect(&Step::Attach).ends_well(Done::Attached);
    story.expect(&Step::Settle);
}

#[test]
fn an_empty_run_is_settled_at_once() {
    Story::finished(0).expect(&Step::Settle);
}

#[test]
fn full_parts_are_uploaded_while_the_run_grows() {
    let mut story = Story::of(PART - 1);
    assert!(matches!(story.next(), Step::Wait { .. }));
    story.run.appended(PART + 1, story.now);
    story.expect(&Step::Begin).ends_well(Done::Begun("id".into()));
    story.expect(&Step::PutPart { number: 1, offset: 0, len: PART }).ends_well(Done::PartStored(part(1, PART)));
    story.expect(&Step::PutPart { number: 2, offset: PART, len: PART }).ends_well(Done::PartStored(part(2, PART)));
    assert!(matches!(story.next(), Step::Wait { .. }));
    story.run.appended(7, story.now);
    story.run.finish();
    story.expect(&Step::PutPart { number: 3, offset: 2 * PART, len: 7 }).ends_well(Done::PartStored(part(3, 7)));
    story.expect(&Step::Complete).ends_well(Done::Stored);
    story.expect(&Step::Verify);
}

#[test]
fn a_run_of_exactly_one_part_is_uploaded_in_one() {
    let mut story = Story::finished(PART);
    story.expect(&Step::Begin).ends_well(Done::Begun("id".into()));
    story.expect(&Step::PutPart { number: 1, offset: 0, len: PART }).ends_well(Done::PartStored(part(1, PART)));
    story.expect(&Step::Complete);
}

#[test]
fn an_ended_run_takes_late_chunks_and_ends_all_the_same() {
    let mut story = Story::of(1);
    story.run.finish_within(secs(2), FinishReason::Ended, story.now);
    assert!(story.run.ends_for_sure());
    story.later(secs(1));
    story.run.appended(1, story.now);
    assert_eq!(story.next(), Step::Wait { until: Some(story.now + secs(1)) });
    story.later(secs(1)).expect(&Step::Finish);
}

#[test]
fn a_lost_connection_that_comes_back_goes_on() {
    let mut story = Story::of(1);
    story.run.finish_within(secs(2), FinishReason::ConnectionLost, story.now);
    assert!(!story.run.ends_for_sure());
    story.later(secs(1));
    story.run.heard_of();
    story.run.appended(1, story.now);
    let idle_at = story.now + secs(1_000);
    assert_eq!(story.later(secs(5)).next(), Step::Wait { until: Some(idle_at) });
    story.run.finish_within(secs(2), FinishReason::ConnectionLost, story.now);
    story.later(secs(2)).expect(&Step::Finish);
}

/// What is taken late was said before its client left.
#[test]
fn what_was_held_back_does_not_bring_a_client_back() {
    let mut story = Story::of(1);
    story.run.hold_back();
    story.run.finish_within(secs(2), FinishReason::ConnectionLost, story.now);
    story.later(secs(5));
    story.run.appended(1, story.now);
    story.run.let_in();
    story.expect(&Step::Finish);
}

#[test]
fn a_final_end_stays_and_the_earlier_counts() {
    let mut story = Story::of(1);
    story.run.finish_within(secs(60), FinishReason::ConnectionLost, story.now);
    story.run.finish_within(secs(2), FinishReason::Ended, story.now);
    story.run.finish_within(secs(1), FinishReason::ConnectionLost, story.now);
    story.run.finish_within(secs(9), FinishReason::Ended, story.now);
    story.run.appended(1, story.now);
    assert_eq!(story.next(), Step::Wait { until: Some(story.now + secs(2)) });
}

#[test]
fn a_silent_run_is_finished() {
    let mut story = Story::of(1);
    assert!(matches!(story.later(secs(999)).next(), Step::Wait { .. }));
    story.run.appended(1, story.now);
    assert!(matches!(story.later(secs(999)).next(), Step::Wait { .. }));
    story.later(secs(1)).expect(&Step::Finish);
}

#[test]
fn a_run_is_not_finished_without_chunks_that_wait() {
    let mut story = Story::of(1);
    story.run.hold_back();
    story.run.finish_within(secs(0), FinishReason::Ended, story.now);
    story.expect(&Step::Wait { until: None });
    story.run.appended(1, story.now);
    story.run.let_in();
    story.expect(&Step::Finish);
}

#[test]
fn a_run_is_finished_also_while_a_part_is_under_way_or_delayed() {
    let mut story = Story::of(PART);
    story.run.started(Step::Begin);
    story.run.finish_within(secs(0), FinishReason::Ended, story.now);
    story.expect(&Step::Finish);

    let mut story = Story::of(PART);
    story.ends(Err(ObjectErrorKind::Retryable));
    story.run.finish_within(secs(0), FinishReason::Ended, story.now);
    story.expect(&Step::Finish);
}

#[test]
fn failures_are_tried_again_later_each_time() {
    let mut story = Story::finished(1);
    for attempt in 1..=20 {
        let ended = story.ends(Err(ObjectErrorKind::Retryable));
        assert_eq!(ended, Ended::Badly { attempts: attempt });
        let Step::Wait { until: Some(at) } = story.next() else { panic!("no delay") };
        let doubled = FIRST_RETRY.saturating_mul(1 << (attempt - 1)).min(LONGEST_RETRY);
        assert!((doubled / 2..=doubled).contains(&(at - story.now)), "attempt {attempt}: {:?}", at - story.now);
        story.retry().expect(&Step::Put);
    }
    story.ends_well(Done::Stored).expect(&Step::Verify);
    story.ends(Err(ObjectErrorKind::Retryable));
    story.retry().expect(&Step::Verify).ends_well(Done::Verified(Verdict::Intact));
    story.ends(Err(ObjectErrorKind::Retryable));
    story.retry().expect(&Step::Attach);
}

#[test]
fn an_upload_that_the_store_forgot_begins_again() {
    let mut story = Story::of(3 * PART);
    story.ends_well(Done::Begun("first".into())).ends_well(Done::PartStored(part(1, PART)));
    story.ends(Err(ObjectErrorKind::NoSuchUpload));
    story.retry().expect(&Step::Begin).ends_well(Done::Begun("second".into()));
    story.expect(&Step::PutPart { number: 1, offset: 0, len: PART });
}

fn sent_in_one_part() -> Story {
    let mut story = Story::finished(PART);
    story.ends_well(Done::Begun("id".into())).ends_well(Done::PartStored(part(1, PART)));
    story
}

#[test]
fn an_unclear_completion_is_looked_at_before_it_is_repeated() {
    for kind in [ObjectErrorKind::Retryable, ObjectErrorKind::NoSuchUpload] {
        let mut story = sent_in_one_part();
        story.ends(Err(kind));
        story.retry().expect(&Step::Verify).ends_well(Done::Verified(Verdict::Intact));
        story.expect(&Step::Attach);
    }
}

#[test]
fn a_completion_that_never_came_is_repeated() {
    let mut story = sent_in_one_part();
    story.ends(Err(ObjectErrorKind::Retryable));
    assert!(matches!(story.retry().ends(Ok(Done::Verified(Verdict::Missing))), Ended::Badly { .. }));
    story.retry().expect(&Step::Complete);
}

#[test]
fn an_upload_that_is_gone_without_an_object_begins_again() {
    let mut story = sent_in_one_part();
    story.ends(Err(ObjectErrorKind::NoSuchUpload));
    let ended = story.retry().ends(Ok(Done::Verified(Verdict::Missing)));
    assert_eq!(ended, Ended::StartedOver { found: Verdict::Missing });
    story.retry().expect(&Step::Abort { upload_id: "id".into() }).ends_well(Done::Aborted);
    story.expect(&Step::Begin);
}

#[test]
fn a_wrong_object_is_uploaded_again_slower_each_time() {
    let mut story = Story::finished(1);
    let mut delays = Vec::new();
    for _ in 0..10 {
        story.expect(&Step::Put).ends_well(Done::Stored);
        let ended = story.ends(Ok(Done::Verified(Verdict::Different("shorter".into()))));
        assert_eq!(ended, Ended::StartedOver { found: Verdict::Different("shorter".into()) });
        let before = story.now;
        story.retry();
        delays.push(story.now - before);
    }
    assert!(delays[9] >= LONGEST_RETRY / 2, "{delays:?}");
}

#[test]
fn an_abort_that_fails_does_not_stop_the_run() {
    let mut story = Story::recovered(PART, true, vec![part(1, PART - 1)]);
    story.expect(&Step::Abort { upload_id: "old".into() });
    story.ends(Err(ObjectErrorKind::Retryable));
    story.retry().expect(&Step::Begin);
}

#[test]
fn a_recovered_upload_goes_on_behind_its_parts() {
    let mut story = Story::recovered(2 * PART + 5, true, vec![part(1, PART), part(2, PART)]);
    story.expect(&Step::PutPart { number: 3, offset: 2 * PART, len: 5 });
    Story::recovered(PART + 5, true, vec![part(1, PART), part(2, 5)]).expect(&Step::Complete);
    Story::recovered(PART, true, vec![]).expect(&Step::PutPart { number: 1, offset: 0, len: PART });
}

#[test]
fn a_recovered_upload_that_does_not_fit_is_given_up() {
    let abort = Step::Abort { upload_id: "old".into() };
    // Parts of another size, a short one in the middle, more bytes than the run has.
    Story::recovered(10 * PART, false, vec![part(1, 2 * PART)]).expect(&abort);
    Story::recovered(10 * PART, true, vec![part(1, 5), part(2, PART)]).expect(&abort);
    Story::recovered(PART, true, vec![part(1, PART), part(2, PART)]).expect(&abort);
    Story::recovered(10 * PART, false, vec![part(1, PART), part(2, 5)]).expect(&abort);
}

fn piece(range: Range<u64>) -> Piece {
    Piece { range, sha256: crate::domain::Sha256([1; 32]), format: crate::domain::AudioFormat::Unknown }
}

#[test]
fn what_others_stored_is_left_out_piece_by_piece() {
    let mut story = Story::finished(50);
    story.ends_well(Done::Stored).ends_well(Done::Verified(Verdict::Intact));
    story.expect(&Step::Attach).ends_well(Done::Overlapped { rest: Some(0..20), is_discarded: true });
    story.expect(&Step::Discard).ends_well(Done::Discarded);
    story.expect(&Step::Cut { range: 0..20 }).ends_well(Done::Cut(piece(0..20)));
    story.expect(&Step::Put).ends_well(Done::Stored);
    story.expect(&Step::Verify).ends_well(Done::Verified(Verdict::Intact));
    story.expect(&Step::Attach).ends_well(Done::Overlapped { rest: Some(40..50), is_discarded: false });
    story.expect(&Step::Cut { range: 40..50 }).ends_well(Done::Cut(piece(40..50)));
    story.expect(&Step::Put).ends_well(Done::Stored).ends_well(Done::Verified(Verdict::Intact));
    story.expect(&Step::Attach).ends_well(Done::Attached);
    story.expect(&Step::Settle);
}

#[test]
fn a_run_that_others_stored_entirely_is_let_go_of_without_its_object() {
    let mut story = Story::finished(250);
    story.ends_well(Done::Begun("id".into()));
    for number in 1..=3 {
        story.ends_well(Done::PartStored(part(number, 100.min(250 - 100 * (u64::try_from(number).unwrap() - 1)))));
    }
    story.expect(&Step::Complete).ends_well(Done::Stored).ends_well(Done::Verified(Verdict::Intact));
    story.expect(&Step::Attach).ends_well(Done::Overlapped { rest: None, is_discarded: true });
    story.expect(&Step::Discard);
    story.ends(Err(ObjectErrorKind::Retryable));
    story.retry().expect(&Step::Discard).ends_well(Done::Discarded);
    story.expect(&Step::Settle);
}

#[test]
fn a_piece_that_turns_out_wrong_is_put_again() {
    let mut story = Story::finished(50);
    story.ends_well(Done::Stored).ends_well(Done::Verified(Verdict::Intact));
    story.ends_well(Done::Overlapped { rest: Some(0..20), is_discarded: false });
    story.ends_well(Done::Cut(piece(0..20))).ends_well(Done::Stored);
    assert_eq!(story.ends(Ok(Done::Verified(Verdict::Missing))), Ended::StartedOver { found: Verdict::Missing });
    story.retry().expect(&Step::Put);
}

#[test]
fn a_run_that_was_deleted_leaves_nothing() {
    let mut story = Story::of(50);
    story.run.give_up();
    story.expect(&Step::Settle);

    let mut growing = Story::of(250);
    growing.ends_well(Done::Begun("id".into())).ends_well(Done::PartStored(part(1, 100)));
    growing.run.give_up();
    growing.expect(&Step::Abort { upload_id: "id".into() }).ends_well(Done::Aborted);
    growing.expect(&Step::Settle);

    let mut stored = Story::finished(50);
    stored.ends_well(Done::Stored);
    stored.run.give_up();
    stored.expect(&Step::Discard).ends_well(Done::Discarded);
    stored.expect(&Step::Settle);
}

#[test]
fn what_is_under_way_when_a_run_is_deleted_is_cleared_away() {
    for outcome in [Ok(Done::Stored), Err(ObjectErrorKind::Retryable)] {
        let mut story = Story::finished(50);
        story.run.started(Step::Put);
        story.run.give_up();
        let is_late = outcome.is_err();
        story.run.ended(outcome, story.now);
        if is_late {
            // It may have arrived all the same.
            story.retry();
        }
        story.expect(&Step::Discard).ends_well(Done::Discarded);
        story.expect(&Step::Settle);
    }
    let mut beginning = Story::finished(250);
    beginning.run.started(Step::Begin);
    beginning.run.give_up();
    beginning.run.ended(Ok(Done::Begun("id".into())), beginning.now);
    beginning.expect(&Step::Abort { upload_id: "id".into() });
}
