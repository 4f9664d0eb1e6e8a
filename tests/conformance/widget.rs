//! The published widget's vocabulary, spoken by the stock client to the real program: what the page sent is exactly
//! what the dashboard and the audio hold.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;
use shopaloud::objects::Sha256Hasher;

use crate::{
    clients::javascript,
    support::{
        install::run,
        server::{Backend, TestServer},
    },
};

async fn page_records(module: &'static str, transports: &'static str, backend: Backend) {
    let server = TestServer::start(backend);
    let url = server.url("");
    let output = tokio::task::spawn_blocking(move || {
        run(Command::new("node").current_dir(javascript()).args(["widget.mjs", module, &url, transports, "anna"]))
    })
    .await
    .unwrap();
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();

    let session = server.session_of("anna").await;
    assert_eq!(session["status"], "ended");
    assert_eq!(sent["saved"]["sessionId"], session["id"]);
    let mut stored = BTreeMap::<String, u64>::new();
    for event in session["events"].as_array().unwrap() {
        *stored.entry(event["name"].as_str().unwrap().to_owned()).or_default() += 1;
        assert_eq!(event["data"]["username"], "anna", "kept as the page sent it");
    }
    let counted: BTreeMap<String, u64> = serde_json::from_value(sent["events"].clone()).unwrap();
    assert_eq!(stored, counted);

    let mut runs = Vec::new();
    for url in sent["saved"]["audioUrls"].as_array().unwrap() {
        let bytes = reqwest::get(url.as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        let mut hasher = Sha256Hasher::default();
        hasher.update(&bytes);
        runs.push(Value::from(hasher.finish().to_string()));
    }
    assert_eq!(Value::from(runs), sent["runs"], "three runs, in the order they were recorded");
    assert_eq!(server.json("/users/anna").await["user"]["numEvents"], 0, "all of it belongs to the recording");
}

#[tokio::test]
async fn the_widget_of_today_by_default() {
    for backend in Backend::all().await {
        page_records("socket.io-client-4.6", "default", backend).await;
    }
}

#[tokio::test]
async fn the_widget_where_upgrades_are_blocked() {
    page_records("socket.io-client-4.6", "polling", Backend::Embedded).await;
}

#[tokio::test]
async fn the_widget_by_websocket_alone() {
    page_records("socket.io-client-4.6", "websocket", Backend::Embedded).await;
}

#[tokio::test]
async fn the_newest_client_by_default() {
    page_records("socket.io-client", "default", Backend::Embedded).await;
}
