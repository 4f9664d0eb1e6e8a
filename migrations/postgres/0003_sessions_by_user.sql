-- A user's sessions, newest first: a page of them is found without looking at the others, or at everybody's.
CREATE INDEX sessions_by_user_newest ON sessions (user_id, opened_at DESC, id DESC);
DROP INDEX sessions_by_user;
