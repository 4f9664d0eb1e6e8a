//! Text that would like to be something else: SQL, a path, a header.

use serde_json::json;

use crate::{
    keyed::KeyedServer,
    support::{client::PlainClient, server::Backend},
};

const SQL: [&str; 7] = [
    "' OR '1'='1",
    "'; DROP TABLE events; --",
    "\" OR \"\"=\"",
    "1); DELETE FROM sessions; --",
    "$1",
    "\\'; SELECT pg_sleep(10); --",
    "' UNION SELECT * FROM users --",
];

#[tokio::test]
async fn sql_is_a_name_like_any_other() {
    for backend in Backend::all().await {
        let keyed = KeyedServer::start_on(backend, "");
        for sql in SQL {
            let hello = json!({"key": keyed.write, "userId": sql, "name": sql, "email": sql});
            let (mut client, _) = PlainClient::hello_with(keyed.address(), hello).await;
            client.say(json!({"event": "recording:start", "seq": 1, "data": {"page": sql}})).await;
            client.say(json!({"event": sql, "seq": 2, "data": sql})).await;
            client.acked(2).await;
        }
        let sessions = keyed.json("/sessions").await;
        let sessions = sessions["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), SQL.len());
        for session in sessions {
            let user = &session["userId"];
            assert!(SQL.iter().any(|sql| user == sql));
            assert_eq!(&session["page"], user);
            assert_eq!((&session["events"][0]["name"], &session["events"][0]["data"]), (user, user));
        }
    }
}

#[tokio::test]
async fn sql_in_every_parameter_finds_and_breaks_nothing() {
    for backend in Backend::all().await {
        let keyed = KeyedServer::start_on(backend, "");
        let mut anna = keyed.plain("anna").await;
        anna.start_recording().await;
        anna.say(json!({"event": "e", "seq": 1})).await;
        anna.acked(1).await;
        let before = keyed.json("/sessions").await;
        for sql in SQL {
            for part in ["sessions", "users", "audio"] {
                let mut url = reqwest::Url::parse(&keyed.server.url("/")).unwrap();
                url.path_segments_mut().unwrap().push(part).push(sql);
                let response = keyed.request(url.path(), &keyed.read).send().await.unwrap();
                assert_eq!(response.status(), 404, "{part} {sql}");
            }
            let parameters =
                ["limit", "cursor", "user", "status", "since", "until", "hasAudio", "events", "name", "expires"];
            for parameter in parameters {
                for path in ["/sessions", "/users", "/sessions/019aac6e-0000-7000-8000-000000000000"] {
                    let mut url = reqwest::Url::parse(&keyed.server.url(path)).unwrap();
                    url.query_pairs_mut().append_pair(parameter, sql);
                    let request = keyed.client.get(url).bearer_auth(&keyed.read);
                    let response = request.send().await.unwrap();
                    assert!([200, 400, 404].contains(&response.status().as_u16()), "{path}?{parameter}={sql}");
                }
            }
        }
        assert_eq!(keyed.json("/sessions").await, before);
    }
}

#[tokio::test]
async fn a_path_leads_nowhere_but_to_audio() {
    let keyed = KeyedServer::start();
    let secret = keyed.server.data_dir().join("audio/../link-secret");
    assert!(secret.exists());
    // As the bytes are, since clients tidy paths up.
    for path in [
        "/audio/../link-secret",
        "/audio/../../data/link-secret",
        "/audio/..%2flink-secret",
        "/audio/..%2Flink-secret",
        "/audio/%2e%2e/link-secret",
        "/audio/%2e%2e%2flink-secret",
        "/audio/%252e%252e%252flink-secret",
        "/audio/..%252flink-secret",
        "/audio/..%5clink-secret",
        "/audio/..\\link-secret",
        "/audio/..%c0%aflink-secret",
        "/audio/....//link-secret",
        "/audio/sessions/../../link-secret",
        "/audio/sessions/..;/link-secret",
        "/audio//etc/passwd",
        "/audio/%2fetc%2fpasswd",
        "/audio/file:///etc/passwd",
        "/audio/sessions/x%00.webm",
        "/audio/.",
        "/audio/",
        "/audio",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", keyed.admin);
        let answer = crate::smuggling::answer_to(keyed.address(), head.as_bytes()).await;
        let status = crate::smuggling::statuses(&answer);
        assert!(status == [404] || status == [400], "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_name_does_not_become_a_header() {
    let keyed = KeyedServer::start();
    for path in ["/sessions/%0d%0aset-cookie:%20a=b", "/users/%0d%0a%0d%0a<script>", "/audio/%0d%0aLocation:%20evil"] {
        let response = keyed.request(path, &keyed.read).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(!response.headers().contains_key("set-cookie") && !response.headers().contains_key("location"));
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }
}
