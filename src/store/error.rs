//! What goes wrong with a database, told apart by what the caller can do about it.
//!
//! Promises: an error is [`StoreErrorKind::Permanent`] only when this very data is to blame. A missing table, a lost
//! right, a wrong password or a full disk is for an operator to repair: meanwhile nothing may be rejected, because
//! what is rejected is lost. Whatever is not known to be otherwise may be tried again.

use std::time::Duration;

use sqlx::{error::DatabaseError, migrate::MigrateError, postgres::PgDatabaseError};

/// What a caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// The database is away, overloaded, restarting or not set up: the same call may succeed later.
    Retryable,
    /// The database is there and does not let this program in: a wrong password, no such database, a file that is no
    /// database. A person has to act. To whoever has data to store it is as good as away; to a program that starts it is
    /// a mistake in its settings.
    Denied,
    /// The database answered and will not take this data: bisect, reject the guilty row.
    Permanent,
}

/// A failed call, with what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {source}")]
pub struct StoreError {
    kind: StoreErrorKind,
    context: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// `context` says what was tried: "write a batch".
    pub fn new(
        kind: StoreErrorKind,
        context: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context, source: source.into() }
    }

    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later, with or without an operator's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind != StoreErrorKind::Permanent
    }

    pub(super) fn from_sqlx(context: &'static str, error: sqlx::Error) -> Self {
        Self::new(kind_of(&error), context, error)
    }
}

/// Waits for `work`, but no longer than `limit`: a network that swallows packets answers nothing at all.
pub(super) async fn within<T>(
    limit: Duration,
    context: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome.map_err(|error| StoreError::from_sqlx(context, error)),
        Err(_) => Err(StoreError::new(
            StoreErrorKind::Retryable,
            context,
            format!("no answer within {} ms", limit.as_millis()),
        )),
    }
}

fn kind_of(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::Database(answer) if blames_data(&**answer) => StoreErrorKind::Permanent,
        sqlx::Error::Database(answer) if denies_entry(&**answer) => StoreErrorKind::Denied,
        sqlx::Error::Migrate(failure) => match &**failure {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => match cause {
                sqlx::Error::Database(answer) if blames_statement(&**answer) => StoreErrorKind::Permanent,
                cause => kind_of(cause),
            },
            _ => StoreErrorKind::Permanent,
        },
        // A value that cannot be sent, or a stored one that cannot be read.
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Configuration(_) => StoreErrorKind::Permanent,
        _ => StoreErrorKind::Retryable,
    }
}

// The classes of SQLSTATE are listed in appendix A of the Postgres manual. What is named nowhere below is retryable, and
// above all: 08 connection, 25 transaction state (25006: a standby, or a primary that became one), 40 serialization and
// deadlock, 53 resources (53100 disk full, 53300 too many connections), 55 locks, 57 operator (57014 statement timeout,
// 57P01 shutdown, 57P03 starting up), 58 I/O, XX internal, and 42 (see `blames_statement`).

/// The values sent are refused, and would be at any time.
fn blames_data(answer: &dyn DatabaseError) -> bool {
    match code_of(answer) {
        // 21: a row met twice in one statement; 22: data exception (a NUL in a text, a number out of range);
        // 23: integrity constraint; 54: program limit, such as a key too large for its index.
        Code::Postgres(sqlstate) => matches!(class_of(&sqlstate), "21" | "22" | "23" | "54"),
        Code::Sqlite(code) => matches!(code, SQLITE_TOOBIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH),
    }
}

/// Nobody with these settings is let in.
fn denies_entry(answer: &dyn DatabaseError) -> bool {
    match code_of(answer) {
        // 28: wrong password, unknown role, an address that pg_hba.conf does not list; 3D: no such database.
        Code::Postgres(sqlstate) => matches!(class_of(&sqlstate), "28" | "3D"),
        Code::Sqlite(code) => code == SQLITE_NOTADB,
    }
}

/// The statement is refused whatever its values: for a migration this is final, for a batch it is not (the schema may
/// be on its way: a node that starts migrates it).
fn blames_statement(answer: &dyn DatabaseError) -> bool {
    match code_of(answer) {
        // 0A: feature not supported; 42: syntax error, unknown name or missing right.
        Code::Postgres(sqlstate) => matches!(class_of(&sqlstate), "0A" | "42"),
        Code::Sqlite(code) => code == SQLITE_ERROR,
    }
}

// Result codes as https://www.sqlite.org/rescode.html numbers them. Whatever is not named here (BUSY, LOCKED, IOERR,
// FULL, READONLY, CANTOPEN, CORRUPT, ..) is the file's or the machine's trouble.
const SQLITE_ERROR: i32 = 1;
const SQLITE_TOOBIG: i32 = 18;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_MISMATCH: i32 = 20;
const SQLITE_NOTADB: i32 = 26;

enum Code {
    /// SQLSTATE, five characters.
    Postgres(String),
    /// Primary result code.
    Sqlite(i32),
}

fn code_of(answer: &dyn DatabaseError) -> Code {
    let code = answer.code().unwrap_or_default();
    if answer.try_downcast_ref::<PgDatabaseError>().is_some() {
        Code::Postgres(code.into_owned())
    } else {
        // The lowest byte of an extended code is the primary one.
        Code::Sqlite(code.parse::<i32>().unwrap_or_default() & 0xFF)
    }
}

/// The first two characters of a SQLSTATE name its class.
fn class_of(sqlstate: &str) -> &str {
    sqlstate.get(..2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_reached_the_database_may_be_tried_again() {
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
            sqlx::Error::Protocol("garbage".into()),
            sqlx::Error::Tls("handshake".into()),
            sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into()),
        ] {
            assert_eq!(kind_of(&error), StoreErrorKind::Retryable, "{error}");
        }
    }

    #[test]
    fn a_migration_that_was_edited_is_final() {
        let error = sqlx::Error::from(MigrateError::VersionMismatch(1));
        assert_eq!(kind_of(&error), StoreErrorKind::Permanent);
        let error = sqlx::Error::from(MigrateError::Execute(sqlx::Error::PoolTimedOut));
        assert_eq!(kind_of(&error), StoreErrorKind::Retryable);
    }

    #[tokio::test]
    async fn silence_becomes_an_error() {
        let error =
            within(Duration::from_millis(3), "read", std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "read: no answer within 3 ms");
    }
}
