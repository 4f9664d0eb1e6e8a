//! Engine.IO v4, rule by rule.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    echo::options,
    raw::{Raw, calm_options},
};
use shopaloud::session::engine::EngineOptions;

fn fields(open: &str) -> Value {
    serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap()
}

#[actix_web::test]
async fn a_polling_handshake_answers_with_the_open_packet() {
    let raw = Raw::engineio();
    let response = raw.request(Method::GET, "EIO=4&transport=polling&t=abc").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=UTF-8");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut open = fields(&response.text().await.unwrap());
    assert!(open["sid"].as_str().is_some_and(|sid| sid.len() >= 16));
    open["sid"] = Value::Null;
    let expected = json!({
        "sid": null, "upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000,
    });
    assert_eq!(open, expected);
    raw.stop().await;
}

#[actix_web::test]
async fn a_websocket_handshake_answers_with_the_open_packet_and_no_upgrades() {
    let raw = Raw::engineio();
    let mut socket = raw.websocket("EIO=4&transport=websocket").await;
    let open = fields(&socket.text().await);
    assert_eq!((&open["upgrades"], &open["pingInterval"]), (&json!([]), &json!(300)));
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn the_path_may_end_without_its_slash() {
    let raw = Raw::engineio();
    let url = format!("http://{}/engine.io?EIO=4&transport=polling", raw.server.address);
    assert_eq!(raw.http.get(url).send().await.unwrap().status(), StatusCode::OK);
    raw.stop().await;
}

#[actix_web::test]
async fn bad_requests_have_the_standard_answers() {
    let raw = Raw::engineio();
    let sid = raw.open().await;
    let of_session = format!("EIO=4&transport=polling&sid={sid}");
    let cases = [
        (Method::GET, "EIO=4", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=abc", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=polling&sid=abc", 1, "Session ID unknown"),
        (Method::GET, "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", 1, "Session ID unknown"),
        (Method::POST, "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", 1, "Session ID unknown"),
        (Method::POST, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::PUT, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::GET, "EIO=4&transport=websocket", 3, "Bad request"),
        (Method::PUT, &of_session, 3, "Bad request"),
        (Method::GET, "EIO=4&EIO=4&transport=polling", 3, "Bad request"),
        (Method::GET, "transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=3&transport=polling", 5, "Unsupported protocol version"),
    ];
    for (method, query, code, message) in cases {
        let response = raw.request(method, query).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(response.json::<Value>().await.unwrap(), json!({ "code": code, "message": message }), "{query}");
    }
    for query in ["EIO=4", "EIO=4&transport=abc", "transport=websocket", "EIO=abc&transport=websocket"] {
        assert_eq!(raw.refused_websocket(query, None).await, 400, "{query}");
    }
    assert_eq!(raw.refused_websocket("EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA", None).await, 400);
    raw.stop().await;
}

#[actix_web::test]
async fn a_payload_carries_several_packets_and_binary_as_base64() {
    let raw = Raw::engineio();
    let sid = raw.open().await;
    for body in ["4hello", "4test1\u{1e}4test2\u{1e}4test3", "4h€llo\u{1e}bAQIDBA==\u{1e}4"] {
        assert_eq!(raw.post(&sid, body).await, (200, "ok".to_owned()));
        assert_eq!(raw.poll(&sid).await, (200, body.to_owned()));
    }
    raw.stop().await;
}

#[actix_web::test]
async fn a_websocket_carries_each_packet_in_a_message() {
    let raw = Raw::engineio();
    let mut socket = raw.open_websocket().await;
    socket.send("4h€llo").await;
    assert_eq!(socket.text().await, "4h€llo");
    socket.send_binary(&[1, 2, 3, 4]).await;
    assert_eq!(socket.binary().await, [1, 2, 3, 4]);
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn what_is_no_packet_ends_the_session() {
    let raw = Raw::engineio();
    for body in ["abc", "", "2xyz", "5", "b%%%", "0{}"] {
        let sid = raw.open().await;
        assert_eq!(raw.post(&sid, body).await.0, 400, "{body}");
        assert_eq!(raw.poll(&sid).await.0, 400, "{body}");
    }
    for message in ["abc", "", "2", "bAQIDBA==", "0{}", "5", "2probe"] {
        let mut socket = raw.open_websocket().await;
        socket.send(message).await;
        let (texts, close) = socket.closed().await;
        assert!(texts.is_empty() && close.is_some(), "{message}: {texts:?} {close:?}");
    }
    raw.stop().await;
}

#[actix_web::test]
async fn binary_bodies_are_not_of_this_version() {
    let raw = Raw::engineio();
    let sid = raw.open().await;
    let request = raw.post_request(&sid).header("content-type", "application/octet-stream").body("4a");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(raw.poll(&sid).await.0, 400);
    raw.stop().await;
}

#[actix_web::test]
async fn packets_before_a_broken_one_are_not_lost() {
    let raw = Raw::engineio();
    let sid = raw.open().await;
    assert_eq!(raw.post(&sid, "4a\u{1e}4b\u{1e}broken\u{1e}4c").await.0, 400);
    assert_eq!(raw.poll(&sid).await, (200, "4a\u{1e}4b\u{1e}1".to_owned()));
    assert_eq!(raw.poll(&sid).await.0, 400);
    raw.stop().await;
}

#[actix_web::test]
async fn a_second_poll_ends_the_session() {
    let raw = Raw::engineio();
    let sid = raw.open().await;
    let (first, second) = futures_util::join!(raw.poll(&sid), raw.poll(&sid));
    let mut polls = [first, second];
    polls.sort_unstable();
    assert_eq!(polls[0], (200, "1".to_owned()));
    assert_eq!(polls[1].0, 400);
    assert_eq!(raw.poll(&sid).await.0, 400);
    raw.stop().await;
}

#[actix_web::test]
async fn a_second_post_ends_the_session() {
    let raw = Raw::engineio();
    let sid = raw.open().await;
    let (body, sender) = slow_body("4a");
    let first = tokio::spawn(raw.post_request(&sid).body(body).send());
    // The first is on its way in when the second is refused; until then the second is simply the first.
    loop {
        let (status, _) = raw.post(&sid, "4b").await;
        if status == 400 {
            break;
        }
    }
    drop(sender);
    let _ = first.await.unwrap();
    assert_eq!(raw.poll(&sid).await.0, 400);
    raw.stop().await;
}

/// A body that begins, and ends when the sender is dropped.
pub(crate) fn slow_body(begin: &'static str) -> (reqwest::Body, tokio::sync::oneshot::Sender<()>) {
    let (sender, ended) = tokio::sync::oneshot::channel::<()>();
    let begin = futures_util::stream::once(async move { Ok::<_, std::io::Error>(begin) });
    let end = futures_util::stream::once(async move {
        let _ = ended.await;
        Ok("")
    });
    (reqwest::Body::wrap_stream(futures_util::StreamExt::chain(begin, end)), sender)
}

#[actix_web::test]
async fn a_poll_that_is_given_up_ends_the_session() {
    let raw = Raw::calm("engine.io");
    let sid = raw.open().await;
    let request = raw.http.get(raw.url(&format!("EIO=4&transport=polling&sid={sid}")));
    assert!(request.timeout(Duration::from_millis(50)).send().await.is_err());
    raw.forgotten().await;
    assert_eq!(raw.poll(&sid).await.0, 400);
    raw.stop().await;
}

#[actix_web::test]
async fn a_post_that_is_given_up_ends_the_session() {
    let raw = Raw::calm("engine.io");
    let sid = raw.open().await;
    let (body, _sender) = slow_body("4a");
    assert!(raw.post_request(&sid).body(body).timeout(Duration::from_millis(50)).send().await.is_err());
    raw.forgotten().await;
    raw.stop().await;
}

#[actix_web::test]
async fn the_server_pings_and_the_client_pongs() {
    let raw = Raw::patient("engine.io");
    let began = Instant::now();
    let sid = raw.open().await;
    let mut socket = raw.open_websocket().await;
    for _ in 0..3 {
        assert_eq!(raw.poll(&sid).await, (200, "2".to_owned()));
        assert_eq!(raw.post(&sid, "3").await.0, 200);
        assert_eq!(socket.text().await, "2");
        socket.send("3").await;
    }
    assert!(began.elapsed() >= Duration::from_millis(900));
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn who_does_not_pong_is_closed() {
    let raw = Raw::engineio();
    let began = Instant::now();
    let sid = raw.open().await;
    let mut socket = raw.open_websocket().await;
    let (texts, close) = socket.closed().await;
    assert_eq!((texts, close.unwrap().reason.as_str()), (vec!["2".to_owned()], "heartbeat_lost"));
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert_eq!(raw.poll(&sid).await.0, 400);
    raw.stop().await;
}

#[actix_web::test]
async fn whoever_keeps_sending_is_alive() {
    let raw = Raw::start("engine.io", &EngineOptions { ping_timeout: Duration::from_secs(1), ..options() });
    let mut socket = raw.open_websocket().await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        socket.send("4a").await;
        while socket.text().await != "4a" {}
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn a_client_closes_by_packet() {
    let raw = Raw::calm("engine.io");
    for _ in 0..20 {
        let sid = raw.open().await;
        // Whichever comes first, on whichever worker: the poll is released.
        let (poll, post) = futures_util::join!(raw.poll(&sid), raw.post(&sid, "1"));
        assert_eq!((poll, post), ((200, "6".to_owned()), (200, "ok".to_owned())));
        assert_eq!(raw.poll(&sid).await.0, 400);
    }
    let sid = raw.open().await;
    raw.post(&sid, "1").await;
    assert_eq!(raw.poll(&sid).await, (200, "6".to_owned()));
    assert_eq!(raw.poll(&sid).await.0, 400);
    let mut socket = raw.open_websocket().await;
    socket.send("1").await;
    assert!(socket.closed().await.0.is_empty());
    raw.stop().await;
}

#[actix_web::test]
async fn an_upgrade_takes_over_with_what_was_not_polled() {
    let raw = Raw::calm("engine.io");
    let sid = raw.open().await;
    let mut socket = raw.websocket_for(&sid).await;
    raw.post(&sid, "4a\u{1e}bAQID").await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket.send("5").await;
    assert_eq!(socket.text().await, "4a");
    assert_eq!(socket.binary().await, [1, 2, 3]);
    socket.send("4b").await;
    assert_eq!(socket.text().await, "4b");
    assert_eq!(raw.poll(&sid).await.0, 400);
    assert_eq!(raw.post(&sid, "4c").await.0, 400);
    socket.send("4d").await;
    assert_eq!(socket.text().await, "4d");
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn the_probe_releases_polls_before_and_after_it() {
    let raw = Raw::calm("engine.io");
    let sid = raw.open().await;
    let waiting = raw.poll(&sid);
    let probing = async {
        let mut socket = raw.websocket_for(&sid).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        socket
    };
    let (released, mut socket) = futures_util::join!(waiting, probing);
    assert_eq!(released, (200, "6".to_owned()));
    assert_eq!(raw.poll(&sid).await, (200, "6".to_owned()));
    socket.send("5").await;
    socket.send("4hello").await;
    assert_eq!(socket.text().await, "4hello");
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn a_poll_that_crosses_the_upgrade_is_refused() {
    let raw = Raw::calm("engine.io");
    for _ in 0..20 {
        let sid = raw.open().await;
        let mut socket = raw.websocket_for(&sid).await;
        socket.send("2probe").await;
        socket.send("5").await;
        assert_eq!(raw.poll(&sid).await.0, 400);
        assert_eq!(socket.text().await, "3probe");
        socket.close().await;
    }
    raw.stop().await;
}

#[actix_web::test]
async fn a_session_has_one_websocket() {
    let raw = Raw::calm("engine.io");
    let (sid, mut socket) = raw.upgraded().await;
    let (texts, close) = raw.websocket_for(&sid).await.closed().await;
    assert!(texts.is_empty() && close.is_some());
    socket.send("4hello").await;
    assert_eq!(socket.text().await, "4hello");
    socket.close().await;
    raw.stop().await;
}

#[actix_web::test]
async fn a_failed_probe_leaves_the_session_polling() {
    let raw = Raw::calm("engine.io");
    let sid = raw.open().await;
    for first in ["4hello", "2", "nonsense"] {
        let mut socket = raw.websocket_for(&sid).await;
        socket.send(first).await;
        let (texts, close) = socket.closed().await;
        assert!(texts.is_empty() && close.is_some(), "{first}");
        assert_eq!(raw.post(&sid, "4a").await.0, 200);
        assert_eq!(raw.poll(&sid).await, (200, "4a".to_owned()));
    }
    assert_eq!(raw.post(&sid, "1").await.0, 200);
    raw.stop().await;
}

#[actix_web::test]
async fn a_probe_that_never_ends_is_given_up() {
    let raw = Raw::start("engine.io", &EngineOptions { upgrade_timeout: Duration::from_millis(100), ..calm_options() });
    let sid = raw.open().await;
    let (texts, close) = raw.websocket_for(&sid).await.closed().await;
    assert!(texts.is_empty() && close.is_some());
    assert_eq!(raw.post(&sid, "4a").await.0, 200);
    assert_eq!(raw.poll(&sid).await, (200, "4a".to_owned()));
    assert_eq!(raw.post(&sid, "1").await.0, 200);
    raw.stop().await;
}

#[actix_web::test]
async fn a_websocket_that_breaks_takes_its_session_along() {
    let raw = Raw::calm("engine.io");
    let socket = raw.open_websocket().await;
    let (_, upgraded) = raw.upgraded().await;
    assert_eq!(raw.door().sessions(), 2);
    drop((socket, upgraded));
    raw.forgotten().await;
    raw.stop().await;
}
