//! Pages, filters, versions: what a dashboard asks for beyond everything.

use reqwest::StatusCode;
use serde_json::{Value, json};
use shopaloud::domain::{Profile, SessionId};

use super::support::{Stream, TestServer, problem};

/// Five sessions of Anna, each a second later, with 0 to 4 events; the oldest first. The first three are over.
async fn recorded(server: &TestServer) -> Vec<SessionId> {
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let mut records = vec![opened, stream.event(None, "hover", "1", 1)];
    let mut sessions = Vec::new();
    for number in 0..5 {
        let at_ms = 1_000 * (number + 1);
        let (session, started) = stream.open_session(None, at_ms);
        records.push(started);
        for event in 0..number {
            let name = if event % 2 == 0 { "click" } else { "scroll" };
            records.push(stream.event(Some(session), name, &format!("{{\n\"n\":{event}}}"), at_ms + event + 1));
        }
        if number < 3 {
            records.push(stream.close_session(session, at_ms + 500));
        }
        sessions.push(session);
    }
    server.write(&records).await;
    sessions
}

fn ids(answer: &Value) -> Vec<String> {
    let sessions = answer["sessions"].as_array().unwrap().iter();
    sessions.map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

fn newest_first(sessions: &[SessionId]) -> Vec<String> {
    sessions.iter().rev().map(ToString::to_string).collect()
}

#[actix_web::test]
async fn pages_follow_each_other_while_more_is_recorded() {
    let server = TestServer::start().await;
    let sessions = recorded(&server).await;
    let first = server.json("/sessions?limit=2").await;
    assert_eq!(ids(&first), newest_first(&sessions)[..2]);
    let (mut stream, opened) = Stream::open("berta", Profile::default(), 50_000);
    let (_, started) = stream.open_session(None, 50_000);
    server.write(&[opened, started]).await;

    let cursor = first["nextCursor"].as_str().unwrap();
    let second = server.json(&format!("/sessions?limit=2&cursor={cursor}")).await;
    assert_eq!(ids(&second), newest_first(&sessions)[2..4]);
    let cursor = second["nextCursor"].as_str().unwrap();
    let last = server.json(&format!("/sessions?cursor={cursor}")).await;
    assert_eq!(ids(&last), newest_first(&sessions)[4..]);
    assert_eq!(last["nextCursor"], Value::Null);
    assert_eq!(server.json("/sessions").await.get("nextCursor"), None, "everything is no page");

    let users = server.json("/users?limit=1").await;
    assert_eq!(users["users"][0]["id"], "berta");
    let cursor = users["nextCursor"].as_str().unwrap();
    let rest = server.json(&format!("/users?limit=5&cursor={cursor}")).await;
    assert_eq!((&rest["users"][0]["id"], &rest["nextCursor"]), (&json!("anna"), &Value::Null));
    server.stop().await;
}

#[actix_web::test]
async fn filters_leave_out_what_is_not_asked_for() {
    let server = TestServer::start().await;
    let sessions = recorded(&server).await;
    let (stream, opened) = Stream::open("berta", Profile::default(), 90_000);
    server.write(&[opened]).await;
    server.attach(&stream, sessions[1], b"\x1a\x45\xdf\xa3").await;
    let all = newest_first(&sessions);
    for (query, expected) in [
        ("user=anna", &all[..]),
        ("user=berta", &[]),
        ("status=recording", &all[..2]),
        ("status=ended", &all[2..]),
        ("status=expired", &[]),
        ("since=2026-11-22T14:44:25Z", &all[..2]),
        ("until=2026-11-22T15:44:23.000%2B01:00", &all[4..]),
        ("hasAudio=true", &all[3..4]),
        ("user=anna&status=ended&limit=1", &all[2..3]),
    ] {
        assert_eq!(ids(&server.json(&format!("/sessions?{query}")).await), expected, "{query}");
    }
    for (query, expected) in [
        ("user=anna", vec!["anna"]),
        ("status=ended", vec!["anna"]),
        ("hasAudio=false", vec!["berta"]),
        ("connected=true", vec![]),
        ("since=2026-11-22T14:44:22Z", vec!["berta"]),
    ] {
        let answer = server.json(&format!("/users?{query}")).await;
        let shown: Vec<_> = answer["users"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect();
        assert_eq!(shown, expected, "{query}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn events_are_shown_counted_or_left_out() {
    let server = TestServer::start().await;
    let sessions = recorded(&server).await;
    let path = format!("/sessions/{}", sessions[4]);
    for (list, one) in [("/sessions?limit=1&", format!("{path}?")), ("/users?", "/users/anna?".to_owned())] {
        for (mode, has_events, has_count) in [("full", true, true), ("count", false, true), ("none", false, false)] {
            let listed = server.json(&format!("{list}events={mode}")).await;
            let shown = server.json(&format!("{one}events={mode}")).await;
            let first = &listed[list[1..].split('?').next().unwrap()][0];
            let single = shown.get("session").or(shown.get("user")).unwrap();
            assert_eq!(first, single);
            assert_eq!((first.get("events").is_some(), first.get("numEvents").is_some()), (has_events, has_count));
        }
    }
    assert_eq!(server.json(&format!("{path}?events=count")).await["session"]["numEvents"], 4);
    server.stop().await;
}

#[actix_web::test]
async fn a_parameter_that_makes_no_sense_is_named() {
    let server = TestServer::start().await;
    let sessions = recorded(&server).await;
    let session = sessions[0];
    for (path, parameter) in [
        ("/sessions?limit=0".to_owned(), "limit"),
        ("/sessions?limit=ten".to_owned(), "limit"),
        ("/sessions?cursor=Zm9v".to_owned(), "cursor"),
        ("/sessions?status=open".to_owned(), "status"),
        ("/sessions?since=now".to_owned(), "since"),
        ("/sessions?hasAudio=yes".to_owned(), "hasAudio"),
        ("/sessions?events=some".to_owned(), "events"),
        ("/sessions?user=".to_owned(), "user"),
        ("/sessions?usr=anna".to_owned(), "usr"),
        ("/sessions?user=anna&user=berta".to_owned(), "user"),
        ("/users?until=2026".to_owned(), "until"),
        ("/users?connected=1".to_owned(), "connected"),
        (format!("/sessions/{session}?limit=3"), "limit"),
        (format!("/sessions/{session}/events?name="), "name"),
        (format!("/sessions/{session}/events?event=click"), "event"),
        (format!("/sessions/{session}/audio?part=0"), "part"),
    ] {
        let response = server.get(&path).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        let problem = problem(response).await;
        assert_eq!((&problem["status"], &problem["parameter"]), (&json!(400), &json!(parameter)), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(parameter), "{problem}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn events_come_one_a_line() {
    let server = TestServer::start().await;
    let sessions = recorded(&server).await;
    let path = format!("/sessions/{}/events", sessions[4]);
    let lines = async |query: &str| -> Vec<Value> {
        let response = server.get(&format!("{path}{query}")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let text = response.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let numbers = async |query: &str| -> Vec<i64> {
        lines(query).await.iter().map(|event| event["data"]["n"].as_i64().unwrap()).collect()
    };

    let whole = server.json(&format!("/sessions/{}", sessions[4])).await;
    assert_eq!(json!(lines("").await), whole["session"]["events"], "the same events in the same shape");
    assert_eq!(numbers("?name=click").await, [0, 2]);
    assert_eq!(numbers("?name=click&name=scroll").await, [0, 1, 2, 3]);
    assert_eq!(numbers("?name=other").await, Vec::<i64>::new());
    assert_eq!(numbers("?since=2026-11-22T14:44:26.002Z&until=2026-11-22T14:44:26.004Z").await, [1, 2]);
    assert_eq!(server.get(&format!("/sessions/{}/events", SessionId::new())).await.status(), 404);
    server.stop().await;
}

#[actix_web::test]
async fn thousands_of_lines_come_in_order() {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(None, 1);
    let mut records = vec![opened, started];
    for number in 0..5_000_i64 {
        records.push(stream.event(Some(session), "e", &format!("{{\"n\":{number}}}"), 2 + number / 100));
    }
    server.write(&records).await;
    let text = server.get(&format!("/sessions/{session}/events")).await.text().await.unwrap();
    let numbers = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_i64().unwrap());
    assert!(numbers.eq(0..5_000));
    server.stop().await;
}

#[actix_web::test]
async fn who_has_a_finished_session_need_not_get_it_again() {
    let server = TestServer::start().await;
    let sessions = recorded(&server).await;
    let (finished, recording) = (sessions[2], sessions[4]);
    for path in [format!("/sessions/{finished}"), format!("/sessions/{finished}/events")] {
        let first = server.get(&path).await;
        let version = first.headers()["etag"].clone();
        assert_eq!(first.headers()["cache-control"], "private, no-cache");
        let again = server.client.get(format!("{}{path}", server.base)).header("if-none-match", version.clone());
        let again = again.send().await.unwrap();
        assert_eq!((again.status(), again.headers()["etag"].clone()), (StatusCode::NOT_MODIFIED, version.clone()));
        assert_eq!(again.text().await.unwrap(), "");
        let other = server.client.get(format!("{}{path}?name=x", server.base)).header("if-none-match", version);
        assert_ne!(other.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    assert!(!server.get(&format!("/sessions/{recording}")).await.headers().contains_key("etag"));

    let path = format!("/sessions/{finished}");
    let before = server.get(&path).await.headers()["etag"].clone();
    let (stream, _) = Stream::open("anna", Profile::default(), 0);
    server.attach(&stream, finished, b"late").await;
    assert_ne!(server.get(&path).await.headers()["etag"], before, "late audio makes another answer");
    server.stop().await;
}

#[actix_web::test]
async fn answers_are_compressed_for_who_asks() {
    let server = TestServer::start().await;
    recorded(&server).await;
    let plain = server.text("/sessions").await;
    for (encoding, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]), ("br", &[])] {
        let request = server.client.get(format!("{}/sessions", server.base)).header("accept-encoding", encoding);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], encoding);
        let body = response.bytes().await.unwrap();
        assert!(body.starts_with(magic), "{encoding}");
        assert!(body.len() < plain.len() / 2, "{encoding}: {} of {}", body.len(), plain.len());
    }
    assert!(!server.get("/sessions").await.headers().contains_key("content-encoding"));
    server.stop().await;
}
