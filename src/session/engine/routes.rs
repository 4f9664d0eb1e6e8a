//! What a request is: a handshake, a poll, a post, a websocket, a preflight, or an error in the protocol's own words.
//!
//! Promises: whatever comes is answered; the standard errors have the standard bodies, `{"code":…,"message":…}`.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{Method, StatusCode, header},
    web,
};
use serde::{Deserialize, Serialize};

use super::{
    EngineDoor, NotNow, polling,
    registry::{Entry, Registered},
    upgrade,
};
use crate::{
    auth::{self, PageOrigin},
    protocol::{ErrorCode, engine_session::Refusal},
};

/// When a client that found no place may try again. The stock client tries earlier all the same.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The query of every request; browsers add others against caches.
#[derive(Deserialize)]
struct Query {
    #[serde(rename = "EIO")]
    version: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    TransportUnknown,
    UnknownSession,
    BadHandshakeMethod,
    BadRequest,
    Forbidden,
    UnsupportedVersion,
    BodyTooLarge,
    BodyTooSlow,
    /// No place for another session.
    Busy(NotNow),
}

impl Problem {
    const fn status(self) -> StatusCode {
        match self {
            Self::TransportUnknown
            | Self::UnknownSession
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedVersion => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(NotNow { code: ErrorCode::RateLimited, .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The numbers are the protocol's; what it has no number for is a bad request.
    const fn code(self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::UnknownSession => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest | Self::BodyTooLarge | Self::BodyTooSlow | Self::Busy(_) => 3,
            Self::Forbidden => 4,
            Self::UnsupportedVersion => 5,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::BodyTooLarge => "Payload too large",
            Self::BodyTooSlow => "Payload too slow",
            Self::Busy(not_now) => not_now.code.as_str(),
        }
    }

    pub(super) fn response(self, origin: Option<&PageOrigin>) -> HttpResponse {
        #[derive(Serialize)]
        struct Body {
            code: u8,
            message: &'static str,
        }
        let mut response = HttpResponse::build(self.status());
        if let Some(origin) = origin {
            origin.allow(&mut response);
        }
        if let Self::Busy(not_now) = self {
            let seconds = not_now.retry_after.as_millis().div_ceil(1_000);
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.json(Body { code: self.code(), message: self.message() })
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::UnknownSession,
            Refusal::BadRequest => Self::BadRequest,
        }
    }
}

/// A request that has passed the door's checks.
pub(super) struct Visit {
    pub(super) door: Arc<EngineDoor>,
    pub(super) request: HttpRequest,
    pub(super) payload: web::Payload,
    pub(super) origin: PageOrigin,
}

impl Visit {
    /// A response that the visitor's page may read, and nobody keeps.
    pub(super) fn ok(origin: &PageOrigin) -> HttpResponseBuilder {
        let mut response = HttpResponse::Ok();
        origin.allow(&mut response);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        response
    }
}

/// Answers a request of the door's path.
pub(super) async fn answer(door: Arc<EngineDoor>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let Ok(origin) = door.application.origin(&request) else { return Problem::Forbidden.response(None) };
    if request.method() == Method::OPTIONS {
        let mut response = HttpResponse::NoContent();
        origin.allow_request("GET, POST", request.headers(), &mut response);
        return response.finish();
    }
    let visit = Visit { door, request, payload, origin: origin.clone() };
    route(visit).await.unwrap_or_else(|problem| problem.response(Some(&origin)))
}

async fn route(visit: Visit) -> Result<HttpResponse, Problem> {
    let query = web::Query::<Query>::from_query(visit.request.query_string()).map_err(|_| Problem::BadRequest)?;
    let is_websocket = match query.transport.as_deref() {
        Some("polling") => false,
        Some("websocket") => true,
        _ => return Err(Problem::TransportUnknown),
    };
    if query.version.as_deref() != Some("4") {
        return Err(Problem::UnsupportedVersion);
    }
    let method = visit.request.method().clone();
    match &query.sid {
        Some(sid) => {
            let entry = find(&visit.door, sid)?;
            match (is_websocket, method) {
                (true, Method::GET) => upgrade::take_over(visit, entry).await,
                (false, Method::GET) => polling::poll(visit, entry).await,
                (false, Method::POST) => polling::post(visit, entry).await,
                _ => Err(Problem::BadRequest),
            }
        }
        None if method != Method::GET => Err(Problem::BadHandshakeMethod),
        None if is_websocket => upgrade::begin(visit),
        None => {
            let (place, guest) = place(&visit)?;
            Ok(polling::begin(&visit, place, guest))
        }
    }
}

fn find(door: &EngineDoor, sid: &str) -> Result<Entry, Problem> {
    let sid = sid.parse().map_err(|_| Problem::UnknownSession)?;
    door.registry.get(sid).ok_or(Problem::UnknownSession)
}

/// A place for a new session, and who takes it.
pub(super) fn place(visit: &Visit) -> Result<(Registered, auth::Visit), Problem> {
    let guest = visit.door.application.admit(&visit.request, &visit.origin).map_err(Problem::Busy)?;
    let full = NotNow { code: ErrorCode::Overloaded, retry_after: RETRY_AFTER };
    let place = visit.door.registry.reserve().ok_or(Problem::Busy(full))?;
    Ok((place, guest))
}
