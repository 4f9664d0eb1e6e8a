//! What the database knows of a stream that is being opened.
//!
//! Promises: an answer within the time limit; what could not be found out in time is said to be unknown.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use super::{OpenStream, StreamLookup};
use crate::{
    domain::{StreamId, Timestamp, UserId},
    store::{OpenSession, Store, StoreError},
};

/// What is to be found out.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) stream: StreamId,
    pub(super) connection: u64,
    user: UserId,
    resume: bool,
    alive_since: Timestamp,
    opened_since: Timestamp,
}

/// What was found.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(super) struct LookedUp {
    pub(super) stream: StreamId,
    pub(super) connection: u64,
    pub(super) state: StreamLookup,
    pub(super) open_session: Option<OpenSession>,
}

impl Lookup {
    pub(super) fn of(open: &OpenStream) -> Self {
        Self {
            stream: open.stream,
            connection: open.connection,
            user: open.user.clone(),
            resume: open.resume,
            alive_since: open.alive_since,
            opened_since: open.opened_since,
        }
    }

    /// The answer while the database is away.
    pub(super) const fn unanswered(&self) -> LookedUp {
        let state = if self.resume { StreamLookup::Unknown } else { StreamLookup::New };
        LookedUp { stream: self.stream, connection: self.connection, state, open_session: None }
    }

    pub(super) async fn run(self, store: Arc<dyn Store>, limit: Duration) -> LookedUp {
        let state = async {
            if !self.resume {
                return Some(StreamLookup::New);
            }
            in_time(limit, store.stream_state(self.stream)).await.map(|state| match state {
                None => StreamLookup::New,
                Some(state) if state.user != self.user => StreamLookup::Foreign,
                Some(state) => StreamLookup::Known { last_seq: state.last_seq, audio_end: state.audio_end },
            })
        };
        let open_session = in_time(limit, store.open_session(&self.user, self.alive_since, self.opened_since));
        let (state, open_session) = futures_util::join!(state, open_session);
        LookedUp {
            stream: self.stream,
            connection: self.connection,
            state: state.unwrap_or(StreamLookup::Unknown),
            open_session: open_session.flatten(),
        }
    }
}

async fn in_time<T>(limit: Duration, question: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match tokio::time::timeout(limit, question).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a stream could not be looked up; the client may send everything again");
            None
        }
        Err(_) => {
            tracing::warn!(limit_ms = limit.as_millis(), "a stream could not be looked up in time");
            None
        }
    }
}
