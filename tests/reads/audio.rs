//! Stored audio as a player fetches it.

use reqwest::{Method, StatusCode};
use shopaloud::{domain::Profile, objects::ObjectKey};

use super::support::{Stream, TestServer};

/// A server with one part, and its path.
async fn server_with_audio(bytes: &[u8]) -> (TestServer, String) {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(None, 1);
    server.write(&[opened, started]).await;
    let part = server.attach(&stream, session, bytes).await;
    (server, format!("/audio/{}", part.object_key))
}

impl TestServer {
    async fn get_with(&self, path: &str, header: &str, value: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.base)).header(header, value).send().await.unwrap()
    }
}

#[actix_web::test]
async fn a_part_plays_from_the_link_in_the_answer() {
    let (server, path) = server_with_audio(b"0123456789").await;
    let url = server.json("/sessions").await["sessions"][0]["audioUrl"].as_str().unwrap().to_owned();
    assert_eq!(url, format!("{}{path}", server.base));
    let response = server.get(&path).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "audio/webm");
    assert_eq!(response.headers()["content-disposition"], "inline");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["accept-ranges"], "bytes");
    assert_eq!(response.bytes().await.unwrap(), "0123456789");
    server.stop().await;
}

#[actix_web::test]
async fn a_player_seeks_with_ranges() {
    let (server, path) = server_with_audio(b"0123456789").await;
    let response = server.get_with(&path, "range", "bytes=3-5").await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()["content-range"], "bytes 3-5/10");
    assert_eq!(response.headers()["content-type"], "audio/webm");
    assert_eq!(response.bytes().await.unwrap(), "345");
    assert_eq!(server.get_with(&path, "range", "bytes=-2").await.bytes().await.unwrap(), "89");
    server.stop().await;
}

#[actix_web::test]
async fn a_range_outside_of_the_file_is_a_problem_that_tells_its_length() {
    let (server, path) = server_with_audio(b"0123456789").await;
    let response = server.get_with(&path, "range", "bytes=10-").await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()["content-range"], "bytes */10");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(!response.headers().contains_key("content-disposition"));
    server.stop().await;
}

#[actix_web::test]
async fn what_a_browser_has_is_not_sent_again() {
    let (server, path) = server_with_audio(b"0123456789").await;
    let etag = server.get(&path).await.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(server.get_with(&path, "if-none-match", &etag).await.status(), StatusCode::NOT_MODIFIED);
    server.stop().await;
}

#[actix_web::test]
async fn head_tells_the_length() {
    let (server, path) = server_with_audio(b"0123456789").await;
    let response = server.client.request(Method::HEAD, format!("{}{path}", server.base)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-length"], "10");
    server.stop().await;
}

#[actix_web::test]
async fn no_path_leaves_the_folder() {
    let (server, path) = server_with_audio(b"0123456789").await;
    let key = path.strip_prefix("/audio/").unwrap();
    let other = ObjectKey::parse(key).unwrap().as_str().replace(".webm", ".ogg");
    for missing in [
        other.as_str(),
        "..%2ftest.sqlite",
        "%2e%2e/test.sqlite",
        "sessions/..%2f..%2ftest.sqlite",
        "/etc/passwd",
        "",
        &key.to_uppercase(),
        &format!("{key}/"),
        &format!("{key}%00"),
    ] {
        let response = server.get(&format!("/audio/{missing}")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{missing}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{missing}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_sessions_audio_is_played_part_by_part() {
    let server = TestServer::start().await;
    let (mut stream, opened) = Stream::open("anna", Profile::default(), 0);
    let (session, started) = stream.open_session(None, 1);
    server.write(&[opened, started]).await;
    let path = format!("/sessions/{session}/audio");
    assert_eq!(server.get(&path).await.status(), StatusCode::NOT_FOUND, "no audio yet");
    server.attach(&stream, session, b"first part").await;
    stream = Stream::open("anna", Profile::default(), 0).0;
    server.attach(&stream, session, b"second").await;

    let whole = server.get(&path).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.headers()["content-type"], "audio/webm");
    assert_eq!(whole.headers()["link"], "<?part=2>; rel=\"next\"");
    assert_eq!(whole.text().await.unwrap(), "first part");
    let range = server.client.get(format!("{}{path}?part=2", server.base)).header("range", "bytes=3-");
    let range = range.send().await.unwrap();
    assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
    assert!(!range.headers().contains_key("link"), "it is the last one");
    assert_eq!(range.text().await.unwrap(), "ond");
    assert_eq!(server.get(&format!("{path}?part=3")).await.status(), StatusCode::NOT_FOUND);
    let head = server.client.head(format!("{}{path}", server.base)).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "10");
    server.stop().await;
}
