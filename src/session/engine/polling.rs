//! HTTP long polling: the handshake, the GET that waits, the POST that brings.
//!
//! Promises: no body is read without room for it; a request that its client gave up is reported.

use std::time::Instant;

use actix::Addr;
use actix_web::{HttpResponse, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::{sync::oneshot, time::timeout_at};

use super::{
    actor::{Beginning, EngineActor},
    messages::{BeginPost, EndPost, Poll, PollAborted, PostAborted},
    registry::{Entry, Registered},
    routes::{Problem, Visit},
};
use crate::{
    auth::{self, Throttle},
    protocol::{
        ErrorCode, ProtocolError,
        engine_session::{EngineSession, PollId},
        engineio::{self, Payload},
    },
    runtime::{ConnectionBudget, Permit},
};

/// How long the rest of a refused body is thrown away: a client that is cut off while it sends never reads why.
const DISCARD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The type of every payload. Text, so that no client takes it for a download.
const PAYLOAD_TYPE: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=UTF-8");

/// A handshake: a session begins, its first packet is the answer.
pub(super) fn begin(visit: &Visit, place: Registered, guest: auth::Visit) -> HttpResponse {
    let options = &visit.door.options;
    let open = engineio::open_packet(place.sid(), true, &options.open_fields());
    let beginning = Beginning {
        engine: EngineSession::polling(options.timing(), Instant::now()),
        place,
        budget: visit.door.budget.connection(),
        throttle: guest.throttle().clone(),
        websocket: None,
        outbound_bytes: options.outbound_bytes,
    };
    EngineActor::begin(beginning, |connection| visit.door.application.open(&visit.request, guest, connection));
    Visit::ok(&visit.origin).insert_header(PAYLOAD_TYPE).body(open.into_bytes())
}

/// A GET: answered when there is something to say.
pub(super) async fn poll(visit: Visit, entry: Entry) -> Result<HttpResponse, Problem> {
    let mut guard = PollGuard { actor: entry.actor, poll: Some(visit.door.next_poll()) };
    let Some(poll) = guard.poll else { return Err(Problem::UnknownSession) };
    let (answer, answered) = oneshot::channel();
    guard.actor.try_send(Poll { poll, answer }).map_err(|_| Problem::UnknownSession)?;
    let answered = answered.await;
    guard.poll = None;
    let packets = answered.map_err(|_| Problem::UnknownSession)??;
    Ok(Visit::ok(&visit.origin).insert_header(PAYLOAD_TYPE).body(engineio::encode_payload(&packets)))
}

/// Tells of a GET that its client gave up, unless it was answered.
struct PollGuard {
    actor: Addr<EngineActor>,
    poll: Option<PollId>,
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if let Some(poll) = self.poll {
            // A session that is no more waits for nothing.
            let _ = self.actor.try_send(PollAborted { poll });
        }
    }
}

/// A POST: its packets are taken when the answer is `ok`.
pub(super) async fn post(visit: Visit, entry: Entry) -> Result<HttpResponse, Problem> {
    let Visit { door, request, mut payload, origin } = visit;
    let mut guard = PostGuard { actor: entry.actor, is_armed: true };
    let (answer, answered) = oneshot::channel();
    guard.actor.try_send(BeginPost { answer }).map_err(|_| Problem::UnknownSession)?;
    answered.await.map_err(|_| Problem::UnknownSession)??;

    let headers = request.headers();
    let is_binary = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream");
    let body = if is_binary {
        Err(ProtocolError::new(ErrorCode::BadFrame, "binary packets come as base64 in text"))
    } else {
        let options = &door.options;
        let limits = BodyLimits {
            announced_bytes: headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()),
            limit_bytes: engineio::max_body_bytes(options.max_message_bytes, options.max_payload_bytes),
            max_message_bytes: options.max_message_bytes,
            timeout: options.message_timeout,
            throttle: &entry.throttle,
        };
        // `None`: the client broke off, and the guard tells.
        let Some(body) = read_body(&mut payload, &limits, &entry.budget).await else { return Err(Problem::BadRequest) };
        body
    };

    let (payload_read, permit) = match body {
        Ok((body, permit)) => (engineio::decode_payload(body, door.options.max_message_bytes), permit),
        Err(error) => (Payload { packets: Vec::new(), broken: Some(error) }, Permit::none()),
    };
    let Payload { packets, broken } = payload_read;
    // The answer waits, and with it the client's next request.
    let waits = packets.iter().filter_map(|_| entry.throttle.message());
    let wait = waits.max();
    let code = broken.as_ref().map(|error| error.code);
    let (answer, answered) = oneshot::channel();
    guard.is_armed = false;
    let sent = guard.actor.try_send(EndPost { packets, broken, permit, answer });
    let answered = if sent.is_ok() { answered.await.ok() } else { None };
    if let Some(code) = code {
        discard(&mut payload).await;
        return Err(match code {
            ErrorCode::TooLarge => Problem::BodyTooLarge,
            ErrorCode::TooSlow => Problem::BodyTooSlow,
            _ => Problem::BadRequest,
        });
    }
    answered.ok_or(Problem::UnknownSession)??;
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
    // As the reference server says it, so that no browser offers it as a file.
    Ok(Visit::ok(&origin).insert_header((header::CONTENT_TYPE, "text/html")).body("ok"))
}

/// Tells of a POST that its client gave up, unless its body was read.
struct PostGuard {
    actor: Addr<EngineActor>,
    is_armed: bool,
}

impl Drop for PostGuard {
    fn drop(&mut self) {
        if self.is_armed {
            let _ = self.actor.try_send(PostAborted);
        }
    }
}

struct BodyLimits<'a> {
    announced_bytes: Option<usize>,
    limit_bytes: usize,
    max_message_bytes: usize,
    timeout: std::time::Duration,
    throttle: &'a Throttle,
}

/// The whole body, with the room that it takes. Waits for room before it reads: that slows the client, and is not held
/// against it. `None` when the client broke off.
async fn read_body(
    payload: &mut web::Payload,
    limits: &BodyLimits<'_>,
    budget: &ConnectionBudget,
) -> Option<Result<(Bytes, Permit), ProtocolError>> {
    let too_large = || Some(Err(engineio::too_large(limits.max_message_bytes)));
    let expected_bytes = limits.announced_bytes.unwrap_or(limits.limit_bytes);
    if expected_bytes > limits.limit_bytes {
        return too_large();
    }
    let mut permit = budget.take(expected_bytes).await;
    let mut deadline = Instant::now() + limits.timeout;
    let mut body = BytesMut::with_capacity(limits.announced_bytes.unwrap_or(0));
    loop {
        match timeout_at(deadline.into(), payload.next()).await {
            Err(_) => {
                let reason = "a body did not arrive in full in time";
                return Some(Err(ProtocolError::new(ErrorCode::TooSlow, reason)));
            }
            Ok(Some(Err(_))) => return None,
            Ok(Some(Ok(chunk))) if body.len() + chunk.len() > limits.limit_bytes => return too_large(),
            Ok(Some(Ok(chunk))) => {
                body.extend_from_slice(&chunk);
                if let Some(wait) = limits.throttle.bytes(chunk.len()) {
                    // Waiting is ours, not the client's.
                    deadline += wait;
                    tokio::time::sleep(wait).await;
                }
            }
            Ok(None) => break,
        }
    }
    let permit = if limits.announced_bytes.is_none() { permit.split(body.len()) } else { permit };
    Some(Ok((body.freeze(), permit)))
}

async fn discard(payload: &mut web::Payload) {
    let deadline = Instant::now() + DISCARD_TIMEOUT;
    while let Ok(Some(Ok(_))) = timeout_at(deadline.into(), payload.next()).await {}
}
