//! Real clients, from outside: `socket.io-client` as the published widget has it and as it is now, and
//! `python-socketio`, each with every choice of transports.
//!
//! The clients are installed from the lock files beside their scripts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    raw::Raw,
    support::install::{installed, python_with, run},
};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(path)
}

pub(crate) fn javascript() -> PathBuf {
    let sources = [
        "js/package.json",
        "js/package-lock.json",
        "js/client.mjs",
        "js/widget.mjs",
        "js/page.html",
        "js/page.js",
        "js/browser.mjs",
    ]
    .map(here);
    installed("javascript", &sources, |folder| {
        for source in &sources {
            fs::copy(source, folder.join(source.file_name().unwrap())).unwrap();
        }
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder));
    })
}

fn python() -> PathBuf {
    python_with("python", &here("python/requirements.txt"))
}

async fn runs(command: impl FnOnce(String) -> Command + Send + 'static) {
    let raw = Raw::patient("socket.io");
    let url = format!("http://{}", raw.server.address);
    actix_web::web::block(move || run(&mut command(url))).await.unwrap();
    raw.stop().await;
}

async fn javascript_runs(module: &'static str, transports: &'static str) {
    runs(move |url| {
        let mut command = Command::new("node");
        command.current_dir(javascript()).args(["client.mjs", module, &url, transports]);
        command
    })
    .await;
}

async fn python_runs(transports: &'static str) {
    runs(move |url| {
        let mut command = Command::new(python().join("bin/python"));
        command.arg(here("python/client.py")).args([&url, transports]);
        command
    })
    .await;
}

#[actix_web::test]
async fn the_widgets_client_works_by_default() {
    javascript_runs("socket.io-client-4.6", "default").await;
}

#[actix_web::test]
async fn the_widgets_client_works_by_polling() {
    javascript_runs("socket.io-client-4.6", "polling").await;
}

#[actix_web::test]
async fn the_widgets_client_works_by_websocket() {
    javascript_runs("socket.io-client-4.6", "websocket").await;
}

#[actix_web::test]
async fn the_latest_client_works_by_default() {
    javascript_runs("socket.io-client", "default").await;
}

#[actix_web::test]
async fn the_latest_client_works_by_polling() {
    javascript_runs("socket.io-client", "polling").await;
}

#[actix_web::test]
async fn the_latest_client_works_by_websocket() {
    javascript_runs("socket.io-client", "websocket").await;
}

#[actix_web::test]
async fn the_latest_client_works_when_it_tries_the_websocket_first() {
    javascript_runs("socket.io-client", "websocket,polling").await;
}

#[actix_web::test]
async fn the_python_client_works_by_default() {
    python_runs("default").await;
}

#[actix_web::test]
async fn the_python_client_works_by_polling() {
    python_runs("polling").await;
}

#[actix_web::test]
async fn the_python_client_works_by_websocket() {
    python_runs("websocket").await;
}
