-- The tables of ../postgres in SQLite's dialect: ids are 16-byte blobs (UUIDs version 7), times are milliseconds since the
-- Unix epoch. Reasons that hold for both are written there.

CREATE TABLE users (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT,
    email      TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX users_newest ON users (created_at DESC, id DESC);

CREATE TABLE nodes (
    id           BLOB    NOT NULL PRIMARY KEY,
    heartbeat_at INTEGER NOT NULL
) STRICT;

CREATE TABLE presence (
    user_id TEXT    NOT NULL,
    node_id BLOB    NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (user_id, node_id)
) STRICT;

CREATE INDEX presence_by_node ON presence (node_id);

CREATE TABLE streams (
    id          BLOB    NOT NULL PRIMARY KEY,
    user_id     TEXT    NOT NULL,
    control_seq INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX streams_by_user ON streams (user_id);

CREATE TABLE sessions (
    id        BLOB    NOT NULL PRIMARY KEY,
    user_id   TEXT    NOT NULL,
    status    TEXT    NOT NULL CHECK (status IN ('recording', 'ended', 'expired')),
    page      TEXT,
    opened_at INTEGER NOT NULL,
    alive_at  INTEGER NOT NULL,
    ended_at  INTEGER
) STRICT;

CREATE INDEX sessions_newest ON sessions (opened_at DESC, id DESC);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_recording ON sessions (user_id, opened_at) WHERE status = 'recording';

-- With a rowid: without one (WITHOUT ROWID) the large rows sit in the key's own tree, and inserts are four times slower.
CREATE TABLE events (
    stream_id   BLOB    NOT NULL,
    seq         INTEGER NOT NULL CHECK (seq > 0),
    user_id     TEXT    NOT NULL,
    session_id  BLOB,
    name        TEXT    NOT NULL,
    data        TEXT    NOT NULL,
    client_at   INTEGER,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (stream_id, seq)
) STRICT;

CREATE INDEX events_by_session ON events (session_id, received_at) WHERE session_id IS NOT NULL;
-- The session, always NULL here, is in it because SQLite looks at it again, which would cost a visit to each row counted.
CREATE INDEX events_by_user ON events (user_id, received_at, session_id) WHERE session_id IS NULL;

CREATE TABLE audio_parts (
    run_id        BLOB    NOT NULL PRIMARY KEY,
    session_id    BLOB    NOT NULL,
    user_id       TEXT    NOT NULL,
    stream_id     BLOB    NOT NULL,
    stream_offset INTEGER NOT NULL CHECK (stream_offset >= 0),
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER NOT NULL,
    object_key    TEXT    NOT NULL UNIQUE,
    content_type  TEXT    NOT NULL,
    size_bytes    INTEGER NOT NULL CHECK (size_bytes >= 0),
    sha256        BLOB    NOT NULL CHECK (length(sha256) = 32)
) STRICT;

CREATE INDEX audio_parts_by_session ON audio_parts (session_id, started_at);
CREATE INDEX audio_parts_by_stream ON audio_parts (stream_id);
