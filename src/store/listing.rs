//! Lists with filters: texts that are put together, for both dialects.
//!
//! Promises: nothing that a client sent is in a text, only in values that are bound. Each combination of filters is a
//! statement of its own, with a plan of its own: a page by user is found by user, one of those that record by status.

/// Ends a query for sessions, `s`, of which `$builder` has what is selected. `$time` makes a time of a [`Timestamp`].
macro_rules! push_sessions {
    ($builder:expr, $query:expr, $time:expr) => {{
        let (builder, query) = (&mut $builder, $query);
        let SessionFilter { user, status, since, until, has_audio } = &query.filter;
        builder.push(" FROM sessions s WHERE true");
        if let Some(after) = query.after {
            builder.push(" AND (s.opened_at, s.id) < (").push_bind($time(after.opened_at));
            builder.push(", ").push_bind(after.session.as_uuid()).push(")");
        }
        if let Some(user) = user {
            builder.push(" AND s.user_id = ").push_bind(user.as_str().to_owned());
        }
        if let Some(status) = status {
            // As text, so that the planner finds the index of those that record.
            builder.push(" AND s.status = '").push(status.as_str()).push("'");
        }
        if let Some(since) = since {
            builder.push(" AND s.opened_at >= ").push_bind($time(*since));
        }
        if let Some(until) = until {
            builder.push(" AND s.opened_at < ").push_bind($time(*until));
        }
        if let Some(has_audio) = has_audio {
            builder.push(if *has_audio { " AND EXISTS" } else { " AND NOT EXISTS" });
            builder.push(" (SELECT 1 FROM audio_parts p WHERE p.session_id = s.id)");
        }
        builder.push(" ORDER BY s.opened_at DESC, s.id DESC LIMIT ").push_bind(i64::from(query.limit));
    }};
}
pub(super) use push_sessions;

/// The same for users, `u`. `$alive` is the time of a heartbeat after which a node lives.
macro_rules! push_users {
    ($builder:expr, $query:expr, $alive:expr, $time:expr) => {{
        let (builder, query) = (&mut $builder, $query);
        let UserFilter { user, connected, status, since, until, has_audio } = &query.filter;
        builder.push(" FROM users u WHERE true");
        if let Some(after) = &query.after {
            builder.push(" AND (u.created_at, u.id) < (").push_bind($time(after.created_at));
            builder.push(", ").push_bind(after.user.as_str().to_owned()).push(")");
        }
        if let Some(user) = user {
            builder.push(" AND u.id = ").push_bind(user.as_str().to_owned());
        }
        if let Some(since) = since {
            builder.push(" AND u.created_at >= ").push_bind($time(*since));
        }
        if let Some(until) = until {
            builder.push(" AND u.created_at < ").push_bind($time(*until));
        }
        if let Some(connected) = connected {
            builder.push(if *connected { " AND EXISTS" } else { " AND NOT EXISTS" });
            builder.push(
                " (SELECT 1 FROM presence p JOIN nodes n ON n.id = p.node_id
                   WHERE p.user_id = u.id AND n.heartbeat_at > ",
            );
            builder.push_bind($time($alive)).push(")");
        }
        if let Some(status) = status {
            builder.push(" AND EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id AND s.status = '");
            builder.push(status.as_str()).push("')");
        }
        if let Some(has_audio) = has_audio {
            builder.push(if *has_audio { " AND EXISTS" } else { " AND NOT EXISTS" });
            builder
                .push(" (SELECT 1 FROM sessions s JOIN audio_parts p ON p.session_id = s.id WHERE s.user_id = u.id)");
        }
        builder.push(" ORDER BY u.created_at DESC, u.id DESC LIMIT ").push_bind(i64::from(query.limit));
    }};
}
pub(super) use push_users;
