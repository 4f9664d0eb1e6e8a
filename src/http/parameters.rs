//! The query of a request: each parameter taken once, by its name.
//!
//! Promises: a name that nobody takes, comes twice or has a value that makes no sense is an error that names it, so that a
//! misspelt filter never shows everything.

use std::fmt::Display;

use actix_web::HttpRequest;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::domain::{EventName, SessionStatus, Timestamp, UserId};

/// What is left of the query.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(request: &HttpRequest) -> Self {
        Self(form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect())
    }

    /// All values of a parameter that may be repeated.
    fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(bad(name, "is given more than once")),
        }
    }

    pub(super) fn parse<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        self.one(name)?.map(|value| parse(&value).map_err(|error| bad(name, error))).transpose()
    }

    pub(super) fn user(&mut self) -> Result<Option<UserId>, Problem> {
        self.parse("user", UserId::parse)
    }

    pub(super) fn status(&mut self) -> Result<Option<SessionStatus>, Problem> {
        self.parse("status", str::parse)
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        self.parse(name, |value| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither true nor false"),
        })
    }

    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        self.parse(name, |value| {
            let parsed = OffsetDateTime::parse(value, &Rfc3339).map(Timestamp::from_datetime);
            parsed.map_err(|_| "is no time as in 2026-11-22T14:44:21Z (RFC 3339; a + of the offset is written %2B)")
        })
    }

    pub(super) fn names(&mut self) -> Result<Vec<EventName>, Problem> {
        let names = self.all("name").into_iter().map(|name| EventName::parse(name.as_str()));
        names.collect::<Result<_, _>>().map_err(|error| bad("name", error))
    }

    /// What a signed link carries; it was looked at before.
    pub(super) fn skip_signature(&mut self) {
        self.0.retain(|(name, _)| !matches!(name.as_str(), "expires" | "signature"));
    }

    /// # Errors
    /// The first parameter that nobody took.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::BadParameter { name, reason: "is not known here".to_owned() }),
        }
    }
}

fn bad(name: &'static str, reason: impl Display) -> Problem {
    Problem::BadParameter { name: name.to_owned(), reason: reason.to_string() }
}

/// How much of events a list shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventsShown {
    #[default]
    Full,
    /// Only how many there are.
    Count,
    None,
}

impl Parameters {
    pub(super) fn events(&mut self) -> Result<EventsShown, Problem> {
        let shown = self.parse("events", |value| match value {
            "full" => Ok(EventsShown::Full),
            "count" => Ok(EventsShown::Count),
            "none" => Ok(EventsShown::None),
            _ => Err("is none of full, count, none"),
        })?;
        Ok(shown.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&TestRequest::with_uri(&format!("/?{query}")).to_http_request())
    }

    fn complaint<T: std::fmt::Debug>(result: Result<T, Problem>) -> (String, String) {
        match result.unwrap_err() {
            Problem::BadParameter { name, reason } => (name, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_parameter_is_taken_once() {
        let mut query = parameters("user=anna%20b&status=ended&name=click&name=a+b&hasAudio=true&events=count");
        assert_eq!(query.user().unwrap().unwrap().as_str(), "anna b");
        assert_eq!(query.status().unwrap(), Some(SessionStatus::Ended));
        assert_eq!(query.boolean("hasAudio").unwrap(), Some(true));
        assert_eq!(query.events().unwrap(), EventsShown::Count);
        assert_eq!(query.names().unwrap().iter().map(EventName::as_str).collect::<Vec<_>>(), ["click", "a b"]);
        assert!(query.user().unwrap().is_none());
        query.finish().unwrap();
        parameters("").finish().unwrap();
    }

    #[test]
    fn times_are_rfc_3339_of_any_offset() {
        let expected = Timestamp::from_unix_ms(1_795_358_661_007);
        for text in ["2026-11-22T14:44:21.007Z", "2026-11-22T15:44:21.007%2B01:00"] {
            assert_eq!(parameters(&format!("since={text}")).time("since").unwrap(), expected);
        }
        for text in ["2026-11-22", "1795358661007", "yesterday", ""] {
            assert_eq!(complaint(parameters(&format!("since={text}")).time("since")).0, "since");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(complaint(parameters("status=open").status()).0, "status");
        assert_eq!(complaint(parameters("user=a&user=b").user()), ("user".into(), "is given more than once".into()));
        assert_eq!(complaint(parameters("hasAudio=1").boolean("hasAudio")).0, "hasAudio");
        assert_eq!(complaint(parameters("events=all").events()).0, "events");
        assert_eq!(complaint(parameters("User=anna").finish()), ("User".into(), "is not known here".into()));
    }
}
