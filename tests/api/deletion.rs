//! What is deleted is gone: rows, objects, and what was on its way. Also while it is being recorded.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    client::{PlainClient, run_bytes},
    server::{Backend, PATIENCE, TestServer},
};

async fn delete(server: &TestServer, path: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().delete(server.url(path)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn until_nothing_is_staged(server: &TestServer) {
    let nothing_staged = async {
        while !server.has_stored_all_audio() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, nothing_staged).await.is_ok(), "audio stays staged");
}

/// A recording with two events and one stored part; its session and the part's URL.
async fn recorded(server: &TestServer, client: &mut PlainClient, seq: i64) -> (String, String) {
    let session = client.start_recording().await;
    for seq in [seq, seq + 1] {
        client.say(json!({"event": "click:event", "seq": seq})).await;
    }
    client.audio(&run_bytes(seq.unsigned_abs(), 9_000)).await;
    client.say(json!({"event": "recording:end", "seq": seq + 2})).await;
    client.acked(seq + 2).await;
    let saved = client.expect_event("audio:saved").await;
    server.until(&format!("/sessions/{session}"), |answer| answer["session"]["numEvents"] == 2).await;
    (session, saved["audioUrls"][0].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_deleted_session_is_gone_and_others_stay() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        let (session, url) = recorded(&server, &mut client, 1).await;
        let (other, other_url) = recorded(&server, &mut client, 11).await;
        let path = format!("/sessions/{session}");

        let (status, answer) = delete(&server, &path).await;
        assert_eq!(status, 200);
        let expected = json!({
            "users": 0, "sessions": 1, "events": 2, "audioParts": 1, "audioBytes": 9_000,
            "stagedRuns": 0, "stagedBytes": 0, "complete": true,
        });
        assert_eq!(answer["removed"], expected);
        assert_eq!(server.get(&path).await.status(), 404);
        assert_eq!(reqwest::get(url).await.unwrap().status(), 404);
        assert_eq!(reqwest::get(other_url).await.unwrap().status(), 200);
        assert_eq!(server.session_of("anna").await["id"], other.as_str());

        let (status, answer) = delete(&server, &path).await;
        assert_eq!(
            (status, &answer["removed"]["events"], &answer["removed"]["complete"]),
            (200, &json!(0), &json!(true))
        );
    }
}

#[tokio::test]
async fn what_never_was_cannot_be_deleted() {
    let server = TestServer::start(Backend::Embedded);
    for path in ["/sessions/019aac6e-0000-7000-8000-000000000000", "/sessions/nonsense", "/users/nobody"] {
        let (status, answer) = delete(&server, path).await;
        assert_eq!((status, &answer["status"]), (404, &json!(404)), "{path}");
    }
    let answer = reqwest::Client::new().delete(server.url("/sessions")).send().await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn a_session_is_deleted_while_it_records() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
        let session = client.start_recording().await;
        client.say(json!({"event": "click:event", "seq": 1})).await;
        client.acked(1).await;
        client.audio(&run_bytes(1, 50_000)).await;
        client.audio_acked(50_000).await;

        let (status, answer) = delete(&server, &format!("/sessions/{session}")).await;
        assert_eq!((status, &answer["removed"]["complete"]), (200, &json!(true)));
        assert_eq!((&answer["removed"]["stagedRuns"], &answer["removed"]["stagedBytes"]), (&json!(1), &json!(50_000)));
        client.say(json!({"event": "click:event", "seq": 2})).await;
        client.acked(2).await;
        assert_eq!(server.sessions_of("anna").await, Vec::<Value>::new());
        let user = server.json("/users/anna").await;
        assert_eq!(user["user"]["numEvents"], 1, "what came later lies outside any session");

        let next = client.start_recording().await;
        assert_ne!(next, session);
        client.audio(&run_bytes(2, 6_000)).await;
        client.say(json!({"event": "recording:end"})).await;
        assert_eq!(client.expect_event("audio:saved").await["sessionId"], next.as_str());
        assert_eq!(server.session_of("anna").await["audio"]["parts"][0]["sizeBytes"], 6_000);
        until_nothing_is_staged(&server).await;
    }
}

#[tokio::test]
async fn what_the_journal_still_holds_does_not_come_back() {
    let settings = "[audio]\nreconnect_grace_ms = 600000\n[database]\nlinger_ms = 50\n";
    let mut server = TestServer::start_with(Backend::Embedded, settings);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let session = client.start_recording().await;
    client.audio(&run_bytes(1, 20_000)).await;
    client.audio_acked(20_000).await;
    client.say(json!({"event": "click:event", "seq": 1})).await;
    client.acked(1).await;
    // Audio waits in the journal for its client.
    server.kill();
    server.restart();
    let (status, answer) = delete(&server, &format!("/sessions/{session}")).await;
    assert_eq!((status, &answer["removed"]["stagedBytes"]), (200, &json!(20_000)));
    server.kill();
    server.restart();
    assert_eq!(server.terminate().code(), Some(0));
    server.restart();
    assert_eq!(server.sessions_of("anna").await, Vec::<Value>::new());
    until_nothing_is_staged(&server).await;
    assert!(!server.data_dir().join("audio/sessions").join(&session).exists());
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_comes_back_as_a_new_one() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let hello = json!({"userId": "anna", "name": "Anna"});
        let (mut client, _) = PlainClient::hello_with(server.address(), hello).await;
        client.say(json!({"event": "page:view", "seq": 1})).await;
        let (_, url) = recorded(&server, &mut client, 2).await;
        client.start_recording().await;
        client.audio(&run_bytes(9, 3_000)).await;
        client.audio_acked(12_000).await;

        let (status, answer) = delete(&server, "/users/anna").await;
        assert_eq!((status, &answer["removed"]["complete"]), (200, &json!(true)), "{answer}");
        let removed = &answer["removed"];
        assert_eq!((&removed["users"], &removed["sessions"], &removed["events"]), (&json!(1), &json!(2), &json!(3)));
        assert_eq!((&removed["audioParts"], &removed["stagedRuns"]), (&json!(1), &json!(1)));
        assert_eq!(client.closed_for().await, ("deleted".to_owned(), 1012));
        assert_eq!(server.get("/users/anna").await.status(), 404);
        assert_eq!(server.sessions_of("anna").await, Vec::<Value>::new());
        assert_eq!(reqwest::get(url).await.unwrap().status(), 404);

        let (mut client, welcome) = PlainClient::hello(server.address(), "anna").await;
        assert_eq!(welcome["sessionId"], Value::Null);
        client.say(json!({"event": "again", "seq": 1})).await;
        client.acked(1).await;
        let user = server.json("/users/anna").await;
        assert_eq!((&user["user"]["name"], &user["user"]["numEvents"]), (&Value::Null, &json!(1)));
        server.until("/users/anna", |answer| answer["user"]["connected"] == true).await;
    }
}

#[tokio::test]
async fn objects_that_cannot_go_now_go_later() {
    let backend = Backend::all().await.remove(1);
    let Backend::Production { s3, .. } = backend.clone() else { panic!("no bucket") };
    let server = TestServer::start(backend);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let (session, _) = recorded(&server, &mut client, 1).await;
    let path = format!("/sessions/{session}");
    s3.lock().unwrap().stop();
    let (status, answer) = delete(&server, &path).await;
    assert_eq!((status, &answer["removed"]["complete"]), (202, &json!(false)));
    s3.lock().unwrap().restart();
    let (status, answer) = delete(&server, &path).await;
    assert_eq!((status, &answer["removed"]["audioParts"]), (200, &json!(1)), "said again, it goes on at once");
    assert_eq!(server.get(&path).await.status(), 404);
}

#[tokio::test]
async fn another_node_lets_go_of_what_it_has_in_hand() {
    let backend = Backend::all().await.remove(1);
    let nodes = [TestServer::start(backend.clone()), TestServer::start(backend)];
    let (mut client, _) = PlainClient::hello(nodes[1].address(), "anna").await;
    let session = client.start_recording().await;
    client.say(json!({"event": "click:event", "seq": 1})).await;
    client.acked(1).await;
    client.audio(&run_bytes(1, 5_000)).await;
    client.audio_acked(5_000).await;
    let (status, _) = delete(&nodes[0], &format!("/sessions/{session}")).await;
    assert_eq!(status, 200);
    until_nothing_is_staged(&nodes[1]).await;
    assert_eq!(nodes[0].sessions_of("anna").await, Vec::<Value>::new());
    client.say(json!({"event": "click:event", "seq": 2})).await;
    client.acked(2).await;
    assert_eq!(nodes[0].json("/users/anna").await["user"]["numEvents"], 1);
}

#[tokio::test]
async fn what_is_too_old_goes_by_itself() {
    let mut server = TestServer::start_with(Backend::Embedded, "[retention]\ndays = 30\n");
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let (old, url) = recorded(&server, &mut client, 1).await;
    client.leave().await;
    let (mut client, _) = PlainClient::hello(server.address(), "berta").await;
    let (recent, _) = recorded(&server, &mut client, 1).await;
    assert_eq!(server.terminate().code(), Some(0));

    let file = server.data_dir().join("shopaloud.sqlite");
    let database = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let month_ms: i64 = 31 * 24 * 60 * 60 * 1_000;
    for statement in [
        "UPDATE sessions SET opened_at = opened_at - $1 WHERE user_id = 'anna'",
        "UPDATE users SET updated_at = updated_at - $1 WHERE id = 'anna'",
        "UPDATE presence SET since = since - $1",
    ] {
        sqlx::query(statement).bind(month_ms).execute(&database).await.unwrap();
    }
    database.close().await;
    // All of it is stored. Replayed, it would make the user new again.
    std::fs::remove_dir_all(server.data_dir().join("journal")).unwrap();

    server.restart();
    server.until(&format!("/sessions/{old}"), |answer| answer["status"] == 404).await;
    server.until("/users/anna", |answer| answer["status"] == 404).await;
    assert_eq!(server.json("/sessions").await["sessions"][0]["id"], recent.as_str());
    let path = url.split_once("/audio/").unwrap().1.split('?').next().unwrap();
    assert!(!server.data_dir().join("audio").join(path).exists());
}
