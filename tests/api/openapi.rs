//! What the server says of itself at `/openapi.json` against what it answers: Schemathesis asks, with what the document
//! allows and with what it does not.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::json;

use crate::support::{
    client::{PlainClient, run_bytes},
    install::{python_with, run},
    keys::new_key,
    server::{Backend, PATIENCE, TestServer},
};

const SHOP: &str = "https://shop.example";

/// Which cursors exist no document can say: these lists are asked for the pages that there are, too.
fn cursors(sessions: &str, users: &str) -> String {
    let list = |operation: &str, cursor: &str| {
        format!("[[operations]]\ninclude-name = \"{operation}\"\nparameters = {{ \"query.cursor\" = \"{cursor}\" }}\n")
    };
    list("GET /sessions", sessions) + &list("GET /users", users)
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let mut server = TestServer::new(Backend::Embedded, "[limits]\naddress_requests_per_sec = 0\n");
    let write = new_key(&server, &["--name", "test", "--kind", "write", "--origin", SHOP]);
    let admin = new_key(&server, &["--name", "test", "--kind", "admin"]);
    server.restart();
    let (session, audio) = record(&server, &write, "anna").await;
    record(&server, &write, "bert").await;
    let [sessions, users] = ["sessions", "users"].map(|list| next_cursor(&server, &admin, list));
    let cursors = cursors(&sessions.await, &users.await);

    let folder = server.folder().to_owned();
    let url = server.url("/openapi.json");
    let told = tokio::task::spawn_blocking(move || {
        let stored = format!("[parameters]\n\"path.id\" = \"{session}\"\n\"path.key\" = \"{audio}\"\n");
        // First what is there, then anything, also deletions.
        let there = schemathesis(&folder, &url, &admin, &(stored + &cursors), &["--exclude-method", "DELETE"]);
        there + &schemathesis(&folder, &url, &admin, &cursors, &[])
    });
    println!("{}", told.await.unwrap());
}

async fn get(server: &TestServer, key: &str, path: &str) -> serde_json::Value {
    let request = reqwest::Client::new().get(server.url(path)).bearer_auth(key);
    request.send().await.unwrap().json().await.unwrap()
}

/// Of a list with two rows at least, as soon as they are in it.
async fn next_cursor(server: &TestServer, key: &str, list: &str) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let page = get(server, key, &format!("/{list}?limit=1")).await;
        if let Some(cursor) = page["nextCursor"].as_str() {
            return cursor.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "{list} stays one page: {page:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A session with events and audio; its id, and the key of its audio.
async fn record(server: &TestServer, write: &str, user: &str) -> (String, String) {
    let mut client = PlainClient::try_connect(server.address(), "/ws", &[("origin", SHOP)]).await.unwrap();
    client.say(json!({"event": "hello", "data": {"userId": user, "key": write}})).await;
    client.expect("welcome").await;
    let session = client.start_recording().await;
    client.say(json!({"event": "click:event", "seq": 1, "data": {"on": "button"}})).await;
    client.audio(&run_bytes(1, 9_000)).await;
    client.say(json!({"event": "recording:end", "seq": 2})).await;
    let saved = client.expect_event("audio:saved").await;
    let url = saved["audioUrls"][0].as_str().unwrap();
    let (_, path) = url.split_once("/audio/").unwrap();
    (session, path.split('?').next().unwrap().to_owned())
}

/// What it reports; fails when it finds anything.
fn schemathesis(folder: &Path, url: &str, key: &str, settings: &str, arguments: &[&str]) -> String {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/openapi/requirements.txt");
    let program = python_with("schemathesis", &requirements).join("bin/st");
    let config = folder.join("schemathesis.toml");
    fs::write(&config, settings).unwrap();
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .arg("--config-file")
        .arg(config)
        .args(["run", url, "--header", &format!("Authorization: Bearer {key}")])
        .args(["--max-time", "15", "--seed", "7", "--warnings", "off"])
        .args(arguments);
    String::from_utf8(run(&mut command).stdout).unwrap()
}
