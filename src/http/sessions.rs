//! `GET /sessions` and `GET /sessions/{id}`.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    HttpState,
    audio::AudioLinks,
    events::EventReader,
    json::{JsonWriter, Stopped, stream_json},
    problem::Problem,
};
use crate::{
    domain::{AudioPart, SessionId},
    store::{SessionCursor, SessionRow},
};

/// Sessions fetched at once: with their audio parts a few hundred kB.
const PAGE_ROWS: u32 = 100;

pub(super) async fn list(request: HttpRequest, state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let links = AudioLinks::for_request(&request, &state);
    stream_json(|out| write_all(state, links, out)).await
}

/// An id that is no UUID names no session: 404, not 400.
pub(super) async fn one(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, Problem> {
    let id: SessionId = id.parse().map_err(|_| Problem::NotFound("session"))?;
    let row = state.store.session(id).await?.ok_or(Problem::NotFound("session"))?;
    let links = AudioLinks::for_request(&request, &state);
    stream_json(|mut out| async move {
        out.raw("{\"session\":");
        write_page(&state, &links, &mut EventReader::new(state.store.clone()), vec![row], &mut out).await?;
        out.raw("}");
        out.flush().await
    })
    .await
}

async fn write_all(state: web::Data<HttpState>, links: AudioLinks, mut out: JsonWriter) -> Result<(), Stopped> {
    let mut events = EventReader::new(state.store.clone());
    let mut after = None;
    out.raw("{\"sessions\":[");
    loop {
        let page = state.store.sessions(after, PAGE_ROWS).await?;
        let is_last = page.len() < PAGE_ROWS as usize;
        if after.is_some() && !page.is_empty() {
            out.raw(",");
        }
        after = page.last().map(|row| SessionCursor { opened_at: row.opened_at, session: row.session });
        write_page(&state, &links, &mut events, page, &mut out).await?;
        if is_last {
            break;
        }
    }
    out.raw("]}");
    out.flush().await
}

/// Writes the sessions of one page, separated by commas.
async fn write_page(
    state: &HttpState,
    links: &AudioLinks,
    events: &mut EventReader<SessionId>,
    page: Vec<SessionRow>,
    out: &mut JsonWriter,
) -> Result<(), Stopped> {
    let ids: Vec<SessionId> = page.iter().map(|row| row.session).collect();
    let mut parts: HashMap<SessionId, Vec<AudioPart>> = HashMap::new();
    if !ids.is_empty() {
        for part in state.store.audio_parts(&ids).await? {
            parts.entry(part.session).or_default().push(part);
        }
    }
    let ahead: Vec<(SessionId, u64)> = page.iter().map(|row| (row.session, row.num_events)).collect();
    for (index, row) in page.iter().enumerate() {
        if index > 0 {
            out.raw(",");
        }
        let parts = parts.remove(&row.session).unwrap_or_default();
        write_head(row, out);
        write_audio(links, &parts, out).await;
        events.write(&ahead[index..], out).await?;
        out.raw("}");
        out.pass_on().await?;
    }
    Ok(())
}

fn write_head(row: &SessionRow, out: &mut JsonWriter) {
    out.raw("{\"id\":\"");
    out.display(row.session);
    out.raw("\",\"userId\":");
    out.string(row.user.as_str());
    out.raw(",\"status\":\"");
    out.raw(row.status.as_str());
    out.raw("\",\"page\":");
    out.value(&row.page);
    out.raw(",\"createdAt\":");
    out.value(&row.opened_at);
    out.raw(",\"endedAt\":");
    out.value(&row.ended_at);
    out.raw(",");
}

/// `audioUrl` and `audioPaths` are what the first version had, `audio` tells all of it.
async fn write_audio(links: &AudioLinks, parts: &[AudioPart], out: &mut JsonWriter) {
    let mut urls = Vec::with_capacity(parts.len());
    for part in parts {
        urls.push(links.url(part).await);
    }
    out.raw("\"audioUrl\":");
    out.value(&urls.first());
    out.raw(",\"audioPaths\":");
    out.value(&parts.iter().map(|part| &part.object_key).collect::<Vec<_>>());
    out.raw(",\"audio\":{\"parts\":[");
    for (index, (part, url)) in parts.iter().zip(&urls).enumerate() {
        out.raw(if index > 0 { ",{\"url\":" } else { "{\"url\":" });
        out.value(url);
        out.raw(",\"path\":");
        out.string(&part.object_key);
        out.raw(",\"contentType\":");
        out.string(part.format.content_type());
        out.raw(",\"sizeBytes\":");
        out.display(part.size_bytes);
        out.raw(",\"sha256\":\"");
        out.display(part.sha256);
        out.raw("\",\"startedAt\":");
        out.value(&part.started_at);
        out.raw(",\"endedAt\":");
        out.value(&part.ended_at);
        out.raw("}");
    }
    out.raw("]},");
}
