//! A real page in a real browser, with a recorder and a (fake) microphone: what it sent is exactly what is stored, and
//! the browser plays it.

use std::{collections::BTreeMap, net::TcpListener, path::Path, process::Command};

use serde_json::{Value, json};
use shopaloud::objects::Sha256Hasher;

use crate::{
    clients::javascript,
    support::{
        install::run,
        server::{Backend, TestServer},
    },
};

/// Debian's, and where other distributions put it.
const CHROMIUM: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

#[tokio::test]
async fn a_page_that_records_over_two_navigations() {
    let chromium = CHROMIUM.into_iter().find(|path| Path::new(path).exists());
    let chromium = chromium.expect("Chromium is installed (Debian: apt-get install chromium)");
    // Free a moment ago; the page has to be known to the server before the page is there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!("[server]\norigins = [\"http://localhost:{port}\"]\n");
    let server = TestServer::start_with(Backend::Embedded, settings.leak());
    let url = server.url("");
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new("node");
        command.current_dir(javascript()).args(["browser.mjs", chromium, &port.to_string(), &url, "anna"]);
        run(&mut command)
    })
    .await
    .unwrap();
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();

    let session = server.session_of("anna").await;
    assert_eq!((&session["status"], &session["id"]), (&json!("ended"), &sent["saved"]["sessionId"]));
    // What happened before the recorder's first chunk started the recording belongs to the user.
    let user = &server.json("/users/anna").await["user"];
    let mut stored = BTreeMap::<String, u64>::new();
    for event in session["events"].as_array().unwrap().iter().chain(user["events"].as_array().unwrap()) {
        *stored.entry(event["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let counted: BTreeMap<String, u64> = serde_json::from_value(sent["events"].clone()).unwrap();
    assert_eq!(stored, counted);
    for name in ["mouse:position", "scroll:position", "click:event", "dom:mutation", "page:hidden"] {
        assert!(counted.get(name).is_some_and(|count| *count > 0), "the page sent no {name}: {counted:?}");
    }

    let mut runs = Vec::new();
    for url in sent["saved"]["audioUrls"].as_array().unwrap() {
        let bytes = reqwest::get(url.as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        let mut hasher = Sha256Hasher::default();
        hasher.update(&bytes);
        runs.push(json!({"bytes": bytes.len(), "sha256": hasher.finish().to_string()}));
    }
    assert_eq!(Value::from(runs), sent["runs"], "each run of the recorder is a part of its own");
    assert_eq!(sent["runs"].as_array().unwrap().len(), 3);
    println!("{} events {counted:?}, runs {}", counted.values().sum::<u64>(), sent["runs"]);
}
