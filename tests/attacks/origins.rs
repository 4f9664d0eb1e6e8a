//! Web pages that have no business here.

use serde_json::json;

use crate::{
    keyed::{KeyedServer, Polling, SHOP},
    support::{
        client::PlainClient,
        server::{Backend, TestServer},
    },
};

const EVIL: &str = "https://evil.example";

#[tokio::test]
async fn a_foreign_page_gets_through_no_door() {
    let keyed = KeyedServer::start();
    let address = keyed.address();
    for origin in [EVIL, "null", "https://shop.example.evil", "http://shop.example", "https://a.shop.example"] {
        let refused = PlainClient::try_connect(address, "/ws", &[("origin", origin)]).await;
        assert_eq!(refused.err(), Some(403), "{origin}");
        let path = "/socket.io/?EIO=4&transport=websocket";
        assert_eq!(PlainClient::try_connect(address, path, &[("origin", origin)]).await.err(), Some(403), "{origin}");
    }
    let refused = Polling::open(&keyed.server, "", Some(EVIL)).await.err().unwrap();
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_key_is_of_no_use_to_a_page_that_is_not_its_own() {
    // The page is one of the server's, and the key is for another's.
    let keyed = KeyedServer::start_with("[server]\norigins = [\"https://evil.example\"]\n");
    let mut client = PlainClient::try_connect(keyed.address(), "/ws", &[("origin", EVIL)]).await.unwrap();
    client.say(json!({"event": "hello", "data": keyed.hello("anna")})).await;
    assert_eq!(client.closed_for().await, ("foreign_origin".to_owned(), 4401));
    let answer = Polling::connect(&keyed.server, "", Some(EVIL), &keyed.hello("anna")).await;
    assert!(answer.starts_with("44{") && answer.contains(r#""data":{"code":"foreign_origin"}"#), "{answer}");
    // Its own page has it.
    let mut client = PlainClient::try_connect(keyed.address(), "/ws", &[("origin", SHOP)]).await.unwrap();
    client.say(json!({"event": "hello", "data": keyed.hello("anna")})).await;
    client.expect("welcome").await;
}

/// `evil.example` resolves to 127.0.0.1 for a moment: to the browser, its page and this server are then one origin.
#[tokio::test]
async fn a_page_that_turned_its_name_to_this_machine_reads_nothing() {
    let server = TestServer::start(Backend::Embedded);
    let port = server.address().port();
    let rebound = format!("evil.example:{port}");
    let client = reqwest::Client::new();
    for path in ["/", "/sessions", "/users", "/audio/x", "/healthz", "/nowhere", "/socket.io/?EIO=4&transport=polling"]
    {
        let response = client.get(server.url(path)).header("host", &rebound).send().await.unwrap();
        assert_eq!(response.status(), 421, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(
            client.get(server.url(path)).header("host", "localhost").send().await.unwrap().status().as_u16() / 100 == 4,
            path.starts_with("/audio") || path == "/nowhere",
            "{path}"
        );
    }
    let origin = format!("http://{rebound}");
    let refused = PlainClient::try_connect(server.address(), "/ws", &[("host", &rebound), ("origin", &origin)]).await;
    assert_eq!(refused.err(), Some(421));
    // A foreign page needs no trick to open a websocket to this machine, and gets none either.
    assert_eq!(PlainClient::try_connect(server.address(), "/ws", &[("origin", &origin)]).await.err(), Some(403));
    let own = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    assert!(PlainClient::try_connect(server.address(), "/ws", &[("host", &host), ("origin", &own)]).await.is_ok());
}

#[tokio::test]
async fn a_name_that_the_operator_allows_is_answered() {
    let server = TestServer::start_with(Backend::Embedded, "[auth]\nallowed_hosts = [\"dev.shop.example\"]\n");
    let request = reqwest::Client::new().get(server.url("/sessions")).header("host", "dev.shop.example:4001");
    assert_eq!(request.send().await.unwrap().status(), 200);
}
