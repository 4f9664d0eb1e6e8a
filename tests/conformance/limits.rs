//! What this server adds to the protocols: limits, origins, and forgetting.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, header::HeaderMap};

use crate::{
    echo::{FLOOD, MAX_MESSAGE_BYTES},
    engineio::slow_body,
    raw::{Raw, calm_options},
};
use shopaloud::session::engine::EngineOptions;

const PAGE: &str = "http://shop.example";

#[actix_web::test]
async fn the_largest_message_is_taken_and_a_larger_one_is_not() {
    let raw = Raw::calm("engine.io");
    let fits = format!("4{}", "x".repeat(MAX_MESSAGE_BYTES));
    let sid = raw.open().await;
    assert_eq!(raw.post(&sid, fits.clone()).await.0, 200);
    assert_eq!(raw.poll(&sid).await, (200, fits.clone()));
    // The base64 of a million bytes.
    let binary = format!("b{}==", "A".repeat(MAX_MESSAGE_BYTES.div_ceil(3) * 4 - 2));
    assert_eq!(raw.post(&sid, binary.clone()).await.0, 200);
    assert_eq!(raw.poll(&sid).await, (200, binary));
    assert_eq!(raw.post(&sid, fits.clone() + "x").await.0, 413);
    assert_eq!(raw.poll(&sid).await.0, 400);

    let mut socket = raw.open_websocket().await;
    socket.send(&fits).await;
    assert_eq!(socket.text().await, fits);
    socket.send(&(fits + "xx")).await;
    assert_eq!(socket.closed().await.1.unwrap().reason.as_str(), "too_large");
    raw.stop().await;
}

#[actix_web::test]
async fn a_body_above_the_limit_is_refused_however_it_is_announced() {
    let raw = Raw::calm("engine.io");
    let body = format!("4{}", "x".repeat(2 * MAX_MESSAGE_BYTES));
    let sid = raw.open().await;
    assert_eq!(raw.post(&sid, body.clone()).await.0, 413);
    let sid = raw.open().await;
    let chunks: Vec<_> = body.as_bytes().chunks(50_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_eq!(raw.post(&sid, chunked).await.0, 413);
    raw.stop().await;
}

#[actix_web::test]
async fn a_body_that_takes_too_long_is_refused() {
    let raw = Raw::start("engine.io", &EngineOptions { message_timeout: Duration::from_millis(100), ..calm_options() });
    let sid = raw.open().await;
    let (body, sender) = slow_body("4a");
    let began = Instant::now();
    let post = tokio::spawn(raw.post_request(&sid).body(body).send());
    raw.forgotten().await;
    // Long before the client itself would have given up.
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(sender);
    if let Ok(response) = post.await.unwrap() {
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    }
    raw.stop().await;
}

#[actix_web::test]
async fn sessions_are_limited_and_places_come_back() {
    let raw = Raw::start("engine.io", &EngineOptions { max_sessions: 2, ..calm_options() });
    let sid = raw.open().await;
    let socket = raw.open_websocket().await;
    let response = raw.request(Method::GET, "EIO=4&transport=polling").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(raw.refused_websocket("EIO=4&transport=websocket", None).await, 503);
    socket.close().await;
    raw.post(&sid, "1").await;
    raw.forgotten().await;
    let sid = raw.open().await;
    raw.post(&sid, "1").await;
    raw.stop().await;
}

#[actix_web::test]
async fn a_client_that_never_polls_is_not_kept_for_ever() {
    let raw = Raw::start("engine.io", &EngineOptions { outbound_bytes: 100_000, ..calm_options() });
    let sid = raw.open().await;
    let body = format!("4{}", "x".repeat(60_000));
    assert_eq!(raw.post(&sid, body.clone()).await.0, 200);
    raw.post(&sid, body.clone()).await;
    // What fitted is still told, and then the end.
    assert_eq!(raw.poll(&sid).await, (200, format!("{body}\u{1e}1")));
    raw.stop().await;
}

#[actix_web::test]
async fn what_waits_for_a_websocket_is_limited() {
    let raw = Raw::start("engine.io", &EngineOptions { outbound_bytes: 1_000, ..calm_options() });
    let mut socket = raw.open_websocket().await;
    socket.send(&format!("4{}", "x".repeat(2_000))).await;
    assert_eq!(socket.closed().await.1.unwrap().reason.as_str(), "slow_reader");
    raw.stop().await;
}

#[actix_web::test]
async fn a_client_that_does_not_read_is_closed_with_a_reason() {
    let raw = Raw::start("engine.io", &EngineOptions { outbound_bytes: 200_000, ..calm_options() });
    let mut socket = raw.open_websocket().await;
    socket.send(&format!("4{FLOOD}")).await;
    raw.forgotten().await;
    assert_eq!(socket.closed().await.1.unwrap().reason.as_str(), "slow_reader");

    let sid = raw.open().await;
    raw.post(&sid, format!("4{FLOOD}")).await;
    raw.forgotten().await;
    raw.stop().await;
}

/// A websocket whose client does not read stands still, timers and all. Its session must not.
#[actix_web::test]
async fn a_websocket_client_that_never_reads_is_forgotten() {
    let raw = Raw::engineio();
    let mut socket = raw.open_websocket().await;
    let message = format!("4{}", "x".repeat(60_000));
    // The answers fill the way back, then the server stops reading.
    while tokio::time::timeout(Duration::from_millis(100), socket.send(&message)).await.is_ok() {}
    raw.forgotten().await;
    drop(socket);
    raw.stop().await;
}

#[actix_web::test]
async fn ten_rounds_of_clients_that_vanish_leave_nothing() {
    let raw = Raw::calm("socket.io");
    for _ in 0..10 {
        let mut sockets = Vec::new();
        for _ in 0..20 {
            sockets.push(raw.connected().await);
            sockets.push(raw.upgraded().await.1);
            let sid = raw.open().await;
            raw.post(&sid, "40\u{1e}451-[\"message\",{\"_placeholder\":true,\"num\":0}]").await;
            raw.post(&sid, "1").await;
        }
    }
    raw.stop().await;
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[actix_web::test]
async fn an_allowed_page_may_read_every_answer() {
    let raw = Raw::calm("engine.io");
    let sid = raw.open().await;
    for query in ["EIO=4&transport=polling", "EIO=4&transport=abc", "EIO=4&transport=polling&sid=x"] {
        let response = raw.http.get(raw.url(query)).header("origin", PAGE).send().await.unwrap();
        assert_eq!(header(response.headers(), "access-control-allow-origin"), Some(PAGE), "{query}");
        assert_eq!(header(response.headers(), "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(response.headers(), "vary"), Some("Origin"));
    }
    let response = raw.post_request(&sid).header("origin", PAGE).body("4a").send().await.unwrap();
    assert_eq!(header(response.headers(), "access-control-allow-origin"), Some(PAGE));
    // The handshake's session is left to its heartbeat.
    raw.server.stop().await;
}

#[actix_web::test]
async fn a_preflight_is_answered() {
    let raw = Raw::calm("engine.io");
    let preflight = |origin: &'static str| {
        let request = raw.http.request(Method::OPTIONS, raw.url("EIO=4&transport=polling&sid=x"));
        request
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-shop")
            .send()
    };
    let response = preflight(PAGE).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let headers = response.headers();
    assert_eq!(header(headers, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(header(headers, "access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(header(headers, "access-control-allow-headers"), Some("content-type,x-shop"));
    assert_eq!(preflight("http://evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);
    raw.stop().await;
}

#[actix_web::test]
async fn other_pages_are_refused_on_every_transport() {
    let raw = Raw::calm("engine.io");
    for origin in ["http://evil.example", "null", "https://shop.example", "http://shop.example.evil"] {
        let request = raw.http.get(raw.url("EIO=4&transport=polling")).header("origin", origin);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin}");
        assert_eq!(header(response.headers(), "access-control-allow-origin"), None);
        assert_eq!(raw.refused_websocket("EIO=4&transport=websocket", Some(origin)).await, 403);
    }
    raw.stop().await;
}
