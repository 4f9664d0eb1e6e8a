//! Who is told what, and how often.

use std::sync::{Arc, Mutex};

use actix::prelude::*;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::Timestamp,
    persist::{StreamLookup, StreamReady},
};

/// What a subscriber heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Listener(Heard);

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1000);
    }
}

macro_rules! listen {
    ($message:ty, $text:expr) => {
        impl Handler<$message> for Listener {
            type Result = ();
            fn handle(&mut self, message: $message, _: &mut Self::Context) {
                let text: fn($message) -> String = $text;
                self.0.0.lock().unwrap().push(text(message));
            }
        }
    };
}

listen!(StreamReady, |ready| format!("{:?}", ready.state));
listen!(RecordsStored, |stored| {
    let rejected: Vec<_> = stored.rejected.iter().filter_map(|rejected| rejected.seq).collect();
    format!("{} {rejected:?}", stored.ticket)
});
listen!(StreamFenced, |fenced| format!("{:?}", fenced.reason));

#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for Listener {
    type Result = ();
    fn handle(&mut self, _: Flush, _: &mut Self::Context) {}
}

struct Subscriber {
    heard: Heard,
    address: Addr<Listener>,
}

impl Subscriber {
    fn new() -> Self {
        let heard = Heard::default();
        Self { address: Listener(heard.clone()).start(), heard }
    }

    fn open(&self, streams: &mut Streams, stream: StreamId, connection: u64, user: &str) -> Opened {
        let at = Timestamp::now();
        streams.open(&OpenStream {
            stream,
            connection,
            user: UserId::parse(user).unwrap(),
            resume: true,
            alive_since: at,
            opened_since: at,
            session: StreamSubscriber {
                ready: self.address.clone().recipient(),
                stored: self.address.clone().recipient(),
                fenced: self.address.clone().recipient(),
            },
        })
    }

    async fn heard(&self) -> Vec<String> {
        // Behind everything that was sent before.
        self.address.send(Flush).await.unwrap();
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }
}

fn rejected(seq: i64) -> RejectedRecord {
    RejectedRecord { seq: Some(seq), reason: "no".into() }
}

#[actix::test]
async fn a_newer_connection_replaces_the_older_which_changes_nothing_any_more() {
    let (mut streams, stream) = (Streams::default(), StreamId::new());
    let (older, newer) = (Subscriber::new(), Subscriber::new());
    assert_eq!(older.open(&mut streams, stream, 1, "anna"), Opened::Taken);
    assert_eq!(newer.open(&mut streams, stream, 2, "anna"), Opened::Taken);
    streams.tell(stream, 1, 57, Vec::new());
    streams.owe(stream, 1, 58, Position(10));
    streams.pay(Position(100));
    streams.close(stream, 1, Position(100));
    streams.tell(stream, 2, 1, Vec::new());
    assert_eq!(older.heard().await, ["Replaced"]);
    assert_eq!(newer.heard().await, ["1 []"]);
}

#[actix::test]
async fn another_users_stream_stays_theirs() {
    let (mut streams, stream) = (Streams::default(), StreamId::new());
    let (anna, eve) = (Subscriber::new(), Subscriber::new());
    anna.open(&mut streams, stream, 1, "anna");
    assert_eq!(eve.open(&mut streams, stream, 2, "eve"), Opened::Foreign);
    streams.close(stream, 2, Position(0));
    streams.tell(stream, 1, 1, Vec::new());
    assert_eq!(anna.heard().await, ["1 []"]);
    assert!(eve.heard().await.is_empty());
}

#[actix::test]
async fn a_stream_that_the_database_calls_foreign_is_let_go_of() {
    let (mut streams, stream) = (Streams::default(), StreamId::new());
    let eve = Subscriber::new();
    eve.open(&mut streams, stream, 1, "eve");
    streams.ready(1, StreamReady { stream, state: StreamLookup::Foreign, open_session: None });
    assert_eq!(streams.len(), 0);
    assert_eq!(eve.heard().await, ["Foreign"]);
}

#[actix::test]
async fn a_closed_stream_is_known_until_its_records_are_committed() {
    let (mut streams, stream) = (Streams::default(), StreamId::new());
    let first = Subscriber::new();
    first.open(&mut streams, stream, 1, "anna");
    streams.appended(stream, 1, Position(50));
    streams.close(stream, 1, Position(40));
    assert_eq!(streams.len(), 1);
    let again = Subscriber::new();
    again.open(&mut streams, stream, 2, "anna");
    streams.ready(2, StreamReady { stream, state: StreamLookup::New, open_session: None });
    assert_eq!(again.heard().await, ["Known { last_seq: 0, audio_end: 0 }"]);
    streams.forget_closed(Position(50));
    assert_eq!(streams.len(), 1, "it is open again");
    streams.close(stream, 2, Position(50));
    assert_eq!(streams.len(), 0);
    assert!(first.heard().await.is_empty(), "a connection that closed hears nothing");
}

#[actix::test]
async fn open_streams_of_an_owner_that_dies_are_told() {
    let mut streams = Streams::default();
    let (open, closed) = (Subscriber::new(), Subscriber::new());
    let stream = StreamId::new();
    open.open(&mut streams, StreamId::new(), 1, "anna");
    closed.open(&mut streams, stream, 2, "anna");
    streams.appended(stream, 2, Position(50));
    streams.close(stream, 2, Position(0));
    drop(streams);
    assert_eq!(open.heard().await, ["Aborted"]);
    assert!(closed.heard().await.is_empty());
}

#[actix::test]
async fn a_rejected_record_is_told_with_the_ticket_that_covers_it() {
    let (mut streams, stream) = (Streams::default(), StreamId::new());
    let anna = Subscriber::new();
    anna.open(&mut streams, stream, 1, "anna");
    streams.owe(stream, 1, 1, Position(10));
    streams.owe(stream, 1, 2, Position(20));
    streams.reject(stream, Position(20), rejected(7));
    streams.pay(Position(15));
    streams.pay(Position(20));
    // Nothing is owed any more: it is told at once, with the ticket told last.
    streams.reject(stream, Position(30), rejected(8));
    streams.pay(Position(30));
    assert_eq!(anna.heard().await, ["1 []", "2 [7]", "2 [8]"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Tickets appended at growing positions and paid now and then: each is told at most once, none too early, and
    /// all in the end, with room for two of them.
    #[test]
    fn tickets_are_told_once_and_never_early(steps in proptest::collection::vec(any::<Option<u8>>(), 1..60)) {
        System::new().block_on(async move {
            let (mut streams, stream) = (Streams::default(), StreamId::new());
            let anna = Subscriber::new();
            anna.open(&mut streams, stream, 1, "anna");
            let (mut appended, mut stored, mut told) = (0_u64, 0_u64, 0_u64);
            let mut steps = steps;
            steps.push(Some(u8::MAX));
            steps.push(Some(u8::MAX));
            for step in steps {
                match step {
                    None => {
                        appended += 1;
                        streams.owe(stream, 1, appended, Position(appended * 10));
                    }
                    Some(by) => {
                        stored = (stored + u64::from(by) + 1).min(appended * 10);
                        if by == u8::MAX {
                            stored = appended * 10;
                        }
                        streams.pay(Position(stored));
                    }
                }
                for text in anna.heard().await {
                    let ticket: u64 = text.split(' ').next().unwrap().parse().unwrap();
                    prop_assert!(ticket > told && ticket * 10 <= stored);
                    told = ticket;
                }
            }
            prop_assert_eq!(told, appended);
            Ok(())
        })?;
    }
}
