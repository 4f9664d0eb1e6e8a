//! Keys: none, wrong ones, and right ones for something else.

use serde_json::{Value, json};

use crate::{
    keyed::{KeyedServer, Polling, SHOP, id_of},
    support::{
        client::PlainClient,
        keys::{keys, new_key},
        server::PATIENCE,
    },
};

/// Everything that shows what was recorded, and what nobody thought about yet.
const READS: [&str; 9] = [
    "/sessions",
    "/sessions/019aac6e-0000-7000-8000-000000000000",
    "/sessions/019aac6e-0000-7000-8000-000000000000/events",
    "/sessions/019aac6e-0000-7000-8000-000000000000/audio",
    "/users",
    "/users/anna",
    "/metrics",
    "/audio/sessions/x.webm",
    "/nowhere",
];

#[tokio::test]
async fn nothing_is_read_without_a_key() {
    let keyed = KeyedServer::start();
    for path in READS {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD, reqwest::Method::DELETE, reqwest::Method::POST] {
            let response = keyed.client.request(method.clone(), keyed.server.url(path)).send().await.unwrap();
            assert_eq!(response.status(), 401, "{method} {path}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"shopaloud\"", "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
        }
    }
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(keyed.server.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_key_opens_what_it_is_for_and_nothing_else() {
    let keyed = KeyedServer::start();
    for key in [&keyed.read, &keyed.admin] {
        assert_eq!(keyed.request("/sessions", key).send().await.unwrap().status(), 200);
    }
    for path in READS {
        let response = keyed.request(path, &keyed.write).send().await.unwrap();
        assert_eq!(response.status(), 403, "{path}");
        assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("insufficient_scope"));
        let deletion = keyed.client.delete(keyed.server.url(path));
        assert_eq!(deletion.bearer_auth(&keyed.read).send().await.unwrap().status(), 403, "{path}");
        let deletion = keyed.client.delete(keyed.server.url(path)).bearer_auth(&keyed.admin).send().await.unwrap();
        assert!(![401, 403].contains(&deletion.status().as_u16()), "{path}: {}", deletion.status());
    }
}

#[tokio::test]
async fn a_wrong_key_reads_nothing() {
    let keyed = KeyedServer::start();
    let unknown = new_key(&KeyedServer::start().server, &["--kind", "read", "--name", "elsewhere"]);
    let misspelt = keyed.read.replace("sa_read_", "sa_admin_");
    let cut = &keyed.read[..keyed.read.len() - 1];
    for key in [unknown.as_str(), &misspelt, cut, &keyed.token_secret, "x", ""] {
        let response = keyed.request("/sessions", key).send().await.unwrap();
        assert_eq!(response.status(), 401, "{key}");
        assert!(response.headers()["www-authenticate"].to_str().unwrap().ends_with("error=\"invalid_token\""));
    }
    let in_query = keyed.server.get(&format!("/sessions?key={}", keyed.read)).await;
    assert_eq!(in_query.status(), 401, "an address is logged everywhere");
    let basic = keyed.client.get(keyed.server.url("/sessions")).basic_auth("x", Some(&keyed.read));
    assert_eq!(basic.send().await.unwrap().status(), 401);
    let twice = keyed.request("/sessions", &keyed.read).header("authorization", "Bearer x");
    assert_eq!(twice.send().await.unwrap().status(), 401, "which of both a proxy looked at is unknown");
}

#[tokio::test]
async fn nobody_records_without_a_write_key() {
    let keyed = KeyedServer::start();
    let unknown = keyed.write.replace("sa_write_", "sa_write_0");
    for (key, code) in [
        (Value::Null, "unauthorized"),
        (json!(unknown), "unauthorized"),
        (json!(keyed.read), "unauthorized"),
        (json!(keyed.admin), "unauthorized"),
        (json!(keyed.token_secret), "unauthorized"),
        (json!(7), "bad_message"),
    ] {
        let hello = json!({"userId": "anna", "key": key});
        let mut client = PlainClient::connect(keyed.address()).await;
        client.say(json!({"event": "hello", "data": hello})).await;
        let close = if code == "unauthorized" { 4401 } else { 4400 };
        assert_eq!(client.closed_for().await, (code.to_owned(), close), "{key}");
        let answer = Polling::connect(&keyed.server, "", None, &hello).await;
        assert!(
            answer.starts_with("44{\"message\":\"") && answer.contains(&format!(r#""data":{{"code":"{code}"}}"#)),
            "{answer}"
        );
    }
    // A handshake without a user is refused as well, before anything is said in it.
    let answer = Polling::connect(&keyed.server, "", Some(SHOP), &json!({})).await;
    assert!(answer.contains("\"unauthorized\""), "{answer}");
    assert_eq!(keyed.json("/users").await["users"], json!([]));
}

#[tokio::test]
async fn a_write_key_is_shown_in_the_hello_or_in_the_address() {
    let keyed = KeyedServer::start();
    keyed.plain("anna").await.leave().await;
    let mut client = PlainClient::try_connect(keyed.address(), &format!("/ws?key={}", keyed.write), &[]).await.unwrap();
    client.say(json!({"event": "hello", "data": {"userId": "anna"}})).await;
    client.expect("welcome").await;
    let answer = Polling::connect(&keyed.server, "", Some(SHOP), &keyed.hello("anna")).await;
    assert!(answer.starts_with("40{\"sid\""), "{answer}");
    let answer = Polling::connect(&keyed.server, &format!("&key={}", keyed.write), Some(SHOP), &json!({})).await;
    assert!(answer.starts_with("40{\"sid\""), "{answer}");
}

/// The published widget shows no key: its page is known by its origin.
#[tokio::test]
async fn an_anonymous_key_is_for_pages_of_its_origins_alone() {
    let keyed = KeyedServer::start();
    let widget = ["--kind", "write", "--name", "widget", "--origin", "https://*.widget.example", "--anonymous"];
    new_key(&keyed.server, &widget);
    keyed.server.hang_up();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let answer = loop {
        match Polling::open(&keyed.server, "", Some("https://www.widget.example")).await {
            Ok(polling) => {
                polling.say("40").await;
                break polling.hear().await;
            }
            Err(refused) => assert_eq!(refused.status(), 403),
        }
        assert!(tokio::time::Instant::now() < deadline, "the new key is never taken");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(answer.starts_with("40{\"sid\""), "{answer}");
    let answer = Polling::connect(&keyed.server, "", Some(SHOP), &json!({})).await;
    assert!(answer.starts_with("44"), "another key's page: {answer}");
    let answer = Polling::connect(&keyed.server, "", None, &json!({})).await;
    assert!(answer.starts_with("44"), "no page: {answer}");
}

#[tokio::test]
async fn a_revoked_key_is_none_also_for_those_who_are_in() {
    let keyed = KeyedServer::start();
    let mut inside = keyed.plain("anna").await;
    inside.say(json!({"event": "e", "seq": 1})).await;
    inside.acked(1).await;
    keys(&keyed.server, &["revoke", &id_of(&keyed.server, "shop")]);
    assert_eq!(inside.closed_for().await, ("unauthorized".to_owned(), 4401), "without being told by a signal");
    let mut late = PlainClient::connect(keyed.address()).await;
    late.say(json!({"event": "hello", "data": keyed.hello("anna")})).await;
    assert_eq!(late.closed_for().await.0, "unauthorized");
    // What was recorded stays, and the reader's key is untouched.
    assert_eq!(keyed.json("/users/anna").await["user"]["numEvents"], 1);
}

#[tokio::test]
async fn an_expired_key_is_none() {
    let keyed = KeyedServer::start();
    let expired = new_key(&keyed.server, &["--kind", "read", "--name", "old", "--expires-in-days", "0"]);
    let fresh = new_key(&keyed.server, &["--kind", "read", "--name", "new", "--expires-in-days", "1"]);
    keyed.server.hang_up();
    keyed.until_status("/sessions", &fresh, 200).await;
    assert_eq!(keyed.request("/sessions", &expired).send().await.unwrap().status(), 401);
    let (list, _) = keys(&keyed.server, &["list"]);
    assert!(list.lines().any(|line| line.contains(" old ") && line.contains(" expired ")), "{list}");
}

#[tokio::test]
async fn a_broken_keys_file_opens_and_closes_nothing() {
    let keyed = KeyedServer::start();
    let file = keyed.server.data_dir().join("keys.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    for broken in ["[[key]\n", "", "key = []\ntypo = 1\n"] {
        std::fs::write(&file, broken).unwrap();
        keyed.server.hang_up();
        if broken.is_empty() {
            // Not broken: all of them are revoked. That closes the server, and does not open it.
            keyed.until_status("/sessions", &keyed.read, 401).await;
            assert_eq!(keyed.server.get("/sessions").await.status(), 401);
            std::fs::write(&file, &good).unwrap();
            keyed.server.hang_up();
            keyed.until_status("/sessions", &keyed.read, 200).await;
        } else {
            // Nothing shows that it was looked at but a later, good file.
            std::fs::write(&file, &good).unwrap();
            let next = new_key(&keyed.server, &["--kind", "read", "--name", "next"]);
            keyed.server.hang_up();
            keyed.until_status("/sessions", &next, 200).await;
            assert_eq!(keyed.request("/sessions", &keyed.read).send().await.unwrap().status(), 200);
        }
    }
    std::fs::remove_file(&file).unwrap();
    keyed.server.hang_up();
    keyed.until_status("/sessions", &keyed.read, 200).await;
    assert_eq!(keyed.server.get("/sessions").await.status(), 401, "a file that is gone opens nothing");
}

#[tokio::test]
async fn secrets_are_in_no_file_and_in_no_log() {
    let keyed = KeyedServer::start();
    let file = std::fs::read_to_string(keyed.server.data_dir().join("keys.toml")).unwrap();
    for secret in [&keyed.write, &keyed.read, &keyed.admin] {
        assert!(!file.contains(secret.as_str()));
    }
    let (list, _) = keys(&keyed.server, &["list"]);
    assert!(!list.contains("sa_"), "{list}");
}
