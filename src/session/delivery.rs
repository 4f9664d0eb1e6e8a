//! Tells users that their recording is saved, once all of it is.
//!
//! Owns: the moment of `audio:saved`: a session is over and none of its runs is on its way any more.
//! Promises: it reaches the connection that the user has then, or the user's next one; its URLs are those of stored,
//! verified and committed audio.
//! Refuses: to tell of what the database does not know yet.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tracing::warn;

use super::{
    AudioUrl, SessionNews,
    registry::{Now, Registry},
};
use crate::{
    auth::Access,
    domain::{SessionId, SessionStatus, UserId},
    objects::{ObjectKey, Objects},
    runtime::Backoff,
    store::Store,
    upload::AudioStored,
};

/// A failing look-up is repeated for about two minutes: as long as the registry keeps news for a user who is away.
const MAX_ATTEMPTS: u32 = 10;

/// A session ended or expired.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct SessionOver {
    pub session: SessionId,
    pub user: UserId,
}

/// The actor; one per node.
pub struct DeliveryActor {
    pub store: Arc<dyn Store>,
    pub objects: Objects,
    pub registry: Arc<Registry>,
    pub access: Access,
    /// How long late audio of an ended session may still begin a run.
    pub end_grace: Duration,
}

impl Actor for DeliveryActor {
    type Context = Context<Self>;
}

impl Handler<SessionOver> for DeliveryActor {
    type Result = ();

    fn handle(&mut self, over: SessionOver, ctx: &mut Self::Context) {
        ctx.run_later(self.end_grace, move |actor, ctx| {
            if actor.registry.is_session_complete(over.session) {
                actor.announce(over.session, over.user, false, ctx);
            }
        });
    }
}

impl Handler<AudioStored> for DeliveryActor {
    type Result = ();

    fn handle(&mut self, stored: AudioStored, ctx: &mut Self::Context) {
        match self.registry.run_stored(stored.session, stored.run) {
            Some(true) => self.announce(stored.session, stored.user, false, ctx),
            Some(false) => {}
            // A run from before a restart: only the database knows whether its session is over.
            None => self.announce(stored.session, stored.user, true, ctx),
        }
    }
}

impl DeliveryActor {
    fn announce(&self, session: SessionId, user: UserId, only_if_over: bool, ctx: &mut Context<Self>) {
        let (store, objects, registry, access) =
            (Arc::clone(&self.store), Arc::clone(&self.objects), Arc::clone(&self.registry), self.access.clone());
        let announcing = async move {
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
            loop {
                match saved_audio(&*store, &objects, &access, session, only_if_over).await {
                    Ok(Some(audio_urls)) => {
                        let news = SessionNews::AudioSaved { session, audio_urls };
                        registry.deliver(&user, news, Now::read().steady);
                        return;
                    }
                    Ok(None) => return,
                    Err(error) if backoff.attempts() < MAX_ATTEMPTS => {
                        tracing::debug!(%session, error = %error, "saved audio could not be looked up, trying again");
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    Err(error) => {
                        warn!(%session, error = %error, "a user was not told that the audio is saved");
                        return;
                    }
                }
            }
        };
        ctx.spawn(announcing.into_actor(self));
    }
}

/// The URLs of a session's audio; `None` when the session is not over and that is asked for.
async fn saved_audio(
    store: &dyn Store,
    objects: &Objects,
    access: &Access,
    session: SessionId,
    only_if_over: bool,
) -> anyhow::Result<Option<Vec<AudioUrl>>> {
    if only_if_over {
        let is_over = store.session(session).await?.is_some_and(|row| row.status != SessionStatus::Recording);
        if !is_over {
            return Ok(None);
        }
    }
    let mut audio_urls = Vec::new();
    for part in store.audio_parts(&[session]).await? {
        let key = ObjectKey::parse(&part.object_key)?;
        audio_urls.push(AudioUrl::of(objects.locate(&key).await?, &key, access));
    }
    Ok(Some(audio_urls))
}
