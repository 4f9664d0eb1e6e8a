//! Pages of a list: how many rows, and where the next page begins.
//!
//! Promises: a cursor is the place of the last row that was shown, so that rows which come meanwhile shift nothing. It is
//! opaque: clients give it back as it came.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{json::JsonWriter, parameters::Parameters, problem::Problem};
use crate::{
    domain::{SessionId, Timestamp, UserId},
    store::{SessionCursor, UserCursor},
};

/// Rows of a page when a cursor comes without a limit.
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// A place in a list as clients see it.
pub(super) trait Cursor: Sized {
    /// Tells cursors of one list from those of another.
    const LIST: u8;
    fn write(&self, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Option<Self>;

    fn encode(&self) -> String {
        let mut bytes = vec![Self::LIST];
        self.write(&mut bytes);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(text: &str) -> Result<Self, &'static str> {
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| {
            let (list, place) = bytes.split_first()?;
            (*list == Self::LIST).then(|| Self::read(place)).flatten()
        });
        decoded.ok_or("is no cursor of this list")
    }
}

fn read_time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (time, rest) = bytes.split_first_chunk()?;
    Some((Timestamp::from_unix_ms(i64::from_be_bytes(*time))?, rest))
}

impl Cursor for SessionCursor {
    const LIST: u8 = b's';

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.opened_at.as_unix_ms().to_be_bytes());
        bytes.extend(self.session.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (opened_at, id) = read_time(bytes)?;
        Some(Self { opened_at, session: SessionId::from_bytes(id.try_into().ok()?) })
    }
}

impl Cursor for UserCursor {
    const LIST: u8 = b'u';

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.created_at.as_unix_ms().to_be_bytes());
        bytes.extend(self.user.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (created_at, id) = read_time(bytes)?;
        Some(Self { created_at, user: UserId::parse(std::str::from_utf8(id).ok()?).ok()? })
    }
}

/// Which part of a list is wanted, and how much of it is still to be shown.
pub(super) struct Paging<C> {
    after: Option<C>,
    /// `None`: all of it.
    left: Option<u32>,
    /// Rows are left for another page.
    is_more: bool,
}

impl<C: Cursor + Clone> Paging<C> {
    pub(super) fn of(parameters: &mut Parameters) -> Result<Self, Problem> {
        let after = parameters.parse("cursor", C::decode)?;
        let limit = parameters.parse("limit", |value| {
            let limit = value.parse::<u32>().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or("is no number from 1 to 1000")
        })?;
        let left = limit.or_else(|| after.as_ref().map(|_| DEFAULT_LIMIT));
        Ok(Self { after, left, is_more: false })
    }

    pub(super) fn after(&self) -> Option<C> {
        self.after.clone()
    }

    /// Rows to ask for at a time, `most` at most: of a page one more than it shows, to know whether there is another.
    pub(super) fn asked(&self, most: u32) -> u32 {
        self.left.map_or(most, |left| most.min(left + 1))
    }

    /// Takes away what another page shows of the rows that came for `asked`. `true` when there is nothing more to ask.
    pub(super) fn is_end<R>(&mut self, rows: &mut Vec<R>, asked: u32, place: impl Fn(&R) -> C) -> bool {
        let is_short = rows.len() < asked as usize;
        if let Some(left) = &mut self.left {
            self.is_more = rows.len() > *left as usize;
            rows.truncate(*left as usize);
            *left -= u32::try_from(rows.len()).unwrap_or(*left);
        }
        self.after = rows.last().map(place).or(self.after.take());
        is_short || self.is_more
    }

    /// What ends an answer: where the next page begins, if it is a page.
    pub(super) fn write_next(&self, out: &mut JsonWriter) {
        if self.left.is_some() {
            out.raw(",\"nextCursor\":");
            out.value(&self.after.as_ref().filter(|_| self.is_more).map(C::encode));
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn paging(query: &str) -> Result<Paging<SessionCursor>, Problem> {
        let mut parameters = Parameters::of(&TestRequest::with_uri(&format!("/?{query}")).to_http_request());
        Paging::of(&mut parameters)
    }

    fn cursor(number: u8) -> SessionCursor {
        let opened_at = Timestamp::from_unix_ms(-i64::from(number)).unwrap();
        SessionCursor { opened_at, session: SessionId::from_bytes([number; 16]) }
    }

    /// Shows rows numbered from 0, `total` of them, in the paging's own steps of at most `most`.
    fn shown(mut paging: Paging<SessionCursor>, total: u8, most: u32) -> (Vec<u8>, Option<SessionCursor>) {
        let mut shown = Vec::new();
        loop {
            let asked = paging.asked(most);
            let first = paging.after().map_or(0, |cursor| cursor.session.as_bytes()[0] + 1);
            let mut rows: Vec<u8> = (first..total).take(asked as usize).collect();
            let is_end = paging.is_end(&mut rows, asked, |row| cursor(*row));
            shown.extend(rows);
            if is_end {
                return (shown, paging.after.filter(|_| paging.is_more));
            }
        }
    }

    #[test]
    fn cursors_come_back_as_they_were() {
        let session = cursor(7);
        assert_eq!(SessionCursor::decode(&session.encode()), Ok(session));
        let user = UserCursor {
            created_at: Timestamp::from_unix_ms(1_795_358_661_007).unwrap(),
            user: UserId::parse("ä b").unwrap(),
        };
        assert_eq!(UserCursor::decode(&user.encode()), Ok(user.clone()));
        assert!(SessionCursor::decode(&user.encode()).is_err(), "another list's");
        for text in ["", "!", "cw", "c3Nzc3Nz", "s".repeat(1_000).as_str()] {
            assert!(SessionCursor::decode(text).is_err(), "{text}");
            assert!(UserCursor::decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pages_add_up_to_the_list_whatever_their_size() {
        for total in [0_u8, 1, 5, 6, 10, 37] {
            for limit in [1, 2, 5, 6, 37, 100] {
                for most in [1, 5, 6, 100] {
                    let (mut seen, mut query) = (Vec::new(), format!("limit={limit}"));
                    loop {
                        let (rows, next) = shown(paging(&query).unwrap(), total, most);
                        assert!(rows.len() <= limit);
                        assert!(next.is_none() || rows.len() == limit, "a page before the last is full");
                        seen.extend(rows);
                        let Some(next) = next else { break };
                        query = format!("limit={limit}&cursor={}", next.encode());
                    }
                    assert!(seen.iter().copied().eq(0..total), "{total} by {limit}: {seen:?}");
                }
            }
        }
    }

    #[test]
    fn without_limit_and_cursor_it_is_all_of_it() {
        let all = paging("").unwrap();
        assert!(all.left.is_none());
        assert_eq!(shown(all, 37, 10).0.len(), 37);
        assert_eq!(paging(&format!("cursor={}", cursor(3).encode())).unwrap().left, Some(DEFAULT_LIMIT));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (query, expected) in
            [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor")]
        {
            let Err(Problem::BadParameter { name, .. }) = paging(query).map(drop) else { panic!("{query}") };
            assert_eq!(name, expected);
        }
    }
}
