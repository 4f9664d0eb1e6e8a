//! Another user's session, stream and audio.

use serde_json::json;

use crate::{
    keyed::KeyedServer,
    support::{
        client::{PlainClient, run_bytes},
        server::Backend,
    },
};

#[tokio::test]
async fn another_users_session_cannot_be_resumed() {
    for backend in Backend::all().await {
        let mut keyed = KeyedServer::start_on(backend, "");
        let (mut anna, _) = PlainClient::hello_with(keyed.address(), json!({"token": keyed.token("anna", 600)})).await;
        let session = anna.start_recording().await;
        anna.say(json!({"event": "e", "seq": 1})).await;
        anna.acked(1).await;
        for round in ["while it is live", "after its node forgot it"] {
            for hello in [
                json!({"token": keyed.token("eve", 600), "sessionId": session}),
                json!({"key": keyed.write, "userId": "eve", "sessionId": session}),
            ] {
                let mut eve = PlainClient::connect(keyed.address()).await;
                eve.say(json!({"event": "hello", "data": hello})).await;
                assert_eq!(eve.closed_for().await, ("unknown_session".to_owned(), 4404), "{round}");
            }
            keyed.server.terminate();
            keyed.server.restart();
        }
        let shown = keyed.json(&format!("/sessions/{session}")).await;
        assert_eq!((&shown["session"]["userId"], &shown["session"]["numEvents"]), (&json!("anna"), &json!(1)));
    }
}

/// The owner is there, and nothing of the stream is stored yet: only the node's memory knows whose it is.
#[tokio::test]
async fn a_live_stream_of_another_user_is_neither_resumed_nor_cut_off() {
    let keyed = KeyedServer::start();
    let (mut anna, welcome) =
        PlainClient::hello_with(keyed.address(), json!({"token": keyed.token("anna", 600)})).await;
    let stream = &welcome["stream"];
    for hello in [
        json!({"token": keyed.token("eve", 600), "stream": stream}),
        json!({"key": keyed.write, "userId": "eve", "stream": stream}),
        json!({"key": keyed.write, "stream": stream}),
    ] {
        let mut eve = PlainClient::connect(keyed.address()).await;
        eve.say(json!({"event": "hello", "data": hello})).await;
        assert_eq!(eve.closed_for().await, ("unknown_stream".to_owned(), 4404));
    }
    anna.say(json!({"event": "still here", "seq": 1})).await;
    anna.acked(1).await;
    // Nor with the words of somebody who is about to be refused.
    let mut eve = PlainClient::connect(keyed.address()).await;
    eve.say(json!({"event": "hello", "data": {"token": keyed.token("eve", 600), "stream": stream}})).await;
    eve.try_send(tokio_tungstenite::tungstenite::Message::text(r#"{"event":"planted","seq":2}"#)).await;
    assert_eq!(eve.closed_for().await.0, "unknown_stream");
    anna.say(json!({"event": "and here", "seq": 2})).await;
    anna.acked(2).await;
    let shown = keyed.json("/users/anna").await;
    let names: Vec<_> = shown["user"]["events"].as_array().unwrap().iter().map(|event| &event["name"]).collect();
    assert_eq!(names, ["still here", "and here"]);
}

#[tokio::test]
async fn audio_is_heard_by_key_or_by_its_own_link() {
    let keyed = KeyedServer::start_with("[audio]\nend_grace_ms = 100\n");
    let audio = run_bytes(1, 5_000);
    let mut anna = keyed.plain("anna").await;
    let session = anna.start_recording().await;
    anna.audio(&audio).await;
    anna.audio_acked(5_000).await;
    anna.say(json!({"event": "recording:end"})).await;
    let saved = anna.expect_event("audio:saved").await;
    let link = saved["audioUrls"][0].as_str().unwrap().to_owned();
    let listed = keyed.json(&format!("/sessions/{session}")).await["session"]["audioUrl"].as_str().unwrap().to_owned();
    for link in [&link, &listed] {
        let heard = keyed.client.get(link).header("range", "bytes=4-9").send().await.unwrap();
        assert_eq!(heard.status(), 206, "{link}");
        assert_eq!(heard.bytes().await.unwrap(), audio[4..10]);
    }
    let (path, query) = link.split_once('?').unwrap();
    let status = async |url: String| keyed.client.get(url).send().await.unwrap().status().as_u16();
    assert_eq!(status(path.to_owned()).await, 401);
    assert_eq!(status(format!("{path}?{}", query.replace("expires=1", "expires=2"))).await, 403);
    assert_eq!(status(format!("{path}x?{query}")).await, 403, "another path");
    assert_eq!(status(keyed.server.url(&format!("/sessions?{query}"))).await, 401, "a link opens audio only");
    let by_key = keyed.client.get(path).bearer_auth(&keyed.read).send().await.unwrap();
    assert_eq!(by_key.bytes().await.unwrap(), audio);
    let deleted = keyed.client.delete(&link).send().await.unwrap();
    assert_eq!(deleted.status(), 401, "nor does it delete");
}

#[tokio::test]
async fn a_link_ends() {
    let keyed = KeyedServer::start_with("[audio]\nend_grace_ms = 100\n[s3]\npresign_lifetime_secs = 1\n");
    let mut anna = keyed.plain("anna").await;
    anna.start_recording().await;
    anna.audio(&run_bytes(1, 500)).await;
    anna.say(json!({"event": "recording:end"})).await;
    let saved = anna.expect_event("audio:saved").await;
    let link = saved["audioUrls"][0].as_str().unwrap();
    let deadline = tokio::time::Instant::now() + crate::support::server::PATIENCE;
    loop {
        let response = keyed.client.get(link).send().await.unwrap();
        if response.status() == 403 {
            assert!(response.text().await.unwrap().contains("has expired"));
            break;
        }
        assert_eq!(response.status(), 200);
        assert!(tokio::time::Instant::now() < deadline, "the link never ends");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
