//! The audit itself: it sees what it is there to see.

use serde_json::json;

use crate::support::shopper::{
    audit::{Audit, Findings, Part, Tally},
    content::{Content, EventSizes, HEADER_BYTES, StreamName},
    ledger::{ShopperLedger, StreamLedger},
};

const CONTENT: Content = Content::new(7, EventSizes { large_every: 10, max_bytes: 1_000 });
const NAME: StreamName = StreamName { shopper: 3, stream: 1 };
const AUDIO_BYTES: u64 = HEADER_BYTES + 800;

/// A shopper who said five events, a word, an event, and some audio, all of it acknowledged.
fn ledgers(is_numbered: bool) -> Vec<ShopperLedger> {
    let mut stream = StreamLedger::new(NAME, CONTENT.user(NAME.shopper), is_numbered);
    stream.sent = 7;
    stream.words.insert(6);
    stream.acknowledge_upto(7);
    (stream.audio_sent, stream.audio_runs) = (AUDIO_BYTES, vec![0]);
    stream.acknowledge_audio_upto(AUDIO_BYTES);
    vec![ShopperLedger { streams: vec![stream], is_finished: true, ..ShopperLedger::default() }]
}

fn event(n: u64) -> (u64, String) {
    (n, CONTENT.event(NAME, n).data)
}

/// What a server answers that has these events.
fn answer(events: &[(u64, String)]) -> String {
    let events: Vec<String> = events
        .iter()
        .map(|(seq, data)| {
            let name = Content::label_of(data).map_or("", |(name, n)| CONTENT.event(name, n).name);
            format!(r#"{{"name":"{name}","seq":{seq},"data":{data}}}"#)
        })
        .collect();
    let (user, events) = (CONTENT.user(NAME.shopper), events.join(","));
    format!(r#"{{"sessions":[{{"id":"x","userId":"{user}","events":[{events}],"audio":{{"parts":[]}}}}]}}"#)
}

fn heard(from: u64, to: u64) -> Vec<u8> {
    CONTENT.audio(NAME, from, to, &[0])
}

fn audit(ledgers: &[ShopperLedger], events: &[(u64, String)], parts: &[Vec<u8>]) -> Findings {
    let mut audit = Audit::of(CONTENT, ledgers);
    assert_eq!(audit.read(&answer(events)).unwrap().len(), 0);
    for bytes in parts {
        audit.hear(&Part { url: String::new(), size_bytes: bytes.len() as u64 }, bytes);
    }
    audit.end()
}

fn all_events() -> Vec<(u64, String)> {
    [1, 2, 3, 4, 5, 7].map(event).to_vec()
}

fn all_audio() -> Vec<Vec<u8>> {
    vec![heard(0, 408), heard(408, AUDIO_BYTES)]
}

#[test]
fn everything_once_is_clean() {
    let findings = audit(&ledgers(true), &all_events(), &all_audio());
    assert!(findings.is_clean(), "{findings}");
    assert_eq!(findings.events, Tally { acknowledged: 6, stored: 6, ..Tally::default() });
    assert_eq!(findings.audio_bytes.acknowledged, AUDIO_BYTES);
    assert_eq!(findings.audio_bytes.stored, AUDIO_BYTES);
}

#[test]
fn a_missing_event_is_lost_unless_it_was_not_acknowledged_or_rejected() {
    let events = [1, 2, 4, 5, 7].map(event);
    assert_eq!(audit(&ledgers(true), &events, &all_audio()).events.lost, 1);
    let mut forgiving = ledgers(true);
    forgiving[0].streams[0].rejected.insert(3);
    assert!(audit(&forgiving, &events, &all_audio()).is_clean());
    let mut unacknowledged = ledgers(true);
    unacknowledged[0].streams[0].acknowledged = 2;
    assert!(audit(&unacknowledged, &[1, 2].map(event), &all_audio()).is_clean());
}

#[test]
fn a_silent_stream_may_miss_its_end_but_nothing_before() {
    let mut silent = ledgers(false);
    silent[0].streams[0].acknowledged = 0;
    let findings = audit(&silent, &[1, 2, 3].map(event), &all_audio());
    assert!(findings.is_clean(), "{findings}");
    assert_eq!(findings.unreceived_events, 3);
    assert_eq!(audit(&silent, &[1, 3].map(event), &all_audio()).events.lost, 1);
    silent[0].streams[0].audio_acknowledged = 0;
    let hole = [heard(0, 408), heard(608, AUDIO_BYTES)];
    assert_eq!(audit(&silent, &all_events(), &hole).audio_bytes.lost, 200);
}

#[test]
fn an_event_that_is_there_twice_is_doubled() {
    let mut events = all_events();
    events.push(event(4));
    assert_eq!(audit(&ledgers(true), &events, &all_audio()).events.doubled, 1);
}

#[test]
fn an_event_that_nobody_sent_is_invented() {
    for strange in [event(8), event(6), (1, r#"{"of":[99,0],"n":1}"#.to_owned()), (1, "null".to_owned())] {
        let mut events = all_events();
        events.push(strange);
        assert_eq!(audit(&ledgers(true), &events, &all_audio()).events.invented, 1);
    }
}

#[test]
fn an_event_that_differs_is_corrupt() {
    let mut events = all_events();
    events[2].1 = events[2].1.replace("\"pad\":\"", "\"pad\":\"x");
    assert_eq!(audit(&ledgers(true), &events, &all_audio()).events.corrupt, 1);
    let mut events = all_events();
    events[0].0 = 2;
    assert_eq!(audit(&ledgers(true), &events, &all_audio()).events.corrupt, 1);
}

#[test]
fn audio_is_missed_byte_by_byte() {
    let of_audio = |parts: &[Vec<u8>]| audit(&ledgers(true), &all_events(), parts).audio_bytes;
    assert_eq!(of_audio(&[heard(0, 408)]).lost, 600);
    assert_eq!(of_audio(&[heard(408, AUDIO_BYTES)]).lost, 408);
    assert_eq!(of_audio(&[]).lost, AUDIO_BYTES);
    assert_eq!(of_audio(&[heard(0, 608), heard(408, AUDIO_BYTES)]).doubled, 200);
    assert_eq!(of_audio(&[heard(0, AUDIO_BYTES), heard(216, 256), heard(208, 408)]).doubled, 240);
    assert_eq!(of_audio(&[heard(0, AUDIO_BYTES + 80)]).invented, 80);
    assert_eq!(of_audio(&[heard(0, AUDIO_BYTES), vec![1; 500]]).invented, 500);
    let mut damaged = heard(0, AUDIO_BYTES);
    (damaged[300], damaged[400]) = (!damaged[300], !damaged[400]);
    assert_eq!(of_audio(&[damaged]).corrupt, 2);
    let mut filled_with_zeros = heard(0, AUDIO_BYTES);
    filled_with_zeros[500..600].fill(0);
    assert!(of_audio(&[filled_with_zeros]).corrupt > 90);
}

#[test]
fn audio_is_recognised_wherever_it_begins() {
    assert_eq!(CONTENT.locate(&heard(0, AUDIO_BYTES)), Some((NAME, 0)));
    for from in (HEADER_BYTES..408).step_by(8) {
        let bytes = heard(from, AUDIO_BYTES);
        assert_eq!(CONTENT.locate(&bytes), Some((NAME, from)));
        assert_eq!(CONTENT.locate(&bytes[3..]), Some((NAME, from + 3)));
    }
}

#[test]
fn users_without_a_ledger_are_nobodys_business() {
    let mut audit = Audit::of(CONTENT, &[]);
    audit.read(&answer(&all_events())).unwrap();
    audit.read(&json!({"users": [{"id": "anna", "events": []}]}).to_string()).unwrap();
    assert!(audit.end().is_clean());
}
