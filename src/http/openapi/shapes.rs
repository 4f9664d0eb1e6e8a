//! The shapes of answers, for the document alone: answers are streamed, not built from these.
//!
//! Promises: they refuse what they do not list, so that a field that is added or renamed in an answer and not here fails
//! the test that compares them.

#![expect(dead_code, reason = "the fields are read by the derive macro")]

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::erasure::Removed;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionList {
    sessions: Vec<Session>,
    /// Where the next page begins; null on the last page. Absent when all was asked for.
    #[schema(required = false, nullable)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionAnswer {
    session: Session,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Session {
    id: Uuid,
    user_id: String,
    #[schema(inline)]
    status: Status,
    /// The page that was open last.
    #[schema(required, nullable)]
    page: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, nullable, format = DateTime)]
    ended_at: Option<String>,
    /// The first part.
    #[schema(required, nullable, format = "uri")]
    audio_url: Option<String>,
    /// The keys of all parts.
    audio_paths: Vec<String>,
    #[schema(inline)]
    audio: Audio,
    /// With `events=full`.
    #[schema(required = false)]
    events: Vec<Event>,
    /// With `events=full` and `events=count`.
    #[schema(required = false)]
    num_events: u64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Recording,
    Ended,
    /// It was not heard of for so long that it was closed.
    Expired,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Audio {
    /// All of it in one file, once that is made; before, the first part. Null without audio.
    #[schema(required, nullable, format = "uri")]
    url: Option<String>,
    #[schema(required, nullable)]
    content_type: Option<String>,
    /// When the track begins: with the session, or a little before.
    #[schema(required, nullable, format = DateTime)]
    started_at: Option<String>,
    #[schema(required, nullable)]
    duration_ms: Option<u64>,
    /// What was recorded of the duration; the rest is silence that was put in.
    #[schema(required, nullable)]
    recorded_ms: Option<u64>,
    gaps: Vec<Gap>,
    /// Null without audio.
    #[schema(required, nullable)]
    track: Option<TrackStatus>,
    /// Why there is no track, or not yet.
    #[schema(required, nullable)]
    problem: Option<String>,
    parts: Vec<Part>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TrackStatus {
    /// To be made, or made again, when the session is over.
    Waiting,
    Ready,
    Failed,
}

/// Silence in the track that nobody recorded.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gap {
    start_ms: u64,
    end_ms: u64,
    reason: GapReason,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum GapReason {
    BetweenRuns,
    Paused,
    Lost,
}

/// What a recorder produced between its start and its stop.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part {
    /// Null when the object store cannot say.
    #[schema(required, nullable, format = "uri")]
    url: Option<String>,
    path: String,
    content_type: String,
    size_bytes: u64,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    ended_at: String,
    /// Where it is in the track, in ms.
    #[schema(required, nullable)]
    start_ms: Option<u64>,
    #[schema(required, nullable)]
    end_ms: Option<u64>,
    /// Why it is not.
    #[schema(required, nullable)]
    problem: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Event {
    name: String,
    /// Grows within a stream of its client.
    #[schema(minimum = 1)]
    seq: u64,
    /// As it was sent.
    data: serde_json::Value,
    /// By the client's clock.
    #[schema(format = DateTime)]
    timestamp: String,
    /// By the server's.
    #[schema(format = DateTime)]
    received_at: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserList {
    users: Vec<User>,
    /// Where the next page begins; null on the last page. Absent when all was asked for.
    #[schema(required = false, nullable)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserAnswer {
    user: User,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct User {
    id: String,
    #[schema(required, nullable)]
    name: Option<String>,
    #[schema(required, nullable)]
    email: Option<String>,
    connected: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    num_sessions: u64,
    /// Outside of any session; with `events=full`.
    #[schema(required = false)]
    events: Vec<Event>,
    /// With `events=full` and `events=count`.
    #[schema(required = false)]
    num_events: u64,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deleted {
    removed: Removed,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    status: String,
}

/// Why a request was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProblemDocument {
    r#type: String,
    title: String,
    status: u16,
    #[schema(required = false)]
    detail: String,
    /// The parameter that makes no sense.
    #[schema(required = false)]
    parameter: String,
    /// What stands in the way.
    #[schema(required = false)]
    reasons: Vec<String>,
}

/// An event's name.
#[derive(Serialize, ToSchema)]
#[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
pub(crate) struct NameText(String);
