//! What is not there, not allowed, not possible now: always a problem document.

use reqwest::{Method, StatusCode};
use serde_json::json;
use shopaloud::domain::SessionId;

use super::support::{TestServer, problem};

#[actix_web::test]
async fn what_is_not_there_is_404() {
    let server = TestServer::start().await;
    for (path, what) in [
        ("/nothing", "path"),
        (&format!("/sessions/{}", SessionId::new()), "session"),
        ("/sessions/not-a-uuid", "session"),
        ("/sessions/", "path"),
        ("/users/nobody", "user"),
        ("/users/%ff", "user"),
        (&format!("/users/{}", "x".repeat(300)), "user"),
    ] {
        let response = server.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            problem(response).await,
            json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": format!("there is no such {what}")}),
            "{path}"
        );
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_method_that_is_not_taken_is_405_with_those_that_are() {
    let server = TestServer::start().await;
    for (path, allowed) in
        [("/sessions", "GET"), ("/users/anna", "GET, DELETE"), ("/healthz", "GET, HEAD"), ("/", "GET")]
    {
        let response = server.client.request(Method::POST, format!("{}{path}", server.base)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], allowed);
        assert_eq!(problem(response).await["detail"], format!("this path takes {allowed}"));
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_database_that_is_away_is_503_before_the_first_byte() {
    let server = TestServer::start().await;
    server.store.close().await;
    for path in ["/sessions", "/users", "/users/anna", &format!("/sessions/{}", SessionId::new())] {
        let response = server.get(path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(problem(response).await["detail"], "the database did not answer");
    }
    assert_eq!(server.get("/healthz").await.status(), StatusCode::OK, "the process lives");
    server.stop().await;
}

#[actix_web::test]
async fn readiness_ends_when_draining_begins() {
    let server = TestServer::start().await;
    assert_eq!(server.json("/readyz").await, json!({"status": "ready"}));
    server.readiness.begin_draining();
    let response = server.get("/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        problem(response).await,
        json!({
            "type": "about:blank", "title": "Service Unavailable", "status": 503,
            "detail": "not ready: draining", "reasons": ["draining"],
        })
    );
    server.stop().await;
}

#[actix_web::test]
async fn the_root_says_what_this_is() {
    let server = TestServer::start().await;
    let about = server.json("/").await;
    assert_eq!(about["service"], "shopaloud");
    assert!(about["endpoints"]["/sessions"].is_string());
    server.stop().await;
}
