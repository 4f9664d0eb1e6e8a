//! `config.toml`: reading it, and saying in one line what is wrong with it.

use std::path::Path;

use serde::Deserialize;

use super::{
    Auth, ConfigError, Limits,
    access::TlsSection,
    sections::{Audio, Database, Journal, Log, Memory, Retention, S3Section, Server, Session, Storage},
};

/// The file as it is written: every section and every key may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) memory: Memory,
    pub(super) storage: Storage,
    pub(super) database: Database,
    pub(super) journal: Journal,
    pub(super) audio: Audio,
    pub(super) s3: S3Section,
    pub(super) session: Session,
    pub(super) retention: Retention,
    pub(super) auth: Auth,
    pub(super) limits: Limits,
    pub(super) tls: TlsSection,
    pub(super) log: Log,
}

impl Settings {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        Self::parse(&text).map_err(|(line, reason)| ConfigError::File { path: path.to_path_buf(), line, reason })
    }

    /// On failure the line, from 1, and the key with the reason. Never the value: it may be a password.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let before = text.get(..offset).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
            let reason = error.message().replace('\n', " ");
            (line, key.map_or_else(|| reason.clone(), |key| format!("{key}: {reason}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let (line, reason) = Settings::parse("[server]\nhost = \"::1\"\nprot = 4001\n").unwrap_err();
        assert_eq!(line, 3);
        assert!(reason.starts_with("prot: unknown field `prot`, expected one of "), "{reason}");
    }

    #[test]
    fn an_unknown_section_is_refused() {
        let (line, reason) = Settings::parse("\n[sever]\nport = 1\n").unwrap_err();
        assert_eq!(line, 2);
        assert!(reason.contains("unknown field `sever`"), "{reason}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_key() {
        let (line, reason) = Settings::parse("[server]\nport = \"http\"").unwrap_err();
        assert_eq!((line, reason.as_str()), (2, "port: invalid type: string \"http\", expected u16"));
        let (_, reason) = Settings::parse("[audio]\nstore = \"tape\"").unwrap_err();
        assert!(reason.starts_with("store: unknown variant `tape`, expected `folder` or `s3`"), "{reason}");
    }

    #[test]
    fn text_that_is_no_toml_is_refused_in_one_line() {
        let (line, reason) = Settings::parse("[server]\nport 1\n").unwrap_err();
        assert_eq!(line, 2);
        assert!(!reason.contains('\n'), "{reason}");
    }
}
