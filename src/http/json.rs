//! JSON written as text, chunk by chunk, while the answer is on its way.
//!
//! Owns: the buffer between a producer and the socket.
//! Promises: memory of two chunks, whatever the answer's length; a producer that fails ends the body with an error,
//! so that a client never takes half an answer for a whole one.
//! Refuses: to parse or re-encode JSON that is text already.

use std::{fmt::Write as _, future::Future, task::Poll};

use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::problem::Problem;

/// Large enough that the cost of a chunk does not show, small enough for many readers at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a producer stopped early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client left.
    Left,
    Failed(Problem),
}

impl<E: Into<Problem>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The body breaks off: the status line is gone, only the connection can tell.
#[derive(Debug, thiserror::Error)]
#[error("the answer breaks off")]
pub(super) struct BrokenOff;

/// Collects JSON text and passes it on in chunks.
pub(super) struct JsonWriter {
    buffer: String,
    chunks: mpsc::Sender<Bytes>,
}

impl JsonWriter {
    /// Text that is JSON already.
    pub(super) fn raw(&mut self, json: &str) {
        self.buffer.push_str(json);
    }

    /// A text that becomes a JSON string.
    pub(super) fn string(&mut self, text: &str) {
        // Most names have nothing to escape.
        if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
            self.buffer.push('"');
            self.buffer.push_str(text);
            self.buffer.push('"');
        } else {
            self.value(&text);
        }
    }

    /// Anything small that serialises.
    pub(super) fn value(&mut self, value: &impl serde::Serialize) {
        match serde_json::to_string(value) {
            Ok(json) => self.buffer.push_str(&json),
            // Cannot happen for the strings, numbers and times written here.
            Err(_) => self.buffer.push_str("null"),
        }
    }

    /// Digits, and what prints without anything to escape.
    pub(super) fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = write!(self.buffer, "{value}");
    }

    /// Passes the buffer on if it is worth a chunk; waits while the client is slow.
    pub(super) async fn pass_on(&mut self) -> Result<(), Stopped> {
        if self.buffer.len() < CHUNK_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Passes on what is left.
    pub(super) async fn flush(&mut self) -> Result<(), Stopped> {
        let chunk = std::mem::replace(&mut self.buffer, String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4));
        self.chunks.send(chunk.into()).await.map_err(|_| Stopped::Left)
    }
}

/// One value a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Answers with the JSON that `produce` writes: see [`stream_text`].
///
/// # Errors
/// As [`stream_text`].
pub(super) async fn stream_json<F>(produce: impl FnOnce(JsonWriter) -> F) -> Result<HttpResponse, Problem>
where
    F: Future<Output = Result<(), Stopped>> + 'static,
{
    stream_text("application/json", produce).await
}

/// Answers with what `produce` writes. It runs as part of the body: when the client leaves, it is dropped.
///
/// # Errors
/// What `produce` failed with before its first chunk was full: then there is still a status line to tell it.
pub(super) async fn stream_text<F>(
    content_type: &'static str,
    produce: impl FnOnce(JsonWriter) -> F,
) -> Result<HttpResponse, Problem>
where
    F: Future<Output = Result<(), Stopped>> + 'static,
{
    let (chunks, receiver) = mpsc::channel(1);
    let mut body = Box::pin(run(produce(JsonWriter { buffer: String::new(), chunks }), receiver));
    let first = match body.next().await {
        Some(Err(problem)) => return Err(problem),
        Some(Ok(chunk)) => chunk,
        None => Bytes::new(),
    };
    let rest = body.map(|chunk| {
        chunk.map_err(|problem| {
            tracing::error!(?problem, "a streamed answer breaks off");
            BrokenOff
        })
    });
    Ok(HttpResponse::Ok().content_type(content_type).streaming(stream::once(async move { Ok(first) }).chain(rest)))
}

/// Drives the producer and hands out its chunks, in one task.
fn run<F>(producer: F, mut receiver: mpsc::Receiver<Bytes>) -> impl Stream<Item = Result<Bytes, Problem>>
where
    F: Future<Output = Result<(), Stopped>>,
{
    let mut producer = Some(Box::pin(producer));
    let mut failure = None;
    stream::poll_fn(move |context| {
        if let Some(running) = &mut producer
            && let Poll::Ready(result) = running.as_mut().poll(context)
        {
            producer = None;
            if let Err(Stopped::Failed(problem)) = result {
                failure = Some(problem);
            }
        }
        // Ends once the producer is gone, its sender with it, and every chunk is handed out.
        receiver.poll_recv(context).map(|chunk| chunk.map(Ok).or_else(|| failure.take().map(Err)))
    })
}

/// All that `produce` writes.
#[cfg(test)]
pub(super) async fn collect<F>(produce: impl FnOnce(JsonWriter) -> F) -> String
where
    F: Future<Output = Result<(), Stopped>>,
{
    let (chunks, receiver) = mpsc::channel(1);
    let body = run(produce(JsonWriter { buffer: String::new(), chunks }), receiver);
    let chunks: Vec<Bytes> = body.map(|chunk| chunk.unwrap()).collect().await;
    String::from_utf8(chunks.concat()).unwrap()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store::{StoreError, StoreErrorKind};

    fn away() -> StoreError {
        StoreError::new(StoreErrorKind::Retryable, "read", "gone")
    }

    fn body<F>(produce: impl FnOnce(JsonWriter) -> F) -> impl Stream<Item = Result<Bytes, Problem>> + Unpin
    where
        F: Future<Output = Result<(), Stopped>>,
    {
        let (chunks, receiver) = mpsc::channel(1);
        Box::pin(run(produce(JsonWriter { buffer: String::new(), chunks }), receiver))
    }

    #[tokio::test]
    async fn everything_written_arrives_in_order() {
        let text = collect(|mut out| async move {
            for number in 0..100_000 {
                out.display(number);
                out.raw(" ");
                out.pass_on().await?;
            }
            out.flush().await
        })
        .await;
        assert!(text.split_whitespace().map(|number| number.parse::<u32>().unwrap()).eq(0..100_000));
    }

    #[tokio::test]
    async fn a_failure_comes_after_the_chunks_before_it_and_ends_the_body() {
        let mut body = body(|mut out| async move {
            out.raw("[");
            out.flush().await?;
            Err(away().into())
        });
        assert_eq!(body.next().await.unwrap().unwrap(), "[");
        assert!(matches!(body.next().await, Some(Err(Problem::Store(_)))));
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_before_the_first_chunk_still_gets_a_status() {
        let answer = stream_json(|mut out| async move {
            out.raw("[");
            Err(away().into())
        });
        assert!(matches!(answer.await, Err(Problem::Store(_))));
    }

    #[tokio::test]
    async fn a_slow_client_stops_the_producer() {
        let produced = std::rc::Rc::new(std::cell::Cell::new(0));
        let counter = std::rc::Rc::clone(&produced);
        let mut body = body(|mut out| async move {
            loop {
                counter.set(counter.get() + 1);
                out.raw("x");
                out.flush().await?;
            }
        });
        assert!(body.next().await.is_some());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(produced.get() <= 3, "{} chunks for one that was read", produced.get());
        assert!(body.next().now_or_never().is_some());
    }

    #[test]
    fn strings_are_escaped() {
        let (chunks, _receiver) = mpsc::channel(1);
        let mut out = JsonWriter { buffer: String::new(), chunks };
        for text in ["plain", "quo\"te", "back\\slash", "new\nline", "\u{0}", "é \u{2028}"] {
            out.buffer.clear();
            out.string(text);
            assert_eq!(serde_json::from_str::<String>(&out.buffer).unwrap(), text);
        }
    }
}
