//! What is kept beside a staged run: all that its bytes do not tell.
//!
//! Promises: a sidecar that can be read is whole and valid; it never speaks of bytes that are not synced.
//! Refuses: to guess at a form that a later version wrote.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{messages::BeginRun, run::Multipart};
use crate::{
    domain::{Arrivals, AudioFormat, RunId, SessionId, StreamId, Timestamp, UserId},
    objects::UploadedPart,
};

const VERSION: u32 = 1;

/// The state of a run as of its last sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sidecar {
    pub(super) begin: BeginRun,
    /// So many bytes of the staged file are on stable storage.
    pub(super) synced_len: u64,
    /// When the last of them arrived.
    pub(super) last_at: Timestamp,
    /// When they all did.
    pub(super) arrivals: Arrivals,
    pub(super) finished: bool,
    pub(super) upload: Option<Multipart>,
}

/// Why a sidecar is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum SidecarError {
    #[error("cannot read a sidecar: {0}")]
    Io(#[from] io::Error),
    #[error("not a sidecar: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("sidecar has version {0}, which this program does not know")]
    Version(u32),
    #[error("sidecar holds an invalid {0}")]
    Invalid(&'static str),
}

/// As it is written: plain values only, so that the domain need not promise a form on disk.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    run: RunId,
    session: SessionId,
    user: String,
    stream: StreamId,
    stream_offset: u64,
    content_type: String,
    begun_at_ms: i64,
    last_at_ms: i64,
    /// Base64. Missing in what an earlier version wrote.
    #[serde(default)]
    arrivals: String,
    synced_len: u64,
    finished: bool,
    upload_id: Option<String>,
    parts: Vec<UploadedPart>,
}

impl Sidecar {
    /// Writes aside, syncs, renames. The caller syncs the directory.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension("tmp");
        let mut file = File::create(&aside)?;
        file.write_all(&self.to_bytes()?)?;
        file.sync_data()?;
        fs::rename(aside, path)
    }

    pub(super) fn read(path: &Path) -> Result<Self, SidecarError> {
        Self::from_bytes(&fs::read(path)?)
    }

    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Written {
            version: VERSION,
            run: self.begin.run,
            session: self.begin.session,
            user: self.begin.user.as_str().to_owned(),
            stream: self.begin.stream,
            stream_offset: self.begin.stream_offset,
            content_type: self.begin.format.content_type().to_owned(),
            begun_at_ms: self.begin.at.as_unix_ms(),
            last_at_ms: self.last_at.as_unix_ms(),
            arrivals: BASE64_STANDARD.encode(self.arrivals.as_bytes()),
            synced_len: self.synced_len,
            finished: self.finished,
            upload_id: self.upload.as_ref().map(|upload| upload.id.clone()),
            parts: self.upload.as_ref().map_or_else(Vec::new, |upload| upload.parts.clone()),
        })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, SidecarError> {
        /// Read before the rest, which may look different in another version.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(SidecarError::Version(version));
        }
        let written: Written = serde_json::from_slice(bytes)?;
        let at = |ms| Timestamp::from_unix_ms(ms).ok_or(SidecarError::Invalid("time"));
        Ok(Self {
            begin: BeginRun {
                run: written.run,
                session: written.session,
                user: UserId::parse(&written.user).map_err(|_| SidecarError::Invalid("user id"))?,
                stream: written.stream,
                stream_offset: written.stream_offset,
                format: AudioFormat::from_content_type(&written.content_type),
                at: at(written.begun_at_ms)?,
            },
            synced_len: written.synced_len,
            last_at: at(written.last_at_ms)?,
            arrivals: BASE64_STANDARD
                .decode(&written.arrivals)
                .ok()
                .and_then(|bytes| Arrivals::from_bytes(&bytes).ok())
                .ok_or(SidecarError::Invalid("arrivals"))?,
            finished: written.finished,
            upload: written.upload_id.map(|id| Multipart { id, parts: written.parts }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar() -> Sidecar {
        Sidecar {
            begin: BeginRun {
                run: RunId::new(),
                session: SessionId::new(),
                user: UserId::parse("anna@example.com").unwrap(),
                stream: StreamId::new(),
                stream_offset: 77,
                format: AudioFormat::Ogg,
                at: Timestamp::from_unix_ms(1_000).unwrap(),
            },
            synced_len: 12,
            last_at: Timestamp::from_unix_ms(2_000).unwrap(),
            arrivals: Arrivals::from_bytes(&[5, 1, 5, 100]).unwrap(),
            finished: true,
            upload: Some(Multipart {
                id: "upload".into(),
                parts: vec![UploadedPart { number: 1, etag: "\"e\"".into(), size_bytes: 5, sha256: "00".into() }],
            }),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        for sidecar in [sidecar(), Sidecar { upload: None, finished: false, ..sidecar() }] {
            sidecar.write(&path).unwrap();
            assert_eq!(Sidecar::read(&path).unwrap(), sidecar);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sidecar_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        sidecar().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(Sidecar::read(&path).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_later_version_is_not_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, r#"{"version":2,"new":true}"#).unwrap();
        assert!(matches!(Sidecar::read(&path), Err(SidecarError::Version(2))));
    }
}
