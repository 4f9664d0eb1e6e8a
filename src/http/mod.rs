//! The HTTP side that reads: sessions, users, audio, and what operators ask.
//!
//! Owns: routes and the shape of answers (camelCase, RFC 3339). Reads go straight to the [`Store`].
//! Promises: lists are streamed, with memory that does not grow with the answer; every error is a problem document.
//! Refuses: to write anything, but for deletions. Events and audio come in through the websocket doors, which are mounted
//! beside this.

mod audio;
mod connect;
mod delete;
mod events;
mod gate;
mod json;
mod metrics;
mod openapi;
mod ops;
mod paging;
mod parameters;
mod problem;
mod session_events;
mod sessions;
mod users;
mod version;

use std::{sync::Arc, time::Duration};

use actix_web::{FromRequest, Handler, Resource, Responder, dev::HttpServiceFactory, guard, middleware::Compress, web};

pub use connect::{DoorLimits, DoorState};
pub use gate::{harden, let_in};
pub use metrics::RenderMetrics;
pub use ops::Readiness;
pub use problem::Problem;

use crate::{auth::Access, erasure::Erasure, objects::Objects, session::engine::EngineDoor, store::Store};

/// What the handlers need.
#[derive(Clone)]
pub struct HttpState {
    pub store: Arc<dyn Store>,
    pub objects: Objects,
    pub erasure: Erasure,
    pub readiness: Readiness,
    pub metrics: RenderMetrics,
    pub access: Access,
    /// How long links to audio in answers are good.
    pub audio_link_lifetime: Duration,
    /// Requests with more in their headers are refused.
    pub max_header_bytes: usize,
}

/// Mounts the doors for those who record. Before [`configure`], which answers for all other paths.
pub fn configure_doors(cfg: &mut web::ServiceConfig, plain: DoorState, socketio: &Arc<EngineDoor>) {
    cfg.app_data(web::Data::new(plain)).service(door("/ws", connect::plain)).service(socketio.resource("/socket.io"));
}

/// Mounts every route of this module, and the answer for paths that are not there.
pub fn configure(cfg: &mut web::ServiceConfig, state: HttpState) {
    problem::configure(cfg);
    cfg.app_data(web::Data::new(state))
        .service(get("/", ops::about))
        .service(get("/sessions", sessions::list))
        .service(get_and_delete("/sessions/{id}", sessions::one, delete::session))
        .service(get("/sessions/{id}/events", session_events::list))
        .service(get_and_head("/sessions/{id}/audio", audio::play_session))
        .service(get("/users", users::list))
        .service(get_and_delete("/users/{id}", users::one, delete::user))
        .service(get_and_head("/audio/{key:.*}", audio::play))
        .service(get("/metrics", metrics::show))
        .service(get("/openapi.json", openapi::document))
        .service(get("/docs", openapi::page))
        .service(get("/docs/script.js", openapi::script))
        .service(get("/docs/style.css", openapi::style))
        .service(get_and_head("/healthz", ops::health))
        .service(get_and_head("/readyz", ops::ready));
}

/// Answers that are texts, compressed for who asks for it.
fn get<F, Args>(path: &str, handler: F) -> impl HttpServiceFactory + use<F, Args>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler))
        .default_service(web::to(problem::only_get))
        .wrap(Compress::default())
}

fn get_and_delete<G, D, Args, Doomed>(
    path: &str,
    get: G,
    delete: D,
) -> impl HttpServiceFactory + use<G, D, Args, Doomed>
where
    G: Handler<Args>,
    Args: FromRequest + 'static,
    G::Output: Responder + 'static,
    D: Handler<Doomed>,
    Doomed: FromRequest + 'static,
    D::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(get))
        .route(web::delete().to(delete))
        .default_service(web::to(problem::only_get_and_delete))
        .wrap(Compress::default())
}

/// A websocket door.
fn door<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler)).default_service(web::to(problem::only_get))
}

/// Players and load balancers look before they fetch.
fn get_and_head<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(handler))
        .default_service(web::to(problem::only_get_and_head))
}
