//! Before every request: limits, names, keys. And on every answer: what browsers must not do with it.
//!
//! Promises: a route that nobody thought about here needs a key: reading it a read key, anything else an admin key. The
//! exceptions are listed in one place, [`access_of`].
//! Refuses: to look at what a door is told; who records is judged by the session, from its hello.

use std::net::IpAddr;

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{
            CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    web,
};

use super::{HttpState, problem::Problem};
use crate::auth::ReadLevel;

/// On every answer that does not say otherwise. Answers are data: a browser that shows one runs nothing in it, frames it
/// nowhere, and tells nobody its address, which may hold a link's signature.
const HEADERS: [(HeaderName, &str); 3] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];
/// A year, as browsers' own lists demand.
const HSTS: &str = "max-age=31536000";

/// Who may make a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RouteAccess {
    Everybody,
    /// The door judges for itself.
    Door,
    Readers(ReadLevel),
}

/// By the route's pattern; `None` where no route matches.
fn access_of(pattern: Option<&str>, method: &Method) -> RouteAccess {
    match pattern {
        Some("/" | "/healthz" | "/readyz" | "/openapi.json" | "/docs" | "/docs/script.js" | "/docs/style.css") => {
            RouteAccess::Everybody
        }
        Some("/ws" | "/socket.io" | "/socket.io/") => RouteAccess::Door,
        // A preflight carries no key, and gets nothing but permissions.
        _ if method == Method::OPTIONS => RouteAccess::Everybody,
        Some("/audio/{key:.*}" | "/sessions/{id}/audio") if method.is_safe() => RouteAccess::Readers(ReadLevel::Media),
        _ if method.is_safe() => RouteAccess::Readers(ReadLevel::Read),
        _ => RouteAccess::Readers(ReadLevel::Admin),
    }
}

/// The middleware that lets requests in.
pub async fn let_in<B: MessageBody + 'static>(
    state: web::Data<HttpState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let access = &state.access;
    let route = access_of(request.match_pattern().as_deref(), request.method());
    let address = access.client(request.request()).address;
    if let Err(problem) = judge(&state, request.request(), route, address) {
        return Ok(request.into_response(problem.error_response()));
    }
    let response = next.call(request).await?.map_into_boxed_body();
    if route == RouteAccess::Door && response.status().is_client_error() {
        // Who knocks at a door without getting in pays as for any other request.
        return Ok(match access.request(address) {
            Ok(()) => response,
            Err(limited) => response.into_response(Problem::from(limited).error_response()),
        });
    }
    Ok(response)
}

fn judge(state: &HttpState, request: &HttpRequest, route: RouteAccess, address: IpAddr) -> Result<(), Problem> {
    let access = &state.access;
    if header_bytes(request) > state.max_header_bytes {
        return Err(Problem::HeadersTooLarge(state.max_header_bytes));
    }
    if !access.is_asked_by_own_name(request) {
        return Err(Problem::ForeignHost);
    }
    if route != RouteAccess::Door {
        access.request(address)?;
    }
    match route {
        RouteAccess::Everybody | RouteAccess::Door => Ok(()),
        RouteAccess::Readers(level) => Ok(access.read(request, level)?),
    }
}

fn header_bytes(request: &HttpRequest) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let lines = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    target + lines.sum::<usize>()
}

/// The middleware that tells browsers what not to do. Around all others, so that refusals have it too.
pub async fn harden<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let is_tls = request.app_config().secure();
    let mut response = next.call(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        if is_tls {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_thought_about_needs_a_key() {
        let reader = RouteAccess::Readers(ReadLevel::Read);
        for pattern in [None, Some("/sessions"), Some("/users/{id}"), Some("/metrics"), Some("/brand/new")] {
            assert_eq!(access_of(pattern, &Method::GET), reader, "{pattern:?}");
            assert_eq!(access_of(pattern, &Method::HEAD), reader, "{pattern:?}");
            for method in [Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::CONNECT] {
                assert_eq!(access_of(pattern, &method), RouteAccess::Readers(ReadLevel::Admin), "{pattern:?}");
            }
        }
    }

    #[test]
    fn media_are_played_by_links_and_not_deleted_by_them() {
        for pattern in ["/audio/{key:.*}", "/sessions/{id}/audio"] {
            assert_eq!(access_of(Some(pattern), &Method::GET), RouteAccess::Readers(ReadLevel::Media));
            assert_eq!(access_of(Some(pattern), &Method::DELETE), RouteAccess::Readers(ReadLevel::Admin));
        }
    }
}
