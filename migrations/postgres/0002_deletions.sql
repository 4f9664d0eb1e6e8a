-- What was deleted stays deleted: rows of it may still wait in a node's journal, or arrive from a client that sends
-- again, and are left out when they come. Kept for longer than any journal may be.
CREATE TABLE deleted_sessions (
    session_id uuid        PRIMARY KEY,
    deleted_at timestamptz NOT NULL,
    -- When the last of it was gone for sure; NULL while somebody has to look after it.
    erased_at  timestamptz
);

-- Of a user, what was received at or before that time. Who comes back is a new user.
CREATE TABLE deleted_users (
    user_id    text COLLATE "C" PRIMARY KEY,
    deleted_at timestamptz      NOT NULL,
    erased_at  timestamptz
);

CREATE INDEX deleted_sessions_by_time ON deleted_sessions (deleted_at);
CREATE INDEX deleted_users_by_time ON deleted_users (deleted_at);
CREATE INDEX deleted_sessions_unfinished ON deleted_sessions (deleted_at) WHERE erased_at IS NULL;
CREATE INDEX deleted_users_unfinished ON deleted_users (deleted_at) WHERE erased_at IS NULL;

-- Finds what is older than anybody may keep it.
CREATE INDEX events_outside_by_time ON events (received_at) WHERE session_id IS NULL;
