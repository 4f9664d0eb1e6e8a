-- Ids are UUIDs version 7: they sort by creation, so new rows go to the right edge of an index.
-- Text keys compare byte by byte (COLLATE "C"): cheaper, and the same order as in SQLite and in the program.

CREATE TABLE users (
    id         text COLLATE "C" PRIMARY KEY,
    name       text,
    email      text,
    created_at timestamptz NOT NULL,
    -- The last time the user connected, disconnected or began to record.
    updated_at timestamptz NOT NULL
);

CREATE INDEX users_newest ON users (created_at DESC, id DESC);

CREATE TABLE nodes (
    id           uuid PRIMARY KEY,
    heartbeat_at timestamptz NOT NULL
);

-- A user is connected while a row is here whose node was heard of lately.
CREATE TABLE presence (
    user_id text COLLATE "C" NOT NULL,
    node_id uuid             NOT NULL,
    since   timestamptz      NOT NULL,
    PRIMARY KEY (user_id, node_id)
);

CREATE INDEX presence_by_node ON presence (node_id);

CREATE TABLE streams (
    id          uuid PRIMARY KEY,
    user_id     text COLLATE "C" NOT NULL,
    -- Highest position of a message that opened or closed a session: such messages leave no event behind.
    control_seq bigint      NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL
);

CREATE INDEX streams_by_user ON streams (user_id);

CREATE TABLE sessions (
    id        uuid PRIMARY KEY,
    user_id   text COLLATE "C" NOT NULL,
    status    text        NOT NULL CHECK (status IN ('recording', 'ended', 'expired')),
    page      text,
    opened_at timestamptz NOT NULL,
    -- In no index, so that touching a session rewrites none.
    alive_at  timestamptz NOT NULL,
    ended_at  timestamptz
);

CREATE INDEX sessions_newest ON sessions (opened_at DESC, id DESC);
CREATE INDEX sessions_by_user ON sessions (user_id);
-- Finds the session to resume, and is small enough to be scanned for those that expire.
CREATE INDEX sessions_recording ON sessions (user_id, opened_at) WHERE status = 'recording';

-- No foreign keys: they would cost a look-up per row, and a parent that was deleted, or is not written yet, must not
-- fail a batch of others' events.
CREATE TABLE events (
    stream_id   uuid             NOT NULL,
    seq         bigint           NOT NULL CHECK (seq > 0),
    user_id     text COLLATE "C" NOT NULL,
    -- NULL outside a recording.
    session_id  uuid,
    name        text             NOT NULL,
    -- JSON as it was sent. A text column is filled nearly twice as fast as jsonb, and keeps what jsonb refuses:
    -- \u0000, lone surrogates, numbers beyond its range.
    data        text             NOT NULL,
    client_at   timestamptz,
    received_at timestamptz      NOT NULL,
    PRIMARY KEY (stream_id, seq)
);

CREATE INDEX events_by_session ON events (session_id, received_at) WHERE session_id IS NOT NULL;
CREATE INDEX events_by_user ON events (user_id, received_at) WHERE session_id IS NULL;

-- Large events (a changed DOM) are stored 1.3 times as fast with lz4. Servers built without it keep their default.
DO $$
BEGIN
    EXECUTE 'ALTER TABLE events ALTER COLUMN data SET COMPRESSION lz4';
EXCEPTION
    WHEN feature_not_supported OR syntax_error THEN NULL;
END
$$;

CREATE TABLE audio_parts (
    run_id        uuid PRIMARY KEY,
    session_id    uuid             NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    stream_id     uuid             NOT NULL,
    -- Where in the stream's audio bytes the part begins.
    stream_offset bigint           NOT NULL CHECK (stream_offset >= 0),
    started_at    timestamptz      NOT NULL,
    ended_at      timestamptz      NOT NULL,
    object_key    text COLLATE "C" NOT NULL UNIQUE,
    content_type  text             NOT NULL,
    size_bytes    bigint           NOT NULL CHECK (size_bytes >= 0),
    sha256        bytea            NOT NULL CHECK (octet_length(sha256) = 32)
);

CREATE INDEX audio_parts_by_session ON audio_parts (session_id, started_at);
CREATE INDEX audio_parts_by_stream ON audio_parts (stream_id);
