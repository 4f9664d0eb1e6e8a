//! Where keys come from: the keys file and the environment, together.
//!
//! Promises: a keys file that was there and is gone is a failure, not an empty keyring.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    keyring::Keyring,
    keys_file::{self, KeysError},
};
use crate::config::{Config, Secret};

/// The file and the text of the environment.
#[derive(Debug)]
pub(super) struct KeySources {
    file: PathBuf,
    given: Option<Secret>,
    was_there: AtomicBool,
}

impl KeySources {
    pub(super) fn of(config: &Config) -> Self {
        let (file, given) = (config.keys_file.clone(), config.auth.keys.clone());
        Self { was_there: AtomicBool::new(file.exists()), file, given }
    }

    /// # Errors
    /// [`KeysError`] when anything of it cannot be read or understood.
    pub(super) fn read(&self) -> Result<Keyring, KeysError> {
        let file = self.file.as_path();
        let refused = |place: &Path, reason: &str| KeysError::Refused {
            place: place.display().to_string(),
            reason: reason.to_owned(),
        };
        let mut ring = match keys_file::read(file)? {
            Some(ring) => {
                self.was_there.store(true, Ordering::Relaxed);
                ring
            }
            None if self.was_there.load(Ordering::Relaxed) => {
                return Err(refused(file, "was removed; to revoke keys, use `shopaloud keys revoke`"));
            }
            None => Keyring::default(),
        };
        if let Some(text) = &self.given {
            let place = Path::new("SHOPALOUD_KEYS");
            let given = keys_file::parse(text.reveal()).map_err(|reason| refused(place, &reason))?;
            let is_known = |id: &str| ring.keys.iter().any(|key| key.id == id);
            if given.keys.iter().any(|key| is_known(&key.id)) {
                return Err(refused(place, "has a key that the keys file has too"));
            }
            ring.keys.extend(given.keys);
            ring.token_secrets.extend(given.token_secrets);
        }
        Ok(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::keyring::{KeyKind, tests::key},
        *,
    };
    use crate::config::Environment;

    fn sources(folder: &Path, given: &str) -> KeySources {
        let text = format!("[auth]\nkeys_file = \"{}\"\n", folder.join("keys.toml").display());
        let environment = Environment::from([("SHOPALOUD_KEYS", given)]);
        KeySources::of(&Config::from_toml(&text, &environment).unwrap())
    }

    #[test]
    fn file_and_environment_are_one_ring() {
        let folder = tempfile::tempdir().unwrap();
        let (given, _) = key(KeyKind::Read, "given");
        let text = keys_file::render(&Keyring { keys: vec![given.clone()], ..Keyring::default() }).unwrap();
        let sources = sources(folder.path(), &text);
        assert_eq!(sources.read().unwrap().keys, std::slice::from_ref(&given));
        let (filed, _) = key(KeyKind::Admin, "filed");
        let file = folder.path().join("keys.toml");
        keys_file::update(&file, |ring| ring.keys.push(filed.clone())).unwrap();
        assert_eq!(sources.read().unwrap().keys, [filed, given.clone()]);
        keys_file::update(&file, |ring| ring.keys.push(given)).unwrap();
        assert!(sources.read().unwrap_err().to_string().contains("that the keys file has too"));
    }

    #[test]
    fn a_file_that_is_gone_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path(), "");
        assert!(sources.read().unwrap().is_empty(), "none was there yet");
        keys_file::update(&folder.path().join("keys.toml"), |_| ()).unwrap();
        assert!(sources.read().unwrap().is_empty());
        std::fs::remove_file(folder.path().join("keys.toml")).unwrap();
        assert!(sources.read().unwrap_err().to_string().contains("was removed"));
    }
}
