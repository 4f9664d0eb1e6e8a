//! The command line: what it prints and how it exits.

use std::process::{Command, Output};

use crate::support::{
    postgres::TestPostgres,
    server::{Backend, TestServer},
};

fn shopaloud(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopaloud"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir(folder.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn check_looks_at_every_part() {
    for backend in Backend::all().await {
        let server = TestServer::start(backend);
        let output = server.command().arg("check").output().unwrap();
        let lines = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{lines}{}", text(&output.stderr));
        for part in ["config", "data", "database", "put", "multipart", "delete"] {
            assert!(lines.contains(part), "{part} is missing in {lines}");
        }
        assert!(!lines.contains("failed"), "{lines}");
    }
}

#[tokio::test]
async fn check_names_the_part_that_fails() {
    let backend = Backend::production(TestPostgres::shared()).await;
    let server = TestServer::start(backend.clone());
    let Backend::Production { s3, .. } = backend else { unreachable!() };
    s3.lock().unwrap().stop();
    let output = server.command().arg("check").output().unwrap();
    let lines = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{lines}");
    assert!(lines.lines().any(|line| line.contains("failed")), "{lines}");
}

#[tokio::test]
async fn migrate_prepares_an_empty_database_even_twice_at_once() {
    let url = TestPostgres::shared().create_database().await;
    let runs = (0..3).map(|_| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || shopaloud(&["migrate"], &[("DATABASE_URL", &url)]))
    });
    for output in futures_util::future::join_all(runs).await {
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
}
