//! Queries that both dialects understand as they are. The others stand where they are used.
//!
//! Promises: pages are found by their place in an index, so the last page costs what the first one does. A missing
//! cursor is a place beyond every row, so that there is one statement, and one plan, for all pages.

/// `$1` user, `$2` opened since, `$3` alive since.
pub(super) const OPEN_SESSION: &str = "
    SELECT id, opened_at, alive_at FROM sessions
    WHERE user_id = $1 AND status = 'recording' AND opened_at >= $2 AND alive_at >= $3
    ORDER BY opened_at DESC, id DESC LIMIT 1";

macro_rules! session_columns {
    () => {
        "SELECT s.id, s.user_id, s.status, s.page, s.opened_at, s.ended_at, "
    };
}

macro_rules! session_events {
    () => {
        "(SELECT count(*) FROM events e WHERE e.session_id = s.id)"
    };
}

/// The columns of a session, `s`, but for the last one.
pub(super) const SESSION_BEGIN: &str = session_columns!();
pub(super) const SESSION_EVENTS: &str = session_events!();

/// `$1` session.
pub(super) const SESSION: &str = concat!(session_columns!(), session_events!(), " FROM sessions s WHERE s.id = $1");

/// The columns of a user, `u`, up to the time of a heartbeat after which a node lives, and behind it. Counts where `EXISTS`
/// would do: for that, Postgres may read everybody's presence for each page.
pub(super) const USER_BEGIN: &str = "
    SELECT u.id, u.name, u.email,
           (SELECT count(*) > 0 FROM presence p JOIN nodes n ON n.id = p.node_id
            WHERE p.user_id = u.id AND n.heartbeat_at > ";
pub(super) const USER_END: &str = "), u.created_at, u.updated_at,
           (SELECT count(*) FROM sessions s WHERE s.user_id = u.id), ";
/// The last column.
pub(super) const USER_EVENTS: &str = "(SELECT count(*) FROM events e WHERE e.user_id = u.id AND e.session_id IS NULL)";
pub(super) const NOT_COUNTED: &str = "CAST(0 AS bigint)";

/// Merges news of a session, `excluded`, into its row, `s`, by the rules of [`super::session_news`]. Rows that would stay
/// as they are are not written: records come again by the thousand after a restart. `$least` and `$greatest` are what the
/// dialect calls them.
macro_rules! merge_session {
    ($least:literal, $greatest:literal) => {
        concat!(
            "ON CONFLICT (id) DO UPDATE SET
                 page = coalesce(s.page, excluded.page),
                 opened_at = ",
            $least,
            "(s.opened_at, excluded.opened_at),
                 alive_at = ",
            $greatest,
            "(s.alive_at, excluded.alive_at),
                 status = CASE
                     WHEN 'ended' IN (s.status, excluded.status) THEN 'ended'
                     WHEN excluded.alive_at > s.alive_at THEN excluded.status
                     WHEN excluded.alive_at = s.alive_at AND excluded.status = 'expired' THEN 'expired'
                     ELSE s.status END,
                 ended_at = CASE
                     WHEN s.status = 'ended' AND excluded.status = 'ended' THEN ",
            $least,
            "(s.ended_at, excluded.ended_at)
                     WHEN s.status = 'ended' THEN s.ended_at
                     WHEN excluded.status = 'ended' OR excluded.alive_at > s.alive_at THEN excluded.ended_at
                     WHEN excluded.alive_at = s.alive_at AND excluded.status = 'expired' THEN excluded.ended_at
                     ELSE s.ended_at END
             WHERE excluded.alive_at > s.alive_at
                OR excluded.opened_at < s.opened_at
                OR (excluded.status = 'expired' AND s.status = 'recording' AND excluded.alive_at = s.alive_at)
                OR (excluded.status = 'ended' AND (s.status <> 'ended' OR excluded.ended_at < s.ended_at))
                OR (s.page IS NULL AND excluded.page IS NOT NULL)"
        )
    };
}
pub(super) use merge_session;

/// The columns of an audio part in the order in which they are written and read.
macro_rules! part_columns {
    () => {
        "run_id, session_id, user_id, stream_id, stream_offset, started_at, ended_at, object_key, content_type, \
         size_bytes, sha256"
    };
}
pub(super) use part_columns;

/// `$1` run.
pub(super) const AUDIO_PART: &str = concat!("SELECT ", part_columns!(), " FROM audio_parts WHERE run_id = $1");

/// `$1` stream.
pub(super) const STREAM_PARTS: &str =
    concat!("SELECT ", part_columns!(), " FROM audio_parts WHERE stream_id = $1 ORDER BY stream_offset, run_id");

/// `$1` now, `$2` when others may try. `$lock` leaves out what another node is looking at.
macro_rules! claim_track {
    ($lock:literal) => {
        concat!(
            "UPDATE audio_tracks SET due_at = $2, attempts = attempts + 1
             WHERE session_id = (
                 SELECT t.session_id FROM audio_tracks t JOIN sessions s ON s.id = t.session_id
                 WHERE t.state = 'waiting' AND t.due_at <= $1 AND s.status <> 'recording'
                 ORDER BY t.due_at LIMIT 1",
            $lock,
            ")
             RETURNING session_id, (SELECT s.opened_at FROM sessions s WHERE s.id = session_id), generation, attempts"
        )
    };
}
pub(super) use claim_track;

/// `$1` session, `$2` generation, then the columns.
pub(super) const FINISH_TRACK: &str = "
    UPDATE audio_tracks SET state = 'ready', problem = NULL, object_key = $3, size_bytes = $4, sha256 = $5,
                            origin_at = $6, duration_ms = $7, layout = $8
    WHERE session_id = $1 AND generation = $2 RETURNING session_id";

/// `$1` session, `$2` generation, `$3` problem.
pub(super) const GIVE_UP_TRACK: &str = "
    UPDATE audio_tracks SET state = 'failed', problem = $3
    WHERE session_id = $1 AND generation = $2 RETURNING session_id";

/// `$1` session, `$2` generation, `$3` problem, `$4` when to try again. It was not the track's fault.
pub(super) const POSTPONE_TRACK: &str = "
    UPDATE audio_tracks SET problem = $3, due_at = $4, attempts = attempts - 1
    WHERE session_id = $1 AND generation = $2 RETURNING session_id";

macro_rules! make_tracks_again {
    ($which:literal) => {
        concat!(
            "UPDATE audio_tracks SET state = 'waiting', due_at = $1, attempts = 0 WHERE ",
            $which,
            " RETURNING session_id"
        )
    };
}

/// `$1` now.
pub(super) const RETRY_FAILED_TRACKS: &str = make_tracks_again!("state = 'failed'");

/// `$1` now, `$2` session.
pub(super) const RETRY_TRACK: &str = make_tracks_again!("session_id = $2");

/// The columns of a track in the order in which they are read.
macro_rules! track_columns {
    () => {
        "session_id, state, problem, object_key, size_bytes, sha256, origin_at, duration_ms, layout"
    };
}
pub(super) use track_columns;

/// What happens to a session's track when it gets another part.
macro_rules! track_is_outdated {
    () => {
        " ON CONFLICT (session_id) DO UPDATE SET
              state = 'waiting', generation = audio_tracks.generation + 1, due_at = excluded.due_at, attempts = 0"
    };
}
pub(super) use track_is_outdated;

/// `$1` session.
pub(super) const ERASE_TRACK: &str = "DELETE FROM audio_tracks WHERE session_id = $1";

/// `$1` session.
pub(super) const ARRIVALS: &str =
    "SELECT run_id, arrivals FROM audio_parts WHERE session_id = $1 AND arrivals IS NOT NULL";

/// `$1` session, `$2` user, `$3` time of arrival.
pub(super) const IS_DELETED: &str = "
    SELECT EXISTS (SELECT 1 FROM deleted_sessions WHERE session_id = $1)
        OR EXISTS (SELECT 1 FROM deleted_users WHERE user_id = $2 AND deleted_at >= $3)";

/// `$1` user.
pub(super) const USER_DELETION: &str = "SELECT NULL, user_id, deleted_at FROM deleted_users WHERE user_id = $1";

macro_rules! select_deletions {
    ($which:literal) => {
        concat!(
            "SELECT session_id, NULL AS user_id, deleted_at FROM deleted_sessions WHERE ",
            $which,
            " UNION ALL SELECT NULL, user_id, deleted_at FROM deleted_users WHERE ",
            $which,
            " ORDER BY deleted_at LIMIT $2"
        )
    };
}

/// `$1` marked before, `$2` limit.
pub(super) const UNFINISHED_DELETIONS: &str = select_deletions!("erased_at IS NULL AND deleted_at < $1");

/// `$1` marked since, `$2` limit.
pub(super) const RECENT_DELETIONS: &str = select_deletions!("deleted_at >= $1");

/// `$1` session, `$2` now, `$3` when it was marked.
pub(super) const FINISH_SESSION: &str =
    "UPDATE deleted_sessions SET erased_at = $2 WHERE session_id = $1 AND deleted_at = $3";

/// `$1` user, `$2` now, `$3` when it was marked: a later mark is not finished by an earlier one's end.
pub(super) const FINISH_USER: &str = "UPDATE deleted_users SET erased_at = $2 WHERE user_id = $1 AND deleted_at = $3";

/// `$1` erased before.
pub(super) const FORGET_DELETIONS: [&str; 2] =
    ["DELETE FROM deleted_sessions WHERE erased_at < $1", "DELETE FROM deleted_users WHERE erased_at < $1"];

/// `$1` user, `$2` the time up to which everything goes: what is left when the events are gone.
pub(super) const ERASE_USER: [&str; 3] = [
    "DELETE FROM streams WHERE user_id = $1 AND created_at <= $2",
    "DELETE FROM presence WHERE user_id = $1 AND since <= $2",
    "DELETE FROM users WHERE id = $1 AND created_at <= $2",
];

/// `$1` session.
pub(super) const HAS_PARTS: &str = "SELECT EXISTS (SELECT 1 FROM audio_parts WHERE session_id = $1)";

/// `$1` opened before, `$2` limit.
pub(super) const OLD_SESSIONS: &str =
    "SELECT id FROM sessions WHERE opened_at < $1 AND status <> 'recording' ORDER BY opened_at, id LIMIT $2";

/// Whether no deletion covers the row `added`. `$session`, `$user` and `$at` are its columns for them.
macro_rules! not_deleted {
    ($session:literal, $user:literal, $at:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM deleted_sessions d WHERE d.session_id = added.",
            $session,
            ") AND ",
            not_deleted!($user, $at)
        )
    };
    ($user:literal, $at:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM deleted_users d WHERE d.user_id = added.",
            $user,
            " AND d.deleted_at >= added.",
            $at,
            ")"
        )
    };
}
pub(super) use not_deleted;

/// Whether no stored part, `stored`, has bytes of the part `added` of the same stream.
macro_rules! no_overlap {
    () => {
        "NOT EXISTS (
             SELECT 1 FROM audio_parts stored
             WHERE stored.stream_id = added.stream_id
               AND stored.stream_offset < added.stream_offset + added.size_bytes
               AND stored.stream_offset + stored.size_bytes > added.stream_offset
         )"
    };
}
pub(super) use no_overlap;

/// The columns of an event in the order in which they are written.
macro_rules! event_columns {
    () => {
        "stream_id, seq, user_id, session_id, name, data, client_at, received_at"
    };
}
pub(super) use event_columns;
