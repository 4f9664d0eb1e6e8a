//! Connections that are lost and come back.

use serde_json::json;

use crate::support::{
    client::{PlainClient, run_bytes},
    server::{Backend, TestServer},
};

#[tokio::test]
async fn a_resumed_stream_goes_on_and_stores_nothing_twice() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let (mut client, welcome) = PlainClient::hello(server.address(), "anna").await;
        client.start_recording().await;
        let audio = run_bytes(1, 12_000);
        client.audio(&audio[..5_000]).await;
        for seq in 1..=3 {
            client.say(json!({"event": "e", "seq": seq, "data": seq})).await;
        }
        client.acked(3).await;
        client.audio_acked(5_000).await;
        drop(client);

        let hello = json!({"userId": "anna", "stream": welcome["stream"]});
        let (mut again, resumed) = PlainClient::hello_with(server.address(), hello).await;
        assert_eq!((&resumed["stream"], &resumed["nextSeq"]), (&welcome["stream"], &json!(4)));
        assert_eq!(resumed["audioOffset"], 5_000);
        assert!(resumed["sessionId"].is_string(), "the recording is on");
        for seq in 2..=5 {
            again.say(json!({"event": "e", "seq": seq, "data": seq})).await;
        }
        again.audio(&audio[5_000..]).await;
        again.acked(5).await;
        again.audio_acked(12_000).await;
        again.say(json!({"event": "recording:end", "seq": 6})).await;
        let saved = again.expect_event("audio:saved").await;
        let urls = saved["audioUrls"].as_array().unwrap();
        assert_eq!(urls.len(), 1, "one run, over two connections");
        let stored = reqwest::get(urls[0].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        assert_eq!(stored, audio);
        let session = server.session_of("anna").await;
        let seqs: Vec<i64> =
            session["events"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn a_connection_that_its_client_closed_is_let_go_of() {
    let server = TestServer::start(Backend::Embedded);
    // More than one: what the server's clock says of each is a matter of half a second.
    for _ in 0..3 {
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        client.say(json!({"event": "e", "seq": 1})).await;
        client.acked(1).await;
        client.leave().await;
    }
}

#[tokio::test]
async fn the_next_page_continues_the_session_with_a_part_of_its_own() {
    let server = TestServer::start(Backend::Embedded);
    let (mut page, _) = PlainClient::hello(server.address(), "anna").await;
    let session = page.start_recording().await;
    let (first, second) = (run_bytes(1, 6_000), run_bytes(2, 7_000));
    page.audio(&first).await;
    page.audio_acked(6_000).await;
    page.leave().await;
    let (mut next, welcome) = PlainClient::hello(server.address(), "anna").await;
    assert_eq!(welcome["sessionId"], session.as_str());
    next.audio(&second).await;
    next.audio_acked(7_000).await;
    next.say(json!({"event": "recording:end"})).await;
    let saved = next.expect_event("audio:saved").await;
    let mut stored = Vec::new();
    for url in saved["audioUrls"].as_array().unwrap() {
        stored.push(reqwest::get(url.as_str().unwrap()).await.unwrap().bytes().await.unwrap());
    }
    assert_eq!(stored, [first, second], "both, in the order they were recorded");
}

#[tokio::test]
async fn a_newer_connection_of_a_stream_fences_off_the_older_one() {
    let server = TestServer::start(Backend::Embedded);
    let (mut old, welcome) = PlainClient::hello(server.address(), "anna").await;
    let hello = json!({"userId": "anna", "stream": welcome["stream"]});
    let (mut new, _) = PlainClient::hello_with(server.address(), hello).await;
    assert_eq!(old.closed_for().await, ("replaced".to_owned(), 4409));
    new.say(json!({"event": "e", "seq": 1})).await;
    new.acked(1).await;
}

#[tokio::test]
async fn news_wait_for_a_user_between_two_pages() {
    let settings = "[audio]\nend_grace_ms = 200\n";
    let server = TestServer::start_with(Backend::Embedded, settings);
    let (mut page, _) = PlainClient::hello(server.address(), "anna").await;
    let session = page.start_recording().await;
    page.audio(&run_bytes(1, 6_000)).await;
    page.say(json!({"event": "recording:end", "seq": 1})).await;
    page.acked(1).await;
    page.leave().await;
    let path = format!("/sessions/{session}");
    server.until(&path, |answer| answer["session"]["audioUrl"].is_string()).await;
    let (mut next, _) = PlainClient::hello(server.address(), "anna").await;
    assert_eq!(next.expect_event("audio:saved").await["sessionId"], session.as_str());
}
