//! What requests tell a session's actor. Each carries the sender that its answer comes back through; an answer that
//! never comes means that the session is no more.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::super::{ConnectionHandle, Pulse};
use crate::{
    protocol::{
        ProtocolError,
        engine_session::{PollId, Refusal},
        engineio::Packet,
    },
    runtime::Permit,
};

pub(super) type PollAnswer = oneshot::Sender<Result<Vec<Packet>, Refusal>>;
pub(super) type PostAnswer = oneshot::Sender<Result<(), Refusal>>;

/// A GET came.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Poll {
    pub(super) poll: PollId,
    pub(super) answer: PollAnswer,
}

/// The client gave up a GET.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PollAborted {
    pub(super) poll: PollId,
}

/// A POST came, its body is still to be read.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BeginPost {
    pub(super) answer: PostAnswer,
}

/// What the POST's body said, as far as it could be read. A broken body is answered when the application has spoken,
/// so that its reason is on the way before the refusal.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct EndPost {
    pub(super) packets: Vec<Packet>,
    pub(super) broken: Option<ProtocolError>,
    pub(super) permit: Permit,
    pub(super) answer: PostAnswer,
}

/// The client gave up a POST.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PostAborted;

/// A websocket asks to be let in.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct OpenWebSocket {
    pub(super) answer: oneshot::Sender<bool>,
}

/// The websocket that was let in is open.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AttachWebSocket {
    pub(super) connection: ConnectionHandle,
    pub(super) pulse: Pulse,
}

/// The websocket that was let in did not open.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WebSocketFailed;
