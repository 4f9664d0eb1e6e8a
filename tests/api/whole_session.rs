//! One shopper's recording from hello to the dashboard.

use serde_json::{Value, json};

use crate::support::{
    client::{PlainClient, run_bytes},
    server::{Backend, TestServer},
};

/// Sends `bytes` in chunks as a recorder does.
async fn record(client: &mut PlainClient, bytes: &[u8]) {
    for chunk in bytes.chunks(5_000) {
        client.audio(chunk).await;
    }
}

#[tokio::test]
async fn a_recording_is_seen_and_heard_by_the_dashboard() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let hello = json!({"userId": "anna", "name": "Anna", "email": "anna@shop.example"});
        let (mut client, welcome) = PlainClient::hello_with(server.address(), hello).await;
        assert_eq!(
            (&welcome["userId"], &welcome["nextSeq"], &welcome["audioOffset"], &welcome["sessionId"]),
            (&json!("anna"), &json!(1), &json!(0), &Value::Null)
        );

        client.say(json!({"event": "page:view", "seq": 1, "data": {"before": "recording"}})).await;
        client.say(json!({"event": "recording:start", "seq": 2, "data": {"page": "https://shop.example/a"}})).await;
        let started = client.expect_event("recording:started").await;
        assert_eq!(started["resumed"], false);
        let session = started["sessionId"].as_str().unwrap().to_owned();
        client
            .say_raw(r#"{"event":"click:event","seq":3,"at":1700000000123,"data":{ "x" : 1.0, "é":"\ud83d\ude00" }}"#)
            .await;
        let audio = run_bytes(1, 48_000);
        record(&mut client, &audio).await;
        client.audio_acked(48_000).await;
        client.say(json!({"event": "recording:end", "seq": 4})).await;
        assert_eq!(client.expect_event("recording:ended").await["sessionId"], session.as_str());
        client.acked(4).await;

        let saved = client.expect_event("audio:saved").await;
        assert_eq!(saved["sessionId"], session.as_str());
        let [Value::String(url)] = &saved["audioUrls"].as_array().unwrap()[..] else { panic!("{saved}") };
        let response = reqwest::get(url).await.unwrap();
        assert_eq!(response.headers()["content-type"], "audio/webm");
        assert_eq!(response.bytes().await.unwrap(), audio, "what is stored is what was sent");
        let range = reqwest::Client::new().get(url).header("range", "bytes=100-199").send().await.unwrap();
        assert_eq!(range.status(), 206);
        assert_eq!(range.bytes().await.unwrap(), audio[100..200], "players seek");

        let text = server.get(&format!("/sessions/{session}")).await.text().await.unwrap();
        assert!(text.contains(r#"{ "x" : 1.0, "é":"\ud83d\ude00" }"#), "data is kept as sent: {text}");
        let shown = server.session_of("anna").await;
        assert_eq!(shown["id"], session.as_str());
        assert_eq!((&shown["status"], &shown["numEvents"]), (&json!("ended"), &json!(1)));
        assert_eq!(shown["audioPaths"].as_array().unwrap().len(), 1);
        assert!(shown["audioUrl"].is_string() && shown["createdAt"].is_string() && shown["endedAt"].is_string());
        let [event] = &shown["events"].as_array().unwrap()[..] else { panic!("{shown:#}") };
        assert_eq!((&event["name"], &event["seq"]), (&json!("click:event"), &json!(3)));
        assert_eq!(event["timestamp"], "2023-11-14T22:13:20.123Z");
        assert!(event["receivedAt"].as_str().unwrap().ends_with('Z'));

        let user = &server.json("/users/anna").await["user"];
        assert_eq!((&user["name"], &user["email"]), (&json!("Anna"), &json!("anna@shop.example")));
        assert_eq!(
            (&user["connected"], &user["numSessions"], &user["numEvents"]),
            (&json!(true), &json!(1), &json!(1))
        );
        assert_eq!(user["events"][0]["name"], "page:view", "outside the recording it belongs to the user");
        client.leave().await;
        server.until("/users/anna", |answer| answer["user"]["connected"] == false).await;
    }
}

#[tokio::test]
async fn a_long_recording_is_uploaded_in_parts_and_is_one_object() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        client.start_recording().await;
        let audio = run_bytes(2, 11 * 1024 * 1024 + 17);
        for chunk in audio.chunks(256 * 1024) {
            client.audio(chunk).await;
        }
        client.audio_acked(audio.len() as u64).await;
        client.say(json!({"event": "recording:end"})).await;
        let saved = client.expect_event("audio:saved").await;
        let url = saved["audioUrls"][0].as_str().unwrap();
        assert!(reqwest::get(url).await.unwrap().bytes().await.unwrap() == audio, "11 MiB differ");
    }
}

#[tokio::test]
async fn two_users_at_once_do_not_mix() {
    let server = TestServer::start(Backend::Embedded);
    let (mut anna, _) = PlainClient::hello(server.address(), "anna").await;
    let (mut berta, _) = PlainClient::hello(server.address(), "berta").await;
    let (annas, bertas) = (anna.start_recording().await, berta.start_recording().await);
    assert_ne!(annas, bertas);
    let (annas_audio, bertas_audio) = (run_bytes(3, 20_000), run_bytes(4, 30_000));
    for seq in 1..=50 {
        anna.say(json!({"event": "anna", "seq": seq, "data": seq})).await;
        berta.say(json!({"event": "berta", "seq": seq, "data": -seq})).await;
    }
    record(&mut anna, &annas_audio).await;
    record(&mut berta, &bertas_audio).await;
    anna.acked(50).await;
    berta.acked(50).await;
    for (client, audio) in [(&mut anna, annas_audio), (&mut berta, bertas_audio)] {
        client.say(json!({"event": "recording:end"})).await;
        let saved = client.expect_event("audio:saved").await;
        let url = saved["audioUrls"][0].as_str().unwrap();
        assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), audio);
    }
    for (user, sign) in [("anna", 1), ("berta", -1)] {
        let session = server.session_of(user).await;
        let events = session["events"].as_array().unwrap();
        let expected: Vec<Value> = (1..=50).map(|seq| json!([user, seq, sign * seq])).collect();
        let stored: Vec<Value> =
            events.iter().map(|event| json!([event["name"], event["seq"], event["data"]])).collect();
        assert_eq!(stored, expected);
    }
}

#[tokio::test]
async fn two_connections_of_one_user_share_a_session() {
    let server = TestServer::start(Backend::Embedded);
    let (mut first, _) = PlainClient::hello(server.address(), "anna").await;
    let (mut second, _) = PlainClient::hello(server.address(), "anna").await;
    let session = first.start_recording().await;
    second.say(json!({"event": "recording:start", "seq": 1})).await;
    let resumed = second.expect_event("recording:started").await;
    assert_eq!((&resumed["sessionId"], &resumed["resumed"]), (&json!(session), &json!(true)));
    first.say(json!({"event": "one", "seq": 1})).await;
    second.say(json!({"event": "two", "seq": 2})).await;
    first.acked(1).await;
    second.acked(2).await;
    second.leave().await;
    let user = server.json("/users/anna").await;
    assert_eq!(user["user"]["connected"], true, "the first connection is still there");
    first.say(json!({"event": "recording:end", "seq": 2})).await;
    first.acked(2).await;
    let mut names: Vec<String> = server.session_of("anna").await["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn an_anonymous_shopper_gets_a_name() {
    let server = TestServer::start(Backend::Embedded);
    let (mut client, welcome) = PlainClient::hello_with(server.address(), json!({})).await;
    let user = welcome["userId"].as_str().unwrap().to_owned();
    client.say(json!({"event": "e", "seq": 1})).await;
    client.acked(1).await;
    assert_eq!(server.json(&format!("/users/{user}")).await["user"]["numEvents"], 1);
}

#[tokio::test]
async fn an_idle_recording_expires() {
    let settings = "[session]\nidle_timeout_secs = 1\n";
    let server = TestServer::start_with(Backend::Embedded, settings);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let session = client.start_recording().await;
    let audio = run_bytes(5, 9_000);
    client.audio(&audio).await;
    let path = format!("/sessions/{session}");
    let shown = server.until(&path, |answer| answer["session"]["status"] == "expired").await;
    assert!(shown["session"]["endedAt"].is_string());
    let saved = client.expect_event("audio:saved").await;
    let url = saved["audioUrls"][0].as_str().unwrap();
    assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), audio);
    assert_ne!(client.start_recording().await, session);
}
