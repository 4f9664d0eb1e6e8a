//! `GET /sessions/{id}/events`: one event a line.
//!
//! Promises: as [`super::events`]: memory of one page, whatever the session's size; `data` as it was sent. Line breaks in it,
//! which JSON allows between its parts, become spaces: a line is an event.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    HttpState,
    events::{PageSize, write_row},
    json::{NDJSON, stream_text},
    openapi::{Event, NameText},
    parameters::Parameters,
    problem::Problem,
    version::Version,
};
use crate::{
    domain::SessionId,
    store::{EventFilter, EventQuery, EventRow},
};

/// The events of a session, one a line.
#[utoipa::path(
    get,
    path = "/sessions/{id}/events",
    operation_id = "listSessionEvents",
    tag = "sessions",
    params(
        ("id" = Uuid, Path, description = "The session"),
        ("name" = Option<Vec<NameText>>, Query, description = "Of these names"),
        ("since" = Option<String>, Query, description = "Of this time or later, by the client", format = DateTime),
        ("until" = Option<String>, Query, description = "Of before this time, by the client", format = DateTime),
    ),
    responses(
        (status = 200, description = "One event a line", body = Event, content_type = "application/x-ndjson"),
        (status = 304, description = "As the `If-None-Match` of the request has it"),
    ),
    security(("key" = [])),
)]
pub(super) async fn list(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, Problem> {
    let session: SessionId = id.parse().map_err(|_| Problem::NotFound("session"))?;
    let mut parameters = Parameters::of(&request);
    let filter =
        EventFilter { names: parameters.names()?, since: parameters.time("since")?, until: parameters.time("until")? };
    parameters.finish()?;
    let row = state.store.session(session).await?.ok_or(Problem::NotFound("session"))?;
    let version = Version::of_session(&row, &[], None, request.query_string(), state.audio_link_lifetime);
    if version.is_known_to(&request) {
        return Ok(version.not_modified());
    }
    let mut answer = stream_text(NDJSON, |mut out| async move {
        let mut size = PageSize::default();
        let mut query = EventQuery { filter, after: None, limit: size.rows() };
        loop {
            let rows = state.store.session_events(&[session], &query).await?;
            let is_last = rows.len() < query.limit as usize;
            size.learn(&rows);
            query.limit = size.rows();
            query.after = rows.last().map(EventRow::cursor).or(query.after);
            for mut row in rows {
                if row.data.contains(['\n', '\r']) {
                    row.data = row.data.replace(['\n', '\r'], " ");
                }
                write_row(&row, &mut out);
                out.raw("\n");
                out.pass_on().await?;
            }
            if is_last {
                return out.flush().await;
            }
        }
    })
    .await?;
    version.tell(&mut answer);
    Ok(answer)
}
