//! HTTPS: old versions, new certificates.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    keyed::failure,
    support::{
        keys::new_key,
        server::{Backend, PATIENCE, TestServer},
    },
};

const SETTINGS: &str = "[tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\n";

/// A new certificate in the server's folder.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("server.crt"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn connect(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn get(stream: &mut TlsStream<TcpStream>, path: &str, key: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn https_is_spoken_in_its_newer_versions_and_by_http_1_1() {
    let mut server = TestServer::new(Backend::Embedded, SETTINGS);
    let certificate = certify(server.folder());
    let key = new_key(&server, &["--kind", "read", "--name", "dashboard"]);
    server.restart();
    for version in [&TLS12, &TLS13] {
        // Websockets come by HTTP/1.1, so that nothing else is agreed to.
        let mut stream = connect(server.address(), &certificate, &[version], &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = get(&mut stream, "/sessions", &key).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("strict-transport-security: max-age=31536000"), "{answer}");
    }
    // A ClientHello of TLS 1.1, of which nothing more than its version matters.
    let mut old = TcpStream::connect(server.address()).await.unwrap();
    let mut hello = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0, 0x2F, 0, 0x35, 1, 0]);
    old.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[5]), (0x15, 2), "a fatal alert");
    // Plain HTTP at this port is nothing, and stops nobody.
    let mut plain = TcpStream::connect(server.address()).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_drops_no_old_one() {
    let mut server = TestServer::new(Backend::Embedded, SETTINGS);
    let first = certify(server.folder());
    let key = new_key(&server, &["--kind", "read", "--name", "dashboard"]);
    server.restart();
    let mut inside = connect(server.address(), &first, &[&TLS13], &[]).await.unwrap();
    get(&mut inside, "/healthz", &key).await;
    // What cannot be read changes nothing.
    std::fs::write(server.folder().join("server.crt"), "no certificate").unwrap();
    server.hang_up();
    get(&mut inside, "/healthz", &key).await;
    assert!(connect(server.address(), &first, &[&TLS13], &[]).await.is_ok());

    let second = certify(server.folder());
    server.hang_up();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connect(server.address(), &second, &[&TLS13], &[]).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate is never taken");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(connect(server.address(), &first, &[&TLS13], &[]).await.is_err());
    assert!(get(&mut inside, "/healthz", &key).await.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_certificate_that_cannot_be_served_is_bad_configuration() {
    let server = TestServer::new(Backend::Embedded, SETTINGS);
    let (code, said) = failure(&mut server.command());
    assert!(code == 2 && said.contains("server.crt: "), "{said}");
    certify(server.folder());
    let other = tempfile::tempdir().unwrap();
    certify(other.path());
    std::fs::copy(other.path().join("server.key"), server.folder().join("server.key")).unwrap();
    let (code, said) = failure(&mut server.command());
    assert!(code == 2 && said.contains("server.crt and server.key: "), "{said}");
}
