//! The protocol's rules and the widget's words, frame by frame.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::{JsonText, StreamId, Timestamp, UserId};
use crate::protocol::{ClientEvent, Hello, StartRecording};

const LIMIT: usize = 1_000;

fn codec() -> SocketIoCodec {
    SocketIoCodec::new(LIMIT)
}

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn binary(bytes: &'static [u8]) -> Frame {
    Frame::Binary(Bytes::from_static(bytes))
}

fn connected() -> SocketIoCodec {
    let mut codec = codec();
    codec.decode(text("0")).unwrap();
    codec.encode(&ServerMessage::Admitted);
    codec
}

/// The one message that `frames` mean to a connected client's codec.
fn read(frames: &[Frame]) -> ClientMessage {
    let mut codec = connected();
    let (last, before) = frames.split_last().unwrap();
    for frame in before {
        let decoded = codec.decode(frame.clone()).unwrap();
        assert!(decoded.messages.is_empty() && decoded.replies.is_empty());
    }
    let mut decoded = codec.decode(last.clone()).unwrap();
    assert_eq!((decoded.messages.len(), decoded.replies.len()), (1, 0), "{decoded:?}");
    decoded.messages.remove(0)
}

fn read_event(packet: &str) -> ClientEvent {
    match read(&[text(packet)]) {
        ClientMessage::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

fn refused(packet: &str) -> ErrorCode {
    connected().decode(text(packet)).unwrap_err().code
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn texts(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| match frame {
            Frame::Text(text) => text.to_string(),
            Frame::Binary(_) => panic!("binary"),
        })
        .collect()
}

#[test]
fn a_handshake_without_a_user_is_answered_before_there_is_one() {
    for connect in ["0", "0/,", "0{}", r#"0{"name":"Anna"}"#] {
        let mut codec = codec();
        let decoded = codec.decode(text(connect)).unwrap();
        assert!(decoded.replies.is_empty(), "it may still be refused");
        let answer = texts(&codec.encode(&ServerMessage::Admitted));
        let [reply] = &answer[..] else { panic!("{answer:?}") };
        assert!(reply.starts_with(r#"0{"sid":""#) && reply.ends_with(r#""}"#), "{reply}");
        assert_eq!(codec.encode(&welcome()), [], "it was answered");
        let [ClientMessage::Hello(hello)] = &decoded.messages[..] else { panic!("{decoded:?}") };
        assert!(hello.names_user_later && hello.user.is_none());
    }
}

#[test]
fn a_handshake_with_a_user_is_answered_when_the_session_takes_it() {
    let mut codec = codec();
    let decoded = codec.decode(text(r#"0{"userId":"anna","email":"a@b.c"}"#)).unwrap();
    assert!(decoded.replies.is_empty());
    let [ClientMessage::Hello(Hello { user: named, names_user_later: false, .. })] = &decoded.messages[..] else {
        panic!("{decoded:?}")
    };
    assert_eq!(*named, Some(user("anna")));
    let frames = texts(&codec.encode(&welcome()));
    assert_eq!(frames.len(), 1);
    assert!(frames[0].starts_with("0{\"sid\":"));
}

fn welcome() -> ServerMessage {
    ServerMessage::Welcome {
        user: UserId::parse("anna").unwrap(),
        stream: StreamId::from_bytes([9; 16]),
        session: None,
        next_seq: 4,
        audio_offset: 7,
    }
}

#[test]
fn only_a_client_that_named_a_stream_is_welcomed() {
    assert_eq!(connected().encode(&welcome()), []);
    let stream = StreamId::from_bytes([9; 16]);
    let mut codec = codec();
    codec.decode(text(&format!(r#"0{{"userId":"anna","stream":"{stream}"}}"#))).unwrap();
    let frames = texts(&codec.encode(&welcome()));
    let expected =
        format!(r#"2["welcome",{{"userId":"anna","stream":"{stream}","sessionId":null,"nextSeq":4,"audioOffset":7}}]"#);
    assert_eq!(frames[1..], [expected]);
}

#[test]
fn a_refused_handshake_is_a_connect_error_unless_it_may_go_well_next_time() {
    let refuse = |code| {
        let mut codec = codec();
        codec.decode(text(r#"0{"userId":"anna"}"#)).unwrap();
        texts(&codec.encode(&ServerMessage::Error { code, message: "no".into(), seq: None }))
    };
    assert_eq!(refuse(ErrorCode::UnknownStream), [r#"4{"message":"no","data":{"code":"unknown_stream"}}"#]);
    assert_eq!(refuse(ErrorCode::Draining), [r#"2["error",{"code":"draining","message":"no"}]"#]);

    for connect in [r#"0{"userId":7}"#, r#"0{"stream":"x"}"#, "0[", "0\"a\""] {
        let mut codec = codec();
        let error = codec.decode(text(connect)).unwrap_err();
        let message = ServerMessage::Error { code: error.code, message: "no".into(), seq: None };
        assert!(texts(&codec.encode(&message))[0].starts_with("4{\"message\""), "{connect}");
    }
}

#[test]
fn other_namespaces_are_refused_by_name() {
    for connect in ["0/random", "0/random,", r#"0/random,{"token":"1"}"#] {
        let decoded = codec().decode(text(connect)).unwrap();
        assert_eq!(texts(&decoded.replies), [r#"4/random,{"message":"Invalid namespace"}"#]);
        assert!(decoded.messages.is_empty());
    }
    assert_eq!(refused(r#"2/random,["a"]"#), ErrorCode::HelloRequired);
}

#[test]
fn the_handshake_comes_first_and_once() {
    for packet in [r#"2["a"]"#, "1", r#"31["a"]"#] {
        assert_eq!(codec().decode(text(packet)).unwrap_err().code, ErrorCode::HelloRequired, "{packet}");
    }
    assert_eq!(refused("0"), ErrorCode::BadMessage);
}

#[test]
fn who_left_the_namespace_hears_nothing_and_says_nothing() {
    let mut codec = connected();
    let left = codec.decode(text("1")).unwrap();
    assert!(left.messages.is_empty() && left.replies.is_empty());
    assert_eq!(codec.encode(&ServerMessage::Acked(AckTag::Id(1))), []);
    assert_eq!(codec.decode(text(r#"2["a"]"#)).unwrap_err().code, ErrorCode::HelloRequired);
}

#[test]
fn malformed_packets_have_a_name() {
    let cases = [
        ("", ErrorCode::BadMessage),
        ("abc", ErrorCode::BadMessage),
        ("7", ErrorCode::BadMessage),
        ("4{}", ErrorCode::BadMessage),
        ("2", ErrorCode::BadJson),
        ("2{}", ErrorCode::BadMessage),
        ("2[]", ErrorCode::BadMessage),
        ("2[1]", ErrorCode::BadMessage),
        (r#"2["a""#, ErrorCode::BadJson),
        (r#"2abc["a"]"#, ErrorCode::BadJson),
        (r#"2[""]"#, ErrorCode::BadMessage),
        (r#"299999999999999999999["a"]"#, ErrorCode::BadMessage),
        (r#"2/,99999999999999999999["a"]"#, ErrorCode::BadMessage),
        ("31{}", ErrorCode::BadMessage),
        (r#"3["a"]"#, ErrorCode::BadMessage),
        (r#"5["a"]"#, ErrorCode::BadMessage),
        (r#"517-["a"]"#, ErrorCode::BadMessage),
        (r#"51-{"a":1}"#, ErrorCode::BadMessage),
        (r#"51-["a""#, ErrorCode::BadJson),
        (r#"51-99999999999999999999["a"]"#, ErrorCode::BadMessage),
    ];
    for (packet, code) in cases {
        assert_eq!(refused(packet), code, "{packet}");
    }
    let deep = format!(r#"2["a",{}{}]"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(refused(&deep), ErrorCode::BadMessage);
}

#[test]
fn attachments_follow_their_packet_and_are_bounded() {
    let code = |codec: &mut SocketIoCodec, frame| codec.decode(frame).unwrap_err().code;
    assert_eq!(code(&mut connected(), binary(b"alone")), ErrorCode::BadMessage);
    let header = r#"51-["audio",{"_placeholder":true,"num":0}]"#;
    let mut codec = connected();
    codec.decode(text(header)).unwrap();
    assert_eq!(code(&mut codec, text(r#"2["a"]"#)), ErrorCode::BadMessage);
    let mut codec = connected();
    codec.decode(text(header)).unwrap();
    assert_eq!(code(&mut codec, Frame::Binary(vec![0; LIMIT + 1].into())), ErrorCode::TooLarge);
}

#[test]
fn an_event_is_kept_as_it_was_sent() {
    let event = read_event(r#"2["mouse:position",{"username":"anna", "data":"{\"x\":1.0}"}]"#);
    assert_eq!((event.name.as_str(), event.user), ("mouse:position", Some(user("anna"))));
    assert_eq!(event.data.as_str(), r#"{"username":"anna", "data":"{\"x\":1.0}"}"#);
    assert_eq!((event.seq, event.at, event.ack), (None, None, AckTag::None));

    let data = |packet| read_event(packet).data;
    assert_eq!(data(r#"2["e"]"#), JsonText::null());
    assert_eq!(data(r#"2["e", "1" ]"#).as_str(), "\"1\"");
    assert_eq!(data(r#"2["e",1, [2] ,{"a":3}]"#).as_str(), r#"[1, [2] ,{"a":3}]"#);
    assert_eq!(read_event(r#"2["e\u0041",1]"#).name.as_str(), "eA");
}

#[test]
fn a_last_argument_may_number_and_date_an_event() {
    let event = read_event(r#"212["e",{"a":1},{"seq":7,"at":1700000000000.5,"stream":"x"}]"#);
    assert_eq!((event.data.as_str(), event.seq, event.ack), (r#"{"a":1}"#, Some(7), AckTag::Id(12)));
    assert_eq!(event.at, Timestamp::from_unix_ms(1_700_000_000_000));
    assert_eq!(read_event(r#"2["e",1,2,{"seq":7}]"#).data.as_str(), "[1,2]");

    for array in [r#"[1,{"seq":7,"more":1}]"#, r#"[1,{"seq":"7"}]"#, r#"[1,{"at":7}]"#] {
        let event = read_event(&format!(r#"2["e",{}]"#, &array[1..array.len() - 1]));
        assert_eq!((event.data.as_str(), event.seq), (array, None));
    }
    assert_eq!(read_event(r#"2["e",{"seq":7}]"#).data.as_str(), r#"{"seq":7}"#);
    assert_eq!(refused(r#"2["e",1,{"seq":0}]"#), ErrorCode::BadMessage);
    assert_eq!(refused(r#"2["e",1,{"seq":1,"at":1e300}]"#), ErrorCode::BadMessage);
}

#[test]
fn the_video_tells_its_own_time() {
    let data = r#"{"username":"anna","data":{"events":{"type":"scroll","timestamp":1700000000000},"url":"/a"}}"#;
    let event = read_event(&format!(r#"2["videoStream:start",{data}]"#));
    assert_eq!((event.at, event.user), (Timestamp::from_unix_ms(1_700_000_000_000), Some(user("anna"))));
    assert_eq!(event.data.as_str(), data);
    for timestamp in ["1e300", "\"now\"", "null"] {
        let data = format!(r#"{{"data":{{"events":{{"timestamp":{timestamp}}}}}}}"#);
        assert_eq!(read_event(&format!(r#"2["videoStream:start",{data}]"#)).at, None);
    }
    assert_eq!(read_event(&format!(r#"2["other",{data}]"#)).at, None);
}

#[test]
fn a_name_that_is_no_user_id_is_only_data() {
    for username in ["7", "null", "\"\"", "[]", "\"a\\u0000b\""] {
        let event = read_event(&format!(r#"2["e",{{"username":{username}}}]"#));
        assert_eq!(event.user, None, "{username}");
    }
}

#[test]
fn the_widget_names_its_user() {
    assert_eq!(read(&[text(r#"2["user:connected","anna"]"#)]), ClientMessage::Identify(user("anna")));
    let decoded = connected().decode(text(r#"25["user:connected","anna"]"#)).unwrap();
    assert_eq!((decoded.messages.len(), texts(&decoded.replies)), (1, vec!["35[]".to_owned()]));
    for packet in [r#"2["user:connected"]"#, r#"2["user:connected",{}]"#, r#"2["user:connected",""]"#] {
        assert_eq!(refused(packet), ErrorCode::BadMessage);
    }
}

#[test]
fn the_widget_starts_a_recording_with_every_chunk() {
    let header = r#"51-["recording:start",{"username":"anna","data":{"_placeholder":true,"num":0}}]"#;
    let expected = ClientMessage::Audio {
        user: Some(user("anna")),
        bytes: Bytes::from_static(b"abc"),
        ack: AckTag::None,
        starts_recording: true,
    };
    assert_eq!(read(&[text(header), binary(b"abc")]), expected);
}

#[test]
fn recordings_start_and_end_with_and_without_arguments() {
    let start = |packet: &str| match read(&[text(packet)]) {
        ClientMessage::StartRecording(start) => start,
        other => panic!("{other:?}"),
    };
    assert_eq!(start(r#"2["recording:start"]"#), StartRecording::default());
    assert_eq!(start(r#"2["recording:start",null]"#), StartRecording::default());
    assert_eq!(start(r#"2["recording:start","anna"]"#).user, Some(user("anna")));
    let full = start(r#"23["recording:start",{"mimeType":"audio/webm","page":"/a","username":"bob"},{"seq":2}]"#);
    assert_eq!((full.page.as_deref(), full.seq, full.ack), (Some("/a"), Some(2), AckTag::Id(3)));
    assert_eq!(full.user, Some(user("bob")));
    assert_eq!(refused(r#"2["recording:start",{"page":7}]"#), ErrorCode::BadMessage);

    let end = |user, seq, ack| ClientMessage::EndRecording { user, seq, ack };
    assert_eq!(read(&[text(r#"2["recording:end","anna"]"#)]), end(Some(user("anna")), None, AckTag::None));
    assert_eq!(read(&[text(r#"24["recording:end"]"#)]), end(None, None, AckTag::Id(4)));
    assert_eq!(read(&[text(r#"2["recording:end",null,{"seq":9}]"#)]), end(None, Some(9), AckTag::None));
}

#[test]
fn audio_is_one_binary() {
    let audio =
        |ack| ClientMessage::Audio { user: None, bytes: Bytes::from_static(b"abc"), ack, starts_recording: false };
    let frames = [text(r#"51-8["audio",{"_placeholder":true,"num":0},{"seq":1}]"#), binary(b"abc")];
    assert_eq!(read(&frames), audio(AckTag::Id(8)));
    assert_eq!(refused(r#"2["audio","abc"]"#), ErrorCode::BadMessage);
    let mut codec = connected();
    let two = r#"52-["audio",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    codec.decode(text(two)).unwrap();
    codec.decode(binary(b"a")).unwrap();
    assert_eq!(codec.decode(binary(b"b")).unwrap_err().code, ErrorCode::BadMessage);
}

#[test]
fn what_is_attached_to_another_event_is_kept_inside_its_data() {
    let header = r#"52-["photo",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]"#;
    let ClientMessage::Event(event) = read(&[text(header), binary(b"zero"), binary(b"one")]) else { panic!() };
    assert_eq!(event.data.as_str(), r#"[{"a":{"_base64":"b25l"}},{"_base64":"emVybw=="}]"#);
}

#[test]
fn answers_have_the_documented_shapes() {
    let id = SessionId::from_bytes([7; 16]);
    let mut codec = connected();
    let mut encoded = |message: ServerMessage| texts(&codec.encode(&message));
    assert_eq!(encoded(ServerMessage::Acked(AckTag::Id(12))), ["312[]"]);
    assert_eq!(encoded(ServerMessage::AudioAcked { tag: AckTag::Id(3), stream_end: 9 }), ["33[]"]);
    for tag in [AckTag::None, AckTag::Seq(1)] {
        assert_eq!(encoded(ServerMessage::Acked(tag)), [""; 0]);
        assert_eq!(encoded(ServerMessage::AudioAcked { tag, stream_end: 9 }), [""; 0]);
        assert_eq!(encoded(ServerMessage::RecordingStarted { tag, session: id, resumed: true }), [""; 0]);
        assert_eq!(encoded(ServerMessage::RecordingEnded { tag, session: None }), [""; 0]);
    }
    let tag = AckTag::Id(4);
    assert_eq!(
        encoded(ServerMessage::RecordingStarted { tag, session: id, resumed: true }),
        [format!(r#"34[{{"sessionId":"{id}","resumed":true}}]"#)]
    );
    assert_eq!(encoded(ServerMessage::RecordingEnded { tag, session: None }), [r#"34[{"sessionId":null}]"#]);
    let refused = ServerMessage::Refused { tag, code: ErrorCode::Rejected, message: "no".into(), seq: Some(3) };
    assert_eq!(encoded(refused), [r#"34[{"error":{"code":"rejected","message":"no","seq":3}}]"#]);
    assert_eq!(
        encoded(ServerMessage::AudioSaved { session: id, audio_urls: vec!["u".into()] }),
        [format!(r#"2["audio:saved",{{"sessionId":"{id}","audioUrls":["u"]}}]"#)]
    );
    assert_eq!(
        encoded(ServerMessage::Error { code: ErrorCode::TooLarge, message: "a\"b".into(), seq: Some(2) }),
        [r#"2["error",{"code":"too_large","message":"a\"b","seq":2}]"#]
    );
}

proptest! {
    #[test]
    fn arbitrary_frames_never_panic(
        frames in prop::collection::vec(
            prop_oneof![
                "\\PC{0,40}".prop_map(|any| text(&any)),
                "[0-7]{1,2}(-|/[a-z]{0,3},)?[0-9]{0,3}[\\[\\]{}\",:a-z0-9\\\\_é ]{0,40}".prop_map(|any| text(&any)),
                r#"5[0-3]-[0-9]{0,2}\["(audio|recording:start|x)"(,\{"_placeholder":true,"num":[0-3]\}){0,3}\]"#
                    .prop_map(|any| text(&any)),
                prop::collection::vec(any::<u8>(), 0..40).prop_map(|any| Frame::Binary(any.into())),
            ],
            0..8,
        ),
    ) {
        let mut codec = connected();
        for frame in frames {
            if codec.decode(frame).is_err() {
                break;
            }
        }
    }

    #[test]
    fn an_events_json_is_kept_whatever_it_is(data in "\\PC{0,40}", name in "[a-z:]{1,10}") {
        let json = serde_json::to_string(&serde_json::json!({ "data": data })).unwrap();
        let event = read_event(&format!(r#"2["x{name}",{json}]"#));
        prop_assert_eq!(event.data.as_str(), json);
    }
}
