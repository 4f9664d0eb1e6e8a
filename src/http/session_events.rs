//! `GET /sessions/{id}/events`: one event a line.
//!
//! Promises: as [`super::events`]: memory of one page, whatever the session's size; `data` as it was sent. Line breaks in it,
//! which JSON allows between its parts, become spaces: a line is an event.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    HttpState,
    events::{PageSize, write_row},
    json::{NDJSON, stream_text},
    parameters::Parameters,
    problem::Problem,
    version::Version,
};
use crate::{
    domain::SessionId,
    store::{EventFilter, EventQuery, EventRow},
};

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
    let version = Version::of_session(&row, &[], request.query_string(), state.audio_link_lifetime);
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
