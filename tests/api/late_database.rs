//! A database that is away when the server starts, and comes later, or is not what was meant.

use std::{
    process::Output,
    sync::{Arc, Mutex},
};

use serde_json::json;

use crate::support::{
    client::{PlainClient, run_bytes},
    postgres::{Listen, TestPostgres},
    s3::TestS3,
    server::{Backend, TestServer},
};

const SETTINGS: &str = "[database]\nspill_after_ms = 200\nconnect_timeout_ms = 300\n";

#[tokio::test]
async fn the_doors_open_without_the_database_and_everything_is_stored_when_it_comes() {
    let postgres = TestPostgres::start_private(Listen::SocketOnly);
    let backend = Backend::production(&postgres).await;
    postgres.stop();
    let server = TestServer::start_with(backend, SETTINGS);

    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    client.say(json!({"event": "recording:start", "seq": 1})).await;
    for seq in 2..=50 {
        client.say(json!({"event": "e", "seq": seq, "data": seq})).await;
    }
    let audio = run_bytes(1, 40_000);
    client.audio(&audio).await;
    client.audio_acked(40_000).await;
    client.say(json!({"event": "recording:end", "seq": 51})).await;

    assert_eq!(server.get("/healthz").await.status(), 200);
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<serde_json::Value>().await.unwrap()["reasons"], json!(["database"]));
    for path in ["/sessions", "/users/anna"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
    }

    postgres.start();
    client.acked(51).await;
    server.until("/readyz", |answer| answer["status"] == "ready").await;
    client.expect_event("audio:saved").await;
    let session = server.session_of("anna").await;
    assert_eq!((&session["status"], &session["numEvents"]), (&json!("ended"), &json!(49)));
    let url = session["audioUrl"].as_str().unwrap();
    assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), audio);
    assert_eq!(server.json("/users/anna").await["user"]["connected"], true);
}

fn url_of_another(postgres: &TestPostgres) -> Backend {
    Backend::Production { database_url: postgres.url("no_such_database"), s3: Arc::new(Mutex::new(TestS3::start())) }
}

#[tokio::test]
async fn a_database_that_is_not_there_ends_the_start_with_its_name() {
    let server = TestServer::new(url_of_another(TestPostgres::shared()), SETTINGS);
    let Output { status, stdout, stderr } = server.command().output().unwrap();
    assert_eq!(status.code(), Some(1));
    let log = String::from_utf8(stderr).unwrap() + &String::from_utf8(stdout).unwrap();
    assert!(log.contains("no_such_database"), "{log}");
}

#[tokio::test]
async fn what_turns_out_to_be_wrong_later_ends_the_process_in_order() {
    let postgres = TestPostgres::start_private(Listen::SocketOnly);
    postgres.stop();
    let mut server = TestServer::new(url_of_another(&postgres), SETTINGS);
    server.restart();
    assert_eq!(server.get("/healthz").await.status(), 200);

    postgres.start();

    let status = tokio::task::spawn_blocking(move || server.ended()).await.unwrap();
    assert_eq!(status.code(), Some(1));
}
