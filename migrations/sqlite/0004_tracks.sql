-- As in ../postgres.
ALTER TABLE audio_parts ADD COLUMN arrivals BLOB;

CREATE TABLE audio_tracks (
    session_id  BLOB    NOT NULL PRIMARY KEY,
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'ready', 'failed')),
    generation  INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    problem     TEXT,
    object_key  TEXT,
    size_bytes  INTEGER,
    sha256      BLOB CHECK (length(sha256) = 32),
    origin_at   INTEGER,
    duration_ms INTEGER,
    layout      TEXT,
    CHECK (object_key IS NULL
           OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND origin_at IS NOT NULL AND duration_ms IS NOT NULL
               AND layout IS NOT NULL))
) STRICT;

CREATE INDEX audio_tracks_waiting ON audio_tracks (due_at) WHERE state = 'waiting';
CREATE INDEX audio_tracks_failed ON audio_tracks (session_id) WHERE state = 'failed';

INSERT INTO audio_tracks (session_id, state, generation, due_at, attempts)
SELECT session_id, 'waiting', count(*), max(ended_at), 0 FROM audio_parts GROUP BY session_id;
