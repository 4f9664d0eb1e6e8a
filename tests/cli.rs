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
            "keys",
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

#[test]
fn keys_are_made_shown_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |arguments: &[&str]| run(shopaloud(folder.path()).arg("keys").args(arguments));
    let web = ["new", "--kind", "write", "--name", "web", "--origin", "https://*.shop.example", "--anonymous"];
    let (code, secret, said) = keys(&web);
    assert_eq!((code, secret.lines().count()), (0, 1), "{secret}");
    assert!(secret.starts_with("sa_write_") && !said.contains(secret.trim_end()), "the secret is alone: {said}");
    keys(&["new", "--kind", "read", "--name", "dashboard", "--expires-in-days", "30"]);
    keys(&["new", "--kind", "token", "--name", "shop"]);
    let (_, list, _) = keys(&["list"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert_eq!((&lines[1][1..3], &lines[1][4..6]), (&["write", "web"][..], &["never", "https://*.shop.example"][..]));
    assert_eq!((lines[2][1], lines[3][1]), ("read", "token"));
    assert!(!list.contains("sa_"), "{list}");

    assert_eq!(keys(&["revoke", lines[1][0]]).0, 0);
    assert_eq!(keys(&["revoke", lines[3][0]]).0, 0);
    let (code, _, said) = keys(&["revoke", lines[1][0]]);
    assert!(code == 1 && said.contains("has the id"), "{said}");
    let (_, list, _) = keys(&["list"]);
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[test]
fn a_key_that_makes_no_sense_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, reason) in [
        (&["--kind", "write", "--name", "x", "--origin", "shop.example"][..], "shop.example"),
        (&["--kind", "write", "--name", "x", "--anonymous"], "lists no origin"),
        (&["--kind", "read", "--name", "x", "--origin", "https://shop.example"], "only write keys"),
        (&["--kind", "token", "--name", "x", "--anonymous"], "a token secret has no origins"),
        (&["--kind", "read", "--name", ""], "--name"),
    ] {
        let (code, out, said) = run(shopaloud(folder.path()).args(["keys", "new"]).args(arguments));
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(said.contains(reason), "{said}");
    }
    assert!(!folder.path().join("data").exists());
}
