//! For operators: whether the process lives, whether it can do its work, what it is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{HttpResponse, Responder, web};
use serde_json::json;

use super::{HttpState, openapi::State, problem::Problem};

/// A condition's name and whether it holds. Asked on every `GET /readyz`, so it looks at a flag and does no I/O.
type Condition = (&'static str, Box<dyn Fn() -> bool + Send + Sync>);

/// Whether this node can take work. Clones share the draining flag.
#[derive(Clone, Default)]
pub struct Readiness {
    draining: Arc<AtomicBool>,
    conditions: Arc<[Condition]>,
}

impl Readiness {
    /// `conditions`: what is reported when it does not hold ("database"), and how to look.
    #[must_use]
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self { draining: Arc::default(), conditions: conditions.into() }
    }

    /// From now on the node takes no new work: load balancers look elsewhere.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// What stands in the way; empty when the node is ready.
    #[must_use]
    pub fn obstacles(&self) -> Vec<&'static str> {
        let unmet = self.conditions.iter().filter(|(_, holds)| !holds()).map(|(name, _)| *name);
        self.is_draining().then_some("draining").into_iter().chain(unmet).collect()
    }
}

/// Whether the process lives: it can answer.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "isAlive",
    tag = "operation",
    responses(
        (status = 200, description = "It does", body = State),
    ),
)]
pub(super) async fn health() -> impl Responder {
    web::Json(json!({"status": "ok"}))
}

/// Whether the process can do its work.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "isReady",
    tag = "operation",
    responses(
        (status = 200, description = "It can", body = State),
    ),
)]
pub(super) async fn ready(state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let obstacles = state.readiness.obstacles();
    if obstacles.is_empty() {
        Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
    } else {
        Err(Problem::NotReady(obstacles))
    }
}

pub(super) async fn about() -> impl Responder {
    web::Json(json!({
        "service": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "endpoints": {
            "/ws": "plain WebSocket door",
            "/sessions": "all sessions with their events, newest first",
            "/sessions/{id}": "one session",
            "/sessions/{id}/events": "its events, one a line",
            "/sessions/{id}/audio": "its audio",
            "/users": "all users with their events outside sessions, newest first",
            "/users/{id}": "one user",
            "/audio/{key}": "stored audio, with Range requests",
            "/metrics": "counts and gauges, for Prometheus",
            "/openapi.json": "the description of all this (OpenAPI 3.1)",
            "/docs": "the same, to read",
            "/healthz": "the process lives",
            "/readyz": "the process can do its work",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_obstacle_is_named() {
        let database_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&database_up);
        let readiness = Readiness::new(vec![
            ("database", Box::new(move || up.load(Ordering::Relaxed))),
            ("object store", Box::new(|| true)),
        ]);
        assert!(readiness.obstacles().is_empty());
        database_up.store(false, Ordering::Relaxed);
        assert_eq!(readiness.obstacles(), ["database"]);
        readiness.clone().begin_draining();
        assert_eq!(readiness.obstacles(), ["draining", "database"]);
    }
}
