//! What clients do wrong: told with a name, and nobody else's loss.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::support::{
    client::{PlainClient, run_bytes},
    server::{Backend, TestServer},
};

/// Sends one message after hello; the connection ends with this code. A bystander records all the while.
async fn refused(message: Message, code: &str, close_code: u16) {
    let server = TestServer::start(Backend::Embedded);
    let (mut bystander, _) = PlainClient::hello(server.address(), "bystander").await;
    bystander.start_recording().await;
    bystander.say(json!({"event": "before", "seq": 1})).await;
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    client.try_send(message).await;
    assert_eq!(client.closed_for().await, (code.to_owned(), close_code));
    bystander.say(json!({"event": "after", "seq": 2})).await;
    bystander.acked(2).await;
    assert_eq!(server.session_of("bystander").await["numEvents"], 2);
}

#[tokio::test]
async fn text_that_is_not_json() {
    refused(Message::text("hello?"), "bad_json", 4400).await;
}

#[tokio::test]
async fn wrong_types() {
    refused(Message::text(r#"{"event":"e","seq":"one"}"#), "bad_message", 4400).await;
}

#[tokio::test]
async fn audio_before_a_recording() {
    refused(Message::binary(run_bytes(1, 1_000)), "not_recording", 4400).await;
}

#[tokio::test]
async fn a_message_above_the_limit() {
    refused(Message::binary(vec![0; 17 * 1024 * 1024]), "too_large", 1009).await;
}

#[tokio::test]
async fn a_message_at_the_limit_is_taken() {
    let server = TestServer::start(Backend::Embedded);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    client.start_recording().await;
    let frame_overhead = r#"{"event":"dom","seq":1,"data":""}"#.len();
    let text = "x".repeat(16 * 1024 * 1024 - frame_overhead);
    client.say_raw(&format!(r#"{{"event":"dom","seq":1,"data":"{text}"}}"#)).await;
    client.acked(1).await;
    assert!(server.session_of("anna").await["events"][0]["data"].as_str().unwrap() == text);
}

#[tokio::test]
async fn a_fragmented_message_is_one_message() {
    let server = TestServer::start(Backend::Embedded);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let fragment = |text: &'static str, opcode, is_final| {
        Message::Frame(Frame::message(text.as_bytes(), OpCode::Data(opcode), is_final))
    };
    client.send(fragment(r#"{"event":"e","#, Data::Text, false)).await;
    client.send(fragment(r#""seq":1,"data":"#, Data::Continue, false)).await;
    client.send(fragment(r#""whole"}"#, Data::Continue, true)).await;
    client.acked(1).await;
    assert_eq!(server.json("/users/anna").await["user"]["events"][0]["data"], "whole");
}

#[tokio::test]
async fn a_continuation_of_nothing() {
    let frame = Frame::message("x", OpCode::Data(Data::Continue), true);
    refused(Message::Frame(frame), "bad_frame", 1002).await;
}

#[tokio::test]
async fn a_first_message_that_is_no_hello() {
    let server = TestServer::start(Backend::Embedded);
    let mut client = PlainClient::connect(server.address()).await;
    client.say(json!({"event": "click:event", "seq": 1})).await;
    assert_eq!(client.closed_for().await, ("hello_required".to_owned(), 4400));
}

#[tokio::test]
async fn no_hello_at_all() {
    let server = TestServer::start_with(Backend::Embedded, "[server]\nhandshake_timeout_ms = 200\n");
    let mut client = PlainClient::connect(server.address()).await;
    assert_eq!(client.closed_for().await, ("hello_timeout".to_owned(), 4408));
}

#[tokio::test]
async fn a_message_that_never_ends() {
    let server = TestServer::start_with(Backend::Embedded, "[server]\nmessage_timeout_ms = 200\n");
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    client.send(Message::Frame(Frame::message("{", OpCode::Data(Data::Text), false))).await;
    assert_eq!(client.closed_for().await, ("too_slow".to_owned(), 4408));
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_heartbeat() {
    let settings = "[server]\nheartbeat_interval_ms = 100\nheartbeat_timeout_ms = 100\n";
    let server = TestServer::start_with(Backend::Embedded, settings);
    // A socket that is only written to answers no ping.
    let mut silent = RawClient::connect(&server).await;
    assert_eq!(silent.read_to_end().await.1, 4408);
    // One that reads answers by itself.
    let (mut patient, _) = PlainClient::hello(server.address(), "anna").await;
    patient.expect_nothing_for(std::time::Duration::from_millis(600)).await;
    patient.say(json!({"event": "e", "seq": 1})).await;
    patient.acked(1).await;
}

#[tokio::test]
async fn a_session_that_is_not_this_users() {
    let server = TestServer::start(Backend::Embedded);
    let (mut anna, _) = PlainClient::hello(server.address(), "anna").await;
    let session = anna.start_recording().await;
    let mut eve = PlainClient::connect(server.address()).await;
    eve.say(json!({"event": "hello", "data": {"userId": "eve", "sessionId": session}})).await;
    assert_eq!(eve.closed_for().await, ("unknown_session".to_owned(), 4404));
    let hello = json!({"userId": "anna", "sessionId": session});
    let (_, welcome) = PlainClient::hello_with(server.address(), hello).await;
    assert_eq!(welcome["sessionId"], session.as_str());
}

#[tokio::test]
async fn a_stream_that_is_another_users() {
    for backend in Backend::all().await {
        let mut server = TestServer::start(backend);
        let (mut anna, welcome) = PlainClient::hello(server.address(), "anna").await;
        anna.say(json!({"event": "e", "seq": 1})).await;
        anna.acked(1).await;
        let steal = json!({"event": "hello", "data": {"userId": "eve", "stream": welcome["stream"]}});
        let mut eve = PlainClient::connect(server.address()).await;
        eve.say(steal.clone()).await;
        assert_eq!(eve.closed_for().await, ("unknown_stream".to_owned(), 4404));
        // The node that knew the stream forgot it; the database did not.
        server.terminate();
        server.restart();
        let mut eve = PlainClient::connect(server.address()).await;
        eve.say(steal).await;
        assert_eq!(eve.closed_for().await, ("unknown_stream".to_owned(), 4404));
    }
}

#[tokio::test]
async fn odd_json_is_kept_and_read_back_by_the_dashboard() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        client.start_recording().await;
        let odd = [r#""\u0000""#, r#""\ud800""#, "1e400", r#"{"a":1,"a":2}"#, r#""'; drop table events; --""#];
        for (at, data) in odd.iter().enumerate() {
            client.say_raw(&format!(r#"{{"event":"odd","seq":{},"data":{data}}}"#, at + 1)).await;
        }
        client.acked(5).await;
        let text = server.get("/sessions").await.text().await.unwrap();
        for data in odd {
            assert!(text.contains(data), "{data} is missing in {text}");
        }
        let deep = format!(r#"{{"event":"deep","data":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
        client.say_raw(&deep).await;
        assert_eq!(client.closed_for().await, ("bad_message".to_owned(), 4400));
    }
}

#[tokio::test]
async fn http_errors_are_problem_documents() {
    let server = TestServer::start(Backend::Embedded);
    for (path, status) in [("/nowhere", 404), ("/sessions/not-an-id", 404), ("/users/nobody", 404), ("/ws", 400)] {
        let response = server.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status, "{path}");
    }
    for escape in
        ["/audio/../shopaloud.sqlite", "/audio/..%2fshopaloud.sqlite", "/audio/%2e%2e/node-id", "/audio//etc/passwd"]
    {
        assert_eq!(server.get(escape).await.status(), 404, "{escape}");
    }
}

/// A client that speaks frames by hand and answers nothing.
struct RawClient(tokio::net::TcpStream);

impl RawClient {
    async fn connect(server: &TestServer) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        // A hello with a mask of zeros.
        let hello = br#"{"event":"hello","data":{"userId":"silent"}}"#;
        let mut frame = vec![0x81, 0x80 | u8::try_from(hello.len()).unwrap(), 0, 0, 0, 0];
        frame.extend(hello);
        stream.write_all(&frame).await.unwrap();
        Self(stream)
    }

    /// All text until the close frame, and its code.
    async fn read_to_end(&mut self) -> (String, u16) {
        use tokio::io::AsyncReadExt;
        let mut text = String::new();
        loop {
            let (opcode, length) = (self.0.read_u8().await.unwrap() & 0x0F, self.0.read_u8().await.unwrap());
            let length =
                if length == 126 { usize::from(self.0.read_u16().await.unwrap()) } else { usize::from(length) };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.unwrap();
            match opcode {
                1 => text.push_str(std::str::from_utf8(&payload).unwrap()),
                8 => return (text, u16::from_be_bytes([payload[0], payload[1]])),
                _ => {}
            }
        }
    }
}
