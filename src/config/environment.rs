//! The environment and `.env`: what a deployment says without a file.
//!
//! Owns: the names of the variables. The process' environment is read here and nowhere else.
//! Promises: a real variable wins over `.env`, both win over `config.toml`; an empty one counts as not set, which is
//! what `${NAME:-}` in a compose file produces.

use std::{collections::BTreeMap, env::VarError, path::Path, str::FromStr};

use super::{ConfigError, Networks, Secret, file::Settings};

/// Every variable that is read.
pub(super) const NAMES: [&str; 21] = [
    "HOST",
    "PORT",
    "PUBLIC_URL",
    "ORIGIN",
    "DATA_DIR",
    "DATABASE_URL",
    "S3_ENDPOINT",
    "S3_REGION",
    "AWS_REGION",
    "S3_BUCKET",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "S3_PATH_STYLE",
    "KEYS_FILE",
    "SHOPALOUD_KEYS",
    "REQUIRE_TOKEN",
    "TRUSTED_PROXIES",
    "TLS_CERTIFICATE",
    "TLS_KEY",
    "RUST_LOG",
    "LOG_FORMAT",
];

/// Variables by name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process, and of the file `.env` in `folder` if there is one.
    ///
    /// # Errors
    /// [`ConfigError`] for a value that is no UTF-8, and for a `.env` that cannot be read.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn of_process(folder: &Path) -> Result<Self, ConfigError> {
        let mut environment = Self::read_dotenv(&folder.join(".env"))?;
        for name in NAMES {
            match std::env::var(name) {
                Ok(value) => drop(environment.0.insert(name.into(), value)),
                Err(VarError::NotPresent) => {}
                Err(VarError::NotUnicode(_)) => {
                    return Err(ConfigError::Environment { name, reason: "is not valid UTF-8".into() });
                }
            }
        }
        Ok(environment)
    }

    /// The parser's own messages quote the line, which may hold a password: only its number is told.
    fn read_dotenv(path: &Path) -> Result<Self, ConfigError> {
        let entries = match dotenvy::from_path_iter(path) {
            Ok(entries) => entries,
            Err(error) if error.not_found() => return Ok(Self::default()),
            Err(error) => {
                return Err(ConfigError::Unreadable { path: path.into(), source: std::io::Error::other(error) });
            }
        };
        let mut variables = BTreeMap::new();
        for (index, entry) in entries.enumerate() {
            let (name, value) = entry.map_err(|_| ConfigError::DotEnv { path: path.into(), entry: index + 1 })?;
            variables.insert(name, value);
        }
        Ok(Self(variables))
    }

    fn get(&self, name: &'static str) -> Option<&str> {
        debug_assert!(NAMES.contains(&name), "{name} is read from the environment but not listed");
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Separated by commas.
    fn list(&self, name: &'static str) -> Option<Vec<String>> {
        let texts = self.get(name)?.split(',').map(str::trim).filter(|text| !text.is_empty());
        Some(texts.map(str::to_owned).collect())
    }

    fn text(&self, name: &'static str, into: &mut String) {
        if let Some(value) = self.get(name) {
            value.clone_into(into);
        }
    }

    fn parse<T: FromStr>(&self, name: &'static str, expected: &str) -> Result<Option<T>, ConfigError> {
        let parse = |value: &str| {
            value.parse().map_err(|_| ConfigError::Environment { name, reason: format!("is not {expected}") })
        };
        self.get(name).map(parse).transpose()
    }

    fn secret(&self, name: &'static str, into: &mut Option<Secret>) {
        if let Some(value) = self.get(name) {
            *into = Some(Secret::new(value.to_owned()));
        }
    }

    fn optional(&self, name: &'static str, into: &mut Option<String>) {
        if let Some(value) = self.get(name) {
            *into = Some(value.to_owned());
        }
    }

    /// Lays the variables over what the file said.
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), ConfigError> {
        let Settings { server, storage, database, s3, auth, tls, log, .. } = settings;
        self.text("HOST", &mut server.host);
        if let Some(port) = self.parse("PORT", "a port number from 0 to 65535")? {
            server.port = port;
        }
        self.optional("PUBLIC_URL", &mut server.public_url);
        if let Some(origins) = self.list("ORIGIN") {
            server.origins = origins;
        }
        if let Some(proxies) = self.list("TRUSTED_PROXIES") {
            server.trusted_proxies = Networks::try_from(proxies).map_err(|reason| ConfigError::Environment {
                name: "TRUSTED_PROXIES",
                reason: format!("has {reason}"),
            })?;
        }
        if let Some(keys_file) = self.get("KEYS_FILE") {
            auth.keys_file = Some(keys_file.into());
        }
        self.secret("SHOPALOUD_KEYS", &mut auth.keys);
        if let Some(require_token) = self.parse("REQUIRE_TOKEN", "true or false")? {
            auth.require_token = require_token;
        }
        if let Some(certificate) = self.get("TLS_CERTIFICATE") {
            tls.certificate = Some(certificate.into());
        }
        if let Some(key) = self.get("TLS_KEY") {
            tls.key = Some(key.into());
        }
        if let Some(data_dir) = self.get("DATA_DIR") {
            storage.data_dir = data_dir.into();
        }
        self.secret("DATABASE_URL", &mut database.url);
        self.optional("S3_ENDPOINT", &mut s3.endpoint);
        self.text("AWS_REGION", &mut s3.region);
        self.text("S3_REGION", &mut s3.region);
        self.optional("S3_BUCKET", &mut s3.bucket);
        self.secret("S3_ACCESS_KEY", &mut s3.access_key);
        self.secret("S3_SECRET_KEY", &mut s3.secret_key);
        if let Some(path_style) = self.parse("S3_PATH_STYLE", "true or false")? {
            s3.path_style = Some(path_style);
        }
        self.text("RUST_LOG", &mut log.level);
        if let Some(format) = self.get("LOG_FORMAT") {
            log.format = match format {
                "auto" => super::LogFormat::Auto,
                "pretty" => super::LogFormat::Pretty,
                "json" => super::LogFormat::Json,
                _ => {
                    return Err(ConfigError::Environment {
                        name: "LOG_FORMAT",
                        reason: "is not one of auto, pretty, json".into(),
                    });
                }
            };
        }
        Ok(())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied<const N: usize>(variables: [(&str, &str); N]) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        Environment::from(variables).apply(&mut settings)?;
        Ok(settings)
    }

    #[test]
    fn variables_win_over_the_file() {
        let settings = applied([
            ("HOST", "0.0.0.0"),
            ("PORT", "80"),
            ("PUBLIC_URL", "https://api.example"),
            ("ORIGIN", "https://a.example, https://b.example,"),
            ("DATA_DIR", "/var/lib/shopaloud"),
            ("DATABASE_URL", "postgres://db/shop"),
            ("S3_ENDPOINT", "http://s3:9000"),
            ("AWS_REGION", "eu-west-1"),
            ("S3_BUCKET", "audio"),
            ("S3_ACCESS_KEY", "key"),
            ("S3_SECRET_KEY", "secret"),
            ("S3_PATH_STYLE", "false"),
            ("RUST_LOG", "debug"),
            ("LOG_FORMAT", "json"),
            ("KEYS_FILE", "/run/keys.toml"),
            ("SHOPALOUD_KEYS", "key = []"),
            ("REQUIRE_TOKEN", "true"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1"),
            ("TLS_CERTIFICATE", "/run/tls.crt"),
            ("TLS_KEY", "/run/tls.key"),
        ])
        .unwrap();
        assert_eq!((settings.server.host.as_str(), settings.server.port), ("0.0.0.0", 80));
        assert_eq!(settings.server.public_url.as_deref(), Some("https://api.example"));
        assert_eq!(settings.server.origins, ["https://a.example", "https://b.example"]);
        assert_eq!(settings.storage.data_dir, Path::new("/var/lib/shopaloud"));
        assert_eq!(settings.database.url, Some(Secret::new("postgres://db/shop".into())));
        assert_eq!(settings.s3.endpoint.as_deref(), Some("http://s3:9000"));
        assert_eq!((settings.s3.region.as_str(), settings.s3.bucket.as_deref()), ("eu-west-1", Some("audio")));
        assert_eq!(settings.s3.access_key, Some(Secret::new("key".into())));
        assert_eq!(settings.s3.secret_key, Some(Secret::new("secret".into())));
        assert_eq!(settings.s3.path_style, Some(false));
        assert_eq!(settings.auth.keys_file.as_deref(), Some(Path::new("/run/keys.toml")));
        assert_eq!(settings.auth.keys, Some(Secret::new("key = []".into())));
        assert!(settings.auth.require_token);
        assert!(settings.server.trusted_proxies.contains([10, 1, 2, 3].into()));
        assert_eq!(settings.tls.certificate.as_deref(), Some(Path::new("/run/tls.crt")));
        assert_eq!(settings.tls.key.as_deref(), Some(Path::new("/run/tls.key")));
        assert_eq!((settings.log.level.as_str(), settings.log.format), ("debug", crate::config::LogFormat::Json));
    }

    #[test]
    fn the_own_region_wins_over_the_common_one() {
        assert_eq!(applied([("AWS_REGION", "a"), ("S3_REGION", "b")]).unwrap().s3.region, "b");
    }

    #[test]
    fn an_empty_variable_is_no_variable() {
        assert_eq!(applied([("S3_BUCKET", ""), ("PORT", " ")]).unwrap(), Settings::default());
    }

    #[test]
    fn a_bad_value_is_named_without_being_quoted() {
        let message = |variables| applied(variables).unwrap_err().to_string();
        assert_eq!(message([("PORT", "70000")]), "PORT is not a port number from 0 to 65535");
        assert_eq!(message([("S3_PATH_STYLE", "yes")]), "S3_PATH_STYLE is not true or false");
        let proxies = message([("TRUSTED_PROXIES", "proxy")]);
        assert!(proxies.starts_with("TRUSTED_PROXIES has \"proxy\" is neither an address"), "{proxies}");
        assert_eq!(message([("LOG_FORMAT", "xml")]), "LOG_FORMAT is not one of auto, pretty, json");
    }

    #[test]
    fn dotenv_is_read_without_touching_the_process() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "# comment\nS3_BUCKET='shop audio'\nexport PORT=4100\n").unwrap();
        let environment = Environment::read_dotenv(&folder.path().join(".env")).unwrap();
        assert!(environment == Environment::from([("S3_BUCKET", "shop audio"), ("PORT", "4100")]));
        assert!(std::env::var_os("S3_BUCKET").is_none());
    }

    #[test]
    fn a_broken_dotenv_is_told_by_entry_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "PORT=1\nS3_SECRET_KEY 'hunter2\n").unwrap();
        let error = Environment::read_dotenv(&folder.path().join(".env")).err().unwrap().to_string();
        assert!(error.ends_with(".env: entry 2 is not NAME=value"), "{error}");
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn the_example_lists_every_variable() {
        let example = include_str!("../../.env.example");
        for name in NAMES {
            assert!(example.lines().any(|line| line.starts_with(&format!("# {name}="))), "{name} is missing");
        }
    }
}
