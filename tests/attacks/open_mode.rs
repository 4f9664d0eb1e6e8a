//! A server that nobody has to show anything to, and the world.

use crate::{
    keyed::failure,
    support::{
        keys::new_key,
        server::{Backend, TestServer},
    },
};

#[test]
fn without_keys_it_serves_no_other_machine() {
    let server = TestServer::new(Backend::Embedded, "");
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let (code, said) = failure(server.command().env("HOST", host));
        assert_eq!((code, said.lines().count()), (2, 1), "{said}");
        assert!(said.contains("shopaloud keys new") && said.contains("127.0.0.1"), "{said}");
        assert!(!server.data_dir().join("journal").exists(), "nothing was touched");
    }
}

#[tokio::test]
async fn with_keys_it_does_and_asks_for_them() {
    let mut server = TestServer::new(Backend::Embedded, "[server]\nhost = \"0.0.0.0\"\n");
    let read = new_key(&server, &["--kind", "read", "--name", "dashboard"]);
    server.restart();
    let url = format!("http://127.0.0.1:{}/sessions", server.address().port());
    let client = reqwest::Client::new();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth(read).send().await.unwrap().status(), 200);
}

#[test]
fn keys_of_the_environment_will_do() {
    let server = TestServer::new(Backend::Embedded, "");
    let output = server.command().args(["keys", "new", "--kind", "read", "--name", "x", "--print"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (secret, entry) = printed.trim_end().split_once('\n').unwrap();
    assert!(secret.starts_with("sa_read_") && entry.starts_with("key = [{") && !entry.contains('\n'), "{printed}");
    assert!(!server.data_dir().join("keys.toml").exists());
    let (code, said) = failure(server.command().env("HOST", "192.0.2.1").env("SHOPALOUD_KEYS", entry));
    assert_eq!(code, 1, "this address is nobody's, but the keys are fine: {said}");
    let (code, said) = failure(server.command().env("SHOPALOUD_KEYS", "key = 1"));
    assert!(code == 2 && said.contains("SHOPALOUD_KEYS: line 1"), "{said}");
}

#[test]
fn tokens_cannot_be_required_without_a_secret() {
    let server = TestServer::new(Backend::Embedded, "[auth]\nrequire_token = true\n");
    let (code, said) = failure(&mut server.command());
    assert!(code == 2 && said.contains("auth.require_token"), "{said}");
}
