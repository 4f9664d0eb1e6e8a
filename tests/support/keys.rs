//! Keys, made and changed as an operator does it.

use super::server::TestServer;

/// `shopaloud keys new` in the server's folder; its secret.
pub(crate) fn new_key(server: &TestServer, arguments: &[&str]) -> String {
    let (out, _) = keys(server, &[&["new"], arguments].concat());
    let secret = out.trim_end().to_owned();
    assert!(secret.starts_with("sa_") && !secret.contains('\n'), "{secret}");
    secret
}

/// `shopaloud keys …`; what it printed, and what it explained.
pub(crate) fn keys(server: &TestServer, arguments: &[&str]) -> (String, String) {
    let output = server.command().arg("keys").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, explained) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}{explained}");
    (out, explained)
}
