//! `GET /openapi.json`, generated from the handlers, and `GET /docs`, the page that shows it.
//!
//! Promises: the page asks no other host for anything; a test holds real answers against the document.

mod shapes;

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Parameter, ParameterIn},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

pub(super) use shapes::{Deleted, Event, NameText, SessionAnswer, SessionList, State, Status, UserAnswer, UserList};

use shapes::ProblemDocument;

/// The page runs its own script and asks this server, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; \
                           img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

#[derive(OpenApi)]
#[openapi(
    info(description = "What was recorded of shoppers who think aloud. Errors are problem documents (RFC 9457)."),
    paths(
        super::sessions::list,
        super::sessions::one,
        super::delete::session,
        super::session_events::list,
        super::audio::play_session,
        super::audio::play,
        super::users::list,
        super::users::one,
        super::delete::user,
        super::metrics::show,
        super::ops::health,
        super::ops::ready,
    ),
    tags(
        (name = "sessions", description = "Recordings: events and audio"),
        (name = "users", description = "Shoppers, with their events outside of recordings"),
        (name = "operation", description = "For load balancers and Prometheus"),
    ),
    components(schemas(ProblemDocument)),
    modifiers(&Keys, &Refusals),
)]
struct Document;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A key of `shopaloud keys new`: a read key reads, an admin key deletes too. An open server, which is \
                 for its own machine only, asks for none.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// What every operation can be refused for, by what it takes: said here once.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let items = document.paths.paths.values_mut();
        for operation in items.flat_map(|item| [&mut item.get, &mut item.delete]).flatten() {
            let has = |place: &ParameterIn| {
                let parameters = operation.parameters.iter().flatten();
                parameters.filter_map(inline).any(|parameter| parameter.parameter_in == *place)
            };
            let is_keyed = operation.security.is_some();
            let refusals = [
                (has(&ParameterIn::Query), "400", "A parameter makes no sense"),
                (is_keyed, "401", "A key is needed"),
                (is_keyed, "403", "The key is not for this"),
                (has(&ParameterIn::Path), "404", "There is none"),
                (operation.responses.responses.contains_key("206"), "416", "The range is outside of the file"),
                (true, "429", "Too many requests"),
                (true, "503", "What it needs does not answer"),
            ];
            let schema = Ref::from_schema_name("ProblemDocument");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            for (_, status, description) in refusals.into_iter().filter(|(applies, ..)| *applies) {
                let response = ResponseBuilder::new()
                    .description(description)
                    .content("application/problem+json", content.clone())
                    .build();
                operation.responses.responses.insert(status.to_owned(), response.into());
            }
        }
    }
}

const fn inline(parameter: &RefOr<Parameter>) -> Option<&Parameter> {
    match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    }
}

static JSON: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());

pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(JSON.as_str())
}

pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(include_str!("docs.html"))
}

pub(super) async fn script() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/javascript; charset=utf-8")).body(include_str!("docs.js"))
}

pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/css; charset=utf-8")).body(include_str!("docs.css"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_path_is_described_and_says_whether_it_needs_a_key() {
        let document: Value = serde_json::from_str(&JSON).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        let expected = [
            "/audio/{key}",
            "/healthz",
            "/metrics",
            "/readyz",
            "/sessions",
            "/sessions/{id}",
            "/sessions/{id}/audio",
            "/sessions/{id}/events",
            "/users",
            "/users/{id}",
        ];
        assert_eq!(
            paths.keys().collect::<std::collections::BTreeSet<_>>(),
            expected.map(str::to_owned).iter().collect()
        );
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                let is_open = matches!(path.as_str(), "/healthz" | "/readyz");
                assert_eq!(operation["security"].is_null(), is_open, "{method} {path}");
            }
        }
    }

    #[test]
    fn the_page_names_no_other_host() {
        for text in [include_str!("docs.html"), include_str!("docs.js"), include_str!("docs.css")] {
            assert!(!text.contains("//"), "{text}");
        }
    }
}
