//! A store in memory that fails as asked.
//!
//! Promises: it keeps what a database would keep, and whether each write was told as it ended.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use shopaloud::{
    domain::{AudioPart, NodeId, Record, RunId, SessionId, StreamId, Timestamp, UserId},
    store::{
        EventQuery, EventRow, ExpiredSession, OpenSession, Reads, SessionQuery, SessionRow, Store, StoreError,
        StoreErrorKind, StoreWriter, StreamState, UserQuery, UserRow, View, WriteOutcome,
    },
};
use tokio::sync::watch;

/// What the database does when it is asked to write.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Behaviour {
    #[default]
    Well,
    /// Refuses connections.
    Away,
    /// Never answers, until it behaves otherwise.
    Hangs,
    /// The same for writes alone.
    HoldsWrites,
    /// Each write takes far longer than a sync of the journal.
    Slow,
    /// Each write fails with the probability given: half of these after it was committed.
    Flaky(f64),
    /// The next write panics, then all is well.
    Panics,
}

#[derive(Default)]
pub struct Contents {
    /// Highest event position by stream.
    pub last_seqs: HashMap<StreamId, i64>,
    pub events: HashSet<(StreamId, i64)>,
    /// Every record of every commit, in order, duplicates included.
    pub log: Vec<Record>,
    /// Rows of every commit.
    pub commits: Vec<usize>,
    /// Writes begun.
    pub attempts: usize,
    pub owners: HashMap<StreamId, UserId>,
    pub open_sessions: BTreeMap<UserId, OpenSession>,
    /// Events that no database would take.
    pub poison: HashSet<(StreamId, i64)>,
    pub lookups: usize,
}

#[derive(Clone)]
pub struct FakeStore {
    contents: Arc<Mutex<Contents>>,
    behaviour: Arc<watch::Sender<Behaviour>>,
    changed: Arc<watch::Sender<u64>>,
    prepared: Arc<watch::Sender<bool>>,
}

impl FakeStore {
    pub fn new() -> Self {
        Self {
            contents: Arc::default(),
            behaviour: Arc::new(watch::Sender::new(Behaviour::Well)),
            changed: Arc::new(watch::Sender::new(0)),
            prepared: Arc::new(watch::Sender::new(true)),
        }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Whether its schema is up to date: at first it is.
    pub fn prepare(&self, is_prepared: bool) {
        self.prepared.send_replace(is_prepared);
    }

    pub fn is_prepared(&self) -> watch::Receiver<bool> {
        self.prepared.subscribe()
    }

    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    /// Waits until the contents are as wanted.
    pub async fn until(&self, wanted: impl Fn(&Contents) -> bool) {
        let mut changes = self.changed.subscribe();
        let arrival = async {
            while !wanted(&self.lock()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), arrival).await.expect("the store never got there");
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.changed.send_modify(|changes| *changes += 1);
        outcome
    }

    /// What it does once it does not do any of `these`.
    async fn unless(&self, these: &[Behaviour]) -> Behaviour {
        *self.behaviour.subscribe().wait_for(|behaviour| !these.contains(behaviour)).await.unwrap()
    }
}

fn error(kind: StoreErrorKind, text: &'static str) -> StoreError {
    StoreError::new(kind, "write a batch", text)
}

impl Contents {
    fn is_poisoned(&self, record: &Record) -> bool {
        matches!(record, Record::Event(event) if self.poison.contains(&(event.stream, event.seq)))
    }

    fn commit(&mut self, records: &[Record]) -> WriteOutcome {
        let mut outcome = WriteOutcome::default();
        for record in records {
            if let Record::Event(event) = record {
                if self.events.insert((event.stream, event.seq)) {
                    outcome.events_stored += 1;
                } else {
                    outcome.events_duplicate += 1;
                }
                let last = self.last_seqs.entry(event.stream).or_default();
                *last = event.seq.max(*last);
            }
            if let Record::StreamOpened(opened) = record {
                self.owners.entry(opened.stream).or_insert_with(|| opened.user.clone());
            }
        }
        self.log.extend_from_slice(records);
        self.commits.push(records.len());
        outcome
    }
}

struct FakeWriter(FakeStore);

#[async_trait]
impl StoreWriter for FakeWriter {
    async fn write(&mut self, _: NodeId, records: &[Record]) -> Result<WriteOutcome, StoreError> {
        let store = &self.0;
        store.change(|contents| contents.attempts += 1);
        let mut lost_answer = false;
        match store.unless(&[Behaviour::Hangs, Behaviour::HoldsWrites]).await {
            Behaviour::Well | Behaviour::Hangs | Behaviour::HoldsWrites => {}
            Behaviour::Slow => tokio::time::sleep(Duration::from_millis(50)).await,
            Behaviour::Away => return Err(error(StoreErrorKind::Retryable, "connection lost")),
            Behaviour::Flaky(probability) => {
                // Gives others a turn, so that writes overlap with appends.
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..2_000))).await;
                if fastrand::f64() < probability {
                    lost_answer = fastrand::bool();
                    if !lost_answer {
                        return Err(error(StoreErrorKind::Retryable, "connection lost"));
                    }
                }
            }
            Behaviour::Panics => {
                store.behave(Behaviour::Well);
                panic!("the store panics as asked");
            }
        }
        let outcome = store.change(|contents| {
            let is_poisoned = records.iter().any(|record| contents.is_poisoned(record));
            (!is_poisoned).then(|| contents.commit(records))
        });
        if lost_answer {
            return Err(error(StoreErrorKind::Retryable, "the answer was lost"));
        }
        outcome.ok_or_else(|| error(StoreErrorKind::Permanent, "bad row"))
    }
}

#[async_trait]
impl Reads for FakeStore {
    async fn sessions(&self, _: &SessionQuery) -> Result<Vec<SessionRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn session_events(&self, _: &[SessionId], _: &EventQuery) -> Result<Vec<EventRow<SessionId>>, StoreError> {
        Ok(Vec::new())
    }

    async fn audio_parts(&self, _: &[SessionId]) -> Result<Vec<AudioPart>, StoreError> {
        Ok(Vec::new())
    }

    async fn users(&self, _: &UserQuery, _: Timestamp) -> Result<Vec<UserRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn user_events(&self, _: &[UserId], _: &EventQuery) -> Result<Vec<EventRow<UserId>>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl View for FakeStore {
    async fn end(&self) {}
}

#[async_trait]
impl Store for FakeStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        if *self.behaviour.borrow() == Behaviour::Away {
            return Err(error(StoreErrorKind::Retryable, "connection refused"));
        }
        Ok(Box::new(FakeWriter(self.clone())))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn begin_node(&self, _: NodeId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeat(&self, _: NodeId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn stream_state(&self, stream: StreamId) -> Result<Option<StreamState>, StoreError> {
        self.change(|contents| contents.lookups += 1);
        if self.unless(&[Behaviour::Hangs]).await == Behaviour::Away {
            return Err(error(StoreErrorKind::Retryable, "connection refused"));
        }
        let contents = self.lock();
        let state = |user: &UserId| StreamState {
            user: user.clone(),
            last_seq: contents.last_seqs.get(&stream).copied().unwrap_or(0),
            audio_end: 0,
        };
        Ok(contents.owners.get(&stream).map(state))
    }

    async fn open_session(&self, user: &UserId, _: Timestamp, _: Timestamp) -> Result<Option<OpenSession>, StoreError> {
        self.change(|contents| contents.lookups += 1);
        if self.unless(&[Behaviour::Hangs]).await == Behaviour::Away {
            return Err(error(StoreErrorKind::Retryable, "connection refused"));
        }
        Ok(self.lock().open_sessions.get(user).cloned())
    }

    async fn expire_sessions(&self, _: Timestamp, _: Timestamp) -> Result<Vec<ExpiredSession>, StoreError> {
        Ok(Vec::new())
    }

    async fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Ok(Arc::new(self.clone()))
    }

    async fn session(&self, _: SessionId) -> Result<Option<SessionRow>, StoreError> {
        Ok(None)
    }

    async fn stream_parts(&self, _: StreamId) -> Result<Vec<AudioPart>, StoreError> {
        Ok(Vec::new())
    }

    async fn audio_part(&self, _: RunId) -> Result<Option<AudioPart>, StoreError> {
        Ok(None)
    }

    async fn user(&self, _: &UserId, _: Timestamp) -> Result<Option<UserRow>, StoreError> {
        Ok(None)
    }

    async fn close(&self) {}
}
