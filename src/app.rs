//! Wires the parts together, in one place, in order, and takes them apart in the order of the data.
//!
//! Promises: what was received is durable before [`Node::stop`] returns, within its deadlines; a journal that cannot
//! be written and a pool that keeps dying end the process with an error, in order where order is still possible.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use crate::{
    auth::Access,
    backends,
    config::{AckMode, Config},
    domain::NodeId,
    erasure::{DropAudioOf, Erasure, KeeperActor},
    http::Readiness,
    journal::{Journal, JournalOptions},
    metrics,
    objects::Objects,
    persist::{self, PersistActor, PersistDeps, PersistOptions, PersistStats},
    preparation,
    reload::{self, Watched},
    runtime::{ActorPool, Exhausted},
    serve::{self, Parts},
    session::{DeliveryActor, HousekeeperActor, Registry, SessionDeps, SessionLimits, SessionNews, SessionSettings},
    store::{Store, StoreError},
    tls::Certificate,
    tracks::{StopMaking, TrackActor, TrackDeps, TrackStats},
    upload::{self, StoredParts, UploadActor, UploadDeps, UploadOptions, UploadStats},
};

/// How long sessions may take to say goodbye. A client that does not answer a close is cut after 3 s.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who may come in, and how: read before anything is opened, so that a mistake in it changes nothing.
pub struct Entrance {
    access: Access,
    certificate: Option<Arc<Certificate>>,
}

impl Entrance {
    /// # Errors
    /// When keys or certificate cannot be read, or everything would be open to the world.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let certificate = config.tls.as_ref().map(Certificate::load).transpose()?;
        Ok(Self { access: Access::open(config)?, certificate: certificate.map(Arc::new) })
    }
}

/// Serves until a signal or a failure ends it.
///
/// # Errors
/// When a part cannot be opened, the port not be bound, or when serving ended because of a failure.
pub async fn run(config: Config, entrance: Entrance) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let is_open = entrance.access.is_open();
    let node = tokio::select! {
        node = Node::start(&config, entrance) => node?,
        () = signals.next() => return Ok(()),
    };
    node.greet(&config, is_open);
    let mut node = node;
    let failure = tokio::select! {
        () = signals.next() => None,
        failure = node.failed() => Some(failure),
    };
    tracing::info!("shutting down");
    tokio::select! {
        result = node.stop(failure.is_none()) => result?,
        () = signals.next() => anyhow::bail!("told to end at once: what was not drained waits in the journal"),
    }
    match failure {
        None => Ok(()),
        Some(failure) => anyhow::bail!(failure),
    }
}

/// A node that serves.
pub struct Node {
    addresses: Vec<SocketAddr>,
    server: ServerHandle,
    readiness: Readiness,
    registry: Arc<Registry>,
    persist: ActorPool<PersistActor>,
    upload: ActorPool<UploadActor>,
    tracks: Vec<Addr<TrackActor>>,
    journal: Journal,
    store: Arc<dyn Store>,
    failures: mpsc::UnboundedReceiver<String>,
    shutdown_timeout: Duration,
}

impl Node {
    /// Opens everything, from the end of the pipeline to its beginning, replays the journal, and serves.
    ///
    /// # Errors
    /// When a part cannot be opened or the port not be bound. A database that is away is none: what is recorded waits in
    /// the journal, and everything else of the start goes on.
    pub async fn start(config: &Config, entrance: Entrance) -> anyhow::Result<Self> {
        raise_open_files_limit();
        let data_dir = &config.storage.data_dir;
        std::fs::create_dir_all(data_dir).with_context(|| format!("make {}", data_dir.display()))?;
        let node_id = node_id(data_dir)?;
        let (report_failure, failures) = mpsc::unbounded_channel();

        let store = backends::open_store(config).await?;
        let objects = backends::open_objects(config)?;
        let journal = open_journal(config, &report_failure)?;
        let on_refusal = report_failure.clone();
        let is_database_prepared =
            preparation::prepare(Arc::clone(&store), node_id, config.database.statement_timeout, move |error| {
                let _ = on_refusal.send(format!("the database cannot be used: {error}"));
            })
            .await?;

        let persist_stats = Arc::new(PersistStats::default());
        let persist_deps = PersistDeps {
            node: node_id,
            store: Arc::clone(&store),
            is_database_prepared: is_database_prepared.clone(),
            journal: journal.clone(),
            stats: Arc::clone(&persist_stats),
            options: persist_options(config),
        };
        let persist = PersistActor::start_pool(config.database.writers, persist_deps, exhausted(&report_failure));
        let registry = Arc::new(Registry::new(session_limits(config)));
        let delivery = delivery(config, &store, &objects, &registry, &entrance.access).start();
        let upload_stats = Arc::new(UploadStats::default());
        let upload_deps = UploadDeps {
            options: upload_options(config),
            journal: journal.clone(),
            objects: Arc::clone(&objects),
            store_record: store_record_of(&persist),
            parts_of: parts_of(&store),
            news: delivery.clone().recipient(),
            stats: Arc::clone(&upload_stats),
        };
        let upload = UploadActor::start_pool(config.audio.uploaders, upload_deps, exhausted(&report_failure))
            .context("make the staging directory")?;

        let settings = session_settings(config);
        housekeeper(node_id, &store, &registry, delivery.clone(), &settings).start();

        let erasure =
            Erasure::new(Arc::clone(&store), Arc::clone(&objects), Arc::clone(&registry), drop_audio_of(&upload));
        KeeperActor::new(erasure.clone(), config.retention.keep).start();

        let track_stats = Arc::new(TrackStats::default());
        let tracks = start_tracks(config, &store, &objects, &track_stats);

        let sessions = Arc::new(SessionDeps {
            persist: persist.clone(),
            upload: upload.clone(),
            delivery,
            registry: Arc::clone(&registry),
            refusals: Arc::default(),
            settings,
            handshake_timeout: config.server.handshake_timeout,
        });
        let readiness = readiness(is_database_prepared, &persist_stats, &journal);
        let Entrance { access, certificate } = entrance;
        let watching = reload::watch(Watched {
            keys_file: config.keys_file.clone(),
            access: access.clone(),
            certificate: certificate.clone(),
            registry: Arc::clone(&registry),
        })?;
        let metrics = metrics::Sources {
            persist: persist_stats,
            upload: upload_stats,
            tracks: track_stats,
            journal: journal.clone(),
            access: access.clone(),
            registry: Arc::clone(&registry),
            refusals: Arc::clone(&sessions.refusals),
        };
        let parts = Parts {
            store: Arc::clone(&store),
            objects,
            erasure,
            sessions,
            readiness: readiness.clone(),
            metrics,
            access,
            certificate,
        };
        let (server, addresses) = serve::serve(config, parts, GOODBYE_TIMEOUT)?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        actix_web::rt::spawn(watching);
        Ok(Self {
            addresses,
            server: handle,
            readiness,
            registry,
            persist,
            upload,
            tracks,
            journal,
            store,
            failures,
            shutdown_timeout: config.server.shutdown_timeout,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Resolves when the node cannot go on, with the reason.
    async fn failed(&mut self) -> String {
        self.failures.recv().await.unwrap_or_else(|| "every part that reports failures is gone".to_owned())
    }

    /// Tells a newcomer where to connect and what to try.
    fn greet(&self, config: &Config, is_open: bool) {
        let Some(address) = self.addresses.first() else { return };
        let database = if config.database_url.reveal().starts_with("postgres") { "Postgres" } else { "SQLite" };
        let audio = match &config.audio_store {
            crate::config::AudioStore::Folder => backends::audio_folder(config).display().to_string(),
            crate::config::AudioStore::S3(s3) => s3.describe(),
        };
        let (header, open_to) = if is_open {
            ("", "everybody on this machine")
        } else {
            (" -H 'Authorization: Bearer sa_read_…'", "those with a key")
        };
        let (http, ws) = if config.tls.is_some() { ("https", "wss") } else { ("http", "ws") };
        // Whoever started this may not read what it says.
        let _ = writeln!(
            std::io::stdout(),
            "ShopAloud {} listens on {http}://{address}\n  open to {open_to}\n  events  {database}\n  audio   {audio}\n  record  {ws}://{address}/ws, or a socket.io-client at {http}://{address}\n  \
             look    curl{header} {http}://{address}/sessions",
            env!("CARGO_PKG_VERSION"),
        );
    }

    /// Takes the node apart in the order of the data: nobody new, goodbyes, HTTP, audio, records, journal, pools.
    ///
    /// # Errors
    /// When something did not end within its deadline; it waits in the journal then.
    pub async fn stop(self, in_order: bool) -> anyhow::Result<()> {
        let began = Instant::now();
        let left = || self.shutdown_timeout.saturating_sub(began.elapsed());
        self.readiness.begin_draining();
        self.registry.tell_all(&SessionNews::Drain);
        let goodbye = GOODBYE_TIMEOUT.min(left());
        while self.registry.connections() > 0 && began.elapsed() < goodbye {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Whoever is left did not introduce itself, or does not answer: nothing to wait for.
        self.server.stop(false).await;
        for maker in &self.tracks {
            // One that is gone makes nothing.
            let _ = maker.try_send(StopMaking);
        }
        let mut late = Vec::new();
        if in_order {
            if !upload::drain(&self.upload, left() / 2).await {
                late.push("uploads");
            }
            if !persist::drain(&self.persist, left()).await {
                late.push("records");
            }
        }
        self.upload.stop();
        self.persist.stop();
        let journal = self.journal.clone();
        tokio::task::spawn_blocking(move || journal.close()).await?;
        self.store.close().await;
        if late.is_empty() {
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(elapsed_ms, "everything received is durable");
            Ok(())
        } else {
            anyhow::bail!("not drained in time, waiting in the journal: {}", late.join(", "))
        }
    }
}

fn persist_options(config: &Config) -> PersistOptions {
    let database = &config.database;
    PersistOptions {
        acknowledge_when_journaled: database.ack == AckMode::Journaled,
        linger: database.linger,
        max_rows: database.batch_rows,
        max_bytes: database.batch_bytes,
        spill_after: database.spill_after,
        ..PersistOptions::default()
    }
}

fn delivery(
    config: &Config,
    store: &Arc<dyn Store>,
    objects: &Objects,
    registry: &Arc<Registry>,
    access: &Access,
) -> DeliveryActor {
    DeliveryActor {
        store: Arc::clone(store),
        objects: Arc::clone(objects),
        registry: Arc::clone(registry),
        access: access.clone(),
        end_grace: config.audio.end_grace,
    }
}

fn housekeeper(
    node: NodeId,
    store: &Arc<dyn Store>,
    registry: &Arc<Registry>,
    delivery: Addr<DeliveryActor>,
    settings: &SessionSettings,
) -> HousekeeperActor {
    HousekeeperActor {
        node,
        store: Arc::clone(store),
        registry: Arc::clone(registry),
        delivery,
        touch_interval: settings.touch_interval,
        expire_interval: settings.touch_interval.max(Duration::from_secs(1)),
    }
}

fn open_journal(config: &Config, report: &mpsc::UnboundedSender<String>) -> anyhow::Result<Journal> {
    let report = report.clone();
    let options = JournalOptions {
        dir: config.storage.data_dir.join("journal"),
        segment_bytes: config.journal.segment_bytes,
        limit_bytes: config.journal.limit_bytes,
    };
    let journal = Journal::open(options, move |error| {
        let _ = report.send(format!("the journal cannot be written: {error}"));
    })?;
    Ok(journal)
}

const fn session_limits(config: &Config) -> SessionLimits {
    SessionLimits { idle_timeout: config.session.idle_timeout, max_duration: config.session.max_duration }
}

fn session_settings(config: &Config) -> SessionSettings {
    SessionSettings {
        end_grace: config.audio.end_grace,
        reconnect_grace: config.audio.reconnect_grace,
        // An idle session is told of often enough that nobody takes it for dead.
        touch_interval: (config.session.idle_timeout / 4).min(Duration::from_secs(30)),
    }
}

fn upload_options(config: &Config) -> UploadOptions {
    UploadOptions {
        sync_interval: config.audio.staging_sync_interval,
        idle_timeout: config.session.idle_timeout,
        reconnect_grace: config.audio.reconnect_grace,
        max_in_flight: config.audio.uploads_in_flight,
        ..UploadOptions::new(config.storage.data_dir.join("staging"))
    }
}

fn start_tracks(
    config: &Config,
    store: &Arc<dyn Store>,
    objects: &Objects,
    stats: &Arc<TrackStats>,
) -> Vec<Addr<TrackActor>> {
    let deps = TrackDeps {
        store: Arc::clone(store),
        objects: Arc::clone(objects),
        scratch: config.storage.data_dir.join("tracks"),
        stats: Arc::clone(stats),
    };
    TrackActor::start_some(config.audio.track_makers, deps)
}

fn store_record_of(persist: &ActorPool<PersistActor>) -> upload::StoreRecordOf {
    let persist = persist.clone();
    Arc::new(move |stream, record| persist.of(&stream).try_send(record).is_ok())
}

fn drop_audio_of(upload: &ActorPool<UploadActor>) -> DropAudioOf {
    let upload = upload.clone();
    Arc::new(move |deletion| {
        let upload = upload.clone();
        Box::pin(async move { upload::drop_audio(&upload, &deletion).await })
    })
}

fn parts_of(store: &Arc<dyn Store>) -> upload::PartsOf {
    let store = Arc::clone(store);
    Arc::new(move |part| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let stored = async {
                let parts = store.stream_parts(part.stream).await?;
                // In this order: a row that is missing because of a deletion finds it.
                let is_deleted = store.is_deleted(part.session, &part.user, part.started_at).await?;
                Ok::<_, StoreError>(StoredParts { parts, is_deleted })
            };
            stored.await.inspect_err(|error| tracing::warn!(%error, "stored parts cannot be read, trying again")).ok()
        })
    })
}

fn exhausted(report: &mpsc::UnboundedSender<String>) -> Exhausted {
    let report = report.clone();
    Box::new(move |pool| {
        let _ = report.send(format!("the {pool} actors keep dying"));
    })
}

fn readiness(is_database_prepared: watch::Receiver<bool>, persist: &Arc<PersistStats>, journal: &Journal) -> Readiness {
    let (persist, journal) = (Arc::clone(persist), journal.clone());
    Readiness::new(vec![
        ("database", Box::new(move || *is_database_prepared.borrow() && persist.is_database_up())),
        ("journal", Box::new(move || !journal.stats().full)),
    ])
}

/// Thousands of sockets and staged files need more than the usual 1,024 descriptors.
fn raise_open_files_limit() {
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// The node's name, made once for its data directory: presence and journal belong to it.
fn node_id(data_dir: &Path) -> anyhow::Result<NodeId> {
    let path = data_dir.join("node-id");
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no node id", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = NodeId::new();
            std::fs::write(&path, id.to_string()).with_context(|| format!("write {}", path.display()))?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
