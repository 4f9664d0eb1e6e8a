//! A real S3 server on a port of its own, which can be stopped and started again in the middle of a test.
//!
//! Promises: the same port and the same objects after [`TestS3::restart`]; every connection is cut by
//! [`TestS3::stop`].
//! The storage behind it deviates from S3 in how it treats upload ids that it does not know; [`Faithful`] mends that.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder as Connections,
};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto, s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use shopaloud::objects::{MIN_PART_SIZE_BYTES, ObjectKey, S3Options, S3Timeouts, SecretKey};
use tokio::sync::oneshot;

pub(crate) const BUCKET: &str = "recordings";
pub(crate) const ACCESS_KEY: &str = "test-access";
pub(crate) const SECRET_KEY: &str = "test-secret";

/// A server with one bucket. Its folder goes with it.
pub(crate) struct TestS3 {
    folder: tempfile::TempDir,
    service: S3Service,
    address: SocketAddr,
    running: Option<Running>,
    faults: Arc<Faults>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What goes wrong on request, and what was seen.
#[derive(Default)]
pub(crate) struct Faults {
    lose_answer_of_complete: AtomicBool,
    damage_next_object: AtomicBool,
    parts_received: AtomicUsize,
}

impl TestS3 {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let faults = Arc::new(Faults::default());
        let storage = FileSystem::new(folder.path()).unwrap();
        let bucket = folder.path().join(BUCKET);
        let mut builder = S3ServiceBuilder::new(Faithful { storage, bucket, faults: Arc::clone(&faults) });
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let service = builder.build();
        let running = Some(serve(listener, service.clone()));
        Self { folder, service, address, running, faults }
    }

    /// Cuts every connection. Later ones are refused until [`Self::restart`].
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.send(()).unwrap();
            running.thread.join().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.running = Some(serve(TcpListener::bind(self.address).unwrap(), self.service.clone()));
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint()),
            region: "us-east-1".into(),
            bucket: BUCKET.into(),
            access_key: Some(ACCESS_KEY.into()),
            secret_key: Some(SecretKey::new(SECRET_KEY)),
            path_style: true,
            part_size_bytes: MIN_PART_SIZE_BYTES,
            presign_lifetime: Duration::from_mins(5),
            timeouts: S3Timeouts::default(),
        }
    }

    /// Where the bytes of an object lie, to spoil them behind the server's back.
    pub(crate) fn file_of(&self, key: &ObjectKey) -> PathBuf {
        self.folder.path().join(BUCKET).join(key.as_str())
    }

    /// The next upload is completed, and the client hears of an error.
    pub(crate) fn lose_answer_of_next_complete(&self) {
        self.faults.lose_answer_of_complete.store(true, Ordering::SeqCst);
    }

    /// The next completed object loses its last byte.
    pub(crate) fn damage_next_completed_object(&self) {
        self.faults.damage_next_object.store(true, Ordering::SeqCst);
    }

    pub(crate) fn parts_received(&self) -> usize {
        self.faults.parts_received.load(Ordering::SeqCst)
    }
}

impl Drop for TestS3 {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A thread with a runtime of its own: when the runtime goes, so do all connections.
fn serve(listener: TcpListener, service: S3Service) -> Running {
    listener.set_nonblocking(true).unwrap();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let accepting = async {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let service = service.clone();
                    tokio::spawn(async move {
                        let connections = Connections::new(TokioExecutor::new());
                        // An error is a client that left.
                        let _ = connections.serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = stopped => {}
            }
        });
    });
    Running { stop, thread }
}

/// The file system storage, speaking of unknown uploads as S3 does: it says 403 where S3 says `NoSuchUpload`.
struct Faithful {
    storage: FileSystem,
    bucket: PathBuf,
    faults: Arc<Faults>,
}

fn unknown_upload<T>(result: S3Result<T>) -> S3Result<T> {
    result.map_err(|error| {
        let unknown = [s3s::S3ErrorCode::AccessDenied, s3s::S3ErrorCode::InvalidRequest].contains(error.code());
        if unknown { s3_error!(NoSuchUpload) } else { error }
    })
}

#[async_trait::async_trait]
impl S3 for Faithful {
    async fn put_object(&self, request: S3Request<dto::PutObjectInput>) -> S3Result<S3Response<dto::PutObjectOutput>> {
        self.storage.put_object(request).await
    }

    async fn get_object(&self, request: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        self.storage.get_object(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        self.storage.head_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        self.storage.delete_object(request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.storage.head_bucket(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        self.storage.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let received = unknown_upload(self.storage.upload_part(request).await)?;
        self.faults.parts_received.fetch_add(1, Ordering::SeqCst);
        Ok(received)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let object = self.bucket.join(&request.input.key);
        let completed = unknown_upload(self.storage.complete_multipart_upload(request).await)?;
        if self.faults.damage_next_object.swap(false, Ordering::SeqCst) {
            let file = std::fs::File::options().write(true).open(object).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        }
        if self.faults.lose_answer_of_complete.swap(false, Ordering::SeqCst) {
            return Err(s3_error!(InternalError));
        }
        Ok(completed)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        unknown_upload(self.storage.abort_multipart_upload(request).await)
    }
}
