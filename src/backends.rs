//! Opens what the configuration names: the database and the object store.

use std::{path::PathBuf, sync::Arc};

use crate::{
    config::{AudioStore, Config},
    objects::{FolderStore, ObjectError, Objects, S3Options, S3Store, S3Timeouts, SecretKey},
    store::{self, Store, StoreError, StoreOptions},
};

/// Where audio is kept without S3.
#[must_use]
pub fn audio_folder(config: &Config) -> PathBuf {
    config.storage.data_dir.join("audio")
}

/// Opens the database. One that is away is no error here: pools connect when used.
///
/// # Errors
/// [`StoreError`] for a URL that cannot be read, or a file that cannot be made.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let database = &config.database;
    store::open(&StoreOptions {
        url: config.database_url.reveal().to_owned(),
        readers: database.readers,
        connect_timeout: database.connect_timeout,
        statement_timeout: database.statement_timeout,
    })
    .await
}

/// Opens the object store; an S3 that is away is no error here.
///
/// # Errors
/// [`ObjectError`] for a folder that cannot be made, or options that S3 does not take.
pub fn open_objects(config: &Config) -> Result<Objects, ObjectError> {
    Ok(match &config.audio_store {
        AudioStore::Folder => Arc::new(FolderStore::open(audio_folder(config))?),
        AudioStore::S3(s3) => Arc::new(S3Store::new(&S3Options {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            bucket: s3.bucket.clone(),
            access_key: Some(s3.access_key.reveal().to_owned()),
            secret_key: Some(SecretKey::new(s3.secret_key.reveal())),
            path_style: s3.path_style,
            part_size_bytes: s3.part_size_bytes,
            presign_lifetime: s3.presign_lifetime,
            timeouts: S3Timeouts::default(),
        })?),
    })
}
