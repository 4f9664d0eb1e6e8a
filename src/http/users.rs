//! `GET /users` and `GET /users/{id}`. The events shown are those outside of any session; `numEvents` counts them.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    HttpState,
    events::EventReader,
    json::{JsonWriter, Stopped, stream_json},
    openapi::{Status, UserAnswer, UserList},
    paging::Paging,
    parameters::{EventsShown, Parameters},
    problem::Problem,
};
use crate::{
    domain::{Timestamp, UserId},
    store::{UserCursor, UserFilter, UserQuery, UserRow},
};

/// Users fetched at once.
const PAGE_ROWS: u32 = 100;

/// All users with their events outside of sessions, newest first.
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "listUsers",
    tag = "users",
    params(
        ("limit" = Option<u32>, Query, description = "Rows of a page; without it and without a cursor the answer is all of it", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("user" = Option<String>, Query, description = "Of this user", min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"),
        ("connected" = Option<bool>, Query, description = "With an open connection, or without"),
        ("status" = Option<Status>, Query, description = "With a session in this state"),
        ("since" = Option<String>, Query, description = "Seen first at this time or later", format = DateTime),
        ("until" = Option<String>, Query, description = "Seen first before this time", format = DateTime),
        ("hasAudio" = Option<bool>, Query, description = "With stored audio, or without"),
        ("events" = Option<EventsShown>, Query, description = "How much of the events is shown"),
    ),
    responses(
        (status = 200, description = "The users", body = UserList),
    ),
    security(("key" = [])),
)]
pub(super) async fn list(request: HttpRequest, state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&request);
    let paging = Paging::of(&mut parameters)?;
    let filter = UserFilter {
        user: parameters.user()?,
        connected: parameters.boolean("connected")?,
        status: parameters.status()?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
        has_audio: parameters.boolean("hasAudio")?,
    };
    let shown = parameters.events()?;
    parameters.finish()?;
    stream_json(|out| write_list(state, filter, paging, shown, out)).await
}

/// One user.
///
/// A text that no user could have as id names no user: 404, not 400.
#[utoipa::path(
    get,
    path = "/users/{id}",
    operation_id = "getUser",
    tag = "users",
    params(
        ("id" = String, Path, description = "The user"),
        ("events" = Option<EventsShown>, Query, description = "How much of the events is shown"),
    ),
    responses(
        (status = 200, description = "The user", body = UserAnswer),
    ),
    security(("key" = [])),
)]
pub(super) async fn one(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, Problem> {
    let id = UserId::parse(&id).map_err(|_| Problem::NotFound("user"))?;
    let mut parameters = Parameters::of(&request);
    let shown = parameters.events()?;
    parameters.finish()?;
    let row = state.store.user(&id, Timestamp::now()).await?.ok_or(Problem::NotFound("user"))?;
    stream_json(|mut out| async move {
        out.raw("{\"user\":");
        write_page(&mut EventReader::new(state.store.clone(), shown), &[row], &mut out).await?;
        out.raw("}");
        out.flush().await
    })
    .await
}

async fn write_list(
    state: web::Data<HttpState>,
    filter: UserFilter,
    mut paging: Paging<UserCursor>,
    shown: EventsShown,
    mut out: JsonWriter,
) -> Result<(), Stopped> {
    let view = state.store.view().await?;
    let mut events = EventReader::new(view.clone(), shown);
    // One clock for the whole answer decides who counts as connected.
    let now = Timestamp::now();
    let mut is_first = true;
    out.raw("{\"users\":[");
    loop {
        let asked = paging.asked(PAGE_ROWS);
        let query = UserQuery {
            filter: filter.clone(),
            after: paging.after(),
            limit: asked,
            counts_events: shown != EventsShown::None,
        };
        let mut page = view.users(&query, now).await?;
        let is_end =
            paging.is_end(&mut page, asked, |row| UserCursor { created_at: row.created_at, user: row.user.clone() });
        if !is_first && !page.is_empty() {
            out.raw(",");
        }
        is_first &= page.is_empty();
        write_page(&mut events, &page, &mut out).await?;
        if is_end {
            break;
        }
    }
    view.end().await;
    out.raw("]");
    paging.write_next(&mut out);
    out.raw("}");
    out.flush().await
}

/// Writes the users of one page, separated by commas.
async fn write_page(events: &mut EventReader<UserId>, page: &[UserRow], out: &mut JsonWriter) -> Result<(), Stopped> {
    let ahead: Vec<(UserId, u64)> = page.iter().map(|row| (row.user.clone(), row.num_events)).collect();
    for (index, row) in page.iter().enumerate() {
        if index > 0 {
            out.raw(",");
        }
        write_head(row, out);
        events.write(&ahead[index..], out).await?;
        out.raw("}");
        out.pass_on().await?;
    }
    Ok(())
}

fn write_head(row: &UserRow, out: &mut JsonWriter) {
    out.raw("{\"id\":");
    out.string(row.user.as_str());
    out.raw(",\"name\":");
    out.value(&row.name);
    out.raw(",\"email\":");
    out.value(&row.email);
    out.raw(",\"connected\":");
    out.display(row.connected);
    out.raw(",\"createdAt\":");
    out.value(&row.created_at);
    out.raw(",\"updatedAt\":");
    out.value(&row.updated_at);
    out.raw(",\"numSessions\":");
    out.display(row.num_sessions);
}
