//! The audio track of a session that is over, of what Chromium's recorder really wrote.

use serde_json::{Value, json};

use crate::support::{
    client::{PlainClient, run_bytes},
    server::{Backend, TestServer},
};

/// 63 packets of 60 ms from the fake microphone, cut off by a navigation: no duration, nothing to seek by.
const CUT_OFF: &[u8] = include_bytes!("../recordings/cut-off.webm");
const CUT_OFF_MS: f64 = 63.0 * 60.0;

async fn recorded(server: &TestServer, user: &str, audio: &[u8], state: &str) -> Value {
    let (mut client, _) = PlainClient::hello(server.address(), user).await;
    client.start_recording().await;
    for chunk in audio.chunks(5_000) {
        client.audio(chunk).await;
    }
    client.audio_acked(audio.len() as u64).await;
    client.say(json!({"event": "recording:end"})).await;
    client.expect_event("audio:saved").await;
    client.leave().await;
    let path = format!("/sessions?user={user}");
    server.until(&path, |answer| answer["sessions"][0]["audio"]["track"] == state).await["sessions"][0].clone()
}

/// What a WebM says of its duration, in ms.
fn duration_of(webm: &[u8]) -> Option<f64> {
    let at = webm.windows(3).position(|bytes| bytes == [0x44, 0x89, 0x88])? + 3;
    Some(f64::from_be_bytes(webm.get(at..at + 8)?.try_into().ok()?))
}

#[tokio::test]
async fn a_recording_that_was_cut_off_becomes_a_track_that_seeks() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let session = recorded(&server, "anna", CUT_OFF, "ready").await;
        let audio = &session["audio"];
        assert_eq!((&audio["contentType"], &audio["problem"]), (&json!("audio/webm"), &Value::Null));
        let part = &audio["parts"][0];
        let (begin, end) = (part["startMs"].as_f64().unwrap(), part["endMs"].as_f64().unwrap());
        assert!((end - begin - CUT_OFF_MS).abs() <= 1.0, "{audio:#}");
        assert!((audio["durationMs"].as_f64().unwrap() - end).abs() <= 3.0, "{audio:#}");
        assert_eq!(audio["recordedMs"], json!(3_780));
        for url in [
            audio["url"].as_str().unwrap(),
            &server.url(&format!("/sessions/{}/audio", session["id"].as_str().unwrap())),
        ] {
            let track = reqwest::get(url).await.unwrap().bytes().await.unwrap();
            let told = duration_of(&track).unwrap();
            assert!((told - end).abs() <= 3.0, "{told}");
            assert!(track.windows(4).any(|bytes| bytes == [0x1C, 0x53, 0xBB, 0x6B]), "cues");
        }
        let raw = reqwest::get(part["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        assert!(raw == CUT_OFF, "the part stays as it was");

        let removed =
            reqwest::Client::new().delete(server.url(&format!("/sessions/{}", session["id"].as_str().unwrap())));
        assert!(removed.send().await.unwrap().status().is_success());
        assert_eq!(reqwest::get(audio["url"].as_str().unwrap()).await.unwrap().status(), 404, "the track goes too");
    }
}

#[tokio::test]
async fn a_session_without_a_track_says_why_and_keeps_its_parts() {
    let server = TestServer::start(Backend::Embedded);
    let bytes = run_bytes(7, 20_000);
    let session = recorded(&server, "berta", &bytes, "failed").await;
    let audio = &session["audio"];
    assert!(audio["problem"].as_str().unwrap().starts_with("no part can be joined"), "{audio:#}");
    let url = audio["url"].as_str().unwrap();
    assert!(reqwest::get(url).await.unwrap().bytes().await.unwrap() == bytes);
}
