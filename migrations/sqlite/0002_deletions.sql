-- As in ../postgres.
CREATE TABLE deleted_sessions (
    session_id BLOB    NOT NULL PRIMARY KEY,
    deleted_at INTEGER NOT NULL,
    erased_at  INTEGER
) STRICT;

CREATE TABLE deleted_users (
    user_id    TEXT    NOT NULL PRIMARY KEY,
    deleted_at INTEGER NOT NULL,
    erased_at  INTEGER
) STRICT;

CREATE INDEX deleted_sessions_by_time ON deleted_sessions (deleted_at);
CREATE INDEX deleted_users_by_time ON deleted_users (deleted_at);
CREATE INDEX deleted_sessions_unfinished ON deleted_sessions (deleted_at) WHERE erased_at IS NULL;
CREATE INDEX deleted_users_unfinished ON deleted_users (deleted_at) WHERE erased_at IS NULL;

CREATE INDEX events_outside_by_time ON events (received_at) WHERE session_id IS NULL;
