//! What every object store does, whatever it is made of.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use shopaloud::{
    domain::{AudioFormat, RunId, SessionId, Sha256},
    objects::{
        Expected, FileSlice, FolderStore, Location, ObjectErrorKind, ObjectKey, ObjectStore, Objects, S3Options,
        S3Store, S3Timeouts, SecretKey, Sha256Hasher, UploadedPart, Verdict,
    },
};

use crate::support::s3::TestS3;

const MIB: usize = 1024 * 1024;
const WEBM: &str = "audio/webm";

/// A backend with something in it that outlives a store instance.
enum Backend {
    Folder(tempfile::TempDir),
    S3(TestS3),
}

impl Backend {
    fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    fn s3() -> Self {
        Self::S3(TestS3::start())
    }

    /// A new instance, as after a restart of the process.
    fn open(&self) -> Objects {
        match self {
            Self::Folder(folder) => Arc::new(FolderStore::open(folder.path()).unwrap()),
            Self::S3(server) => Arc::new(S3Store::new(&server.options()).unwrap()),
        }
    }

    /// Where the bytes lie, to spoil them behind the store's back.
    fn file_of(&self, key: &ObjectKey) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().join(key.as_str()),
            Self::S3(server) => server.file_of(key),
        }
    }

    async fn read(&self, store: &Objects, key: &ObjectKey) -> (Vec<u8>, Option<String>) {
        match store.locate(key).await.unwrap() {
            Location::File(path) => (std::fs::read(path).unwrap(), None),
            Location::Url(url) => {
                let answer = reqwest::get(url).await.unwrap().error_for_status().unwrap();
                let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
                (answer.bytes().await.unwrap().to_vec(), Some(content_type))
            }
        }
    }
}

/// Runs each test once per backend.
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod folder {
            $(#[tokio::test] async fn $test() { super::$test(super::Backend::folder()).await })*
        }
        mod s3 {
            $(#[tokio::test] async fn $test() { super::$test(super::Backend::s3()).await })*
        }
    };
}

contract![
    an_object_is_put_verified_read_and_deleted,
    an_empty_object_is_an_object,
    a_put_overwrites,
    a_slice_is_taken_out_of_its_file,
    a_wrong_digest_is_refused,
    a_missing_local_file_is_permanent,
    a_multipart_upload_is_resumed_by_another_instance,
    a_part_put_again_overwrites,
    an_upload_is_completed_once,
    an_upload_with_an_unknown_part_is_not_completed,
    an_aborted_upload_is_gone,
    an_unknown_upload_is_aborted_without_complaint,
    what_is_not_there_is_missing,
    what_was_cut_short_is_different,
    what_was_spoiled_is_different,
    deleting_twice_is_no_error,
    the_store_answers,
];

/// Bytes that differ from place to place and from seed to seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

fn digest(bytes: &[u8]) -> Sha256 {
    let mut hasher = Sha256Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

fn key() -> ObjectKey {
    ObjectKey::for_run(SessionId::new(), RunId::new(), AudioFormat::WebM)
}

/// A local file, and slices of it with their digests.
struct Local {
    file: tempfile::NamedTempFile,
    bytes: Vec<u8>,
}

impl Local {
    fn of(bytes: Vec<u8>) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        Self { file, bytes }
    }

    fn slice(&self, from: usize, to: usize) -> FileSlice {
        FileSlice {
            path: self.file.path().into(),
            offset: from as u64,
            len: (to - from) as u64,
            sha256: digest(&self.bytes[from..to]),
        }
    }

    fn whole(&self) -> FileSlice {
        self.slice(0, self.bytes.len())
    }

    fn expected(&self, parts: &[UploadedPart]) -> Expected {
        Expected { size_bytes: self.bytes.len() as u64, sha256: digest(&self.bytes), parts: parts.to_vec() }
    }
}

/// Uploads `local` in parts of 5 MiB.
async fn put_in_parts(store: &Objects, key: &ObjectKey, local: &Local) -> (String, Vec<UploadedPart>) {
    let upload_id = store.begin(key, WEBM).await.unwrap();
    let mut parts = Vec::new();
    for (number, from) in (1..).zip((0..local.bytes.len()).step_by(5 * MIB)) {
        let slice = local.slice(from, local.bytes.len().min(from + 5 * MIB));
        parts.push(store.put_part(key, &upload_id, number, slice).await.unwrap());
    }
    (upload_id, parts)
}

async fn an_object_is_put_verified_read_and_deleted(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(300_000, 1)));
    store.put(&key, WEBM, local.whole()).await.unwrap();

    assert_eq!(store.verify(&key, &local.expected(&[])).await.unwrap(), Verdict::Intact);
    let (bytes, content_type) = backend.read(&store, &key).await;
    assert!(bytes == local.bytes);
    assert!(content_type.is_none_or(|content_type| content_type == WEBM));

    store.delete(&key).await.unwrap();
    assert_eq!(store.verify(&key, &local.expected(&[])).await.unwrap(), Verdict::Missing);
}

async fn an_empty_object_is_an_object(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(Vec::new()));
    store.put(&key, WEBM, local.whole()).await.unwrap();
    assert_eq!(store.verify(&key, &local.expected(&[])).await.unwrap(), Verdict::Intact);
}

async fn a_put_overwrites(backend: Backend) {
    let (store, key) = (backend.open(), key());
    store.put(&key, WEBM, Local::of(noise(1_000, 1)).whole()).await.unwrap();
    let second = Local::of(noise(1_000, 2));
    store.put(&key, WEBM, second.whole()).await.unwrap();
    assert_eq!(store.verify(&key, &second.expected(&[])).await.unwrap(), Verdict::Intact);
}

async fn a_slice_is_taken_out_of_its_file(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(500_000, 1)));
    store.put(&key, WEBM, local.slice(100_001, 400_003)).await.unwrap();
    assert!(backend.read(&store, &key).await.0 == local.bytes[100_001..400_003]);
}

async fn a_wrong_digest_is_refused(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(1_000, 1)));
    let wrong = FileSlice { sha256: Sha256([1; 32]), ..local.whole() };
    assert!(store.put(&key, WEBM, wrong.clone()).await.is_err());
    assert_eq!(store.verify(&key, &local.expected(&[])).await.unwrap(), Verdict::Missing);

    let upload_id = store.begin(&key, WEBM).await.unwrap();
    assert!(store.put_part(&key, &upload_id, 1, wrong).await.is_err());
}

async fn a_missing_local_file_is_permanent(backend: Backend) {
    let (store, local) = (backend.open(), Local::of(noise(1_000, 1)));
    let nowhere = FileSlice { path: "/nowhere/at/all".into(), ..local.whole() };
    assert_eq!(store.put(&key(), WEBM, nowhere).await.unwrap_err().kind(), ObjectErrorKind::Permanent);
    let too_long = FileSlice { len: 1_001, ..local.whole() };
    assert_eq!(store.put(&key(), WEBM, too_long).await.unwrap_err().kind(), ObjectErrorKind::Permanent);
}

async fn a_multipart_upload_is_resumed_by_another_instance(backend: Backend) {
    let (key, local) = (key(), Local::of(noise(12 * MIB, 1)));
    let upload_id = backend.open().begin(&key, WEBM).await.unwrap();
    let mut parts = Vec::new();
    for (number, from, to) in [(1, 0, 5), (2, 5, 10), (3, 10, 12)] {
        let slice = local.slice(from * MIB, to * MIB);
        parts.push(backend.open().put_part(&key, &upload_id, number, slice).await.unwrap());
    }
    assert_eq!(parts.iter().map(|part| part.size_bytes).sum::<u64>(), 12 * MIB as u64);

    let store = backend.open();
    store.complete(&key, &upload_id, &parts).await.unwrap();
    assert_eq!(store.verify(&key, &local.expected(&parts)).await.unwrap(), Verdict::Intact);
    let (bytes, content_type) = backend.read(&store, &key).await;
    assert!(bytes == local.bytes);
    assert!(content_type.is_none_or(|content_type| content_type == WEBM));
}

async fn a_part_put_again_overwrites(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(6 * MIB, 1)));
    let upload_id = store.begin(&key, WEBM).await.unwrap();
    store.put_part(&key, &upload_id, 1, Local::of(noise(6 * MIB, 2)).whole()).await.unwrap();
    let part = store.put_part(&key, &upload_id, 1, local.whole()).await.unwrap();
    store.complete(&key, &upload_id, std::slice::from_ref(&part)).await.unwrap();
    assert_eq!(store.verify(&key, &local.expected(&[part])).await.unwrap(), Verdict::Intact);
}

async fn an_upload_is_completed_once(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(6 * MIB, 1)));
    let (upload_id, parts) = put_in_parts(&store, &key, &local).await;
    store.complete(&key, &upload_id, &parts).await.unwrap();
    let again = store.complete(&key, &upload_id, &parts).await.unwrap_err();
    assert_eq!(again.kind(), ObjectErrorKind::NoSuchUpload);
    assert_eq!(store.verify(&key, &local.expected(&parts)).await.unwrap(), Verdict::Intact);
}

async fn an_upload_with_an_unknown_part_is_not_completed(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(6 * MIB, 1)));
    let (upload_id, mut parts) = put_in_parts(&store, &key, &local).await;
    parts.push(UploadedPart { number: 3, ..parts[1].clone() });
    assert!(store.complete(&key, &upload_id, &parts).await.is_err());
    assert_eq!(store.verify(&key, &local.expected(&parts)).await.unwrap(), Verdict::Missing);
}

async fn an_aborted_upload_is_gone(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(6 * MIB, 1)));
    let (upload_id, parts) = put_in_parts(&store, &key, &local).await;
    store.abort(&key, &upload_id).await.unwrap();
    let completed = store.complete(&key, &upload_id, &parts).await.unwrap_err();
    assert_eq!(completed.kind(), ObjectErrorKind::NoSuchUpload);
    // Small, so that the answer is read before the connection is closed on an unread body.
    let put = store.put_part(&key, &upload_id, 1, local.slice(0, 1_000)).await.unwrap_err();
    assert_eq!(put.kind(), ObjectErrorKind::NoSuchUpload);
    assert_eq!(store.verify(&key, &local.expected(&parts)).await.unwrap(), Verdict::Missing);
}

async fn an_unknown_upload_is_aborted_without_complaint(backend: Backend) {
    let (store, key) = (backend.open(), key());
    let upload_id = store.begin(&key, WEBM).await.unwrap();
    store.abort(&key, &upload_id).await.unwrap();
    store.abort(&key, &upload_id).await.unwrap();
    store.abort(&key, "never-heard-of").await.unwrap();
}

async fn what_is_not_there_is_missing(backend: Backend) {
    let local = Local::of(noise(10, 1));
    assert_eq!(backend.open().verify(&key(), &local.expected(&[])).await.unwrap(), Verdict::Missing);
}

async fn what_was_cut_short_is_different(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(10_000, 1)));
    store.put(&key, WEBM, local.whole()).await.unwrap();
    std::fs::File::options().write(true).open(backend.file_of(&key)).unwrap().set_len(9_999).unwrap();
    let verdict = store.verify(&key, &local.expected(&[])).await.unwrap();
    assert!(matches!(verdict, Verdict::Different(_)), "{verdict:?}");
}

/// In parts, since the S3 server keeps no checksum of such an object: the store has to read it.
async fn what_was_spoiled_is_different(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(6 * MIB, 1)));
    let (upload_id, parts) = put_in_parts(&store, &key, &local).await;
    store.complete(&key, &upload_id, &parts).await.unwrap();
    let mut bytes = std::fs::read(backend.file_of(&key)).unwrap();
    bytes[5 * MIB + 17] ^= 1;
    std::fs::write(backend.file_of(&key), bytes).unwrap();
    let verdict = store.verify(&key, &local.expected(&parts)).await.unwrap();
    assert!(matches!(verdict, Verdict::Different(_)), "{verdict:?}");
}

async fn deleting_twice_is_no_error(backend: Backend) {
    let (store, key, local) = (backend.open(), key(), Local::of(noise(10, 1)));
    store.put(&key, WEBM, local.whole()).await.unwrap();
    store.delete(&key).await.unwrap();
    store.delete(&key).await.unwrap();
}

async fn the_store_answers(backend: Backend) {
    backend.open().ping().await.unwrap();
}

#[test]
fn only_keys_of_this_service_are_taken() {
    let good = key();
    assert_eq!(ObjectKey::parse(good.as_str()), Ok(good.clone()));
    let (session, run) = (SessionId::new(), RunId::new());
    for text in [
        String::new(),
        "sessions".into(),
        "../sessions".into(),
        format!("sessions/../{run}.webm"),
        format!("sessions/{session}/../../etc/passwd"),
        format!("sessions/{session}/{run}.webm/.."),
        format!("sessions/{session}/{run}.exe"),
        format!("sessions/{session}/{run}"),
        format!("/sessions/{session}/{run}.webm"),
        format!("sessions/{session}/{run}.webm\0"),
        good.as_str().to_uppercase(),
        format!("sessions/{{{session}}}/{run}.webm"),
    ] {
        assert!(ObjectKey::parse(&text).is_err(), "{text:?}");
    }
}

/// Nothing behind the port, or somebody who never answers.
#[tokio::test]
async fn an_unreachable_store_is_retryable_within_the_deadline() {
    let server = TestS3::start();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let timeouts = S3Timeouts {
        connect: Duration::from_millis(200),
        attempt: Duration::from_millis(300),
        operation: Duration::from_millis(700),
    };
    let local = Local::of(noise(1_000, 1));
    for address in [silent.local_addr().unwrap(), refusing] {
        let endpoint = Some(format!("http://{address}"));
        let store = S3Store::new(&S3Options { endpoint, timeouts, ..server.options() }).unwrap();
        let begun = Instant::now();
        let errors = [
            store.put(&key(), WEBM, local.whole()).await.unwrap_err(),
            store.begin(&key(), WEBM).await.unwrap_err(),
            store.verify(&key(), &local.expected(&[])).await.unwrap_err(),
            store.ping().await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ObjectErrorKind::Retryable, "{error}");
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_wrong_secret_or_bucket_is_retryable() {
    let server = TestS3::start();
    let local = Local::of(noise(1_000, 1));
    for options in [
        S3Options { secret_key: Some(SecretKey::new("wrong")), ..server.options() },
        S3Options { bucket: "elsewhere".into(), ..server.options() },
    ] {
        let store = S3Store::new(&options).unwrap();
        assert_eq!(store.ping().await.unwrap_err().kind(), ObjectErrorKind::Retryable);
    }
    let wrong = S3Options { secret_key: Some(SecretKey::new("wrong")), ..server.options() };
    let error = S3Store::new(&wrong).unwrap().put(&key(), WEBM, local.whole()).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Retryable);
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
}

#[tokio::test]
async fn a_store_that_comes_back_is_used_again() {
    let mut server = TestS3::start();
    let store = S3Store::new(&server.options()).unwrap();
    store.ping().await.unwrap();
    server.stop();
    assert_eq!(store.ping().await.unwrap_err().kind(), ObjectErrorKind::Retryable);
    server.restart();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_folder_joins_only_the_parts_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = (FolderStore::open(folder.path()).unwrap(), key());
    let upload_id = store.begin(&key, WEBM).await.unwrap();
    let told = store.put_part(&key, &upload_id, 1, Local::of(noise(1_000, 1)).whole()).await.unwrap();
    store.put_part(&key, &upload_id, 1, Local::of(noise(1_000, 2)).whole()).await.unwrap();
    let error = store.complete(&key, &upload_id, &[told]).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::NoSuchUpload);
}

/// What a crash left half-written is neither an object nor in the way.
#[tokio::test]
async fn a_folder_shows_no_half_written_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).unwrap();
    let local = Local::of(noise(1_000, 1));
    let wrong = FileSlice { sha256: Sha256([1; 32]), ..local.whole() };
    store.put(&key(), WEBM, wrong).await.unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path().join(".incoming")).unwrap().count(), 0);

    let abandoned = folder.path().join(".incoming/abandoned");
    let file = std::fs::File::create(&abandoned).unwrap();
    FolderStore::open(folder.path()).unwrap();
    assert!(abandoned.exists());
    file.set_modified(std::time::SystemTime::now() - Duration::from_hours(8 * 24)).unwrap();
    FolderStore::open(folder.path()).unwrap();
    assert!(!abandoned.exists());
}
