//! Socket.IO v5, rule by rule.

use std::time::Duration;

use crate::raw::Raw;

const TWO: &str = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;

#[actix_web::test]
async fn a_client_connects_to_a_namespace() {
    let raw = Raw::calm("socket.io");
    let cases = [
        ("40", "40{\"sid\":\"", r#"42["auth",{}]"#),
        (r#"40{"token":"123"}"#, "40{\"sid\":\"", r#"42["auth",{"token":"123"}]"#),
        ("40/custom,", "40/custom,{\"sid\":\"", r#"42/custom,["auth",{}]"#),
        ("40/custom", "40/custom,{\"sid\":\"", r#"42/custom,["auth",{}]"#),
        (r#"40/custom,{"token":"abc"}"#, "40/custom,{\"sid\":\"", r#"42/custom,["auth",{"token":"abc"}]"#),
    ];
    for (connect, connected, auth) in cases {
        let mut socket = raw.open_websocket().await;
        socket.send(connect).await;
        assert!(socket.text().await.starts_with(connected), "{connect}");
        assert_eq!(socket.text().await, auth);
        socket.close().await;
    }
    raw.stop().await;
}

#[actix_web::test]
async fn an_unknown_namespace_is_refused_and_the_connection_lives() {
    let raw = Raw::calm("socket.io");
    let mut socket = raw.connected().await;
    socket.send("40/random").await;
    assert_eq!(socket.text().await, r#"44/random,{"message":"Invalid namespace"}"#);
    socket.send(r#"42["message",1]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back",1]"#);
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn the_first_packet_must_connect() {
    let raw = Raw::calm("socket.io");
    for first in ["4abc", r#"42["message"]"#, r#"42/custom,["message"]"#, r#"451-["a",{"_placeholder":true,"num":0}]"#]
    {
        let mut socket = raw.open_websocket().await;
        socket.send(first).await;
        if first.starts_with("45") {
            socket.send_binary(b"a").await;
        }
        let (texts, close) = socket.closed().await;
        assert!(texts.is_empty() && close.is_some(), "{first}");
    }
    raw.stop().await;
}

#[actix_web::test]
async fn events_carry_any_arguments_there_and_back() {
    let raw = Raw::calm("socket.io");
    let mut socket = raw.connected().await;
    for arguments in [r#",1,"2",{"3":[true]}"#, "", ",null", r#","€\n\"\\""#, r#",{"a":{"b":[[]]}}"#] {
        socket.send(&format!(r#"42["message"{arguments}]"#)).await;
        assert_eq!(socket.text().await, format!(r#"42["message-back"{arguments}]"#));
        socket.send(&format!(r#"42456["message-with-ack"{arguments}]"#)).await;
        assert_eq!(socket.text().await, format!("43456[{}]", arguments.trim_start_matches(',')));
    }
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn attachments_follow_their_packet_in_order_both_ways() {
    let raw = Raw::calm("socket.io");
    let mut socket = raw.connected().await;
    for (sent, answered) in [
        (format!(r#"452-["message",{TWO}]"#), format!(r#"452-["message-back",{TWO}]"#)),
        (format!(r#"452-789["message-with-ack",{TWO}]"#), format!("462-789[{TWO}]")),
    ] {
        socket.send(&sent).await;
        socket.send_binary(&[1, 2, 3]).await;
        socket.send_binary(&[4, 5, 6]).await;
        assert_eq!(socket.text().await, answered);
        assert_eq!(socket.binary().await, [1, 2, 3]);
        assert_eq!(socket.binary().await, [4, 5, 6]);
    }
    socket.close().await;
    raw.stop().await;
}

/// Connects a polling session to the main namespace. The two answers come by one poll or by two.
async fn connect(raw: &Raw, sid: &str) {
    raw.post(sid, "40").await;
    let mut answers = String::new();
    while !answers.ends_with(r#"42["auth",{}]"#) {
        answers.push_str(&raw.poll(sid).await.1);
    }
    assert!(answers.starts_with("40{"));
}

#[actix_web::test]
async fn a_half_received_packet_outlives_its_request() {
    let raw = Raw::calm("socket.io");
    let sid = raw.open().await;
    connect(&raw, &sid).await;
    for part in [&format!(r#"452-["message",{TWO}]"#), "bAQID", "bBAUG"] {
        assert_eq!(raw.post(&sid, part.to_owned()).await.0, 200);
    }
    let expected = format!("452-[\"message-back\",{TWO}]\u{1e}bAQID\u{1e}bBAUG");
    assert_eq!(raw.poll(&sid).await, (200, expected));
    raw.post(&sid, "1").await;
    raw.stop().await;
}

#[actix_web::test]
async fn a_half_received_packet_outlives_the_upgrade() {
    let raw = Raw::calm("socket.io");
    let sid = raw.open().await;
    connect(&raw, &sid).await;
    raw.post(&sid, format!("452-[\"message\",{TWO}]\u{1e}bAQID")).await;
    let mut socket = raw.websocket_for(&sid).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket.send("5").await;
    socket.send_binary(&[4, 5, 6]).await;
    assert_eq!(socket.text().await, format!(r#"452-["message-back",{TWO}]"#));
    assert_eq!(socket.binary().await, [1, 2, 3]);
    assert_eq!(socket.binary().await, [4, 5, 6]);
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn leaving_one_namespace_leaves_the_others() {
    let raw = Raw::calm("socket.io");
    let mut socket = raw.connected().await;
    socket.send("40/custom").await;
    assert!(socket.text().await.starts_with("40/custom,"));
    assert_eq!(socket.text().await, r#"42/custom,["auth",{}]"#);
    socket.send("41/custom").await;
    socket.send(r#"42["message","main"]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back","main"]"#);
    socket.send(r#"42/custom,["message"]"#).await;
    let (texts, close) = socket.closed().await;
    assert!(texts.is_empty() && close.is_some());
    raw.stop().await;
}

#[actix_web::test]
async fn a_client_that_left_every_namespace_keeps_its_heartbeat() {
    let raw = Raw::patient("socket.io");
    let mut socket = raw.open_websocket().await;
    socket.send("40").await;
    assert!(socket.text_beside_pings().await.starts_with("40{"));
    assert_eq!(socket.text_beside_pings().await, r#"42["auth",{}]"#);
    socket.send("41").await;
    assert_eq!(socket.text().await, "2");
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn malformed_packets_close_the_connection() {
    let raw = Raw::calm("socket.io");
    let placeholder = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    let cases: [&[&str]; 10] = [
        &["4abc"],
        &["42{}"],
        &["42[]"],
        &["42[1]"],
        &[r#"42abc["message-with-ack",1,"2",{"3":[false]}]"#],
        &[r#"42["message""#],
        &["44{}"],
        &[r#"4517-["message"]"#],
        &[placeholder, r#"42["message"]"#],
        &[r#"451-["message""#],
    ];
    for packets in cases {
        let mut socket = raw.connected().await;
        for packet in packets {
            socket.send(packet).await;
        }
        let (texts, close) = socket.closed().await;
        assert!(texts.is_empty() && close.is_some(), "{packets:?}");
    }
    let mut socket = raw.connected().await;
    socket.send_binary(b"nobody waits for this").await;
    assert!(socket.closed().await.1.is_some());
    raw.stop().await;
}

#[actix_web::test]
async fn who_never_connects_is_closed() {
    let raw = Raw::calm("socket.io");
    let mut socket = raw.open_websocket().await;
    let began = std::time::Instant::now();
    assert!(socket.closed().await.1.is_some());
    assert!(began.elapsed() > Duration::from_secs(1));
    raw.stop().await;
}
