//! Requests that a proxy and this server could understand differently.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    keyed::KeyedServer,
    support::server::{Backend, PATIENCE, TestServer},
};

/// Everything that comes back until the server closes or stays silent after an answer.
pub(crate) async fn answer_to(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    // No more comes: the server answers what it has, and closes.
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server never closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of each answer in a connection's bytes.
pub(crate) fn statuses(answer: &str) -> Vec<u16> {
    let begins = answer.match_indices("HTTP/1.1 ").map(|(at, _)| at + 9);
    begins.filter_map(|at| answer.get(at..at + 3)?.parse().ok()).collect()
}

/// What is smuggled: a request of its own, if it is ever seen as one.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_body_has_one_length() {
    let server = TestServer::start(Backend::Embedded);
    let length = HIDDEN.len();
    for (what, headers) in [
        ("CL.TE", format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
        ("TE.CL", format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n")),
        ("CL.CL", format!("Content-Length: 0\r\nContent-Length: {length}\r\n")),
        ("CL list", format!("Content-Length: {length}, {length}\r\n")),
        ("CL with a sign", format!("Content-Length: +{length}\r\n")),
        ("CL in hexadecimal", "Content-Length: 0x10\r\n".to_owned()),
        ("negative CL", "Content-Length: -1\r\n".to_owned()),
        ("huge CL", "Content-Length: 99999999999999999999999\r\n".to_owned()),
        ("TE twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        ("TE unknown", "Transfer-Encoding: xchunked\r\n".to_owned()),
        ("TE list", "Transfer-Encoding: gzip, chunked\r\n".to_owned()),
        ("TE identity", format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n")),
        ("space before the colon", "Transfer-Encoding : chunked\r\n".to_owned()),
        ("obs-fold", "Transfer-Encoding:\r\n chunked\r\n".to_owned()),
        ("folded length", format!("X: a\r\n Content-Length: {length}\r\n")),
        ("bare CR", "X: a\rContent-Length: 0\r\n".to_owned()),
        ("NUL", "X: a\0b\r\n".to_owned()),
        ("no name", ": a\r\n".to_owned()),
    ] {
        let request = format!("POST /sessions HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n0\r\n\r\n{HIDDEN}");
        let answer = answer_to(server.address(), request.as_bytes()).await;
        assert_eq!(statuses(&answer), [400], "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_chunk_has_one_length() {
    let server = TestServer::start(Backend::Embedded);
    for chunk in ["-1", "+5", "0x5", "5 5", "FFFFFFFFFFFFFFFFF", "5;\n", "g", ""] {
        let request = format!(
            "POST /sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\nabcde\r\n0\r\n\r\n{HIDDEN}"
        );
        let answer = answer_to(server.address(), request.as_bytes()).await;
        assert!(!answer.contains("\"ok\""), "{chunk:?}: {answer}");
    }
}

#[tokio::test]
async fn an_http_1_0_client_names_its_length() {
    let server = TestServer::start(Backend::Embedded);
    for headers in ["", "Transfer-Encoding: chunked\r\n"] {
        let request = format!("POST /sessions HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n{HIDDEN}");
        let answer = answer_to(server.address(), request.as_bytes()).await;
        assert!(!answer.contains("\"ok\""), "{answer}");
    }
}

#[tokio::test]
async fn two_hosts_are_none_of_ours() {
    let server = TestServer::start(Backend::Embedded);
    let request = "GET /sessions HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert_eq!(statuses(&answer_to(server.address(), request.as_bytes()).await), [400]);
    let request = "GET http://evil.example/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(statuses(&answer_to(server.address(), request.as_bytes()).await), [421]);
}

/// A refused request's body is nobody's request.
#[tokio::test]
async fn the_body_of_a_refused_request_is_not_read_as_the_next() {
    let keyed = KeyedServer::start();
    let length = HIDDEN.len();
    let request = format!("POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{HIDDEN}");
    let answer = answer_to(keyed.address(), request.as_bytes()).await;
    assert_eq!(statuses(&answer), [401], "{answer}");
}
