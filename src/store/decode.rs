//! How rows of either database become the rows of [`crate::store`]: one text, made once for each row type.
//!
//! Promises: what a column holds is checked by the program's own types before it is passed on.

/// Makes `FromRow` for `$row` of `$database`, whose times are of type `$time`.
///
/// Columns are read by position: a look-up by name would cost a hash per value.
macro_rules! decode_rows {
    ($database:ty, $row:ty, $time:ty) => {
        use $crate::{
            domain::{Arrivals, AudioFormat, Deletion, Doomed, EventName, Sha256},
            store::{ExpiredSession, MadeTrack, StreamState, TrackJob, TrackRow, TrackState},
        };

        /// Reads the columns of a row from left to right.
        struct Columns<'r> {
            row: &'r $row,
            next: usize,
        }

        impl<'r> Columns<'r> {
            const fn of(row: &'r $row) -> Self {
                Self { row, next: 0 }
            }

            fn take<T: sqlx::Decode<'r, $database> + sqlx::Type<$database>>(&mut self) -> Result<T, sqlx::Error> {
                let index = self.next;
                self.next += 1;
                sqlx::Row::try_get(self.row, index)
            }

            fn parse<S, T, E>(&mut self, parse: impl FnOnce(S) -> Result<T, E>) -> Result<T, sqlx::Error>
            where
                S: sqlx::Decode<'r, $database> + sqlx::Type<$database>,
                E: Into<sqlx::error::BoxDynError>,
            {
                let index = self.next;
                parse(self.take()?)
                    .map_err(|error| sqlx::Error::ColumnDecode { index: index.to_string(), source: error.into() })
            }

            fn time(&mut self) -> Result<Timestamp, sqlx::Error> {
                self.parse(<$time>::into_timestamp)
            }

            fn optional_time(&mut self) -> Result<Option<Timestamp>, sqlx::Error> {
                self.parse(|time: Option<$time>| time.map(<$time>::into_timestamp).transpose())
            }

            fn user(&mut self) -> Result<UserId, sqlx::Error> {
                self.parse(UserId::parse)
            }

            fn session(&mut self) -> Result<SessionId, sqlx::Error> {
                self.take().map(SessionId::from_uuid)
            }

            fn stream(&mut self) -> Result<StreamId, sqlx::Error> {
                self.take().map(StreamId::from_uuid)
            }

            fn unsigned(&mut self) -> Result<u64, sqlx::Error> {
                self.parse(|count: i64| u64::try_from(count))
            }

            /// The rest of an event's row, after its owner.
            fn event<O>(&mut self, owner: O) -> Result<EventRow<O>, sqlx::Error> {
                Ok(EventRow {
                    owner,
                    stream: self.stream()?,
                    seq: self.take()?,
                    name: self.parse(|name: String| EventName::parse(name))?,
                    data: self.take()?,
                    client_at: self.optional_time()?,
                    received_at: self.time()?,
                })
            }
        }

        impl sqlx::FromRow<'_, $row> for StreamState {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self { user: columns.user()?, last_seq: columns.take()?, audio_end: columns.unsigned()? })
            }
        }

        impl sqlx::FromRow<'_, $row> for OpenSession {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self { session: columns.session()?, opened_at: columns.time()?, alive_at: columns.time()? })
            }
        }

        impl sqlx::FromRow<'_, $row> for ExpiredSession {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self { session: columns.session()?, user: columns.user()? })
            }
        }

        impl sqlx::FromRow<'_, $row> for TrackJob {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self {
                    session: columns.session()?,
                    opened_at: columns.time()?,
                    generation: columns.take()?,
                    attempts: columns.unsigned()?,
                })
            }
        }

        impl sqlx::FromRow<'_, $row> for TrackRow {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                let (session, state) = (columns.session()?, columns.parse(|text: &str| text.parse::<TrackState>())?);
                let problem = columns.take()?;
                let made = match columns.take::<Option<String>>()? {
                    Some(object_key) => Some(MadeTrack {
                        object_key,
                        size_bytes: columns.unsigned()?,
                        sha256: columns.parse(|bytes: &[u8]| bytes.try_into().map(Sha256))?,
                        origin: columns.time()?,
                        duration_ms: columns.unsigned()?,
                        layout: columns.take()?,
                    }),
                    None => None,
                };
                Ok(Self { session, state, problem, made })
            }
        }

        impl sqlx::FromRow<'_, $row> for Deletion {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                let session = columns.take::<Option<_>>()?.map(SessionId::from_uuid).map(Doomed::Session);
                let what = match session {
                    Some(session) => {
                        columns.take::<Option<&str>>()?;
                        session
                    }
                    None => Doomed::User(columns.user()?),
                };
                Ok(Self { what, at: columns.time()? })
            }
        }

        impl sqlx::FromRow<'_, $row> for SessionRow {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self {
                    session: columns.session()?,
                    user: columns.user()?,
                    status: columns.parse(|status: &str| status.parse())?,
                    page: columns.take()?,
                    opened_at: columns.time()?,
                    ended_at: columns.optional_time()?,
                    num_events: columns.unsigned()?,
                })
            }
        }

        impl sqlx::FromRow<'_, $row> for UserRow {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self {
                    user: columns.user()?,
                    name: columns.take()?,
                    email: columns.take()?,
                    connected: columns.take()?,
                    created_at: columns.time()?,
                    updated_at: columns.time()?,
                    num_sessions: columns.unsigned()?,
                    num_events: columns.unsigned()?,
                })
            }
        }

        impl sqlx::FromRow<'_, $row> for EventRow<SessionId> {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                let owner = columns.session()?;
                columns.event(owner)
            }
        }

        impl sqlx::FromRow<'_, $row> for EventRow<UserId> {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                let owner = columns.user()?;
                columns.event(owner)
            }
        }

        impl sqlx::FromRow<'_, $row> for AudioPart {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                let mut columns = Columns::of(row);
                Ok(Self {
                    run: columns.take().map(RunId::from_uuid)?,
                    session: columns.session()?,
                    user: columns.user()?,
                    stream: columns.stream()?,
                    stream_offset: columns.unsigned()?,
                    started_at: columns.time()?,
                    ended_at: columns.time()?,
                    object_key: columns.take()?,
                    format: AudioFormat::from_content_type(columns.take()?),
                    size_bytes: columns.unsigned()?,
                    sha256: columns.parse(|digest: &[u8]| digest.try_into().map(Sha256))?,
                    arrivals: Arrivals::default(),
                })
            }
        }
    };
}
pub(super) use decode_rows;
