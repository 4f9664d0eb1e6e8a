//! Too much of what is allowed.

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::{
    keyed::{KeyedServer, Polling},
    support::client::PlainClient,
};

/// Limits that a test can reach, also from this machine.
const TIGHT: &str = "[server]\ntrusted_proxies = [\"loopback\"]\n\
                     [limits]\nexempt = []\naddress_connections = 2\naddress_requests_per_sec = 1\nburst_ms = 5000\n";

#[tokio::test]
async fn requests_above_the_limit_are_told_when_to_come_again() {
    let keyed = KeyedServer::start_with(TIGHT);
    let from = async |address: &str, path: &str| {
        let request = keyed.request(path, &keyed.read).header("x-forwarded-for", address);
        request.send().await.unwrap()
    };
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(from("192.0.2.1", "/sessions").await.status().as_u16());
    }
    assert!(statuses.starts_with(&[200; 5]) && statuses.contains(&429), "{statuses:?}");
    let refused = from("192.0.2.1", "/healthz").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert!((1..=5).contains(&refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap()));
    assert_eq!(from("192.0.2.2", "/sessions").await.status(), 200, "another client");
    // An address that the client wrote itself, before the one that its proxy saw.
    assert_eq!(from("198.51.100.7, 192.0.2.1", "/healthz").await.status(), 429);
    // Guessing keys, sids and paths counts all the same.
    for path in ["/nowhere", "/socket.io/?EIO=4&transport=polling&sid=guess"] {
        let mut refused = 0;
        for _ in 0..8 {
            let request =
                keyed.client.get(keyed.server.url(path)).header("x-forwarded-for", path.len().to_string() + ".0.2.1");
            refused += u32::from(request.send().await.unwrap().status() == 429);
        }
        assert!(refused >= 2, "{path}");
    }
}

#[tokio::test]
async fn connections_above_the_limit_are_refused_and_given_back() {
    let keyed = KeyedServer::start_with(TIGHT);
    let from = [("x-forwarded-for", "192.0.2.1")];
    let first = PlainClient::try_connect(keyed.address(), "/ws", &from).await.unwrap();
    let _second = PlainClient::try_connect(keyed.address(), "/ws", &from).await.unwrap();
    assert_eq!(PlainClient::try_connect(keyed.address(), "/ws", &from).await.err(), Some(429));
    let path = "/socket.io/?EIO=4&transport=websocket";
    assert_eq!(PlainClient::try_connect(keyed.address(), path, &from).await.err(), Some(429));
    assert!(PlainClient::try_connect(keyed.address(), "/ws", &[("x-forwarded-for", "192.0.2.2")]).await.is_ok());
    first.leave().await;
    let deadline = tokio::time::Instant::now() + crate::support::server::PATIENCE;
    while PlainClient::try_connect(keyed.address(), "/ws", &from).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the place is never given back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn sockets_above_the_limit_are_cut_before_they_are_read() {
    let keyed = KeyedServer::start_with("[limits]\nexempt = []\naddress_sockets = 3\n");
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(keyed.plain("anna").await);
    }
    let mut fourth = tokio::net::TcpStream::connect(keyed.address()).await.unwrap();
    let mut answer = Vec::new();
    let _ = fourth.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    held[0].say(json!({"event": "e", "seq": 1})).await;
    held[0].acked(1).await;
    held.pop().unwrap().leave().await;
    let deadline = tokio::time::Instant::now() + crate::support::server::PATIENCE;
    while keyed.request("/healthz", &keyed.read).send().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the place is never given back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_has_as_many_connections_as_it_may() {
    let keyed = KeyedServer::start_with("[limits]\nkey_connections = 1\n");
    let _first = keyed.plain("anna").await;
    let mut second = PlainClient::connect(keyed.address()).await;
    second.say(json!({"event": "hello", "data": keyed.hello("bob")})).await;
    assert_eq!(second.closed_for().await, ("rate_limited".to_owned(), 4429));
    // For Socket.IO an event rather than a refused handshake, after which its client would never come again.
    let answer = Polling::connect(&keyed.server, "", None, &keyed.hello("bob")).await;
    assert!(answer.contains(r#"42["error",{"code":"rate_limited""#), "{answer}");
}

/// Above its limits a client is slowed, not cut, and nothing of what it says is lost.
#[tokio::test]
async fn a_flood_of_messages_is_read_slowly_and_to_the_end() {
    let settings = "[server]\nheartbeat_interval_ms = 200\nheartbeat_timeout_ms = 200\n\
                    [limits]\nexempt = []\naddress_messages_per_sec = 200\naddress_bytes_per_sec = 100000\nburst_ms = 500\n";
    let keyed = KeyedServer::start_with(settings);
    let mut anna = keyed.plain("anna").await;
    anna.start_recording().await;
    let data = "x".repeat(400);
    let began = std::time::Instant::now();
    for seq in 1..=300 {
        anna.say(json!({"event": "e", "seq": seq, "data": data})).await;
    }
    anna.acked(300).await;
    // A lower bound is no race: 300 messages at 200 a second, 100 of them at once.
    assert!(began.elapsed() >= std::time::Duration::from_millis(900), "{:?}", began.elapsed());
    let sessions = keyed.json("/sessions").await;
    assert_eq!(sessions["sessions"][0]["numEvents"], 300);
}
