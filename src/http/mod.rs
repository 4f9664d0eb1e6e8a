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
mod ops;
mod problem;
mod sessions;
mod users;

use std::sync::Arc;

use actix_web::{FromRequest, Handler, Resource, Responder, guard, web};

pub use connect::{DoorLimits, DoorState};
pub use gate::{harden, let_in};
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
    pub access: Access,
    /// Requests with more in their headers are refused.
    pub max_header_bytes: usize,
}

/// Mounts the doors for those who record. Before [`configure`], which answers for all other paths.
pub fn configure_doors(cfg: &mut web::ServiceConfig, plain: DoorState, socketio: &Arc<EngineDoor>) {
    cfg.app_data(web::Data::new(plain)).service(get("/ws", connect::plain)).service(socketio.resource("/socket.io"));
}

/// Mounts every route of this module, and the answer for paths that are not there.
pub fn configure(cfg: &mut web::ServiceConfig, state: HttpState) {
    problem::configure(cfg);
    cfg.app_data(web::Data::new(state))
        .service(get("/", ops::about))
        .service(get("/sessions", sessions::list))
        .service(get_and_delete("/sessions/{id}", sessions::one, delete::session))
        .service(get("/users", users::list))
        .service(get_and_delete("/users/{id}", users::one, delete::user))
        .service(get_and_head("/audio/{key:.*}", audio::play))
        .service(get_and_head("/healthz", ops::health))
        .service(get_and_head("/readyz", ops::ready));
}

fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler)).default_service(web::to(problem::only_get))
}

fn get_and_delete<G, D, Args, Doomed>(path: &str, get: G, delete: D) -> Resource
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
