//! `GET /metrics`.

use std::{fmt, sync::Arc};

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web};

use super::{HttpState, problem::Problem};

/// Writes all metrics as text.
pub type RenderMetrics = Arc<dyn Fn() -> Result<String, fmt::Error> + Send + Sync>;

/// Counts and gauges, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "operation",
    responses(
        (status = 200, description = "All metrics", body = String, content_type = "application/openmetrics-text"),
    ),
    security(("key" = [])),
)]
pub(super) async fn show(state: web::Data<HttpState>) -> Result<HttpResponse, Problem> {
    let text = (state.metrics)().map_err(|error| Problem::File(std::io::Error::other(error)))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, content_type)).body(text))
}
