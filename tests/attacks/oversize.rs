//! More than anybody needs: headers, bodies, and little that becomes much.

use std::fmt::Write as _;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    keyed::KeyedServer,
    smuggling::{answer_to, statuses},
    support::{
        client::PlainClient,
        process::Process,
        server::{Backend, TestServer},
    },
};

#[tokio::test]
async fn large_headers_are_refused() {
    let server = TestServer::start(Backend::Embedded);
    let client = reqwest::Client::new();
    let status = async |bytes: usize| {
        client.get(server.url("/healthz")).header("x-large", "x".repeat(bytes)).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(10_000).await, status(17_000).await), (200, 431));
    let path = format!("/sessions/{}", "x".repeat(17_000));
    assert_eq!(client.get(server.url(&path)).send().await.unwrap().status(), 431);
    let mut many = String::from("GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
    for number in 0..200 {
        write!(many, "x-{number}: y\r\n").unwrap();
    }
    many.push_str("\r\n");
    let refused = statuses(&answer_to(server.address(), many.as_bytes()).await);
    assert!(refused == [400] || refused == [431], "{refused:?}");
    // A head that never ends is cut long before it is a burden.
    let endless = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: {}", "x".repeat(1_000_000));
    let refused = statuses(&answer_to(server.address(), endless.as_bytes()).await);
    assert!(refused.is_empty() || refused[0] >= 400, "{refused:?}");
    assert_eq!(server.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_not_kept() {
    let keyed = KeyedServer::start();
    for (path, key) in [("/sessions", Some(&keyed.read)), ("/sessions", None), ("/healthz", None), ("/nowhere", None)] {
        let before = Process(keyed.server.pid()).memory_bytes();
        let mut stream = tokio::net::TcpStream::connect(keyed.address()).await.unwrap();
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 300000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b'x'; 1 << 20];
        // Until the server has had enough of it.
        for _ in 0..300 {
            if stream.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(Process(keyed.server.pid()).memory_bytes() < before + (32 << 20), "{path} is kept in memory");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let keyed = KeyedServer::start();
    let polling = crate::keyed::Polling::open(&keyed.server, "", None).await.unwrap();
    polling.say(&format!("40{}", keyed.hello("anna"))).await;
    assert!(polling.hear().await.starts_with("40"));
    // 1 GB of zeros is 1 MB; it is no packet as it stands, and is not looked into.
    let before = Process(keyed.server.pid()).memory_bytes();
    let response = polling.post_compressed(vec![0x1f; 1 << 20]).await;
    assert_eq!(response, 400);
    assert!(Process(keyed.server.pid()).memory_bytes() < before + (32 << 20));
}

#[tokio::test]
async fn compression_of_messages_is_not_agreed_to() {
    let keyed = KeyedServer::start();
    let mut stream = tokio::net::TcpStream::connect(keyed.address()).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && !head.contains("sec-websocket-extensions"), "{head}");
    // A frame that says it is compressed all the same.
    stream.write_all(&[0xC1, 0x82, 0, 0, 0, 0, b'{', b'}']).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.windows(2).any(|code| code == 1_002_u16.to_be_bytes()), "{rest:?}");
}

#[tokio::test]
async fn a_message_that_announces_more_than_it_may_is_refused_at_its_first_bytes() {
    let keyed = KeyedServer::start();
    let mut client = PlainClient::connect(keyed.address()).await;
    client.say(json!({"event": "hello", "data": {"userId": "anna", "key": "x".repeat(1_000_000)}})).await;
    assert_eq!(client.closed_for().await.0, "unauthorized");
    let mut client = PlainClient::connect(keyed.address()).await;
    client.say(json!({"event": "hello", "data": {"token": "x.".repeat(1_000_000)}})).await;
    assert_eq!(client.closed_for().await.0, "unauthorized");
}
