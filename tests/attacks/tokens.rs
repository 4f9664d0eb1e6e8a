//! Tokens: forged, borrowed, expired. And users that a token does not name.

use serde_json::{Value, json};

use crate::{
    keyed::{KeyedServer, Polling, now_s, sign},
    support::{
        client::{PlainClient, run_bytes},
        keys::{keys, new_key},
        server::PATIENCE,
    },
};

const TOKENS_ONLY: &str = "[auth]\nrequire_token = true\ntoken_leeway_secs = 1\n";

async fn refused(keyed: &KeyedServer, hello: Value, code: &str) {
    let mut client = PlainClient::connect(keyed.address()).await;
    client.say(json!({"event": "hello", "data": hello})).await;
    assert_eq!(client.closed_for().await, (code.to_owned(), 4401), "{hello}");
    let answer = Polling::connect(&keyed.server, "", None, &hello).await;
    assert!(
        answer.starts_with("44{") && answer.contains(&format!(r#""data":{{"code":"{code}"}}"#)),
        "{hello}: {answer}"
    );
}

#[tokio::test]
async fn a_token_that_the_shop_did_not_sign_is_none() {
    let keyed = KeyedServer::start_with(TOKENS_ONLY);
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let anna = |exp: i64| json!({"sub": "anna", "exp": now_s() + exp});
    let with = |more: Value| {
        let mut claims = anna(600);
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sign(&hs256, &claims, &keyed.token_secret)
    };
    let right = keyed.token("anna", 600);
    let unsigned = sign(&json!({"alg": "none"}), &anna(600), "");
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    let (head, _) = right.rsplit_once('.').unwrap();
    let eves = sign(&hs256, &json!({"sub": "eve", "exp": now_s() + 600}), &keyed.token_secret);
    for (what, token) in [
        ("none", String::new()),
        ("alg=none, unsigned", format!("{unsigned}.")),
        ("alg=none, signed", sign(&json!({"alg": "none"}), &anna(600), &keyed.token_secret)),
        ("alg=RS256", sign(&json!({"alg": "RS256"}), &anna(600), &keyed.token_secret)),
        ("no signature", format!("{head}.")),
        ("another token's signature", format!("{head}.{}", eves.rsplit_once('.').unwrap().1)),
        ("another key", sign(&hs256, &anna(600), "0123456789abcdef0123456789abcdef")),
        ("the public write key as the key", sign(&hs256, &anna(600), &keyed.write)),
        ("an unknown kid", sign(&json!({"alg": "HS256", "kid": "../../dev/null"}), &anna(600), &keyed.token_secret)),
        ("not valid yet", with(json!({"nbf": now_s() + 300}))),
        ("for another service", with(json!({"aud": "https://mail.shop.example"}))),
        ("valid for a year", with(json!({"exp": now_s() + 365 * 86_400}))),
        ("without a user", with(json!({"sub": ""}))),
        ("without an end", sign(&hs256, &json!({"sub": "anna"}), &keyed.token_secret)),
    ] {
        // The right write key beside it changes nothing.
        let hello = json!({"userId": "anna", "key": keyed.write, "token": token});
        println!("{what}");
        refused(&keyed, hello, "unauthorized").await;
    }
    refused(&keyed, json!({"key": keyed.write, "token": keyed.token("anna", -60)}), "token_expired").await;
    refused(&keyed, keyed.hello("anna"), "unauthorized").await;
    assert_eq!(keyed.json("/users").await["users"], json!([]));

    let hello = json!({"token": right});
    let (_, welcome) = PlainClient::hello_with(keyed.address(), hello).await;
    assert_eq!(welcome["userId"], "anna");
}

#[tokio::test]
async fn nobody_writes_as_somebody_else() {
    let keyed = KeyedServer::start();
    let token = keyed.token("anna", 600);
    refused(&keyed, json!({"userId": "bob", "key": keyed.write, "token": token}), "wrong_user").await;
    // What the published widget says, each with a user of its own choice.
    for packet in [
        r#"42["user:connected","bob"]"#,
        r#"42["click:event",{"username":"bob","data":"{}"}]"#,
        r#"42["recording:start",{"username":"bob"}]"#,
        r#"42["recording:end","bob"]"#,
    ] {
        let polling = Polling::open(&keyed.server, "", None).await.unwrap();
        polling.say(&format!("40{}", json!({"token": token}))).await;
        let mut heard = polling.hear().await;
        assert!(heard.starts_with("40{"), "{heard}");
        polling.say(packet).await;
        while !heard.contains("wrong_user") {
            heard = polling.hear().await;
            assert!(!heard.is_empty() && !heard.contains("Session ID unknown"), "{packet}: {heard}");
        }
    }
    // Nobody was told that anything is stored, so it may take a moment.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut users = keyed.json("/users").await;
    while users["users"].as_array().unwrap().is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        users = keyed.json("/users").await;
    }
    let ids: Vec<_> = users["users"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect();
    assert_eq!(ids, ["anna"]);
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_token() {
    let keyed = KeyedServer::start_with(TOKENS_ONLY);
    let (mut client, welcome) =
        PlainClient::hello_with(keyed.address(), json!({"token": keyed.token("anna", 1)})).await;
    client.start_recording().await;
    client.audio(&run_bytes(1, 1_000)).await;
    client.audio_acked(1_000).await;
    assert_eq!(client.closed_for().await, ("token_expired".to_owned(), 4401));
    // With a fresh one the stream goes on where it was.
    let hello = json!({"token": keyed.token("anna", 600), "stream": welcome["stream"]});
    let (_, again) = PlainClient::hello_with(keyed.address(), hello).await;
    assert_eq!((&again["audioOffset"], &again["stream"]), (&json!(1_000), &welcome["stream"]));
    assert!(again["sessionId"].is_string());
}

#[tokio::test]
async fn secrets_are_replaced_one_after_the_other() {
    let keyed = KeyedServer::start_with(TOKENS_ONLY);
    let old = keyed.token("anna", 600);
    let (mut inside, _) = PlainClient::hello_with(keyed.address(), json!({"token": old})).await;
    let next = new_key(&keyed.server, &["--kind", "token", "--name", "next"]);
    let (list, _) = keys(&keyed.server, &["list"]);
    let kids: Vec<_> = list.lines().filter(|line| line.ends_with("token")).collect();
    let kid = |at: usize| kids[at].split_whitespace().next().unwrap();
    let claims = json!({"sub": "anna", "exp": now_s() + 600});
    let fresh = sign(&json!({"alg": "HS256", "kid": kid(1)}), &claims, &next);
    keyed.server.hang_up();
    loop {
        let mut client = PlainClient::connect(keyed.address()).await;
        client.say(json!({"event": "hello", "data": {"token": fresh}})).await;
        if client.closes_or_welcomes().await {
            break;
        }
    }
    inside.say(json!({"event": "e", "seq": 1})).await;
    inside.acked(1).await;
    keys(&keyed.server, &["revoke", kid(0)]);
    assert_eq!(inside.closed_for().await, ("unauthorized".to_owned(), 4401));
}
