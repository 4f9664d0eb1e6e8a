//! `GET /sessions` and `GET /sessions/{id}`.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    HttpState,
    audio::AudioLinks,
    events::EventReader,
    json::{JsonWriter, Stopped, stream_json},
    openapi::{SessionAnswer, SessionList, Status},
    paging::Paging,
    parameters::{EventsShown, Parameters},
    problem::Problem,
    version::Version,
};
use crate::{
    domain::{AudioFormat, AudioPart, SessionId},
    store::{SessionCursor, SessionFilter, SessionQuery, SessionRow, TrackRow, View},
    tracks::Layout,
};

/// Sessions fetched at once: with their audio parts a few hundred kB.
const PAGE_ROWS: u32 = 100;
/// The first time: the events of all of them are counted before anything is answered.
const FIRST_PAGE_ROWS: u32 = 10;

/// All sessions with their events, newest first.
#[utoipa::path(
    get,
    path = "/sessions",
    operation_id = "listSessions",
    tag = "sessions",
    params(
        ("limit" = Option<u32>, Query, description = "Rows of a page; without it and without a cursor the answer is all of it", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("user" = Option<String>, Query, description = "Of this user", min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"),
        ("status" = Option<Status>, Query, description = "In this state"),
        ("since" = Option<String>, Query, description = "Begun at this time or later", format = DateTime),
        ("until" = Option<String>, Query, description = "Begun before this time", format = DateTime),
        ("hasAudio" = Option<bool>, Query, description = "With stored audio, or without"),
        ("events" = Option<EventsShown>, Query, description = "How much of the events is shown"),
    ),
    responses(
        (status = 200, description = "The sessions", body = SessionList),
    ),
    security(("key" = [])),
)]
pub(super) async fn list(request: HttpRequest, state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&request);
    let paging = Paging::of(&mut parameters)?;
    let filter = SessionFilter {
        user: parameters.user()?,
        status: parameters.status()?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
        has_audio: parameters.boolean("hasAudio")?,
    };
    let shown = parameters.events()?;
    parameters.finish()?;
    let links = AudioLinks::for_request(&request, &state);
    stream_json(|out| write_list(state, links, filter, paging, shown, out)).await
}

/// One session.
///
/// An id that is no UUID names no session: 404, not 400.
#[utoipa::path(
    get,
    path = "/sessions/{id}",
    operation_id = "getSession",
    tag = "sessions",
    params(
        ("id" = Uuid, Path, description = "The session"),
        ("events" = Option<EventsShown>, Query, description = "How much of the events is shown"),
    ),
    responses(
        (status = 200, description = "The session", body = SessionAnswer),
        (status = 304, description = "As the `If-None-Match` of the request has it"),
    ),
    security(("key" = [])),
)]
pub(super) async fn one(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, Problem> {
    let id: SessionId = id.parse().map_err(|_| Problem::NotFound("session"))?;
    let mut parameters = Parameters::of(&request);
    let shown = parameters.events()?;
    parameters.finish()?;
    let row = state.store.session(id).await?.ok_or(Problem::NotFound("session"))?;
    let parts = state.store.audio_parts(&[id]).await?;
    let track = state.store.audio_tracks(&[id]).await?.pop();
    let version = Version::of_session(&row, &parts, track.as_ref(), request.query_string(), state.audio_link_lifetime);
    if version.is_known_to(&request) {
        return Ok(version.not_modified());
    }
    let links = AudioLinks::for_request(&request, &state);
    let mut answer = stream_json(|mut out| async move {
        let mut events = EventReader::new(state.store.clone(), shown);
        out.raw("{\"session\":");
        write_session(&links, &mut events, &[(row.session, row.num_events)], &row, &Audio { parts, track }, &mut out)
            .await?;
        out.raw("}");
        out.flush().await
    })
    .await?;
    version.tell(&mut answer);
    Ok(answer)
}

async fn write_list(
    state: web::Data<HttpState>,
    links: AudioLinks,
    filter: SessionFilter,
    mut paging: Paging<SessionCursor>,
    shown: EventsShown,
    mut out: JsonWriter,
) -> Result<(), Stopped> {
    let view = state.store.view().await?;
    let mut events = EventReader::new(view.clone(), shown);
    let (mut is_first, mut page_rows) = (true, FIRST_PAGE_ROWS);
    out.raw("{\"sessions\":[");
    loop {
        let asked = paging.asked(page_rows);
        let query = SessionQuery {
            filter: filter.clone(),
            after: paging.after(),
            limit: asked,
            counts_events: shown != EventsShown::None,
        };
        let mut page = view.sessions(&query).await?;
        let is_end =
            paging.is_end(&mut page, asked, |row| SessionCursor { opened_at: row.opened_at, session: row.session });
        if !is_first && !page.is_empty() {
            out.raw(",");
        }
        is_first &= page.is_empty();
        write_page(&state, &*view, &links, &mut events, &page, &mut out).await?;
        if is_end {
            break;
        }
        page_rows = PAGE_ROWS;
    }
    view.end().await;
    out.raw("]");
    paging.write_next(&mut out);
    out.raw("}");
    out.flush().await
}

/// A session's audio.
struct Audio {
    parts: Vec<AudioPart>,
    track: Option<TrackRow>,
}

/// Writes the sessions of one page, separated by commas.
async fn write_page(
    state: &HttpState,
    view: &dyn View,
    links: &AudioLinks,
    events: &mut EventReader<SessionId>,
    page: &[SessionRow],
    out: &mut JsonWriter,
) -> Result<(), Stopped> {
    let ids: Vec<SessionId> = page.iter().map(|row| row.session).collect();
    let mut parts: HashMap<SessionId, Vec<AudioPart>> = HashMap::new();
    let mut tracks: HashMap<SessionId, TrackRow> = HashMap::new();
    if !ids.is_empty() {
        tracks.extend(state.store.audio_tracks(&ids).await?.into_iter().map(|track| (track.session, track)));
        for part in view.audio_parts(&ids).await? {
            parts.entry(part.session).or_default().push(part);
        }
    }
    let ahead: Vec<(SessionId, u64)> = page.iter().map(|row| (row.session, row.num_events)).collect();
    for (index, row) in page.iter().enumerate() {
        if index > 0 {
            out.raw(",");
        }
        let parts = parts.remove(&row.session).unwrap_or_default();
        let audio = Audio { parts, track: tracks.remove(&row.session) };
        write_session(links, events, &ahead[index..], row, &audio, out).await?;
        out.pass_on().await?;
    }
    Ok(())
}

/// `ahead`: this session and those after it, with their numbers of events.
async fn write_session(
    links: &AudioLinks,
    events: &mut EventReader<SessionId>,
    ahead: &[(SessionId, u64)],
    row: &SessionRow,
    audio: &Audio,
    out: &mut JsonWriter,
) -> Result<(), Stopped> {
    write_head(row, out);
    write_audio(links, audio, out).await;
    events.write(ahead, out).await?;
    out.raw("}");
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
async fn write_audio(links: &AudioLinks, Audio { parts, track }: &Audio, out: &mut JsonWriter) {
    let made = track.as_ref().and_then(|track| track.made.as_ref());
    let track_url = match made {
        Some(made) => links.url(&made.object_key).await,
        None => None,
    };
    let mut urls = Vec::with_capacity(parts.len());
    for part in parts {
        urls.push(links.url(&part.object_key).await);
    }
    out.raw("\"audioUrl\":");
    let url = track_url.as_ref().or_else(|| urls.first()?.as_ref());
    out.value(&url);
    out.raw(",\"audioPaths\":");
    out.value(&parts.iter().map(|part| &part.object_key).collect::<Vec<_>>());
    out.raw(",\"audio\":{\"url\":");
    out.value(&url);
    let layout: Option<Layout> = made.and_then(|made| serde_json::from_str(&made.layout).ok());
    let content_type = match made {
        Some(_) => Some(AudioFormat::WebM),
        None => parts.first().map(|part| part.format),
    };
    out.raw(",\"contentType\":");
    out.value(&content_type.map(AudioFormat::content_type));
    out.raw(",\"startedAt\":");
    out.value(&made.map(|made| made.origin));
    out.raw(",\"durationMs\":");
    out.value(&made.map(|made| made.duration_ms));
    out.raw(",\"recordedMs\":");
    out.value(&layout.as_ref().map(|layout| layout.recorded_ms));
    out.raw(",\"gaps\":");
    out.value(&layout.as_ref().map_or(&[][..], |layout| &layout.gaps));
    out.raw(",\"track\":");
    out.value(&track.as_ref().map(|track| track.state.as_str()));
    out.raw(",\"problem\":");
    out.value(&track.as_ref().and_then(|track| track.problem.as_ref()));
    out.raw(",\"parts\":[");
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
        let place = layout.as_ref().and_then(|layout| layout.runs.iter().find(|run| run.run == part.run));
        out.raw(",\"startMs\":");
        out.value(&place.and_then(|place| place.start_ms));
        out.raw(",\"endMs\":");
        out.value(&place.and_then(|place| place.end_ms));
        out.raw(",\"problem\":");
        out.value(&place.and_then(|place| place.problem.as_ref()));
        out.raw("}");
    }
    out.raw("]}");
}
