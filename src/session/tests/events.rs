//! Events: their numbers, their times, their acks.

use super::*;

#[test]
fn acks_are_paid_when_the_ticket_is_durable_and_never_before() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let start = last_ticket(&client.start(&node, Some(1)));
    let first = last_ticket(&client.event(&node, Some(2)));
    let second = last_ticket(&client.event(&node, Some(3)));
    let third = last_ticket(&client.event(&node, Some(4)));
    assert!(client.stored(start - 1).is_empty());
    assert!(matches!(
        client.stored(first)[..],
        [
            ServerMessage::RecordingStarted { tag: AckTag::Seq(1), resumed: false, .. },
            ServerMessage::Acked(AckTag::Seq(2))
        ]
    ));
    assert!(client.stored(first).is_empty(), "paid once");
    assert_eq!(client.stored(third), [ServerMessage::Acked(AckTag::Seq(4))], "one answer for {second} and {third}");
}

#[test]
fn a_rejected_event_is_named_and_its_id_is_answered_with_the_error() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    for (id, seq) in [(70, 1), (71, 2)] {
        let ClientMessage::Event(mut event) = event(None, Some(seq)) else { unreachable!() };
        event.ack = AckTag::Id(id);
        client.say(&node, ClientMessage::Event(event));
    }
    let rejected = vec![RejectedRecord { seq: Some(1), reason: "no".into() }];
    let stored = RecordsStored { stream: client.stream.unwrap(), ticket: 10, rejected };
    assert_eq!(
        sent(&client.state.on_records_stored(&stored)),
        [
            ServerMessage::Error { code: ErrorCode::Rejected, message: "no".into(), seq: Some(1) },
            ServerMessage::Refused {
                tag: AckTag::Id(70),
                code: ErrorCode::Rejected,
                message: "no".into(),
                seq: Some(1)
            },
            ServerMessage::Acked(AckTag::Id(71))
        ]
    );
}

#[test]
fn numbers_given_while_the_database_is_away_collide_with_none_before() {
    let mut node = Node::new();
    let mut client = node.connect();
    client.resume(&node, "anna", Some(StreamId::new()), StreamLookup::Unknown);
    let effects = client.event(&node, None);
    assert!(events(&effects)[0].0 > 1_000_000_000_000);
    assert_eq!(events(&client.event(&node, Some(5)))[0].0, 5, "a client's own number stays");
}

#[test]
fn arrival_never_goes_back_within_a_stream() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let first = records(&client.event(&node, None));
    node.now.wall = node.now.wall.minus(Duration::from_hours(1));
    let second = records(&client.event(&node, None));
    let (Record::Event(first), Record::Event(second)) = (&first[0], &second[0]) else { panic!("no events") };
    assert!(second.received_at >= first.received_at);
}
