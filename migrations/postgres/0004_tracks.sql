-- When the bytes of a part arrived, as the program writes it; unknown for parts of earlier versions.
ALTER TABLE audio_parts ADD COLUMN arrivals bytea;

-- One audio track for each session with parts: to be made, made, or failed.
CREATE TABLE audio_tracks (
    session_id  uuid PRIMARY KEY,
    state       text        NOT NULL CHECK (state IN ('waiting', 'ready', 'failed')),
    -- Counts the parts that were stored: a track that was made of fewer is none.
    generation  bigint      NOT NULL,
    -- Nobody looks at it before; whoever takes it on puts it off by as long as that may take.
    due_at      timestamptz NOT NULL,
    attempts    bigint      NOT NULL,
    problem     text,
    -- Of the last one that was made, also while another is waited for.
    object_key  text COLLATE "C",
    size_bytes  bigint,
    sha256      bytea CHECK (octet_length(sha256) = 32),
    origin_at   timestamptz,
    duration_ms bigint,
    layout      text,
    CHECK (object_key IS NULL
           OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND origin_at IS NOT NULL AND duration_ms IS NOT NULL
               AND layout IS NOT NULL))
);

CREATE INDEX audio_tracks_waiting ON audio_tracks (due_at) WHERE state = 'waiting';
CREATE INDEX audio_tracks_failed ON audio_tracks (session_id) WHERE state = 'failed';

INSERT INTO audio_tracks (session_id, state, generation, due_at, attempts)
SELECT session_id, 'waiting', count(*), max(ended_at), 0 FROM audio_parts GROUP BY session_id;
