-- As in ../postgres.
CREATE INDEX sessions_by_user_newest ON sessions (user_id, opened_at DESC, id DESC);
DROP INDEX sessions_by_user;
