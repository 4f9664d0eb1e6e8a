//! A websocket's inbound side: payload bytes in, whole messages with their permits out.
//!
//! Promises: no payload byte is read without room for it, nor faster than its address and key may send, so that
//! TCP slows the sender; a message that stays
//! unfinished too long ends the connection; after a violation what still comes is read and thrown away, since closing
//! over unread bytes would reset the connection and lose the error on its way to the client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout_at;

use crate::{
    auth::Throttle,
    protocol::{
        ErrorCode, ProtocolError,
        websocket::{FrameDecoder, Inbound, Step},
    },
    runtime::{ConnectionBudget, Permit},
};

/// How long bytes after a violation are thrown away before the connection is cut.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Signs of life of a connection, for whoever keeps its heartbeat; clones share them, also between threads.
#[derive(Clone)]
pub struct Pulse {
    signs: Arc<Signs>,
}

struct Signs {
    origin: Instant,
    /// Since `origin`.
    last_sign_ms: AtomicU64,
    /// This side is not reading, so the client's silence says nothing.
    is_waiting_for_room: AtomicBool,
}

impl Pulse {
    #[must_use]
    pub fn new() -> Self {
        let signs = Signs {
            origin: Instant::now(),
            last_sign_ms: AtomicU64::new(0),
            is_waiting_for_room: AtomicBool::new(false),
        };
        Self { signs: Arc::new(signs) }
    }

    fn beat(&self) {
        let since_origin = u64::try_from(self.signs.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.signs.last_sign_ms.store(since_origin, Ordering::Relaxed);
    }

    fn set_waiting_for_room(&self, is_waiting: bool) {
        self.signs.is_waiting_for_room.store(is_waiting, Ordering::Relaxed);
    }

    /// How long nothing was heard although this side listened.
    #[must_use]
    pub fn silence(&self) -> Duration {
        if self.signs.is_waiting_for_room.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let last_sign = Duration::from_millis(self.signs.last_sign_ms.load(Ordering::Relaxed));
        self.signs.origin.elapsed().saturating_sub(last_sign)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// Limits of one connection's inbound side.
#[derive(Clone)]
pub(super) struct InboundLimits {
    pub(super) max_message_bytes: usize,
    pub(super) message_timeout: Duration,
    pub(super) budget: ConnectionBudget,
    pub(super) throttle: Throttle,
}

struct Reader<P> {
    payload: P,
    decoder: FrameDecoder,
    limits: InboundLimits,
    pulse: Pulse,
    permit: Permit,
    message_began: Option<Instant>,
    is_violated: bool,
}

/// The messages of a connection. Ends with the payload; the first error is the last message.
pub(super) fn messages(
    payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limits: InboundLimits,
    pulse: Pulse,
) -> impl Stream<Item = Result<(Inbound, Permit), ProtocolError>> {
    let reader = Reader {
        payload,
        decoder: FrameDecoder::new(limits.max_message_bytes),
        limits,
        pulse,
        permit: Permit::none(),
        message_began: None,
        is_violated: false,
    };
    stream::unfold(reader, |mut reader| async move { reader.next().await.map(|message| (message, reader)) })
}

impl<P: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Reader<P> {
    async fn next(&mut self) -> Option<Result<(Inbound, Permit), ProtocolError>> {
        if self.is_violated {
            self.discard().await;
            return None;
        }
        let result = self.read_message().await?;
        self.is_violated = result.is_err();
        Some(result)
    }

    async fn read_message(&mut self) -> Option<Result<(Inbound, Permit), ProtocolError>> {
        loop {
            match self.decoder.step() {
                Err(violation) => return Some(Err(violation)),
                Ok(Step::Message(inbound)) => {
                    if !self.decoder.is_inside_message() {
                        self.message_began = None;
                    }
                    // Pings too: they are answered.
                    let wait = self.limits.throttle.message();
                    self.slow_down(wait).await;
                    // A control frame between fragments leaves the room to the message around it.
                    let permit = match inbound {
                        Inbound::Message(_) => std::mem::take(&mut self.permit),
                        Inbound::Ping(_) | Inbound::Pong | Inbound::Close => Permit::none(),
                    };
                    return Some(Ok((inbound, permit)));
                }
                Ok(Step::NeedRoom(bytes)) => match self.make_room(bytes).await {
                    Ok(()) => self.decoder.admit(),
                    Err(violation) => return Some(Err(violation)),
                },
                Ok(Step::NeedBytes) => match self.read_bytes().await? {
                    Ok(bytes) => self.decoder.feed(&bytes),
                    Err(violation) => return Some(Err(violation)),
                },
            }
        }
    }

    async fn make_room(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.pulse.set_waiting_for_room(true);
        let room = if self.permit.bytes() == 0 {
            // A message of which nothing is held yet may wait as long as it takes: the sender is slowed, not at fault.
            self.permit = self.limits.budget.take(bytes).await;
            if self.message_began.is_some() {
                self.message_began = Some(Instant::now());
            }
            Ok(())
        } else {
            // Fragments hold room while they wait for more; without a deadline two such messages could wait for ever
            // for each other.
            let deadline = self.deadline();
            timeout_at(deadline.into(), self.limits.budget.grow(&mut self.permit, bytes)).await
        };
        self.pulse.set_waiting_for_room(false);
        self.pulse.beat();
        room.map_err(|_| too_slow())
    }

    async fn read_bytes(&mut self) -> Option<Result<Bytes, ProtocolError>> {
        let chunk = if self.decoder.is_inside_message() {
            let deadline = self.deadline();
            match timeout_at(deadline.into(), self.payload.next()).await {
                Ok(chunk) => chunk,
                Err(_) => return Some(Err(too_slow())),
            }
        } else {
            self.message_began = None;
            self.payload.next().await
        };
        self.pulse.beat();
        if let Some(Ok(chunk)) = &chunk {
            let wait = self.limits.throttle.bytes(chunk.len());
            self.slow_down(wait).await;
        }
        // A payload error is a connection that broke: there is nobody left to tell.
        chunk?.ok().map(Ok)
    }

    /// Above its limits a client is not read for a while; TCP slows it.
    async fn slow_down(&mut self, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        // The silence is this side's doing, and so is what it does to the message around it.
        self.pulse.set_waiting_for_room(true);
        if let Some(began) = &mut self.message_began {
            *began += wait;
        }
        tokio::time::sleep(wait).await;
        self.pulse.set_waiting_for_room(false);
        self.pulse.beat();
    }

    fn deadline(&mut self) -> Instant {
        *self.message_began.get_or_insert_with(Instant::now) + self.limits.message_timeout
    }

    async fn discard(&mut self) {
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        while let Ok(Some(Ok(_))) = timeout_at(deadline.into(), self.payload.next()).await {}
    }
}

fn too_slow() -> ProtocolError {
    ProtocolError::new(ErrorCode::TooSlow, "a message did not arrive in full in time")
}
