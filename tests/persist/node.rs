//! A node's persistence part, and connections that use it.
//!
//! Promises: every [`RecordsStored`] is checked as it arrives: its records are committed (or synced, or rejected),
//! and its ticket was not told before.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::prelude::*;
use shopaloud::{
    domain::{
        Arrivals, AudioFormat, AudioPart, Event, EventName, JsonText, NodeId, Record, RunId, SessionId, Sha256,
        StreamId, StreamOpened, Timestamp, UserId,
    },
    journal::{Journal, JournalOptions, Position},
    persist::{
        self, AppendRecords, CloseStream, OpenStream, PersistActor, PersistDeps, PersistOptions, PersistStats,
        RecordsStored, RejectedRecord, StoreRecord, StreamFenced, StreamReady, StreamSubscriber,
    },
    runtime::{ActorPool, Permit},
};
use tokio::sync::{mpsc, oneshot};

use crate::store::FakeStore;

/// Short times, so that tests do not wait for what operators would.
pub fn options() -> PersistOptions {
    PersistOptions {
        spill_after: Duration::from_millis(50),
        retry: (Duration::from_millis(2), Duration::from_millis(20)),
        ..PersistOptions::default()
    }
}

pub struct Node {
    pub pool: ActorPool<PersistActor>,
    pub journal: Journal,
    pub stats: Arc<PersistStats>,
    pub store: FakeStore,
    pub acknowledges_when_journaled: bool,
    next_connection: AtomicU64,
}

pub fn open_journal(directory: &Path, limit_bytes: u64) -> Journal {
    let options = JournalOptions { dir: directory.to_owned(), segment_bytes: 64 << 10, limit_bytes };
    Journal::open(options, |error| panic!("the journal failed: {error}")).unwrap()
}

impl Node {
    pub fn start(directory: &Path, store: &FakeStore, options: PersistOptions, shards: usize) -> Self {
        Self::start_on(open_journal(directory, 64 << 20), store, options, shards)
    }

    pub fn start_on(journal: Journal, store: &FakeStore, options: PersistOptions, shards: usize) -> Self {
        let stats = Arc::new(PersistStats::default());
        let acknowledges_when_journaled = options.acknowledge_when_journaled;
        let deps = PersistDeps {
            node: NodeId::new(),
            store: Arc::new(store.clone()),
            is_database_prepared: store.is_prepared(),
            journal: journal.clone(),
            stats: Arc::clone(&stats),
            options,
        };
        let pool = PersistActor::start_pool(shards, deps, Box::new(|_| panic!("the pool gave up")));
        let next_connection = AtomicU64::new(1);
        Self { pool, journal, stats, store: store.clone(), acknowledges_when_journaled, next_connection }
    }

    /// Drains, and ends everything as a process would. Whether all was stored.
    pub async fn stop(self, deadline: Duration) -> bool {
        let drained = persist::drain(&self.pool, deadline).await;
        self.pool.stop();
        let journal = self.journal.clone();
        tokio::task::spawn_blocking(move || journal.close()).await.unwrap();
        drained
    }

    /// A new stream with its own connection, and its opening stored with it.
    pub async fn connect(&self) -> Client {
        let mut client = self.open(StreamId::new(), "anna", false);
        client.ready().await;
        let opened = StreamOpened {
            stream: client.stream,
            user: client.user.clone(),
            profile: shopaloud::domain::Profile::default(),
            at: Timestamp::now(),
        };
        client.append(vec![Record::StreamOpened(opened)], false, Permit::none());
        client
    }

    pub fn open(&self, stream: StreamId, user: &str, resume: bool) -> Client {
        let (news, inbox) = mpsc::unbounded_channel();
        let connection = self.next_connection.fetch_add(1, SeqCst);
        let seqs = Arc::default();
        let subscriber = Subscriber {
            news,
            seqs: Arc::clone(&seqs),
            store: self.store.clone(),
            journaled: self.acknowledges_when_journaled.then(|| self.journal.clone()),
            told: 0,
            rejected: HashSet::new(),
        }
        .start();
        let user = UserId::parse(user).unwrap();
        let (alive_since, opened_since) = (Timestamp::now(), Timestamp::now());
        let session = StreamSubscriber {
            ready: subscriber.clone().recipient(),
            stored: subscriber.clone().recipient(),
            fenced: subscriber.recipient(),
        };
        let user_opening = user.clone();
        let open = OpenStream { stream, connection, user: user_opening, resume, alive_since, opened_since, session };
        self.pool.of(&stream).try_send(open).unwrap();
        Client { stream, connection, user, pool: self.pool.clone(), inbox, ticket: 0, seq: 0, seqs }
    }

    /// Asks the first actor that a number belongs to.
    pub fn store_record(&self, record: Record) -> oneshot::Receiver<Result<(), RejectedRecord>> {
        let (reply, answer) = oneshot::channel();
        self.pool.of(&0).try_send(StoreRecord { record, reply: Some(reply) }).unwrap();
        answer
    }

    /// Waits until every actor works from memory: only then are records answered that are not journaled.
    pub async fn caught_up(&self) {
        for actor in self.pool.all() {
            let (reply, answer) = oneshot::channel();
            actor.try_send(StoreRecord { record: attached_audio(), reply: Some(reply) }).unwrap();
            answer.await.unwrap().unwrap();
        }
    }

    pub async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let arrival = async {
            while !wanted(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), arrival).await.expect("the node never got there");
    }
}

#[derive(Debug)]
pub enum News {
    Ready(StreamReady),
    Stored(RecordsStored),
    Fenced(StreamFenced),
}

/// Events of a connection by the ticket they went with.
type Seqs = Arc<std::sync::Mutex<Vec<(u64, i64)>>>;

struct Subscriber {
    news: mpsc::UnboundedSender<News>,
    seqs: Seqs,
    store: FakeStore,
    journaled: Option<Journal>,
    told: u64,
    rejected: HashSet<i64>,
}

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<StreamReady> for Subscriber {
    type Result = ();

    fn handle(&mut self, ready: StreamReady, _: &mut Self::Context) {
        let _ = self.news.send(News::Ready(ready));
    }
}

impl Handler<StreamFenced> for Subscriber {
    type Result = ();

    fn handle(&mut self, fenced: StreamFenced, _: &mut Self::Context) {
        let _ = self.news.send(News::Fenced(fenced));
    }
}

impl Handler<RecordsStored> for Subscriber {
    type Result = ();

    fn handle(&mut self, stored: RecordsStored, _: &mut Self::Context) {
        assert!(stored.ticket > self.told || !stored.rejected.is_empty(), "ticket {} told twice", stored.ticket);
        self.told = self.told.max(stored.ticket);
        self.rejected.extend(stored.rejected.iter().filter_map(|rejected| rejected.seq));
        let seqs = self.seqs.lock().unwrap();
        let covered = seqs.iter().filter(|(ticket, _)| *ticket <= stored.ticket);
        if let Some(journal) = &self.journaled {
            assert!(journal.synced() > Position(0));
        } else {
            let contents = self.store.lock();
            for (ticket, seq) in covered {
                let ended = contents.events.contains(&(stored.stream, *seq)) || self.rejected.contains(seq);
                assert!(ended, "ticket {ticket} was told before event {seq} was committed");
            }
        }
        drop(seqs);
        let _ = self.news.send(News::Stored(stored));
    }
}

pub struct Client {
    pub stream: StreamId,
    pub connection: u64,
    pub user: UserId,
    pool: ActorPool<PersistActor>,
    inbox: mpsc::UnboundedReceiver<News>,
    pub ticket: u64,
    pub seq: i64,
    seqs: Seqs,
}

impl Client {
    pub fn append(&mut self, records: Vec<Record>, ack_wanted: bool, permit: Permit) -> u64 {
        self.ticket += 1;
        let (stream, connection, ticket) = (self.stream, self.connection, self.ticket);
        for record in &records {
            if let Record::Event(event) = record {
                self.seqs.lock().unwrap().push((ticket, event.seq));
            }
        }
        // An actor that has just died takes nothing; its stream was told.
        let _ =
            self.pool.of(&stream).try_send(AppendRecords { stream, connection, ticket, records, ack_wanted, permit });
        ticket
    }

    pub fn event(&mut self) -> Record {
        self.event_of(20)
    }

    pub fn event_of(&mut self, bytes: usize) -> Record {
        self.seq += 1;
        Record::Event(Event {
            stream: self.stream,
            seq: self.seq,
            user: self.user.clone(),
            session: Some(SessionId::from_bytes([3; 16])),
            name: EventName::parse("click:event").unwrap(),
            data: JsonText::parse(format!("\"{}\"", "x".repeat(bytes))).unwrap(),
            client_at: None,
            received_at: Timestamp::now(),
        })
    }

    /// One event that is to be acknowledged; its ticket.
    pub fn say(&mut self) -> u64 {
        let event = self.event();
        self.append(vec![event], true, Permit::none())
    }

    pub fn close(&self) {
        self.pool.of(&self.stream).try_send(CloseStream { stream: self.stream, connection: self.connection }).unwrap();
    }

    pub async fn news(&mut self) -> News {
        tokio::time::timeout(Duration::from_secs(30), self.inbox.recv()).await.expect("news").unwrap()
    }

    pub async fn ready(&mut self) -> StreamReady {
        match self.news().await {
            News::Ready(ready) => ready,
            other => panic!("not ready but {other:?}"),
        }
    }

    pub async fn fenced(&mut self) -> StreamFenced {
        loop {
            if let News::Fenced(fenced) = self.news().await {
                return fenced;
            }
        }
    }

    /// Waits until `ticket` is told; all that was rejected until then.
    pub async fn stored(&mut self, ticket: u64) -> Vec<RejectedRecord> {
        let mut rejected = Vec::new();
        loop {
            match self.news().await {
                News::Stored(stored) => {
                    rejected.extend(stored.rejected);
                    if stored.ticket >= ticket {
                        return rejected;
                    }
                }
                other => panic!("not stored but {other:?}"),
            }
        }
    }

    pub fn heard_nothing(&mut self) -> bool {
        self.inbox.try_recv().is_err()
    }
}

pub fn attached_audio() -> Record {
    let at = Timestamp::now();
    Record::AudioAttached(AudioPart {
        run: RunId::new(),
        session: SessionId::new(),
        user: UserId::parse("anna").unwrap(),
        stream: StreamId::new(),
        stream_offset: 0,
        started_at: at,
        ended_at: at,
        object_key: "sessions/one/two.webm".into(),
        format: AudioFormat::WebM,
        size_bytes: 5,
        sha256: Sha256([1; 32]),
        arrivals: Arrivals::default(),
    })
}

/// Every event of every client is there, and each stream's came in order.
pub fn assert_complete(store: &FakeStore, clients: &[Client]) {
    let contents = store.lock();
    for client in clients {
        let mut expected = 1;
        for record in &contents.log {
            if let Record::Event(event) = record
                && event.stream == client.stream
            {
                assert!(event.seq <= expected, "event {} came before {expected}", event.seq);
                expected = expected.max(event.seq + 1);
            }
        }
        assert_eq!(expected, client.seq + 1, "events of a stream are missing");
    }
}
