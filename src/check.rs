//! `shopaloud check`: tries every part that serving needs, the way serving will use it.
//!
//! Promises: one line for each probe, also after one failed; what a probe made, it removes.
//! Refuses: to change the database: a missing schema is told, not made.

use std::{error::Error, fmt::Display, io, path::Path};

use tokio::io::AsyncWriteExt;

use crate::{
    auth::{Access, AccessError, keyring::KeyKind},
    backends,
    config::{AudioStore, Config},
    domain::{AudioFormat, RunId, SessionId, Timestamp},
    objects::{Expected, FileSlice, ObjectKey, ObjectStore, Sha256Hasher, Verdict},
    store::{SessionQuery, StoreError},
    tls::Certificate,
};

/// What is written and read back. A multipart upload of one part takes any size.
const PROBE: &[u8] = b"shopaloud check";

/// Prints a line for each probe; whether all of them went well.
///
/// # Errors
/// When `out` cannot be written.
pub async fn run(config: &Config, out: &mut (dyn io::Write + Send)) -> io::Result<bool> {
    let mut report = Report { out, all_well: true };
    report.line("configuration", Ok::<_, &str>("no contradictions"))?;
    let data_dir = &config.storage.data_dir;
    let folder = make_probe_file(data_dir).await;
    report.line("data directory", folder.as_ref().map(|_| data_dir.display()))?;
    report.line("keys", keys(config))?;
    if let Some(tls) = &config.tls {
        let certificate = Certificate::load(tls).map_err(|error| error.to_string());
        report.line("certificate", certificate.map(|_| "belongs to its key"))?;
    }
    check_database(config, &mut report).await?;
    check_objects(config, folder.ok(), &mut report).await?;
    Ok(report.all_well)
}

/// Only ever printed.
type ProbeError = Box<dyn Error + Send + Sync>;

struct Report<'a> {
    out: &'a mut (dyn io::Write + Send),
    all_well: bool,
}

impl Report<'_> {
    fn line(&mut self, probe: &str, result: Result<impl Display, impl Display>) -> io::Result<()> {
        match result {
            Ok(detail) => writeln!(self.out, "{probe:<20} ok      {detail}"),
            Err(reason) => {
                self.all_well = false;
                // An error may quote several lines of someone else's text.
                let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                writeln!(self.out, "{probe:<20} failed  {reason}")
            }
        }
    }
}

/// A file in the data directory, gone when it is dropped.
struct ProbeFile {
    slice: FileSlice,
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.slice.path) {
            tracing::warn!(%error, "the probe file stays behind");
        }
    }
}

async fn make_probe_file(data_dir: &Path) -> io::Result<ProbeFile> {
    tokio::fs::create_dir_all(data_dir).await?;
    let path = data_dir.join(format!("check-{}", RunId::new()));
    let mut file = tokio::fs::File::create_new(&path).await?;
    let mut hasher = Sha256Hasher::default();
    hasher.update(PROBE);
    let probe = ProbeFile { slice: FileSlice { path, offset: 0, len: PROBE.len() as u64, sha256: hasher.finish() } };
    file.write_all(PROBE).await?;
    file.sync_all().await?;
    Ok(probe)
}

/// How many of each there are; nobody's name.
fn keys(config: &Config) -> Result<String, AccessError> {
    let ring = Access::check(config)?;
    if ring.is_empty() {
        return Ok("none: open to this machine, and to no other".to_owned());
    }
    let now = Timestamp::now();
    let valid = |kind| ring.keys.iter().filter(|key| key.kind == kind && key.is_valid(now)).count();
    let (write, read, admin) = (valid(KeyKind::Write), valid(KeyKind::Read), valid(KeyKind::Admin));
    Ok(format!("{write} write, {read} read, {admin} admin, {} token secrets", ring.token_secrets.len()))
}

async fn check_database(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let store = match backends::open_store(config).await {
        Ok(store) => store,
        Err(error) => return report.line("database", Err::<&str, _>(error)),
    };
    let answered = store.ping().await;
    let is_up = answered.is_ok();
    let is_file = config.database_url.reveal().starts_with("sqlite:");
    report.line("database", answered.map(|()| "answers").map_err(|error| with_hint(&error, is_file)))?;
    if is_up {
        let read = store.sessions(&SessionQuery::page(None, 1)).await;
        report.line("database schema", read.map(|_| "can be read").map_err(|error| with_hint(&error, true)))?;
    }
    store.close().await;
    Ok(())
}

fn with_hint(error: &StoreError, is_made_by_migrating: bool) -> String {
    let hint = if is_made_by_migrating { " (`shopaloud migrate`, or the first start, makes it)" } else { "" };
    format!("{error}{hint}")
}

async fn check_objects(config: &Config, probe: Option<ProbeFile>, report: &mut Report<'_>) -> io::Result<()> {
    let place = match &config.audio_store {
        AudioStore::Folder => backends::audio_folder(config).display().to_string(),
        AudioStore::S3(s3) => s3.describe(),
    };
    let objects = match backends::open_objects(config) {
        Ok(objects) => objects,
        Err(error) => return report.line("object store", Err::<&str, _>(error)),
    };
    report.line("object store", objects.ping().await.map(|()| place))?;
    let Some(probe) = probe else { return Ok(()) };
    let key = ObjectKey::for_run(SessionId::new(), RunId::new(), AudioFormat::Unknown);
    report.line("object put", put(&*objects, &key, &probe.slice).await.map(|()| "reads back"))?;
    report.line("object multipart", multipart(&*objects, &key, &probe.slice).await.map(|()| "reads back"))?;
    report.line("object delete", delete(&*objects, &key, &probe.slice).await.map(|()| "gone"))
}

const CONTENT_TYPE: &str = AudioFormat::Unknown.content_type();

async fn put(objects: &dyn ObjectStore, key: &ObjectKey, slice: &FileSlice) -> Result<(), ProbeError> {
    objects.put(key, CONTENT_TYPE, slice.clone()).await?;
    expect_intact(objects, key, Expected { size_bytes: slice.len, sha256: slice.sha256, parts: Vec::new() }).await
}

async fn multipart(objects: &dyn ObjectStore, key: &ObjectKey, slice: &FileSlice) -> Result<(), ProbeError> {
    let upload = objects.begin(key, CONTENT_TYPE).await?;
    let uploaded = async {
        let part = objects.put_part(key, &upload, 1, slice.clone()).await?;
        objects.complete(key, &upload, std::slice::from_ref(&part)).await?;
        Ok::<_, ProbeError>(vec![part])
    };
    match uploaded.await {
        Ok(parts) => expect_intact(objects, key, Expected { size_bytes: slice.len, sha256: slice.sha256, parts }).await,
        Err(error) => {
            // The first failure is the one to tell; an upload left open is cleared by the bucket's own rules.
            let _ = objects.abort(key, &upload).await;
            Err(error)
        }
    }
}

async fn delete(objects: &dyn ObjectStore, key: &ObjectKey, slice: &FileSlice) -> Result<(), ProbeError> {
    objects.delete(key).await?;
    let expected = Expected { size_bytes: slice.len, sha256: slice.sha256, parts: Vec::new() };
    match objects.verify(key, &expected).await? {
        Verdict::Missing => Ok(()),
        _ => Err("the object is still there".into()),
    }
}

async fn expect_intact(objects: &dyn ObjectStore, key: &ObjectKey, expected: Expected) -> Result<(), ProbeError> {
    match objects.verify(key, &expected).await? {
        Verdict::Intact => Ok(()),
        Verdict::Missing => Err("what was written is not there".into()),
        Verdict::Different(how) => Err(format!("what was written reads back differently: {how}").into()),
    }
}
