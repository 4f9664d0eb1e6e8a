//! Real clients, from outside: `socket.io-client` as the published widget has it and as it is now, and
//! `python-socketio`, each with every choice of transports.
//!
//! The clients are installed below `target/`, from the lock files beside their scripts. What cannot be installed
//! fails the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

use crate::raw::Raw;

/// One installation at a time; the tests run in parallel.
static INSTALLING: Mutex<()> = Mutex::new(());

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(path)
}

/// A folder that is filled by `install` when it is not there yet for these `inputs`.
fn installed(name: &str, inputs: &[PathBuf], install: impl FnOnce(&Path)) -> PathBuf {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let wanted: String = inputs.iter().map(|input| fs::read_to_string(input).unwrap()).collect();
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return folder;
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    install(&folder);
    fs::write(stamp, wanted).unwrap();
    folder
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
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
    let requirements = here("python/requirements.txt");
    installed("python", std::slice::from_ref(&requirements), |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let pip = folder.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements));
    })
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
