//! The command as an operator runs it: what it prints, what it exits with, which setting wins.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    path::Path,
    process::{Command, Output},
};

fn shopaloud(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopaloud"));
    command.current_dir(folder).env_clear();
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn help_tells_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(shopaloud(folder.path()).arg("--help"));
    assert_eq!(code, 0);
    assert!(out.contains("Exit codes:"), "{out}");
    let (code, out, _) = run(shopaloud(folder.path()).arg("--version"));
    assert_eq!((code, out), (0, format!("shopaloud {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn bad_configuration_is_a_line_each_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "[server]\nprot = 1\n").unwrap();
    let (code, _, error) = run(shopaloud(folder.path()).arg("check"));
    assert_eq!(code, 2);
    assert!(error.starts_with("shopaloud: config.toml line 2: prot: unknown field"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");

    std::fs::write(folder.path().join("config.toml"), "[s3]\nbucket = \"b\"\n").unwrap();
    let (code, _, error) = run(shopaloud(folder.path()).arg("check"));
    assert_eq!((code, error.lines().count()), (2, 2), "{error}");
    assert!(error.lines().all(|line| line.starts_with("shopaloud: s3.")), "{error}");

    let (code, _, error) = run(shopaloud(folder.path()).args(["check", "--config", "elsewhere.toml"]));
    assert_eq!(code, 2);
    assert!(error.starts_with("shopaloud: elsewhere.toml: cannot be read"), "{error}");
}

#[test]
fn an_unreadable_log_level_is_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) = run(shopaloud(folder.path()).arg("check").env("RUST_LOG", "shopaloud=loud"));
    assert_eq!(code, 2);
    assert!(error.starts_with("shopaloud: log.level (RUST_LOG): "), "{error}");
}

/// The file says a, `.env` says b, the environment says c; each is seen by the folder that `check` makes.
#[test]
fn the_environment_wins_over_dotenv_and_dotenv_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str| folder.path().join(name).is_dir();
    std::fs::write(folder.path().join("config.toml"), "[storage]\ndata_dir = \"a\"\n").unwrap();
    run(shopaloud(folder.path()).arg("check"));
    assert_eq!((made("a"), made("b"), made("c")), (true, false, false));
    std::fs::write(folder.path().join(".env"), "DATA_DIR=b\n").unwrap();
    run(shopaloud(folder.path()).arg("check"));
    assert_eq!((made("b"), made("c")), (true, false));
    run(shopaloud(folder.path()).arg("check").env("DATA_DIR", "c"));
    assert!(made("c"));
}

#[test]
fn migrate_then_check_finds_everything_in_place_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(shopaloud(folder.path()).arg("check"));
    assert_eq!(code, 1, "there is no database yet");
    let database = out.lines().find(|line| line.starts_with("database ")).unwrap();
    assert!(database.contains(" failed ") && database.contains("`shopaloud migrate`"), "{out}");

    let (code, _, error) = run(shopaloud(folder.path()).arg("migrate"));
    assert_eq!(code, 0, "{error}");
    let (code, out, error) = run(shopaloud(folder.path()).arg("check"));
    assert_eq!(code, 0, "{out}{error}");
    let probes: Vec<&str> = out.lines().map(|line| line[..20].trim_end()).collect();
    assert_eq!(
        probes,
        [
            "configuration",
            "data directory",
            "database",
            "database schema",
            "object store",
            "object put",
            "object multipart",
            "object delete"
        ]
    );
    assert!(out.lines().all(|line| line[20..].starts_with(" ok ")), "{out}");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("check-")), "{left:?}");
}

#[test]
fn what_is_away_fails_its_own_probe_only() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(shopaloud(folder.path()).arg("check").envs([
        ("DATABASE_URL", "postgres://nobody:hunter2@127.0.0.1:1/none"),
        ("S3_ENDPOINT", "http://127.0.0.1:1"),
        ("S3_BUCKET", "audio"),
        ("S3_ACCESS_KEY", "key"),
        ("S3_SECRET_KEY", "hunter2"),
    ]));
    assert_eq!(code, 1);
    let failed: Vec<&str> =
        out.lines().filter(|line| line[20..].starts_with(" failed ")).map(|line| line[..20].trim_end()).collect();
    assert_eq!(failed, ["database", "object store", "object put", "object multipart", "object delete"], "{out}");
    assert!(!out.contains("hunter2"), "{out}");
}
