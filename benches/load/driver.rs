//! The driver: connections that say events and count their acks.
//!
//! Promises: latency is measured from the time at which an event was due, not from when there was time to send it.
//! Refuses: to come back after a loss. A connection that ends early fails the bench.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use futures_util::{FutureExt, SinkExt, StreamExt, future::join_all};
use hdrhistogram::Histogram;
use tokio::{net::TcpStream, task::LocalSet};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Door {
    Socketio,
    Plain,
}

#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) door: Door,
    pub(crate) connections: usize,
    pub(crate) ramp: Duration,
    pub(crate) duration: Duration,
    pub(crate) window: usize,
    /// Over all connections.
    pub(crate) rate: Option<f64>,
    pub(crate) audio: bool,
    pub(crate) large_every: u64,
}

/// What came of a load.
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    pub(crate) audio_bytes: u64,
    /// From the first event to the last ack.
    pub(crate) took: Duration,
    /// Microseconds from when an event was due to its ack.
    pub(crate) latency: Histogram<u64>,
    /// Acknowledged events of each user.
    pub(crate) of_users: Vec<(String, u64)>,
}

impl Default for Outcome {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        Self { acknowledged: 0, audio_bytes: 0, took: Duration::ZERO, latency, of_users: Vec::new() }
    }
}

const AUDIO_INTERVAL: Duration = Duration::from_millis(300);
const AUDIO_CHUNK_BYTES: usize = 4_800;
/// What a chunk begins with that begins a recording: an EBML header.
const EBML: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];
/// Longest wait for the acks that are due at the end.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(load: &Load) -> Outcome {
    let total = Rc::new(RefCell::new(Outcome::default()));
    let began = Instant::now();
    LocalSet::new()
        .run_until(async {
            let shoppers = (0..load.connections).map(|number| {
                let (load, total) = (load.clone(), Rc::clone(&total));
                tokio::task::spawn_local(async move { shop(&load, number, began, &total).await })
            });
            for shopper in join_all(shoppers).await {
                shopper.expect("every connection lasts");
            }
        })
        .await;
    Rc::into_inner(total).unwrap().into_inner()
}

/// Connections that were let in and say nothing.
pub(crate) async fn open_idle(load: &Load) -> Vec<Line> {
    let mut lines = Vec::with_capacity(load.connections);
    for number in 0..load.connections {
        lines.push(Line::open(load, &format!("idle-{number}")).await);
    }
    lines
}

/// One connection, introduced and recording.
pub(crate) struct Line {
    socket: WebSocketStream<TcpStream>,
    door: Door,
}

impl Line {
    async fn open(load: &Load, user: &str) -> Self {
        let path = match load.door {
            Door::Socketio => "socket.io/?EIO=4&transport=websocket",
            Door::Plain => "ws",
        };
        let stream = TcpStream::connect(load.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = client_async(format!("ws://{}/{path}", load.address), stream).await.unwrap();
        let mut line = Self { socket, door: load.door };
        match load.door {
            Door::Socketio => {
                line.until("0").await;
                line.say(format!(r#"40{{"userId":"{user}"}}"#)).await;
                line.until("40").await;
            }
            Door::Plain => {
                line.say(format!(r#"{{"event":"hello","data":{{"userId":"{user}"}}}}"#)).await;
                line.until(r#"{"welcome"#).await;
            }
        }
        line
    }

    async fn say(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    async fn until(&mut self, start: &str) {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) if text.starts_with(start) => return,
                Some(Ok(_)) => {}
                other => panic!("waiting for {start}: {other:?}"),
            }
        }
    }

    async fn start_recording(&mut self) {
        match self.door {
            Door::Socketio => {
                self.say(r#"420["recording:start",{"page":"/"}]"#.to_owned()).await;
                self.until("430").await;
            }
            Door::Plain => {
                self.say(r#"{"event":"recording:start","seq":1,"data":{"page":"/"}}"#.to_owned()).await;
                self.until(r#"{"ack":1"#).await;
            }
        }
    }

    /// Hands an event to the socket; the ack names `number`.
    async fn feed(&mut self, number: u64, name: &str, data: &str) {
        let text = match self.door {
            Door::Socketio => format!(r#"42{number}["{name}",{data}]"#),
            Door::Plain => format!(r#"{{"event":"{name}","seq":{number},"data":{data}}}"#),
        };
        self.socket.feed(Message::text(text)).await.unwrap();
    }

    async fn feed_audio(&mut self, chunk: Vec<u8>) {
        if self.door == Door::Socketio {
            let head = r#"451-["audio",{"_placeholder":true,"num":0}]"#;
            self.socket.feed(Message::text(head)).await.unwrap();
        }
        self.socket.feed(Message::binary(chunk)).await.unwrap();
    }
}

/// What a frame acknowledges.
enum Ack {
    One(u64),
    Upto(u64),
    Nothing,
}

fn ack_of(door: Door, text: &str) -> Ack {
    let number = |digits: &str| digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse();
    match door {
        Door::Socketio => text.strip_prefix("43").and_then(|rest| number(rest).ok()).map_or(Ack::Nothing, Ack::One),
        Door::Plain => {
            text.strip_prefix(r#"{"ack":"#).and_then(|rest| number(rest).ok()).map_or(Ack::Nothing, Ack::Upto)
        }
    }
}

/// Events whose acks are awaited, by number, with the times at which they were due.
#[derive(Default)]
struct Pending {
    due: HashMap<u64, Instant>,
    lowest: u64,
}

impl Pending {
    fn acknowledged(&mut self, ack: &Ack, outcome: &mut Outcome, count: &mut u64) {
        let mut note = |due: Option<Instant>| {
            let Some(due) = due else { return };
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            outcome.latency.saturating_record(micros.max(1));
            outcome.acknowledged += 1;
            *count += 1;
        };
        match ack {
            Ack::One(number) => note(self.due.remove(number)),
            Ack::Upto(upto) => {
                for number in self.lowest..=*upto {
                    note(self.due.remove(&number));
                }
                self.lowest = self.lowest.max(upto + 1);
            }
            Ack::Nothing => {}
        }
    }
}

/// When the next event is due.
struct Schedule {
    /// `None`: as soon as the window has room.
    next: Option<Instant>,
    interval: Duration,
    window: usize,
    end: Instant,
}

impl Schedule {
    /// `share`: where in a turn of all connections this one comes.
    fn new(load: &Load, share: f64, start: Instant) -> Self {
        let interval = load.rate.map(|rate| Duration::from_secs_f64(load.connections as f64 / rate));
        let next = interval.map(|interval| start + interval.mul_f64(share));
        let interval = interval.unwrap_or_default();
        Self { next, interval, window: load.window, end: start + load.duration }
    }

    fn due(&mut self, now: Instant, waiting: usize) -> Option<Instant> {
        match &mut self.next {
            _ if now >= self.end => None,
            Some(at) if *at <= now => {
                let due = *at;
                *at += self.interval;
                Some(due)
            }
            None if waiting < self.window => Some(now),
            _ => None,
        }
    }
}

async fn shop(load: &Load, number: usize, began: Instant, total: &Rc<RefCell<Outcome>>) {
    let share = number as f64 / load.connections.max(1) as f64;
    tokio::time::sleep(load.ramp.mul_f64(share)).await;
    let user = format!("shopper-{number}");
    let mut line = Line::open(load, &user).await;
    line.start_recording().await;
    // Everybody begins at the same time.
    let start = began + load.ramp + Duration::from_secs(1);
    tokio::time::sleep_until(start.into()).await;
    let end = start + load.duration;
    let mut schedule = Schedule::new(load, share, start);
    let mut next_audio = load.audio.then(|| start + AUDIO_INTERVAL.mul_f64(share));
    let mut events = Events { of: number as u64, large_every: load.large_every };
    let (mut pending, mut said, mut count, mut audio_bytes) = (Pending::default(), 1_u64, 0_u64, 0_u64);
    loop {
        let now = Instant::now();
        let is_over = now >= end;
        if is_over && pending.due.is_empty() {
            break;
        }
        assert!(now < end + PATIENCE, "{user}: {} acks never come", pending.due.len());
        let mut is_fed = false;
        while let Some(due) = schedule.due(now, pending.due.len()) {
            said += 1;
            let (name, data) = events.event(said);
            line.feed(said, name, &data).await;
            pending.due.insert(said, due);
            is_fed = true;
        }
        if let Some(at) = next_audio.filter(|at| *at <= now && !is_over) {
            let mut chunk = vec![u8::try_from(number % 251).unwrap_or_default(); AUDIO_CHUNK_BYTES];
            if audio_bytes == 0 {
                chunk[..4].copy_from_slice(&EBML);
            }
            audio_bytes += chunk.len() as u64;
            line.feed_audio(chunk).await;
            next_audio = Some(at + AUDIO_INTERVAL);
            is_fed = true;
        }
        if is_fed {
            line.socket.flush().await.unwrap();
        }
        let wake = [schedule.next, next_audio].into_iter().flatten().min().unwrap_or(end).min(end);
        let wake = if is_over { now + Duration::from_secs(1) } else { wake };
        let mut message = tokio::select! {
            message = line.socket.next() => Some(message),
            () = tokio::time::sleep_until(wake.into()) => None,
        };
        // What came together is taken together.
        while let Some(frame) = message {
            match frame {
                Some(Ok(Message::Text(text))) if text == "2" => line.say("3".to_owned()).await,
                Some(Ok(Message::Text(text))) => {
                    let ack = ack_of(line.door, &text);
                    pending.acknowledged(&ack, &mut total.borrow_mut(), &mut count);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => panic!("{user}: the connection ended: {frame:?}"),
                Some(Ok(_)) => {}
            }
            message = line.socket.next().now_or_never();
        }
    }
    let mut total = total.borrow_mut();
    total.took = total.took.max(start.elapsed());
    total.audio_bytes += audio_bytes;
    total.of_users.push((user, count));
}

/// What shoppers do: much mouse, some scrolling, few clicks, now and then a changed page.
struct Events {
    of: u64,
    large_every: u64,
}

impl Events {
    fn event(&mut self, n: u64) -> (&'static str, String) {
        let turn = n.wrapping_add(self.of);
        let (name, bytes) = if self.large_every > 0 && turn.is_multiple_of(self.large_every) {
            ("dom:mutation", 300_000)
        } else if turn.is_multiple_of(50) {
            ("dom:mutation", 1_024 + (turn * 37 % 3_072))
        } else if turn.is_multiple_of(12) {
            ("click:event", 300)
        } else if turn.is_multiple_of(5) {
            ("scroll:position", 80)
        } else {
            ("mouse:position", 120)
        };
        let head = format!(r#"{{"n":{n},"x":""#);
        let fill = usize::try_from(bytes).unwrap_or_default().saturating_sub(head.len() + 2);
        (name, format!("{head}{:x<fill$}\"}}", ""))
    }
}
