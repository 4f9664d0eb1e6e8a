//! `GET /users` and `GET /users/{id}`. The events shown are those outside of any session; `numEvents` counts them.

use actix_web::{HttpResponse, web};

use super::{
    HttpState,
    events::EventReader,
    json::{JsonWriter, Stopped, stream_json},
    problem::Problem,
};
use crate::{
    domain::{Timestamp, UserId},
    store::{UserCursor, UserRow},
};

/// Users fetched at once.
const PAGE_ROWS: u32 = 100;

pub(super) async fn list(state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    stream_json(|out| write_all(state, out)).await
}

/// A text that no user could have as id names no user: 404, not 400.
pub(super) async fn one(id: web::Path<String>, state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let id = UserId::parse(&id).map_err(|_| Problem::NotFound("user"))?;
    let row = state.store.user(&id, Timestamp::now()).await?.ok_or(Problem::NotFound("user"))?;
    stream_json(|mut out| async move {
        out.raw("{\"user\":");
        write_page(&mut EventReader::new(state.store.clone()), vec![row], &mut out).await?;
        out.raw("}");
        out.flush().await
    })
    .await
}

async fn write_all(state: web::Data<HttpState>, mut out: JsonWriter) -> Result<(), Stopped> {
    let mut events = EventReader::new(state.store.clone());
    // One clock for the whole answer decides who counts as connected.
    let now = Timestamp::now();
    let mut after: Option<UserCursor> = None;
    out.raw("{\"users\":[");
    loop {
        let is_first = after.is_none();
        let page = state.store.users(after, PAGE_ROWS, now).await?;
        let is_last = page.len() < PAGE_ROWS as usize;
        if !is_first && !page.is_empty() {
            out.raw(",");
        }
        after = page.last().map(|row| UserCursor { created_at: row.created_at, user: row.user.clone() });
        write_page(&mut events, page, &mut out).await?;
        if is_last {
            break;
        }
    }
    out.raw("]}");
    out.flush().await
}

/// Writes the users of one page, separated by commas.
async fn write_page(events: &mut EventReader<UserId>, page: Vec<UserRow>, out: &mut JsonWriter) -> Result<(), Stopped> {
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
    out.raw(",");
}
