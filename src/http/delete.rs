//! `DELETE /sessions/{id}` and `DELETE /users/{id}`.
//!
//! Promises: what is answered with 200 is gone; with 202 it is out of sight for good, and the rest of it goes as soon as it
//! can. Saying it again is harmless.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{HttpState, openapi::Deleted, problem::Problem};
use crate::{
    domain::{SessionId, UserId},
    erasure::Removed,
};

/// Deletes a session with its events and audio, also while it records.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    operation_id = "deleteSession",
    tag = "sessions",
    params(
        ("id" = Uuid, Path, description = "The session"),
    ),
    responses(
        (status = 200, description = "It is gone", body = Deleted),
        (status = 202, description = "It is out of sight, and the rest of it goes as soon as it can", body = Deleted),
    ),
    security(("key" = [])),
)]
pub(super) async fn session(id: web::Path<String>, state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let session: SessionId = id.parse().map_err(|_| Problem::NotFound("session"))?;
    let removed = state.erasure.delete_session(session).await?;
    removed.as_ref().map(answer).ok_or(Problem::NotFound("session"))
}

/// Deletes a user with all sessions.
#[utoipa::path(
    delete,
    path = "/users/{id}",
    operation_id = "deleteUser",
    tag = "users",
    params(
        ("id" = String, Path, description = "The user"),
    ),
    responses(
        (status = 200, description = "It is gone", body = Deleted),
        (status = 202, description = "It is out of sight, and the rest of it goes as soon as it can", body = Deleted),
    ),
    security(("key" = [])),
)]
pub(super) async fn user(id: web::Path<String>, state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let user = UserId::parse(&id).map_err(|_| Problem::NotFound("user"))?;
    let removed = state.erasure.delete_user(&user).await?;
    removed.as_ref().map(answer).ok_or(Problem::NotFound("user"))
}

fn answer(removed: &Removed) -> HttpResponse {
    let mut response = if removed.complete { HttpResponse::Ok() } else { HttpResponse::Accepted() };
    response.json(json!({"removed": removed}))
}
