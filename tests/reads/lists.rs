//! Sessions and users: exact shapes, every event once, answers longer than a page.

use serde_json::{Value, json};
use shopaloud::domain::{Profile, Record, SessionId};

use super::support::{EPOCH_MS, Stream, TestServer, at};

#[actix_web::test]
async fn nothing_recorded_is_an_empty_list() {
    let server = TestServer::start().await;
    assert_eq!(server.text("/sessions").await, r#"{"sessions":[]}"#);
    assert_eq!(server.text("/users").await, r#"{"users":[]}"#);
    server.stop().await;
}

#[actix_web::test]
async fn a_session_has_exactly_this_shape() {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(Some("https://shop.example/hat"), 1);
    let mut click = stream.event(Some(session), "click:event", "{ \"b\": 1.0,\"a\":\"\\u0000\" }", 31);
    if let Record::Event(event) = &mut click {
        event.client_at = Some(at(17));
    }
    let scroll = stream.event(Some(session), "scroll", "null", 32);
    let ended = stream.close_session(session, 93);
    server.write(&[opened, started, click, scroll, ended]).await;
    let part = server.attach(&stream, session, b"\x1a\x45\xdf\xa3").await;

    let expected = format!(
        concat!(
            r#"{{"id":"{id}","userId":"anna","status":"ended","page":"https://shop.example/hat","#,
            r#""createdAt":"2026-11-22T14:44:21.001Z","endedAt":"2026-11-22T14:44:21.093Z","#,
            r#""audioUrl":"{base}/audio/{key}","audioPaths":["{key}"],"audio":{{"url":"{base}/audio/{key}","#,
            r#""contentType":"audio/webm","startedAt":null,"durationMs":null,"recordedMs":null,"gaps":[],"#,
            r#""track":"waiting","problem":null,"parts":[{{"url":"{base}/audio/{key}","#,
            r#""path":"{key}","contentType":"audio/webm","sizeBytes":4,"sha256":"{sha256}","#,
            r#""startedAt":"2026-11-22T14:44:21.001Z","endedAt":"2026-11-22T14:44:21.002Z","#,
            r#""startMs":null,"endMs":null,"problem":null}}]}},"#,
            r#""events":[{{"name":"click:event","seq":2,"data":{{ "b": 1.0,"a":"\u0000" }},"#,
            r#""timestamp":"2026-11-22T14:44:21.017Z","receivedAt":"2026-11-22T14:44:21.031Z"}},"#,
            r#"{{"name":"scroll","seq":3,"data":null,"#,
            r#""timestamp":"2026-11-22T14:44:21.032Z","receivedAt":"2026-11-22T14:44:21.032Z"}}],"numEvents":2}}"#
        ),
        id = session,
        base = server.base,
        key = part.object_key,
        sha256 = part.sha256,
    );
    assert_eq!(server.text("/sessions").await, format!("{{\"sessions\":[{expected}]}}"));
    assert_eq!(server.text(&format!("/sessions/{session}")).await, format!("{{\"session\":{expected}}}"));
    server.stop().await;
}

#[actix_web::test]
async fn a_session_without_anything_has_nulls_and_empty_lists() {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(None, 1);
    server.write(&[opened, started]).await;
    assert_eq!(
        server.json("/sessions").await,
        json!({"sessions": [{
            "id": session, "userId": "anna", "status": "recording", "page": null,
            "createdAt": "2026-11-22T14:44:21.001Z", "endedAt": null,
            "audioUrl": null, "audioPaths": [], "audio": {
                "url": null, "contentType": null, "startedAt": null, "durationMs": null, "recordedMs": null,
                "gaps": [], "track": null, "problem": null, "parts": [],
            }, "events": [], "numEvents": 0,
        }]})
    );
    server.stop().await;
}

#[actix_web::test]
async fn a_user_has_exactly_this_shape_and_only_events_outside_sessions() {
    let server = TestServer::start().await;
    let profile = Profile::parse(Some("Anna \"A\""), Some("anna@example.com")).unwrap();
    let (mut stream, opened) = Stream::open("anna", profile, 0);
    let before = stream.event(None, "hover", "[1]", 1);
    let (session, started) = stream.open_session(None, 2);
    let inside = stream.event(Some(session), "click", "{}", 3);
    let (_, bob) = Stream::open("bob", Profile::default(), 9);
    server.write(&[opened, before, started, inside, bob]).await;

    let users = server.json("/users").await;
    let mut anna = users["users"][1].clone();
    let updated_at = anna.as_object_mut().unwrap().remove("updatedAt").unwrap();
    assert!(updated_at.as_str().unwrap().starts_with("2026-11-22T14:44:21."), "{updated_at}");
    assert_eq!(
        anna,
        json!({
            "id": "anna", "name": "Anna \"A\"", "email": "anna@example.com", "connected": false,
            "createdAt": "2026-11-22T14:44:21.000Z", "numSessions": 1,
            "events": [{"name": "hover", "seq": 1, "data": [1],
                "timestamp": "2026-11-22T14:44:21.001Z", "receivedAt": "2026-11-22T14:44:21.001Z"}],
            "numEvents": 1,
        })
    );
    assert_eq!(users["users"][0]["id"], "bob", "newest first");
    assert_eq!(users["users"][0]["events"], json!([]));
    assert_eq!(server.json("/users/anna").await["user"], users["users"][1]);
    server.stop().await;
}

/// Sessions below, at and above a page, next to each other; every event is compared with what was written.
#[actix_web::test]
async fn five_thousand_events_come_back_one_by_one() {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    server.write(&[opened]).await;
    let mut expected: Vec<(SessionId, Vec<Value>)> = Vec::new();
    let mut time_ms = 1;
    for count in [3, 0, 497, 500, 2_301, 1, 1, 501, 0, 1_196] {
        let (session, started) = stream.open_session(None, time_ms);
        let mut records = vec![started];
        let mut events = Vec::new();
        for number in 0..count {
            time_ms += 1;
            let data = format!("{{\"number\":{number},\"text\":\"é\\n{}\"}}", "x".repeat(number % 300));
            let record = stream.event(Some(session), "mouse:position", &data, time_ms);
            if let Record::Event(event) = &record {
                let at = event.received_at.to_string();
                events.push(json!({
                    "name": "mouse:position", "seq": event.seq, "timestamp": at, "receivedAt": at,
                    "data": serde_json::from_str::<Value>(&data).unwrap(),
                }));
            }
            records.push(record);
        }
        time_ms += 1;
        server.write(&records).await;
        expected.insert(0, (session, events));
    }
    assert_eq!(expected.iter().map(|(_, events)| events.len()).sum::<usize>(), 5_000);

    let answer = server.json("/sessions").await;
    let sessions = answer["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), expected.len());
    for (shown, (session, events)) in sessions.iter().zip(&expected) {
        assert_eq!(shown["id"], json!(session));
        assert_eq!(shown["numEvents"], events.len());
        for (shown_event, event) in shown["events"].as_array().unwrap().iter().zip(events) {
            assert_eq!(shown_event, event);
        }
        assert_eq!(shown["events"].as_array().unwrap().len(), events.len());
    }
    server.stop().await;
}

/// Events of one session by several pages of the shop, with equal times: the pages of the read must not overlap.
#[actix_web::test]
async fn events_of_the_same_instant_are_neither_lost_nor_doubled() {
    let server = TestServer::start().await;
    let (mut first, opened) = Stream::open("anna", Profile::default(), 0);
    let (mut second, also_opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = first.open_session(None, 1);
    let mut records = vec![opened, also_opened, started];
    for number in 0..2_500 {
        let stream = if number % 2 == 0 { &mut first } else { &mut second };
        records.push(stream.event(Some(session), "e", &number.to_string(), 2 + i64::from(number / 1_000)));
    }
    server.write(&records).await;
    let answer = server.json(&format!("/sessions/{session}")).await;
    let mut numbers: Vec<u64> =
        answer["session"]["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..2_500));
    server.stop().await;
}

#[actix_web::test]
async fn more_sessions_and_users_than_a_page_come_newest_first() {
    let server = TestServer::start().await;
    let (mut records, mut sessions) = (Vec::new(), Vec::new());
    for number in 0..250 {
        let (mut stream, opened) = Stream::open(&format!("user-{number}"), Profile::default(), number);
        let outside = stream.event(None, "outside", &number.to_string(), number);
        let (session, started) = stream.open_session(None, number);
        let event = stream.event(Some(session), "inside", &number.to_string(), number);
        records.extend([opened, outside, started, event]);
        sessions.push(session);
    }
    server.write(&records).await;

    let answer = server.json("/sessions").await;
    let shown: Vec<_> = answer["sessions"].as_array().unwrap().iter().map(|s| (&s["id"], &s["events"])).collect();
    let users = server.json("/users").await;
    let users = users["users"].as_array().unwrap();
    assert_eq!((shown.len(), users.len()), (250, 250));
    for (position, number) in (0..250).rev().enumerate() {
        assert_eq!(*shown[position].0, json!(sessions[number]));
        assert_eq!(shown[position].1[0]["data"], number);
        assert_eq!(users[position]["id"], format!("user-{number}"));
        assert_eq!(users[position]["events"][0]["data"], number);
        assert_eq!(users[position]["numEvents"], 1);
    }
    server.stop().await;
}

#[actix_web::test]
async fn names_and_ids_are_escaped_and_found_again() {
    let server = TestServer::start().await;
    for id in ["quo\"te\\back", "a/b c?d#e%2F", "é\u{2028}漢"] {
        let (mut stream, opened) = Stream::open(id, Profile::default(), 0);
        let (session, started) = stream.open_session(Some(id), 1);
        let event = stream.event(Some(session), id, "1", 2);
        let outside = stream.event(None, id, "2", 3);
        server.write(&[opened, started, event, outside]).await;

        let shown = server.json(&format!("/sessions/{session}")).await;
        assert_eq!(shown["session"]["userId"], id);
        assert_eq!(shown["session"]["page"], id);
        assert_eq!(shown["session"]["events"][0]["name"], id);
        let mut url = reqwest::Url::parse(&server.base).unwrap();
        url.path_segments_mut().unwrap().extend(["users", id]);
        let shown = server.json(url.path()).await;
        assert_eq!(shown["user"]["id"], id);
        assert_eq!(shown["user"]["events"][0]["data"], 2);
    }
    server.stop().await;
}

/// What a request with a proxy's headers is told of one part, and the part's key.
async fn link_told_to_a_proxy(settings: &str) -> (String, String) {
    let server = TestServer::with_settings(settings).await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(None, 1);
    server.write(&[opened, started]).await;
    let part = server.attach(&stream, session, b"audio").await;
    let request = server.client.get(format!("{}/sessions", server.base));
    let request = request.header("x-forwarded-proto", "https").header("x-forwarded-host", "proxy.example");
    let shown: Value = request.send().await.unwrap().json().await.unwrap();
    let link = shown["sessions"][0]["audioUrl"].as_str().unwrap().replace(&server.base, "http://server");
    server.stop().await;
    (link, part.object_key)
}

#[actix_web::test]
async fn links_begin_with_the_public_url_or_with_what_a_trusted_proxy_says() {
    for (settings, base) in [
        ("", "http://server"),
        ("public_url = \"https://voice.example/v1\"", "https://voice.example/v1"),
        ("trusted_proxies = [\"loopback\"]", "https://proxy.example"),
    ] {
        let (link, key) = link_told_to_a_proxy(settings).await;
        assert_eq!(link, format!("{base}/audio/{key}"), "{settings}");
    }
}

/// The status line is gone when the database fails half-way: the client must notice all the same.
#[actix_web::test]
async fn an_answer_that_fails_half_way_is_not_taken_for_a_whole_one() {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(None, 1);
    let mut records = vec![opened, started];
    let data = format!("\"{}\"", "x".repeat(20_000));
    // More than the buffers of both sockets take, so that most of it is still unread in the database.
    records.extend((0..3_000).map(|number| stream.event(Some(session), "dom:mutation", &data, 2 + number)));
    server.write(&records).await;

    let mut response = server.get(&format!("/sessions/{session}")).await;
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().unwrap().starts_with(b"{\"session\":{"));
    server.store.close().await;
    let broken_off = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken_off, "the answer ended as if it were whole");
    server.stop().await;
}

#[test]
fn the_epoch_of_the_tests_is_what_the_texts_say() {
    assert_eq!(at(0).to_string(), "2026-11-22T14:44:21.000Z");
    assert_eq!(at(0).as_unix_ms(), EPOCH_MS);
}
