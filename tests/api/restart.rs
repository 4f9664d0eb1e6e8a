//! Servers that end, in order or not, and start again.

use serde_json::json;

use crate::support::{
    client::{PlainClient, run_bytes},
    postgres::{Listen, TestPostgres},
    server::{Backend, TestServer},
};

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    for backend in Backend::all().await {
        let mut server = TestServer::start_with(backend, "[audio]\nreconnect_grace_ms = 300\n");
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        let session = client.start_recording().await;
        let audio = run_bytes(1, 40_000);
        for seq in 1..=200 {
            client.say(json!({"event": "e", "seq": seq, "data": seq})).await;
        }
        for chunk in audio.chunks(5_000) {
            client.audio(chunk).await;
        }
        client.acked(200).await;
        client.audio_acked(40_000).await;
        server.kill();
        server.restart();
        let path = format!("/sessions/{session}");
        let shown = server.until(&path, |answer| answer["session"]["audioUrl"].is_string()).await;
        let shown = &shown["session"];
        let seqs: Vec<i64> =
            shown["events"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
        let url = shown["audioUrl"].as_str().unwrap();
        assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), audio);
    }
}

#[tokio::test]
async fn a_run_goes_on_over_a_restart() {
    for backend in Backend::all().await {
        let mut server = TestServer::start(backend);
        let (mut client, welcome) = PlainClient::hello(server.address(), "anna").await;
        let session = client.start_recording().await;
        let audio = run_bytes(1, 40_000);
        client.audio(&audio[..15_000]).await;
        client.audio_acked(15_000).await;
        server.kill();
        server.restart();
        let hello = json!({"userId": "anna", "stream": welcome["stream"]});
        let (mut again, resumed) = PlainClient::hello_with(server.address(), hello).await;
        assert_eq!((&resumed["audioOffset"], &resumed["sessionId"]), (&json!(15_000), &json!(session)));
        again.audio(&audio[15_000..]).await;
        again.say(json!({"event": "recording:end"})).await;
        let saved = again.expect_event("audio:saved").await;
        assert_eq!(saved["audioUrls"].as_array().unwrap().len(), 1, "one run");
        let stored = reqwest::get(saved["audioUrls"][0].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        assert_eq!(stored, audio);
    }
}

#[tokio::test]
async fn events_wait_in_the_journal_for_a_database_that_is_away() {
    let postgres = TestPostgres::start_private(Listen::SocketOnly);
    let settings = "[database]\nack = \"journaled\"\nspill_after_ms = 200\nconnect_timeout_ms = 300\n";
    let mut server = TestServer::start_with(Backend::production(&postgres).await, settings);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let session = client.start_recording().await;
    client.say(json!({"event": "e", "seq": 1, "data": 1})).await;
    client.acked(1).await;

    postgres.stop();
    for seq in 2..=300 {
        client.say(json!({"event": "e", "seq": seq, "data": seq})).await;
    }
    client.acked(300).await;
    assert_eq!(server.get("/healthz").await.status(), 200);
    server.until("/readyz", |answer| answer["reasons"] == json!(["database"])).await;
    // The events are nowhere but in the journal now.
    server.kill();
    postgres.start();
    server.restart();
    let path = format!("/sessions/{session}");
    let shown = server.until(&path, |answer| answer["session"]["numEvents"] == 300).await;
    let seqs: Vec<i64> =
        shown["session"]["events"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=300).collect::<Vec<_>>());
    server.until("/readyz", |answer| answer["status"] == "ready").await;
}

#[tokio::test]
async fn recording_goes_on_while_the_database_is_away_and_is_acknowledged_when_it_returns() {
    let postgres = TestPostgres::start_private(Listen::SocketOnly);
    let settings = "[database]\nspill_after_ms = 200\nconnect_timeout_ms = 300\n[memory]\nbudget_bytes = 33554432\n";
    let server = TestServer::start_with(Backend::production(&postgres).await, settings);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    client.start_recording().await;
    postgres.stop();
    // More than the memory budget: it only fits because memory is let go once the journal has it.
    let text = "x".repeat(1 << 20);
    for seq in 1..=64 {
        client.say_raw(&format!(r#"{{"event":"dom","seq":{seq},"data":"{text}"}}"#)).await;
    }
    let audio = run_bytes(1, 100_000);
    client.audio(&audio).await;
    client.audio_acked(100_000).await;
    postgres.start();
    client.acked(64).await;
    assert_eq!(server.session_of("anna").await["numEvents"], 64);
}

#[tokio::test]
async fn an_orderly_end_leaves_nothing_behind() {
    for backend in Backend::all().await {
        let mut server = TestServer::start(backend);
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        let session = client.start_recording().await;
        // Nobody asks for an ack here; all of it was received, since the last one is answered.
        for at in 1..=500 {
            client.say(json!({"event": "e", "data": at})).await;
        }
        client.say(json!({"event": "last", "seq": 501})).await;
        client.acked(501).await;
        let ended = tokio::task::spawn_blocking(move || (server.terminate(), server));
        let (code, close_code) = client.closed_for().await;
        assert_eq!((code.as_str(), close_code), ("draining", 1012));
        let (status, mut server) = ended.await.unwrap();
        assert_eq!(status.code(), Some(0));
        server.restart();
        let shown = server.json(&format!("/sessions/{session}")).await;
        assert_eq!(shown["session"]["numEvents"], 501);
        let user = server.json("/users/anna").await;
        assert_eq!(user["user"]["connected"], false);
    }
}

#[tokio::test]
async fn presence_does_not_outlive_a_crash() {
    let mut server = TestServer::start(Backend::Embedded);
    let (_client, _) = PlainClient::hello(server.address(), "anna").await;
    server.until("/users/anna", |answer| answer["user"]["connected"] == true).await;
    server.kill();
    server.restart();
    assert_eq!(server.json("/users/anna").await["user"]["connected"], false);
}
