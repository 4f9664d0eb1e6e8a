//! What a node does now and then: says that it lives, expires idle sessions, forgets what left.
//!
//! Promises: a session of a node that died expires too, since every node looks after all of them.
//! Refuses: to hurry. A failed round is logged and the next one does the work.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tracing::warn;

use super::{
    delivery::{DeliveryActor, SessionOver},
    registry::{Now, Registry},
};
use crate::{
    domain::NodeId,
    store::{ExpiredSession, NODE_LIFETIME, Store},
};

/// The actor; one per node.
pub struct HousekeeperActor {
    pub node: NodeId,
    pub store: Arc<dyn Store>,
    pub registry: Arc<Registry>,
    pub delivery: Addr<DeliveryActor>,
    /// How late the database may hear that a session is alive; see `SessionSettings::touch_interval`.
    pub touch_interval: Duration,
    pub expire_interval: Duration,
}

impl Actor for HousekeeperActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Three chances within the time that presence outlives its node.
        ctx.run_interval(NODE_LIFETIME / 3, |actor, ctx| actor.heartbeat(ctx));
        ctx.run_interval(self.expire_interval, |actor, ctx| {
            actor.registry.sweep(Now::read().steady);
            actor.expire(ctx);
        });
    }
}

impl HousekeeperActor {
    fn heartbeat(&self, ctx: &mut Context<Self>) {
        let (store, node) = (Arc::clone(&self.store), self.node);
        let beating = async move { store.heartbeat(node, Now::read().wall).await };
        ctx.spawn(beating.into_actor(self).map(|result, _, _| {
            if let Err(error) = result {
                warn!(error = %error, "the node's heartbeat was not stored");
            }
        }));
    }

    fn expire(&self, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.store);
        let now = Now::read().wall;
        let limits = *self.registry.limits();
        // Twice the interval: a touch may be on its way.
        let alive_before = now.minus(limits.idle_timeout + self.touch_interval * 2);
        let opened_before = now.minus(limits.max_duration);
        let expiring = async move { store.expire_sessions(alive_before, opened_before).await };
        ctx.spawn(expiring.into_actor(self).map(|result, actor, _| match result {
            Ok(expired) => expired.into_iter().for_each(|session| actor.expired(session)),
            Err(error) => warn!(error = %error, "idle sessions were not expired"),
        }));
    }

    fn expired(&self, ExpiredSession { session, user }: ExpiredSession) {
        let now = Now::read().steady;
        if self.registry.live_session(&user, now).is_some_and(|live| live.session == session) {
            // Its touches wait in the journal, since the database was away: the next one to be stored revives it.
            return;
        }
        self.registry.close_session(&user, session, None, now);
        if self.delivery.try_send(SessionOver { session, user }).is_err() {
            warn!(%session, "nobody is left to tell that the session's audio is saved");
        }
    }
}
