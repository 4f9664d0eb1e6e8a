//! Stored audio: the links to it, `GET /audio/{key}` and `GET /sessions/{id}/audio`: a local file, or a redirect to S3.
//!
//! Promises: Range requests, so that players can seek; a key is parsed before it becomes a path.
//! Refuses: to guess types: a browser plays what the recorder made, and executes nothing.

use std::{io, num::NonZeroUsize};

use actix_files::NamedFile;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        CONTENT_DISPOSITION, CONTENT_TYPE, ContentDisposition, DispositionType, HeaderValue, LINK, LOCATION,
        X_CONTENT_TYPE_OPTIONS,
    },
    web,
};

use super::{HttpState, parameters::Parameters, problem::Problem};
use crate::{
    auth::Access,
    domain::{AudioFormat, SessionId},
    objects::{Location, ObjectKey, Objects},
    session::AudioUrl,
};

/// Makes the URLs of one answer.
pub(super) struct AudioLinks {
    objects: Objects,
    access: Access,
    /// Where this server is reached, without a slash at the end.
    base: String,
}

impl AudioLinks {
    pub(super) fn for_request(request: &HttpRequest, state: &HttpState) -> Self {
        Self { objects: state.objects.clone(), access: state.access.clone(), base: state.access.base_url(request) }
    }

    /// `None` when there is no way to say where the object is; the rest of the answer is worth having.
    pub(super) async fn url(&self, object_key: &str) -> Option<String> {
        let key = ObjectKey::parse(object_key)
            .inspect_err(|error| tracing::error!(%error, object_key, "a stored object has a bad key"))
            .ok()?;
        match self.objects.locate(&key).await {
            Ok(location) => Some(AudioUrl::of(location, &key, &self.access).complete(&self.base)),
            Err(error) => {
                tracing::error!(%error, object_key, "a stored object cannot be located");
                None
            }
        }
    }
}

/// Stored audio.
///
/// With Range requests, so that players can seek.
#[utoipa::path(
    get,
    path = "/audio/{key}",
    operation_id = "getAudio",
    tag = "sessions",
    params(
        ("key" = String, Path, description = "The `path` of a part"),
    ),
    responses(
        (status = 200, description = "The audio", content(
            (Vec<u8> = "audio/webm"),
            (Vec<u8> = "audio/ogg"),
            (Vec<u8> = "audio/mp4"),
            (Vec<u8> = "application/octet-stream"),
        )),
        (status = 206, description = "The range that was asked for", content(
            (Vec<u8> = "audio/webm"),
            (Vec<u8> = "audio/ogg"),
            (Vec<u8> = "audio/mp4"),
            (Vec<u8> = "application/octet-stream"),
        )),
        (status = 304, description = "As the conditions of the request have it"),
        (status = 307, description = "Where the object store has it"),
    ),
    security(("key" = [])),
)]
pub(super) async fn play(
    request: HttpRequest,
    key: web::Path<String>,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, Problem> {
    let key = ObjectKey::parse(&key).map_err(|_| Problem::NotFound("audio"))?;
    play_object(&request, &key, &state).await
}

/// The session's audio.
///
/// The track that all parts were joined to. Before it is made: the first part, or that of the number asked for, from 1; a
/// `Link` tells the next.
#[utoipa::path(
    get,
    path = "/sessions/{id}/audio",
    operation_id = "getSessionAudio",
    tag = "sessions",
    params(
        ("id" = Uuid, Path, description = "The session"),
        ("part" = Option<u32>, Query, description = "Which part", minimum = 1),
    ),
    responses(
        (status = 200, description = "The audio", content(
            (Vec<u8> = "audio/webm"),
            (Vec<u8> = "audio/ogg"),
            (Vec<u8> = "audio/mp4"),
            (Vec<u8> = "application/octet-stream"),
        )),
        (status = 206, description = "The range that was asked for", content(
            (Vec<u8> = "audio/webm"),
            (Vec<u8> = "audio/ogg"),
            (Vec<u8> = "audio/mp4"),
            (Vec<u8> = "application/octet-stream"),
        )),
        (status = 304, description = "As the conditions of the request have it"),
        (status = 307, description = "Where the object store has it"),
    ),
    security(("key" = [])),
)]
pub(super) async fn play_session(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, Problem> {
    let session: SessionId = id.parse().map_err(|_| Problem::NotFound("session"))?;
    let mut parameters = Parameters::of(&request);
    let part = parameters.parse("part", |value| value.parse::<NonZeroUsize>().map_err(|_| "is no number from 1"))?;
    parameters.skip_signature();
    parameters.finish()?;
    if part.is_none()
        && let Some(track) = state.store.audio_tracks(&[session]).await?.pop().and_then(|track| track.made)
    {
        let key = ObjectKey::parse(&track.object_key).map_err(|_| Problem::NotFound("audio"))?;
        return play_object(&request, &key, &state).await;
    }
    let parts = state.store.audio_parts(&[session]).await?;
    let number = part.map_or(1, NonZeroUsize::get);
    let part = parts.get(number - 1).ok_or(Problem::NotFound("audio"))?;
    let key = ObjectKey::parse(&part.object_key).map_err(|_| Problem::NotFound("audio"))?;
    let mut response = play_object(&request, &key, &state).await?;
    if number < parts.len() {
        let next = format!("<?part={}>; rel=\"next\"", number + 1);
        response.headers_mut().insert(LINK, HeaderValue::try_from(next).map_err(|_| Problem::NotFound("audio"))?);
    }
    Ok(response)
}

async fn play_object(request: &HttpRequest, key: &ObjectKey, state: &HttpState) -> Result<HttpResponse, Problem> {
    let path = match state.objects.locate(key).await? {
        Location::File(path) => path,
        Location::Url(url) => return Ok(HttpResponse::TemporaryRedirect().insert_header((LOCATION, url)).finish()),
    };
    let opened =
        web::block(move || NamedFile::open(path)).await.map_err(|pool| Problem::File(io::Error::other(pool)))?;
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::NotFound("audio"),
        _ => Problem::File(error),
    })?;
    let inline = ContentDisposition { disposition: DispositionType::Inline, parameters: Vec::new() };
    let mut response = file.set_content_disposition(inline).into_response(request);
    if response.status().is_client_error() {
        let mut headers = response.headers().clone();
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_DISPOSITION);
        return Err(Problem::Status(response.status(), headers));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(key)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The type that the part's row holds too: the extension was made from it.
fn content_type(key: &ObjectKey) -> &'static str {
    let extension = key.as_str().rsplit('.').next().unwrap_or_default();
    [AudioFormat::WebM, AudioFormat::Ogg, AudioFormat::Mp4]
        .into_iter()
        .find(|format| format.extension() == extension)
        .unwrap_or(AudioFormat::Unknown)
        .content_type()
}
