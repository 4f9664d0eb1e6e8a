//! A node as far as audio is concerned: a journal, upload actors, an object store, and a database that can be away.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;
use bytes::Bytes;
use shopaloud::{
    domain::{AudioFormat, AudioPart, Record, RunId, SessionId, StreamId, Timestamp, UserId},
    journal::{Journal, JournalOptions},
    objects::{ObjectKey, Objects},
    persist::StoreRecord,
    runtime::{ActorPool, Permit},
    upload::{
        AppendAudio, AudioAck, AudioJournaled, AudioRefused, AudioStored, BeginRun, Drain, FinishReason, FinishRun,
        LookupStreamAudio, StoredParts, UnstoredRun, UploadActor, UploadDeps, UploadOptions, UploadStats,
    },
};
use tokio::sync::mpsc;

/// Longest wait for anything: far above what it takes, far below what CI allows.
const PATIENCE: Duration = Duration::from_mins(1);

/// The database, as upload actors see it.
#[derive(Default)]
pub(crate) struct Database {
    pub(crate) parts: Mutex<Vec<AudioPart>>,
    pub(crate) deleted: Mutex<Vec<SessionId>>,
    pub(crate) away: AtomicBool,
    /// Away again once the next row is stored.
    pub(crate) takes_one: AtomicBool,
    pub(crate) panics_once: AtomicBool,
    /// Neither answers nor gives up.
    pub(crate) hangs: AtomicBool,
    unanswered: Mutex<Vec<StoreRecord>>,
}

impl Database {
    fn store(&self, message: StoreRecord) -> bool {
        assert!(!self.panics_once.swap(false, Ordering::SeqCst), "asked to");
        if self.hangs.load(Ordering::SeqCst) {
            self.unanswered.lock().unwrap().push(message);
            return true;
        }
        let Record::AudioAttached(part) = message.record else { return false };
        if self.away.load(Ordering::SeqCst) {
            // Dropped unanswered, as by an actor that died.
            return true;
        }
        if !self.overlaps(&part) && !self.deleted.lock().unwrap().contains(&part.session) {
            self.parts.lock().unwrap().push(part);
            self.away.store(self.takes_one.swap(false, Ordering::SeqCst), Ordering::SeqCst);
        }
        message.reply.unwrap().send(Ok(())).unwrap();
        true
    }

    /// As the stores have it: no byte of a stream gets two parts.
    fn overlaps(&self, added: &AudioPart) -> bool {
        let end = |part: &AudioPart| part.stream_offset + part.size_bytes;
        self.parts_of(added.stream)
            .iter()
            .any(|part| part.stream_offset < end(added) && added.stream_offset < end(part))
    }

    fn beside(&self, part: &AudioPart) -> StoredParts {
        let is_deleted = self.deleted.lock().unwrap().contains(&part.session);
        StoredParts { parts: self.parts_of(part.stream), is_deleted }
    }

    pub(crate) fn parts_of(&self, stream: StreamId) -> Vec<AudioPart> {
        let mut parts = self.parts.lock().unwrap().clone();
        parts.retain(|part| part.stream == stream);
        parts.sort_by_key(|part| part.stream_offset);
        parts
    }

    pub(crate) fn only_part(&self) -> AudioPart {
        let parts = self.parts.lock().unwrap();
        assert_eq!(parts.len(), 1);
        parts[0].clone()
    }
}

pub(crate) struct NodeOptions {
    pub(crate) actors: usize,
    pub(crate) journal_limit_bytes: u64,
    pub(crate) sync_interval: Duration,
    pub(crate) reconnect_grace: Duration,
    pub(crate) idle_timeout: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            actors: 2,
            journal_limit_bytes: 64 << 20,
            sync_interval: Duration::from_millis(400),
            reconnect_grace: Duration::from_mins(10),
            idle_timeout: Duration::from_mins(10),
        }
    }
}

pub(crate) struct Node {
    dir: tempfile::TempDir,
    pub(crate) journal: Journal,
    pub(crate) pool: ActorPool<UploadActor>,
    pub(crate) stats: Arc<UploadStats>,
    pub(crate) database: Arc<Database>,
    objects: Objects,
    news: mpsc::UnboundedReceiver<AudioStored>,
}

impl Node {
    pub(crate) fn start(objects: Objects, options: &NodeOptions) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), objects, Arc::default(), options)
    }

    fn start_in(dir: tempfile::TempDir, objects: Objects, database: Arc<Database>, options: &NodeOptions) -> Self {
        let journal = JournalOptions {
            dir: dir.path().join("journal"),
            segment_bytes: 1 << 20,
            limit_bytes: options.journal_limit_bytes,
        };
        let journal = Journal::open(journal, |error| eprintln!("journal failed: {error}")).unwrap();
        let (news, told) = mpsc::unbounded_channel();
        let stats = Arc::<UploadStats>::default();
        let (store, stored) = (Arc::clone(&database), Arc::clone(&database));
        let deps = UploadDeps {
            options: UploadOptions {
                sync_interval: options.sync_interval,
                reconnect_grace: options.reconnect_grace,
                idle_timeout: options.idle_timeout,
                ..UploadOptions::new(dir.path().join("staging"))
            },
            journal: journal.clone(),
            objects: Arc::clone(&objects),
            store_record: Arc::new(move |_, record| store.store(record)),
            parts_of: Arc::new(move |part| Box::pin(std::future::ready(Some(stored.beside(&part))))),
            news: Ear { heard: news }.start().recipient(),
            stats: Arc::clone(&stats),
        };
        let pool = UploadActor::start_pool(options.actors, deps, Box::new(|name| eprintln!("{name} gave up"))).unwrap();
        Self { dir, journal, pool, stats, database, objects, news: told }
    }

    /// What `kill -9` leaves at this instant, and a new process on it. The old one is ended without a word; whatever
    /// it still does no longer reaches the files of the new one.
    pub(crate) fn killed_and_started_again(self, options: &NodeOptions) -> Self {
        let left = tempfile::tempdir().unwrap();
        // In this order: what the journal lets go of meanwhile is in the staging directory.
        for part in ["journal", "staging"] {
            copy_dir(&self.dir.path().join(part), &left.path().join(part));
        }
        self.pool.stop();
        Self::start_in(left, self.objects, self.database, options)
    }

    /// Drained, and a new process in the same place.
    pub(crate) async fn drained_and_started_again(self, options: &NodeOptions) -> Self {
        self.drain(Duration::from_secs(10)).await;
        let Self { dir, journal, pool, database, objects, .. } = self;
        pool.stop();
        drop((pool, journal));
        // The actors are gone, but their threads may still be letting go of the journal.
        let lock = fs::File::open(dir.path().join("journal/LOCK")).unwrap();
        until("a free journal", || lock.try_lock().is_ok()).await;
        drop(lock);
        Self::start_in(dir, objects, database, options)
    }

    pub(crate) async fn drain(&self, deadline: Duration) {
        for actor in self.pool.all() {
            actor.send(Drain { deadline }).await.unwrap();
        }
    }

    pub(crate) async fn told_of_stored(&mut self) -> AudioStored {
        tokio::time::timeout(PATIENCE, self.news.recv()).await.unwrap().unwrap()
    }

    pub(crate) fn was_told_nothing(&mut self) -> bool {
        self.news.try_recv().is_err()
    }

    pub(crate) async fn runs_of(&self, stream: StreamId) -> Vec<UnstoredRun> {
        let mut runs = Vec::new();
        for actor in self.pool.all() {
            runs.extend(actor.send(LookupStreamAudio { stream }).await.unwrap());
        }
        runs
    }

    pub(crate) fn staged_files(&self) -> usize {
        fs::read_dir(self.staging()).unwrap().count()
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.path().join("staging")
    }
}

/// Waits for a state that no message tells of.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never came: {what}");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match fs::copy(entry.path(), to.join(entry.file_name())) {
            // Removed or renamed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => {
                copied.unwrap();
            }
        }
    }
}

/// A recording client: sends its bytes in chunks and counts what was acknowledged.
pub(crate) struct Client {
    pub(crate) begin: BeginRun,
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    ticket: u64,
    to: Recipient<AudioJournaled>,
    refused: Recipient<AudioRefused>,
    refusals: mpsc::UnboundedReceiver<AudioRefused>,
    acks: mpsc::UnboundedReceiver<AudioJournaled>,
}

impl Client {
    pub(crate) fn new(len: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(len as u64);
        let (heard, acks) = mpsc::unbounded_channel();
        let (refuse, refusals) = mpsc::unbounded_channel();
        Self {
            begin: BeginRun {
                run: RunId::new(),
                session: SessionId::new(),
                user: UserId::parse("anna").unwrap(),
                stream: StreamId::new(),
                stream_offset: 0,
                format: AudioFormat::WebM,
                at: Timestamp::now(),
            },
            bytes: (0..len).map(|_| random.u8(..)).collect(),
            sent: 0,
            ticket: 0,
            to: Ear { heard }.start().recipient(),
            refused: Ear { heard: refuse }.start().recipient(),
            refusals,
            acks,
        }
    }

    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::for_run(self.begin.session, self.begin.run, self.begin.format)
    }

    pub(crate) fn begin(&self, node: &Node) {
        node.pool.of(&self.begin.run).try_send(self.begin.clone()).unwrap();
    }

    /// Sends up to byte `end`, in chunks of `chunk_len`.
    pub(crate) fn send(&mut self, node: &Node, end: usize, chunk_len: usize) {
        while self.sent < end {
            let next = end.min(self.sent + chunk_len);
            let bytes = Bytes::copy_from_slice(&self.bytes[self.sent..next]);
            let stream_offset = self.begin.stream_offset + self.sent as u64;
            self.sent = next;
            self.ticket += 1;
            let ack = AudioAck::new(self.to.clone(), self.refused.clone(), next as u64, self.ticket);
            let (run, stream, at) = (self.begin.run, self.begin.stream, Timestamp::now());
            let append = AppendAudio { run, stream, stream_offset, at, bytes, ack: Some(ack), permit: Permit::none() };
            node.pool.of(&run).try_send(append).unwrap();
        }
    }

    /// The next bytes sent are those from `from` on, whatever was sent before.
    pub(crate) const fn go_back(&mut self, from: usize) {
        self.sent = from;
    }

    /// The last chunk sent is not taken, and its sender hears of it.
    pub(crate) async fn refused(&mut self) {
        while tokio::time::timeout(PATIENCE, self.refusals.recv()).await.unwrap().unwrap().ticket < self.ticket {}
    }

    /// Everything sent is durable.
    pub(crate) async fn acknowledged(&mut self) {
        while tokio::time::timeout(PATIENCE, self.acks.recv()).await.unwrap().unwrap().ticket < self.ticket {}
    }

    pub(crate) fn heard_nothing(&mut self) -> bool {
        self.acks.try_recv().is_err()
    }

    pub(crate) fn finish(&self, node: &Node, grace: Duration, reason: FinishReason) {
        node.pool.of(&self.begin.run).try_send(FinishRun { run: self.begin.run, grace, reason }).unwrap();
    }

    pub(crate) fn end(&self, node: &Node) {
        self.finish(node, Duration::ZERO, FinishReason::Ended);
    }

    /// Everything, from begin to end, acknowledged.
    pub(crate) async fn record(&mut self, node: &Node, chunk_len: usize) {
        self.begin(node);
        self.send(node, self.bytes.len(), chunk_len);
        self.acknowledged().await;
        self.end(node);
    }
}

/// Hands on what it hears.
struct Ear<M> {
    heard: mpsc::UnboundedSender<M>,
}

impl<M: Unpin + 'static> Actor for Ear<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl<M: Message<Result = ()> + Unpin + 'static> Handler<M> for Ear<M> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Self::Context) {
        // The test that listened may be over.
        let _ = self.heard.send(message);
    }
}
