//! The rules of the protocol document, and each race that several workers make, with the clock in hand.

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    ping_interval: Duration::from_millis(300),
    ping_timeout: Duration::from_millis(200),
    upgrade_timeout: Duration::from_secs(10),
};

/// A session and its clock.
struct Bench {
    session: EngineSession,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn polling() -> Self {
        let start = Instant::now();
        Self { session: EngineSession::polling(TIMING, start), start, now: start }
    }

    fn websocket() -> Self {
        let start = Instant::now();
        Self { session: EngineSession::websocket(TIMING, start), start, now: start }
    }

    /// Sets the clock, without a tick: timers may be late.
    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(ms);
        self
    }

    fn tick(&mut self) -> Vec<Effect> {
        self.session.tick(self.now)
    }

    fn poll(&mut self, id: u64) -> Vec<Effect> {
        self.session.poll(self.now, PollId(id))
    }

    fn post(&mut self, packets: &[Packet]) -> Vec<Effect> {
        let (mut effects, refusal) = self.session.post_begins(self.now);
        assert_eq!(refusal, None);
        for packet in packets {
            effects.extend(self.session.post_packet(self.now, packet.clone()));
        }
        effects.extend(self.session.post_ends(self.now));
        effects
    }

    fn websocket_packet(&mut self, packet: Packet) -> Vec<Effect> {
        self.session.websocket_packet(self.now, packet)
    }

    fn send(&mut self, text: &str) -> Vec<Effect> {
        self.session.send(self.now, frame(text))
    }

    fn close(&mut self) -> Vec<Effect> {
        self.session.close(self.now, CloseCode::GOING_AWAY, "bye".to_owned())
    }

    /// A websocket opens and is let in.
    fn open_websocket(&mut self) {
        assert_eq!(self.session.websocket_opens(self.now), (vec![], true));
    }

    fn upgrade(&mut self) {
        self.open_websocket();
        assert_eq!(self.websocket_packet(Packet::ProbePing), [Effect::SendWebSocket(Packet::ProbePong)]);
        assert_eq!(self.websocket_packet(Packet::Upgrade), []);
    }
}

fn frame(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn message(text: &str) -> Packet {
    Packet::Message(frame(text))
}

fn answer(poll: u64, packets: &[Packet]) -> Effect {
    Effect::AnswerPoll { poll: PollId(poll), packets: packets.to_vec() }
}

const fn refuse(poll: u64, refusal: Refusal) -> Effect {
    Effect::RefusePoll { poll: PollId(poll), refusal }
}

fn close_websocket(code: CloseCode, reason: &str) -> Effect {
    Effect::CloseWebSocket { code, reason: reason.to_owned() }
}

fn violation(effects: &[Effect]) -> Option<ErrorCode> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ended(EndCause::Violation(error)) => Some(error.code),
        _ => None,
    })
}

const LEFT: Effect = Effect::Ended(EndCause::ClosedByPeer);

#[test]
fn what_is_sent_waits_for_a_poll_and_a_poll_waits_for_what_is_sent() {
    let mut bench = Bench::polling();
    assert_eq!(bench.send("a"), []);
    assert_eq!(bench.send("b"), []);
    assert_eq!(bench.poll(1), [answer(1, &[message("a"), message("b")])]);
    assert_eq!(bench.poll(2), []);
    assert_eq!(bench.send("c"), [answer(2, &[message("c")])]);
}

#[test]
fn a_poll_brings_no_more_than_a_client_takes() {
    let mut bench = Bench::polling();
    let texts: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for text in &texts {
        assert_eq!(bench.send(text), []);
    }
    bench.close();
    let packets: Vec<Packet> = texts.iter().map(|text| message(text)).chain([Packet::Close]).collect();
    assert_eq!(bench.poll(1), [answer(1, &packets[..16])]);
    assert_eq!(bench.poll(2), [answer(2, &packets[16..32])]);
    assert_eq!(bench.poll(3), [answer(3, &packets[32..]), Effect::Finished]);
}

#[test]
fn a_post_delivers_its_messages_in_order() {
    let mut bench = Bench::polling();
    let effects = bench.post(&[message("a"), Packet::Pong, message("b")]);
    assert_eq!(effects, [Effect::Deliver(frame("a")), Effect::Deliver(frame("b"))]);
}

#[test]
fn a_second_poll_ends_the_session() {
    let mut bench = Bench::polling();
    bench.poll(1);
    let effects = bench.poll(2);
    assert_eq!(effects[..2], [answer(1, &[Packet::Close]), refuse(2, Refusal::BadRequest)]);
    assert_eq!(violation(&effects), Some(ErrorCode::BadFrame));
    assert_eq!(bench.close(), [Effect::Finished]);
    assert_eq!(bench.poll(3), [refuse(3, Refusal::UnknownSession)]);
}

#[test]
fn a_second_post_ends_the_session() {
    let mut bench = Bench::polling();
    assert_eq!(bench.session.post_begins(bench.now), (vec![], None));
    let (effects, refusal) = bench.session.post_begins(bench.now);
    assert_eq!((violation(&effects), refusal), (Some(ErrorCode::BadFrame), Some(Refusal::BadRequest)));
    assert_eq!(bench.session.post_packet(bench.now, message("late")), []);
}

#[test]
fn an_aborted_poll_is_a_client_that_left() {
    let mut bench = Bench::polling();
    bench.poll(1);
    assert_eq!(bench.session.poll_aborted(bench.now, PollId(7)), []);
    assert_eq!(bench.session.poll_aborted(bench.now, PollId(1)), [LEFT, Effect::Finished]);
    assert_eq!(bench.poll(2), [refuse(2, Refusal::UnknownSession)]);
}

#[test]
fn an_aborted_post_and_a_lost_answer_end_the_session() {
    let mut bench = Bench::polling();
    assert_eq!(bench.session.post_begins(bench.now).1, None);
    assert_eq!(bench.session.post_aborted(bench.now), [LEFT, Effect::Finished]);
    let mut bench = Bench::polling();
    bench.upgrade();
    assert_eq!(bench.session.post_begins(bench.now).1, Some(Refusal::BadRequest));
    assert_eq!(bench.session.post_aborted(bench.now), []);
    let mut bench = Bench::polling();
    assert_eq!(bench.session.answer_lost(bench.now), [LEFT, Effect::Finished]);
}

#[test]
fn packets_that_only_a_server_sends_break_the_rules() {
    for packet in [Packet::Ping, Packet::ProbePing, Packet::ProbePong, Packet::Upgrade, Packet::Noop] {
        let mut bench = Bench::polling();
        assert_eq!(violation(&bench.post(std::slice::from_ref(&packet))), Some(ErrorCode::BadFrame), "{packet:?}");
        let mut bench = Bench::websocket();
        assert_eq!(violation(&bench.websocket_packet(packet)), Some(ErrorCode::BadFrame));
    }
}

#[test]
fn a_broken_rule_is_told_through_the_waiting_poll_before_the_close() {
    let mut bench = Bench::polling();
    bench.poll(1);
    let effects = bench.session.broken(bench.now, ProtocolError::new(ErrorCode::TooLarge, "too large"));
    assert_eq!(violation(&effects), Some(ErrorCode::TooLarge));
    assert_eq!(bench.send("error"), [answer(1, &[message("error")])]);
    assert_eq!(bench.close(), [Effect::Finished]);
}

#[test]
fn a_broken_rule_is_told_through_the_next_poll_when_none_waits() {
    let mut bench = Bench::polling();
    bench.session.broken(bench.now, ProtocolError::new(ErrorCode::TooLarge, "too large"));
    assert_eq!(bench.send("error"), []);
    assert_eq!(bench.close(), []);
    assert_eq!(bench.at(100).poll(1), [answer(1, &[message("error"), Packet::Close]), Effect::Finished]);
}

#[test]
fn an_application_that_never_answers_a_broken_rule_holds_nobody() {
    let mut bench = Bench::polling();
    bench.session.broken(bench.now, ProtocolError::new(ErrorCode::TooLarge, "too large"));
    assert_eq!(bench.poll(1), []);
    assert_eq!(bench.at(1_000).tick(), [refuse(1, Refusal::UnknownSession), Effect::Finished]);
    let mut bench = Bench::websocket();
    bench.session.application_gone(bench.now);
    assert_eq!(bench.at(1_000).tick(), [close_websocket(CloseCode(1012), "aborted"), Effect::Finished]);
}

#[test]
fn closing_sends_what_was_sent_before_and_waits_for_the_poll_that_takes_it() {
    let mut bench = Bench::polling();
    bench.send("last");
    assert_eq!(bench.close(), [Effect::Ended(EndCause::ClosedByUs)]);
    assert_eq!(bench.send("later"), []);
    assert_eq!(bench.at(4_999).poll(1), [answer(1, &[message("last"), Packet::Close]), Effect::Finished]);

    let mut bench = Bench::polling();
    bench.close();
    assert_eq!(bench.session.next_deadline(), Some(bench.now + DRAIN_LINGER));
    assert_eq!(bench.at(5_000).tick(), [Effect::Finished]);
    assert_eq!(bench.session.next_deadline(), None);

    let mut bench = Bench::polling();
    bench.poll(1);
    let ended = Effect::Ended(EndCause::ClosedByUs);
    assert_eq!(bench.close(), [ended.clone(), answer(1, &[Packet::Close]), Effect::Finished]);

    let mut bench = Bench::websocket();
    assert_eq!(bench.close(), [ended, close_websocket(CloseCode::GOING_AWAY, "bye"), Effect::Finished]);
    assert_eq!(bench.close(), []);
}

#[test]
fn a_close_by_post_releases_the_waiting_poll() {
    let mut bench = Bench::polling();
    bench.poll(1);
    assert_eq!(bench.post(&[Packet::Close]), [answer(1, &[Packet::Noop]), LEFT, Effect::Finished]);
    assert_eq!(bench.poll(2), [refuse(2, Refusal::UnknownSession)]);
}

#[test]
fn a_close_by_post_that_overtakes_the_poll_releases_it_once() {
    let mut bench = Bench::polling();
    assert_eq!(bench.post(&[Packet::Close, message("late")]), [LEFT]);
    assert_eq!(bench.at(249).poll(1), [answer(1, &[Packet::Noop]), Effect::Finished]);
    assert_eq!(bench.poll(2), [refuse(2, Refusal::UnknownSession)]);

    let mut bench = Bench::polling();
    bench.post(&[Packet::Close]);
    assert_eq!(bench.at(250).poll(1), [Effect::Finished, refuse(1, Refusal::UnknownSession)]);
}

#[test]
fn the_heartbeat_pings_and_wants_a_pong() {
    let mut bench = Bench::polling();
    assert_eq!(bench.session.next_deadline(), Some(bench.start + TIMING.ping_interval));
    bench.poll(1);
    assert_eq!(bench.at(300).tick(), [answer(1, &[Packet::Ping])]);
    assert_eq!(bench.at(450).post(&[Packet::Pong]), []);
    bench.poll(2);
    assert_eq!(bench.at(749).tick(), []);
    assert_eq!(bench.at(750).tick(), [answer(2, &[Packet::Ping])]);
    assert_eq!(violation(&bench.at(950).tick()), Some(ErrorCode::HeartbeatLost));
}

#[test]
fn a_ping_overtakes_what_waits() {
    let mut bench = Bench::polling();
    bench.send("a");
    bench.at(300).tick();
    assert_eq!(bench.poll(1), [answer(1, &[Packet::Ping, message("a")])]);
}

#[test]
fn heartbeat_deadlines_hold_also_when_no_timer_ran() {
    let mut bench = Bench::polling();
    let effects = bench.at(500).poll(1);
    assert_eq!(violation(&effects), Some(ErrorCode::HeartbeatLost));
    let mut bench = Bench::websocket();
    assert_eq!(violation(&bench.at(500).websocket_packet(Packet::Pong)), Some(ErrorCode::HeartbeatLost));
}

#[test]
fn a_poll_after_the_heartbeat_was_lost_is_refused() {
    let mut bench = Bench::polling();
    bench.at(300).tick();
    bench.at(500).tick();
    assert_eq!(bench.poll(1), []);
    assert_eq!(bench.close(), [refuse(1, Refusal::UnknownSession), Effect::Finished]);
}

#[test]
fn nothing_is_kept_for_a_client_whose_heartbeat_was_lost() {
    let mut bench = Bench::polling();
    bench.send("a");
    bench.at(500).tick();
    bench.send("error");
    assert_eq!(bench.close(), [Effect::Finished]);
}

#[test]
fn whatever_comes_in_shows_that_the_client_lives() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.at(300).tick(), [Effect::SendWebSocket(Packet::Ping)]);
    bench.at(490).websocket_packet(message("a"));
    assert_eq!(bench.at(600).tick(), []);
    bench.session.heard(bench.start + Duration::from_millis(640));
    assert_eq!(bench.at(839).tick(), []);
    assert_eq!(violation(&bench.at(840).tick()), Some(ErrorCode::HeartbeatLost));
}

#[test]
fn a_post_on_its_way_in_is_no_silence() {
    let mut bench = Bench::polling();
    bench.poll(1);
    bench.at(300).tick();
    bench.session.post_begins(bench.now);
    assert_eq!(bench.at(500).tick(), []);
    bench.at(650);
    assert_eq!(bench.session.post_packet(bench.now, Packet::Pong), []);
}

#[test]
fn an_upgrade_takes_over_with_what_waited() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    bench.websocket_packet(Packet::ProbePing);
    bench.send("a");
    bench.send("b");
    let taken_over = [Effect::SendWebSocket(message("a")), Effect::SendWebSocket(message("b"))];
    assert_eq!(bench.websocket_packet(Packet::Upgrade), taken_over);
    assert_eq!(bench.send("c"), [Effect::SendWebSocket(message("c"))]);
    assert_eq!(bench.websocket_packet(message("d")), [Effect::Deliver(frame("d"))]);
}

#[test]
fn polls_and_posts_after_the_upgrade_are_refused_and_change_nothing() {
    let mut bench = Bench::polling();
    bench.upgrade();
    assert_eq!(bench.poll(1), [refuse(1, Refusal::BadRequest)]);
    assert_eq!(bench.session.post_begins(bench.now), (vec![], Some(Refusal::BadRequest)));
    assert_eq!(bench.websocket_packet(message("a")), [Effect::Deliver(frame("a"))]);
}

#[test]
fn the_probe_releases_the_poll_that_waits_for_long() {
    let mut bench = Bench::polling();
    bench.poll(1);
    bench.open_websocket();
    let effects = bench.websocket_packet(Packet::ProbePing);
    assert_eq!(effects, [Effect::SendWebSocket(Packet::ProbePong), answer(1, &[Packet::Noop])]);
}

#[test]
fn a_poll_during_the_probe_is_released_a_little_later() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    bench.websocket_packet(Packet::ProbePing);
    assert_eq!(bench.at(10).poll(1), []);
    assert_eq!(bench.session.next_deadline(), Some(bench.now + UPGRADE_HOLD));
    assert_eq!(bench.at(59).tick(), []);
    assert_eq!(bench.at(60).tick(), [answer(1, &[Packet::Noop])]);
    assert_eq!(bench.websocket_packet(Packet::Upgrade), []);
}

#[test]
fn a_poll_that_crosses_the_upgrade_packet_is_refused() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    bench.websocket_packet(Packet::ProbePing);
    bench.poll(1);
    assert_eq!(bench.at(20).websocket_packet(Packet::Upgrade), [refuse(1, Refusal::BadRequest)]);
}

#[test]
fn a_poll_that_overtakes_probe_and_upgrade_packet_is_refused_too() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    assert_eq!(bench.poll(1), []);
    assert_eq!(bench.websocket_packet(Packet::ProbePing), [Effect::SendWebSocket(Packet::ProbePong)]);
    assert_eq!(bench.websocket_packet(Packet::Upgrade), [refuse(1, Refusal::BadRequest)]);
}

#[test]
fn what_is_sent_during_the_probe_still_reaches_a_poll() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    bench.websocket_packet(Packet::ProbePing);
    bench.poll(1);
    assert_eq!(bench.send("a"), [answer(1, &[message("a")])]);
}

#[test]
fn a_second_websocket_is_not_let_in() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    assert!(!bench.session.websocket_opens(bench.now).1);
    bench.websocket_packet(Packet::ProbePing);
    bench.websocket_packet(Packet::Upgrade);
    assert!(!bench.session.websocket_opens(bench.now).1);
    assert!(!Bench::websocket().session.websocket_opens(bench.now).1);
}

#[test]
fn a_failed_probe_leaves_the_session_as_it_was() {
    let no_upgrade = || close_websocket(CloseCode::NORMAL, "no upgrade");
    for packet in [message("a"), Packet::Upgrade, Packet::Pong, Packet::Close] {
        let mut bench = Bench::polling();
        bench.poll(1);
        bench.open_websocket();
        assert_eq!(bench.websocket_packet(packet), [no_upgrade()]);
        // The abandoned socket is not heard any more, and keeps others out until it is gone.
        assert_eq!(bench.websocket_packet(message("late")), []);
        assert!(!bench.session.websocket_opens(bench.now).1);
        assert_eq!(bench.session.websocket_lost(bench.now), []);
        assert_eq!(bench.send("b"), [answer(1, &[message("b")])]);
        bench.upgrade();
    }
    let mut bench = Bench::polling();
    bench.open_websocket();
    let error = ProtocolError::new(ErrorCode::BadFrame, "no packet");
    assert_eq!(bench.session.websocket_broken(bench.now, error), [no_upgrade()]);
}

#[test]
fn a_probe_that_takes_too_long_is_given_up() {
    let mut bench = Bench::polling();
    bench.open_websocket();
    for beat in 1..=33 {
        assert_eq!(bench.at(beat * 300).poll(beat), [answer(beat, &[Packet::Ping])]);
        bench.post(&[Packet::Pong]);
    }
    assert_eq!(bench.at(9_999).websocket_packet(Packet::ProbePing)[..1], [Effect::SendWebSocket(Packet::ProbePong)]);
    assert!(bench.at(10_000).tick().contains(&close_websocket(CloseCode::NORMAL, "no upgrade")));
}

#[test]
fn a_websocket_that_is_lost_takes_its_session_along() {
    let mut bench = Bench::polling();
    bench.upgrade();
    assert_eq!(bench.session.websocket_lost(bench.now), [LEFT, Effect::Finished]);
    let mut bench = Bench::websocket();
    assert_eq!(bench.websocket_packet(Packet::Close), [LEFT, close_websocket(CloseCode::NORMAL, ""), Effect::Finished]);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Poll,
    AbortPoll,
    Post(Vec<Packet>),
    BeginPost,
    AbortPost,
    OpenWebSocket,
    WebSocket(Packet),
    LoseWebSocket,
    Send,
    Close,
    Gone,
}

fn any_step() -> impl Strategy<Value = Step> {
    let packet = || {
        prop_oneof![
            Just(Packet::Close),
            Just(Packet::Ping),
            Just(Packet::Pong),
            Just(Packet::ProbePing),
            Just(Packet::Upgrade),
            Just(message("m")),
            Just(message("m")),
        ]
    };
    prop_oneof![
        4 => (0_u64..400).prop_map(Step::Wait),
        4 => Just(Step::Poll),
        1 => Just(Step::AbortPoll),
        3 => prop::collection::vec(packet(), 0..3).prop_map(Step::Post),
        1 => Just(Step::BeginPost),
        1 => Just(Step::AbortPost),
        2 => Just(Step::OpenWebSocket),
        6 => packet().prop_map(Step::WebSocket),
        1 => Just(Step::LoseWebSocket),
        3 => Just(Step::Send),
        1 => Just(Step::Close),
        1 => Just(Step::Gone),
    ]
}

fn run(bench: &mut Bench, step: Step, polls: &mut u64) -> Vec<Effect> {
    let now = bench.now;
    match step {
        Step::Wait(ms) => {
            bench.now += Duration::from_millis(ms);
            bench.tick()
        }
        Step::Poll => {
            *polls += 1;
            bench.poll(*polls)
        }
        Step::AbortPoll => bench.session.poll_aborted(now, PollId(*polls)),
        Step::Post(packets) => {
            let (mut effects, refusal) = bench.session.post_begins(now);
            if refusal.is_none() {
                effects.extend(packets.into_iter().flat_map(|packet| bench.session.post_packet(now, packet)));
                effects.extend(bench.session.post_ends(now));
            }
            effects
        }
        Step::BeginPost => bench.session.post_begins(now).0,
        Step::AbortPost => bench.session.post_aborted(now),
        Step::OpenWebSocket => bench.session.websocket_opens(now).0,
        Step::WebSocket(packet) => bench.websocket_packet(packet),
        Step::LoseWebSocket => bench.session.websocket_lost(now),
        Step::Send => bench.send("s"),
        Step::Close => bench.close(),
        Step::Gone => {
            bench.session.application_gone(now);
            Vec::new()
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: a session ends once, says nothing after that, and answers every poll.
    #[test]
    fn every_session_ends_once_and_answers_every_poll(
        begins_with_websocket: bool,
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut bench = if begins_with_websocket { Bench::websocket() } else { Bench::polling() };
        let (mut polls, mut effects) = (0, Vec::new());
        let mut aborted = Vec::new();
        for step in steps {
            if matches!(step, Step::AbortPoll) {
                aborted.push(PollId(polls));
            }
            effects.extend(run(&mut bench, step, &mut polls));
        }
        // Time alone ends every session.
        let mut rounds = 0;
        while let Some(deadline) = bench.session.next_deadline() {
            bench.now = bench.now.max(deadline);
            bench.session.post_ends(bench.now).into_iter().for_each(|effect| effects.push(effect));
            effects.extend(bench.tick());
            rounds += 1;
            prop_assert!(rounds < 50, "the session goes on for ever");
        }

        let position = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted);
        let ended = position(|effect| matches!(effect, Effect::Ended(_)));
        let delivered = effects.iter().rposition(|effect| matches!(effect, Effect::Deliver(_)));
        prop_assert!(effects.iter().filter(|effect| matches!(effect, Effect::Ended(_))).count() <= 1);
        prop_assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Finished)).count(), 1);
        prop_assert!(delivered.is_none() || ended.is_none() || delivered < ended, "delivered after the end");
        for poll in (1..=polls).map(PollId) {
            let answers = effects.iter().filter(|effect| match effect {
                Effect::AnswerPoll { poll: id, .. } | Effect::RefusePoll { poll: id, .. } => *id == poll,
                _ => false,
            });
            prop_assert!(answers.count() == 1 || aborted.contains(&poll), "poll {poll:?}");
        }
    }
}
