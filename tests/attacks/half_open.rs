//! Thousands who begin a request and never end it, while somebody works.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{keyed::KeyedServer, support::client::run_bytes};

const HALF_OPEN: usize = 2_000;

#[tokio::test]
async fn half_open_requests_stop_nobody_and_end() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap();
    let keyed = KeyedServer::start_with("[server]\nrequest_timeout_ms = 2000\nmessage_timeout_ms = 2000\n");
    let mut anna = keyed.plain("anna").await;
    anna.start_recording().await;
    let mut half_open = Vec::new();
    for number in 0..HALF_OPEN {
        let mut stream = TcpStream::connect(keyed.address()).await.unwrap();
        let beginning: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET /sess",
            2 => b"GET /sessions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            _ => b"POST /socket.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n4",
        };
        stream.write_all(beginning).await.unwrap();
        half_open.push(stream);
    }
    // Somebody works meanwhile, over a connection that was there and over new ones.
    for seq in 1..=20 {
        anna.say(json!({"event": "e", "seq": seq})).await;
        anna.audio(&run_bytes(1, 5_000)).await;
        anna.acked(seq).await;
        assert_eq!(keyed.request("/sessions", &keyed.read).send().await.unwrap().status(), 200);
    }
    keyed.plain("bob").await.leave().await;
    // All of them come to an end, also those that drip a byte now and then.
    let dripping = async {
        let mut stream = TcpStream::connect(keyed.address()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let drip = async {
            while writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut answer) => {}
            () = drip => {}
        }
    };
    let all = async {
        dripping.await;
        for mut stream in half_open {
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        }
    };
    tokio::time::timeout(crate::support::server::PATIENCE, all).await.expect("every half-open request ends");
    anna.say(json!({"event": "e", "seq": 21})).await;
    anna.acked(21).await;
}
