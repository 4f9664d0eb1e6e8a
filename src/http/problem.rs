//! Errors as `application/problem+json` (RFC 9457).
//!
//! Owns: the one place that picks a status.
//! Promises: a client learns what it can do differently; what broke inside stays in the log, told once, here.

use std::{fmt, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    error::{InternalError, PathError, QueryPayloadError},
    http::{
        StatusCode,
        header::{ALLOW, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    web,
};
use serde::Serialize;

use crate::{
    auth::{ForeignOrigin, Limited, ReadRefusal},
    objects::ObjectError,
    protocol::ErrorCode,
    session::engine::NotNow,
    store::StoreError,
};

/// When to try again after a 503, in seconds: about what a database needs to restart.
const RETRY_AFTER_SECS: &str = "5";

/// A request that is not answered with what it asked for.
#[derive(Debug)]
pub enum Problem {
    /// No such session, user, object or path; also for an id that nothing could have.
    NotFound(&'static str),
    /// The path is there, the method is not; with what is.
    MethodNotAllowed(&'static str),
    /// The request makes no sense.
    BadRequest(String),
    /// A parameter of the query that is not known, or makes no sense.
    BadParameter {
        name: String,
        reason: String,
    },
    /// Too many of these; ask again after that time.
    RateLimited(Duration),
    /// No key, or one that is not valid.
    Unauthorized(ReadRefusal),
    /// A key that is valid and not for this.
    Forbidden(ReadRefusal),
    /// An open server is asked by a name that is not this machine's.
    ForeignHost,
    /// The headers are larger than this.
    HeadersTooLarge(usize),
    /// The request comes from a web page that may not make it.
    ForeignOrigin(ForeignOrigin),
    /// The conditions that do not hold.
    NotReady(Vec<&'static str>),
    Store(StoreError),
    Objects(ObjectError),
    File(std::io::Error),
    /// A status that a library chose (a range outside of the file), with the headers that explain it.
    Status(StatusCode, HeaderMap),
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasons: &'a [&'static str],
}

impl fmt::Display for Problem {
    /// What the client is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "there is no such {what}"),
            Self::MethodNotAllowed(allowed) => write!(f, "this path takes {allowed}"),
            Self::BadRequest(reason) => f.write_str(reason),
            Self::BadParameter { name, reason } => write!(f, "the parameter {name:?} {reason}"),
            Self::ForeignOrigin(error) => error.fmt(f),
            Self::RateLimited(_) => f.write_str("too many of these: ask again later"),
            Self::Unauthorized(refusal) | Self::Forbidden(refusal) => refusal.fmt(f),
            Self::ForeignHost => f.write_str(
                "without keys this server answers to the names of its own machine only (auth.allowed_hosts)",
            ),
            Self::HeadersTooLarge(limit_bytes) => write!(f, "the headers are larger than {limit_bytes} bytes"),
            Self::NotReady(reasons) => write!(f, "not ready: {}", reasons.join(", ")),
            Self::Store(_) => f.write_str("the database did not answer"),
            Self::Objects(_) => f.write_str("the audio store did not answer"),
            Self::File(_) => f.write_str("the audio file cannot be read"),
            Self::Status(..) => Ok(()),
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest(_) | Self::BadParameter { .. } => StatusCode::BAD_REQUEST,
            Self::ForeignOrigin(_) | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Objects(error) if error.kind() == crate::objects::ObjectErrorKind::Retryable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Store(_) | Self::Objects(_) | Self::File(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Status(status, _) => *status,
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Store(error) => tracing::error!(%error, "a read failed"),
            Self::Objects(error) => tracing::error!(%error, "a read of the object store failed"),
            Self::File(error) => tracing::error!(%error, "an audio file cannot be read"),
            _ => {}
        }
        let status = self.status_code();
        let detail = self.to_string();
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &detail,
            parameter: if let Self::BadParameter { name, .. } = self { Some(name) } else { None },
            reasons: if let Self::NotReady(reasons) = self { reasons } else { &[] },
        };
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        match self {
            Self::MethodNotAllowed(allowed) => drop(response.insert_header((ALLOW, *allowed))),
            Self::RateLimited(time) => {
                response.insert_header((RETRY_AFTER, time.as_millis().div_ceil(1_000).to_string()));
            }
            Self::Unauthorized(refusal) => {
                let error = if *refusal == ReadRefusal::KeyRequired { "" } else { ", error=\"invalid_token\"" };
                response.insert_header((WWW_AUTHENTICATE, format!("Bearer realm=\"shopaloud\"{error}")));
            }
            Self::Forbidden(_) => {
                let challenge = "Bearer realm=\"shopaloud\", error=\"insufficient_scope\"";
                response.insert_header((WWW_AUTHENTICATE, challenge));
            }
            Self::Status(_, headers) => {
                for header in headers {
                    response.insert_header(header);
                }
            }
            _ => {}
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECS));
        }
        response.body(serde_json::to_string(&document).unwrap_or_default())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        Self::RateLimited(limited.retry_after)
    }
}

impl From<NotNow> for Problem {
    fn from(not_now: NotNow) -> Self {
        match not_now.code {
            ErrorCode::RateLimited => Self::RateLimited(not_now.retry_after),
            code => Self::NotReady(vec![code.as_str()]),
        }
    }
}

impl From<ReadRefusal> for Problem {
    fn from(refusal: ReadRefusal) -> Self {
        match refusal {
            ReadRefusal::KeyRequired | ReadRefusal::UnknownKey => Self::Unauthorized(refusal),
            ReadRefusal::NotEnough | ReadRefusal::LinkExpired | ReadRefusal::LinkForged => Self::Forbidden(refusal),
        }
    }
}

impl From<ForeignOrigin> for Problem {
    fn from(error: ForeignOrigin) -> Self {
        Self::ForeignOrigin(error)
    }
}

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        Self::Objects(error)
    }
}

/// What actix's own extractors refuse looks like everything else.
pub(super) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.app_data(web::PathConfig::default().error_handler(bad_path))
        .app_data(web::QueryConfig::default().error_handler(bad_query))
        .default_service(web::to(no_such_path));
}

fn bad_path(error: PathError, _: &HttpRequest) -> actix_web::Error {
    refuse(error, "the path cannot be read")
}

fn bad_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let reason = format!("the query cannot be read: {error}");
    refuse(error, &reason)
}

fn refuse(error: impl fmt::Debug + fmt::Display + 'static, reason: &str) -> actix_web::Error {
    InternalError::from_response(error, Problem::BadRequest(reason.to_owned()).error_response()).into()
}

async fn no_such_path() -> Problem {
    Problem::NotFound("path")
}

/// The answer of a path that is there to a method that is not.
pub(super) async fn only_get() -> Problem {
    Problem::MethodNotAllowed("GET")
}

/// The same, where a `HEAD` is answered too.
pub(super) async fn only_get_and_head() -> Problem {
    Problem::MethodNotAllowed("GET, HEAD")
}

/// The same, where deleting is possible.
pub(super) async fn only_get_and_delete() -> Problem {
    Problem::MethodNotAllowed("GET, DELETE")
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test};

    use super::*;

    /// Numbers in path and query, for requests that have none.
    async fn takes_numbers(_: web::Path<u32>, _: web::Query<std::collections::HashMap<String, u32>>) -> &'static str {
        "numbers"
    }

    #[actix_web::test]
    async fn what_extractors_refuse_is_a_problem_too() {
        let app = App::new().configure(configure).route("/{number}", web::get().to(takes_numbers));
        let app = test::init_service(app).await;
        for (path, expected) in [
            ("/1?limit=2", None),
            ("/one", Some("the path cannot be read")),
            ("/1?limit=two", Some("the query cannot be read")),
        ] {
            let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
            let status = response.status();
            let body = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
            match expected {
                None => assert_eq!((status, body.as_str()), (StatusCode::OK, "numbers")),
                Some(detail) => {
                    assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
                    assert!(body.contains(detail), "{body}");
                }
            }
        }
    }

    #[actix_web::test]
    async fn what_broke_inside_stays_inside() {
        let error = StoreError::new(crate::store::StoreErrorKind::Permanent, "read", "password=hunter2");
        let response = Problem::Store(error).error_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        assert!(!String::from_utf8(body.to_vec()).unwrap().contains("hunter2"));
    }
}
