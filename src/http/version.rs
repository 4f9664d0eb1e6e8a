//! Versions of what does not change any more: an `ETag`, and 304 for who has it.
//!
//! Promises: a version changes with whatever its answer shows: late events, late audio, and links that are about to expire.
//! Refuses: to give a version to what is still being recorded.

use actix_web::http::header::Header as _;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ETAG, EntityTag, HeaderValue, IfNoneMatch},
};

use crate::{
    domain::{AudioPart, SessionStatus, Timestamp},
    objects::Sha256Hasher,
    store::{SessionRow, TrackRow},
};
use std::time::Duration;

/// Asked again each time, and kept by nobody else.
const CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// `None` for what may change at any time.
pub(super) struct Version(Option<EntityTag>);

impl Version {
    /// `query` is the request's: other parameters show something else. `link_lifetime` is that of the URLs in the answer.
    pub(super) fn of_session(
        row: &SessionRow,
        parts: &[AudioPart],
        track: Option<&TrackRow>,
        query: &str,
        link_lifetime: Duration,
    ) -> Self {
        if row.status == SessionStatus::Recording {
            return Self(None);
        }
        let mut hasher = Sha256Hasher::default();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        add(row.session.as_bytes());
        add(row.status.as_str().as_bytes());
        add(&row.ended_at.map_or(0, Timestamp::as_unix_ms).to_be_bytes());
        add(&row.num_events.to_be_bytes());
        for part in parts {
            add(part.run.as_bytes());
        }
        if let Some(track) = track {
            add(track.state.as_str().as_bytes());
            add(track.problem.as_deref().unwrap_or_default().as_bytes());
            add(&track.made.as_ref().map_or([0; 32], |made| made.sha256.0));
        }
        add(query.as_bytes());
        if !parts.is_empty() {
            add(&Self::link_period(Timestamp::now(), link_lifetime).to_be_bytes());
        }
        let tag = hasher.finish().to_string();
        Self(Some(EntityTag::new_weak(tag[..32].to_owned())))
    }

    /// Links in an answer that is kept are good for half of their time at least.
    fn link_period(now: Timestamp, lifetime: Duration) -> i64 {
        let half_ms = i64::try_from(lifetime.as_millis() / 2).unwrap_or(i64::MAX).max(1);
        now.as_unix_ms().div_euclid(half_ms)
    }

    pub(super) fn is_known_to(&self, request: &HttpRequest) -> bool {
        let Some(version) = &self.0 else { return false };
        match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(version)),
            Err(_) => false,
        }
    }

    pub(super) fn not_modified(&self) -> HttpResponse {
        let mut answer = HttpResponse::NotModified().finish();
        self.tell(&mut answer);
        answer
    }

    pub(super) fn tell(&self, answer: &mut HttpResponse) {
        if let Some(tag) = self.0.as_ref().and_then(|version| HeaderValue::try_from(version.to_string()).ok()) {
            answer.headers_mut().insert(ETAG, tag);
            answer.headers_mut().insert(CACHE_CONTROL, CACHE);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::domain::{SessionId, UserId};

    fn row(status: SessionStatus, num_events: u64) -> SessionRow {
        let at = Timestamp::from_unix_ms(0).unwrap();
        SessionRow {
            session: SessionId::from_bytes([1; 16]),
            user: UserId::parse("anna").unwrap(),
            status,
            page: None,
            opened_at: at,
            ended_at: Some(at),
            num_events,
        }
    }

    fn tag(row: &SessionRow, query: &str) -> Option<String> {
        Version::of_session(row, &[], None, query, Duration::from_hours(1)).0.map(|tag| tag.to_string())
    }

    #[test]
    fn a_version_changes_with_what_is_shown() {
        let ended = row(SessionStatus::Ended, 7);
        assert_eq!(tag(&ended, ""), tag(&ended, ""));
        assert_ne!(tag(&ended, ""), tag(&row(SessionStatus::Ended, 8), ""));
        assert_ne!(tag(&ended, ""), tag(&row(SessionStatus::Expired, 7), ""));
        assert_ne!(tag(&ended, ""), tag(&ended, "events=none"));
        assert_eq!(tag(&row(SessionStatus::Recording, 7), ""), None);
    }

    #[test]
    fn who_has_it_is_told_so() {
        let ended = row(SessionStatus::Ended, 7);
        let known = tag(&ended, "").unwrap();
        let asked = |value: &str| {
            let request = TestRequest::default().insert_header(("if-none-match", value)).to_http_request();
            Version::of_session(&ended, &[], None, "", Duration::from_hours(1)).is_known_to(&request)
        };
        assert!(asked(&known) && asked(&format!("\"other\", {known}")) && asked("*"));
        assert!(asked(known.strip_prefix("W/").unwrap()), "compared as weak ones are");
        assert!(!asked("\"other\"") && !asked("nonsense"));
    }

    #[test]
    fn links_that_expire_make_a_new_version() {
        let at = |ms| Timestamp::from_unix_ms(ms).unwrap();
        let hour = Duration::from_hours(1);
        assert_eq!(Version::link_period(at(0), hour), Version::link_period(at(1_799_999), hour));
        assert_ne!(Version::link_period(at(0), hour), Version::link_period(at(1_800_000), hour));
    }
}
