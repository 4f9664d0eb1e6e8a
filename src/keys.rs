//! `shopaloud keys`: makes, shows and revokes keys.
//!
//! Promises: a secret is printed once, alone on standard output; what is kept of a key is its hash. A running server
//! takes the change within seconds.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};

use crate::{
    auth::{
        keyring::{Key, KeyKind, Keyring, TokenSecret},
        keys_file,
        secret::{self, NewSecret, SecretKind},
    },
    cli::{KeyWord, KeysCommand, NewKey},
    config::{Config, Secret},
    domain::Timestamp,
};

/// Enough that two never meet in one file.
const ID_LETTERS: usize = 8;
/// Longest name, so that a list stays a list.
const MAX_NAME_BYTES: usize = 64;

/// Secrets and lists go to `out`, what explains them to `explain`.
///
/// # Errors
/// When the keys file cannot be read or written, and for what makes no sense.
pub fn run(
    command: KeysCommand,
    config: &Config,
    out: &mut dyn io::Write,
    explain: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let file = config.keys_file.as_path();
    match command {
        KeysCommand::New(new) => make(&new, file, out, explain),
        KeysCommand::List => list(&keys_file::read(file)?.unwrap_or_default(), out),
        KeysCommand::Revoke { id } => {
            ensure!(revoke(&id, file)?, "no key in {} has the id {id}", file.display());
            writeln!(explain, "{id} is revoked; its connections are closed within seconds")?;
            Ok(())
        }
    }
}

fn make(new: &NewKey, file: &Path, out: &mut dyn io::Write, explain: &mut dyn io::Write) -> anyhow::Result<()> {
    ensure!(
        !new.name.is_empty() && new.name.len() <= MAX_NAME_BYTES && !new.name.contains(char::is_control),
        "--name: must have 1 to {MAX_NAME_BYTES} bytes, and no control characters"
    );
    let id = secret::random_letters(ID_LETTERS)?;
    let made = entry(new, &id)?;
    if new.print {
        writeln!(out, "{}", made.secret.reveal())?;
        writeln!(out, "{}", one_line(&made.ring)?)?;
        writeln!(
            explain,
            "The first line is the secret, and is not shown again. The second goes into the variable SHOPALOUD_KEYS of \
             the server: key = [{{…}}, {{…}}], token_secret = [{{…}}], a line each."
        )?;
        return Ok(());
    }
    keys_file::update(file, |ring| {
        ring.keys.extend(made.ring.keys);
        ring.token_secrets.extend(made.ring.token_secrets);
    })?;
    writeln!(out, "{}", made.secret.reveal())?;
    writeln!(explain, "This secret is not shown again. It is {id} in {}; {}", file.display(), hint(new))?;
    Ok(())
}

struct Made {
    secret: NewSecret,
    /// With the one entry in it.
    ring: Keyring,
}

fn entry(new: &NewKey, id: &str) -> anyhow::Result<Made> {
    let kind = match new.kind {
        KeyWord::Write => KeyKind::Write,
        KeyWord::Read => KeyKind::Read,
        KeyWord::Admin => KeyKind::Admin,
        KeyWord::Token => {
            let is_plain = new.origin.is_empty() && !new.anonymous && new.expires_in_days.is_none();
            ensure!(is_plain, "a token secret has no origins and no expiry: its tokens have");
            let secret = NewSecret::generate(SecretKind::Token)?;
            let kept = TokenSecret { kid: id.to_owned(), secret: Secret::new(secret.reveal().to_owned()) };
            return Ok(Made { ring: Keyring { keys: Vec::new(), token_secrets: vec![kept] }, secret });
        }
    };
    let secret = NewSecret::generate(kind.secret_kind())?;
    let parse = |origin: &String| origin.parse().with_context(|| format!("--origin: {origin:?}"));
    let now = Timestamp::now();
    let key = Key {
        id: id.to_owned(),
        name: new.name.clone(),
        kind,
        digest: secret.digest(),
        origins: new.origin.iter().map(parse).collect::<Result<_, _>>()?,
        is_anonymous: new.anonymous,
        created_at: now,
        expires_at: new.expires_in_days.map(|days| now.plus(Duration::from_hours(24 * u64::from(days)))),
    };
    let ring = Keyring { keys: vec![key], token_secrets: Vec::new() };
    // What the file would refuse is refused here, before it is in it.
    if let Err(reason) = keys_file::parse(&keys_file::render(&ring)?) {
        bail!(reason);
    }
    Ok(Made { secret, ring })
}

/// The entry as an inline table, for a variable.
fn one_line(ring: &Keyring) -> anyhow::Result<String> {
    let document: toml::Table = keys_file::render(ring)?.parse()?;
    let entries = document.iter().map(|(name, entries)| format!("{name} = {entries}"));
    Ok(entries.collect::<Vec<_>>().join("\n"))
}

const fn hint(new: &NewKey) -> &'static str {
    match new.kind {
        KeyWord::Write if new.anonymous => "pages of its origins record without showing it.",
        KeyWord::Write => "pages show it in their hello: io(url, { auth: { key } }).",
        KeyWord::Read => "readers send it: Authorization: Bearer …",
        KeyWord::Admin => "it reads and deletes: Authorization: Bearer …",
        KeyWord::Token => "the shop's server signs tokens with it (JWT, HS256), and names the id as their kid.",
    }
}

fn list(ring: &Keyring, out: &mut dyn io::Write) -> anyhow::Result<()> {
    let now = Timestamp::now();
    writeln!(out, "{:<10} {:<6} {:<24} {:<26} {:<26} origins", "id", "kind", "name", "created", "expires")?;
    for key in &ring.keys {
        let expires = match key.expires_at {
            None => "never".to_owned(),
            Some(_) if !key.is_valid(now) => "expired".to_owned(),
            Some(at) => at.to_string(),
        };
        let mut origins = key.origins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if key.is_anonymous {
            origins.push_str(" (need not show it)");
        }
        let (id, kind, name, created) = (&key.id, key.kind.as_str(), &key.name, key.created_at.to_string());
        writeln!(out, "{id:<10} {kind:<6} {name:<24} {created:<26} {expires:<26} {origins}")?;
    }
    for TokenSecret { kid, .. } in &ring.token_secrets {
        writeln!(out, "{kid:<10} token")?;
    }
    Ok(())
}

fn revoke(id: &str, file: &Path) -> anyhow::Result<bool> {
    let known = keys_file::read(file)?.unwrap_or_default();
    let is_there =
        known.keys.iter().any(|key| key.id == id) || known.token_secrets.iter().any(|secret| secret.kid == id);
    if is_there {
        keys_file::update(file, |ring| {
            ring.keys.retain(|key| key.id != id);
            ring.token_secrets.retain(|secret| secret.kid != id);
        })?;
    }
    Ok(is_there)
}
