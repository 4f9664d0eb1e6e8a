//! Who is here: users, their connections, their open sessions, and the streams that lately left.
//!
//! Owns: what this node knows and the database does not know yet. In memory, behind one lock, no I/O.
//! Promises: one open session per user on this node; presence changes are told in the order they happen.
//! Refuses: to be the truth. It may be lost at any time: streams and sessions are found again in the database.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix::Recipient;

use super::{ObeyedWord, SessionNews, state::SessionSettings};
use crate::{
    domain::{Deletion, Doomed, RunId, SessionId, StreamId, Timestamp, UserId},
    store::OpenSession,
    upload::UnstoredRun,
};

/// A connection that there is not.
const NOBODY: ConnectionId = ConnectionId(u64::MAX);

/// How long news wait for a user who is between two pages.
const NEWS_LIFETIME: Duration = Duration::from_mins(2);

/// Time as sessions see it: the wall clock to store, the steady one to measure with, so that a wall clock that jumps
/// ends no session.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: Timestamp,
    pub steady: Instant,
}

impl Now {
    #[must_use]
    pub fn read() -> Self {
        Self { wall: Timestamp::now(), steady: Instant::now() }
    }

    /// The steady time that corresponds to a wall time of the past; now, for one in the future.
    fn steady_at(self, past: Timestamp) -> Instant {
        let age_ms = u64::try_from(self.wall.as_unix_ms().saturating_sub(past.as_unix_ms())).unwrap_or(0);
        self.steady.checked_sub(Duration::from_millis(age_ms)).unwrap_or(self.steady)
    }
}

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    pub idle_timeout: Duration,
    pub max_duration: Duration,
}

/// One connection of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// An open session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveSession {
    pub session: SessionId,
    pub opened: Instant,
    pub alive: Instant,
}

impl LiveSession {
    /// Whether it still records at `now`.
    #[must_use]
    pub fn is_live(&self, now: Instant, limits: &SessionLimits) -> bool {
        now.saturating_duration_since(self.alive) <= limits.idle_timeout && !self.is_too_long(now, limits)
    }

    #[must_use]
    pub fn is_too_long(&self, now: Instant, limits: &SessionLimits) -> bool {
        now.saturating_duration_since(self.opened) > limits.max_duration
    }
}

/// A run whose connection was lost: the user's next connection may go on with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LostRun {
    pub run: RunId,
    pub session: SessionId,
    pub stream: StreamId,
    /// Where in the stream its next byte belongs.
    pub stream_end: u64,
    pub until: Instant,
}

/// What is known of a stream that has no connection now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamMemo {
    pub user: UserId,
    /// Highest number taken from the client or given by this server, durable or not.
    pub last_seq: i64,
    /// What may have to be written again, when it is said again.
    pub obeyed: Vec<ObeyedWord>,
    /// Audio bytes taken, and how many of them are durable for sure. What is between them was on its way when the stream
    /// left: the upload actors know.
    pub audio_accepted: u64,
    pub audio_durable: u64,
    pub left: Instant,
}

/// The registry of one node.
pub struct Registry {
    limits: SessionLimits,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    users: HashMap<UserId, UserEntry>,
    runs: HashMap<SessionId, SessionRuns>,
    streams: HashMap<StreamId, StreamMemo>,
    next_connection: u64,
    /// Asked for with every new connection, so not counted then.
    connections: usize,
}

#[derive(Default)]
struct UserEntry {
    /// In the order they came: the last is the one the user has now.
    connections: Vec<(ConnectionId, Recipient<SessionNews>)>,
    session: Option<LiveSession>,
    lost_runs: Vec<LostRun>,
    undelivered: Vec<(Instant, SessionNews)>,
}

/// The audio of a session that is not stored yet.
struct SessionRuns {
    open: HashSet<RunId>,
    over: bool,
    seen: Instant,
}

impl SessionRuns {
    fn is_complete(&self) -> bool {
        self.over && self.open.is_empty()
    }
}

impl Registry {
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, inner: Mutex::default() }
    }

    #[must_use]
    pub const fn limits(&self) -> &SessionLimits {
        &self.limits
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete in itself, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn next_connection_id(&self) -> ConnectionId {
        let mut inner = self.lock();
        inner.next_connection += 1;
        ConnectionId(inner.next_connection)
    }

    /// A connection belongs to `user` from now on. `on_first` runs, inside the lock, when the user had none: so that
    /// presence is told in the order it changes. Returns the news that waited for the user.
    pub fn join(
        &self,
        user: &UserId,
        connection: ConnectionId,
        news: Recipient<SessionNews>,
        now: Instant,
        on_first: impl FnOnce(),
    ) -> Vec<SessionNews> {
        let mut inner = self.lock();
        let entry = inner.users.entry(user.clone()).or_default();
        if entry.connections.is_empty() {
            on_first();
        }
        entry.connections.push((connection, news));
        let waiting = std::mem::take(&mut entry.undelivered);
        inner.connections += 1;
        waiting.into_iter().filter(|(at, _)| now.duration_since(*at) < NEWS_LIFETIME).map(|(_, news)| news).collect()
    }

    /// A connection left its user. `on_last` runs, inside the lock, when it was the last one.
    pub fn leave(&self, user: &UserId, connection: ConnectionId, on_last: impl FnOnce()) {
        let mut inner = self.lock();
        let Some(entry) = inner.users.get_mut(user) else { return };
        let before = entry.connections.len();
        entry.connections.retain(|(id, _)| *id != connection);
        let left = before - entry.connections.len();
        if left > 0 && entry.connections.is_empty() {
            on_last();
        }
        inner.connections -= left;
    }

    /// The user's open session, if it has not run out of time.
    #[must_use]
    pub fn live_session(&self, user: &UserId, now: Instant) -> Option<LiveSession> {
        let inner = self.lock();
        inner.users.get(user)?.session.filter(|session| session.is_live(now, &self.limits))
    }

    /// The database knows an open session of the user: taken unless this node knows one itself, or knows that this one is
    /// over, which the database may hear of later.
    pub fn offer_session(&self, user: &UserId, open: &OpenSession, now: Now) {
        let mut inner = self.lock();
        if inner.runs.get(&open.session).is_some_and(|runs| runs.over) {
            return;
        }
        let entry = inner.users.entry(user.clone()).or_default();
        if entry.session.is_none_or(|known| !known.is_live(now.steady, &self.limits)) {
            let (opened, alive) = (now.steady_at(open.opened_at), now.steady_at(open.alive_at));
            entry.session = Some(LiveSession { session: open.session, opened, alive });
        }
    }

    /// The user's open session, or `fresh` as a new one; `true` when it was open already. The user's other connections are
    /// told of a new one.
    pub fn start_session(
        &self,
        user: &UserId,
        fresh: SessionId,
        by: ConnectionId,
        now: Instant,
    ) -> (LiveSession, bool) {
        let mut inner = self.lock();
        let entry = inner.users.entry(user.clone()).or_default();
        if let Some(live) = &mut entry.session
            && live.is_live(now, &self.limits)
        {
            live.alive = now;
            return (*live, true);
        }
        let live = LiveSession { session: fresh, opened: now, alive: now };
        entry.session = Some(live);
        entry.tell_others(by, &SessionNews::Opened(live.session));
        (live, false)
    }

    /// Something of the session arrived.
    pub fn touch_session(&self, user: &UserId, session: SessionId, now: Instant) {
        let mut inner = self.lock();
        if let Some(live) = inner.users.get_mut(user).and_then(|entry| entry.session.as_mut())
            && live.session == session
        {
            live.alive = now;
        }
    }

    /// The session is over. The user's connections, but for `by`, are told.
    pub fn close_session(&self, user: &UserId, session: SessionId, by: Option<ConnectionId>, now: Instant) {
        let mut inner = self.lock();
        if let Some(entry) = inner.users.get_mut(user)
            && entry.session.is_some_and(|live| live.session == session)
        {
            entry.session = None;
            entry.tell_others(by.unwrap_or(NOBODY), &SessionNews::Closed(session));
        }
        inner.runs_of(session, now).over = true;
    }

    /// Whether the session is open here, or lately was.
    #[must_use]
    pub fn knows_session(&self, session: SessionId) -> bool {
        let inner = self.lock();
        let is_open = |entry: &UserEntry| entry.session.is_some_and(|live| live.session == session);
        inner.runs.contains_key(&session) || inner.users.values().any(is_open)
    }

    /// What the deletion covers is forgotten; the user's connections are told. `true` when a session was open.
    pub fn delete(&self, deletion: &Deletion, now: Now) -> bool {
        let mut inner = self.lock();
        let mut was_open = false;
        for (user, entry) in &mut inner.users {
            entry.lost_runs.retain(|lost| !deletion.covers(lost.session, user, deletion.at));
            let opened_at = |live: &LiveSession| now.wall.minus(now.steady.saturating_duration_since(live.opened));
            if let Some(live) = entry.session.take_if(|live| deletion.covers(live.session, user, opened_at(live))) {
                was_open = true;
                entry.tell_others(NOBODY, &SessionNews::SessionDeleted(live.session));
            }
            if deletion.what == Doomed::User(user.clone()) {
                entry.undelivered.clear();
                entry.tell_others(NOBODY, &SessionNews::UserDeleted);
            }
        }
        match &deletion.what {
            Doomed::Session(session) => drop(inner.runs.remove(session)),
            Doomed::User(user) => inner.streams.retain(|_, memo| memo.user != *user),
        }
        was_open
    }

    /// Whether the session is over and none of its runs is on its way.
    #[must_use]
    pub fn is_session_complete(&self, session: SessionId) -> bool {
        self.lock().runs.get(&session).is_some_and(SessionRuns::is_complete)
    }

    /// A run of the session began.
    pub fn run_begun(&self, session: SessionId, run: RunId, now: Instant) {
        self.lock().runs_of(session, now).open.insert(run);
    }

    /// A run of the session is stored. Returns `Some(true)` when the session is over and this was its last run,
    /// `Some(false)` when more is to come, `None` when this node knows nothing of the session (it was restarted).
    pub fn run_stored(&self, session: SessionId, run: RunId) -> Option<bool> {
        let mut inner = self.lock();
        let runs = inner.runs.get_mut(&session)?;
        runs.open.remove(&run);
        Some(runs.is_complete())
    }

    /// A run lost its connection; the user's next connection may go on with it.
    pub fn lose_run(&self, user: &UserId, lost: LostRun) {
        let mut inner = self.lock();
        let lost_runs = &mut inner.users.entry(user.clone()).or_default().lost_runs;
        lost_runs.retain(|known| known.run != lost.run);
        lost_runs.push(lost);
    }

    /// A run of this session that lost its connection lately, for bytes at `offset` of `stream`: that of the same stream
    /// rather than another. The stream's own may have gone on with another node meanwhile: then it has no place for them.
    #[must_use]
    pub fn claim_run(
        &self,
        user: &UserId,
        session: SessionId,
        (stream, offset): (StreamId, u64),
        now: Instant,
    ) -> Option<LostRun> {
        let mut inner = self.lock();
        let lost_runs = &mut inner.users.get_mut(user)?.lost_runs;
        lost_runs.retain(|lost| lost.until > now);
        let of_session =
            |lost: &&LostRun| lost.session == session && (lost.stream != stream || lost.stream_end == offset);
        let best = lost_runs
            .iter()
            .filter(of_session)
            .find(|lost| lost.stream == stream)
            .or_else(|| lost_runs.iter().rev().find(of_session))
            .copied()?;
        lost_runs.retain(|lost| lost.run != best.run);
        Some(best)
    }

    /// A stream lost its connection and may come back.
    pub fn remember_stream(&self, stream: StreamId, memo: StreamMemo) {
        self.lock().streams.insert(stream, memo);
    }

    #[must_use]
    pub fn recall_stream(&self, stream: StreamId) -> Option<StreamMemo> {
        self.lock().streams.get(&stream).cloned()
    }

    /// Audio of a stream is in this node's journal, of an earlier process or an earlier connection: it goes on where that
    /// ends, and with the run that is open.
    pub fn recall_runs(&self, stream: StreamId, runs: &[UnstoredRun], now: Now, settings: &SessionSettings) {
        let end_of = |run: &UnstoredRun| run.stream_offset + run.len;
        let Some(last) = runs.iter().max_by_key(|run| end_of(run)) else { return };
        let end = end_of(last);
        let memo = self.recall_stream(stream).unwrap_or_else(|| StreamMemo {
            user: last.user.clone(),
            last_seq: 0,
            obeyed: Vec::new(),
            audio_accepted: 0,
            audio_durable: 0,
            left: now.steady,
        });
        let audio_durable = memo.audio_durable.max(end);
        self.remember_stream(stream, StreamMemo { audio_accepted: audio_durable, audio_durable, ..memo });
        if last.open {
            let until = now.steady + settings.reconnect_grace;
            self.lose_run(&last.user, LostRun { run: last.run, session: last.session, stream, stream_end: end, until });
        }
    }

    /// Tells the user's current connection, or keeps the news for the next one.
    pub fn deliver(&self, user: &UserId, news: SessionNews, now: Instant) {
        let mut inner = self.lock();
        let entry = inner.users.entry(user.clone()).or_default();
        match entry.connections.last() {
            Some((_, current)) => current.do_send(news),
            None => entry.undelivered.push((now, news)),
        }
    }

    /// Tells every connection that has a user.
    pub fn tell_all(&self, news: &SessionNews) {
        for entry in self.lock().users.values() {
            entry.tell_others(NOBODY, news);
        }
    }

    /// Connections that have a user.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Forgets what ran out of time.
    pub fn sweep(&self, now: Instant) {
        let limits = self.limits;
        let mut inner = self.lock();
        inner.streams.retain(|_, memo| now.duration_since(memo.left) <= limits.idle_timeout);
        inner.runs.retain(|_, runs| {
            // Until the database, which may hear of the end much later, would not offer it any more. A run is stored or
            // given up long before; without this, a session with lost news would stay for ever.
            let since_alive = limits.idle_timeout.max(NEWS_LIFETIME);
            let lifetime = if runs.is_complete() { since_alive } else { limits.max_duration + limits.idle_timeout };
            now.duration_since(runs.seen) <= lifetime
        });
        inner.users.retain(|_, entry| {
            entry.lost_runs.retain(|lost| lost.until > now);
            entry.undelivered.retain(|(at, _)| now.duration_since(*at) < NEWS_LIFETIME);
            entry.session = entry.session.filter(|session| session.is_live(now, &limits));
            !(entry.connections.is_empty()
                && entry.session.is_none()
                && entry.lost_runs.is_empty()
                && entry.undelivered.is_empty())
        });
    }
}

impl Inner {
    fn runs_of(&mut self, session: SessionId, now: Instant) -> &mut SessionRuns {
        let runs =
            self.runs.entry(session).or_insert_with(|| SessionRuns { open: HashSet::new(), over: false, seen: now });
        runs.seen = now;
        runs
    }
}

impl UserEntry {
    fn tell_others(&self, by: ConnectionId, news: &SessionNews) {
        for (_, connection) in self.connections.iter().filter(|(id, _)| *id != by) {
            connection.do_send(news.clone());
        }
    }
}
