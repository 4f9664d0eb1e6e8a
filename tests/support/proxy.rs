//! A TCP proxy that does to connections what networks do: swallows bytes, delays them, cuts connections in the middle
//! of a word, or just when an answer was under way.
//!
//! Promises: works on while its test is blocked, on a thread of its own; ends when it is dropped, with all connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{oneshot, watch},
};

/// Passes connections to a port of 127.0.0.1 on.
pub(crate) struct TcpProxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    answers: Arc<LostAnswers>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What the line does to what it carries.
#[derive(Clone, Default)]
struct Line {
    is_frozen: bool,
    is_refusing: bool,
    delay: Duration,
    /// Connections of an earlier generation are cut.
    generation: u64,
    /// How many bytes, both ways together, a connection carries before it is cut.
    lifetime_bytes: Option<Range<u64>>,
}

#[derive(Default)]
struct LostAnswers {
    to_lose: AtomicU64,
    lost: AtomicU64,
}

impl TcpProxy {
    pub(crate) fn before(port: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (line, watching) = watch::channel(Line::default());
        let answers = Arc::new(LostAnswers::default());
        let losing = Arc::clone(&answers);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, port, watching, losing) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, line, answers, running: Some((stop, thread)) }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing comes through any more, not even the end of a connection.
    pub(crate) fn freeze(&self) {
        self.line.send_modify(|line| line.is_frozen = true);
    }

    /// What waited comes through, and everything after it.
    pub(crate) fn thaw(&self) {
        self.line.send_modify(|line| line.is_frozen = false);
    }

    /// Every piece that comes through takes this much longer.
    pub(crate) fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.line.send_modify(|line| line.generation += 1);
    }

    /// Cuts all connections, and each new one at once.
    pub(crate) fn refuse(&self) {
        self.line.send_modify(|line| (line.is_refusing, line.generation) = (true, line.generation + 1));
    }

    pub(crate) fn accept(&self) {
        self.line.send_modify(|line| line.is_refusing = false);
    }

    /// New connections are cut after so many bytes, somewhere in that range. `None`: never.
    pub(crate) fn cut_after(&self, lifetime_bytes: Option<Range<u64>>) {
        self.line.send_modify(|line| line.lifetime_bytes = lifetime_bytes);
    }

    /// Cuts the next connections on which Postgres answers that it committed, before the answer comes through.
    pub(crate) fn lose_commit_answers(&self, answers: u64) {
        self.answers.to_lose.fetch_add(answers, Ordering::SeqCst);
    }

    pub(crate) fn lost_commit_answers(&self) -> u64 {
        self.answers.lost.load(Ordering::SeqCst)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl LostAnswers {
    /// Whether the answer that comes is to be lost.
    fn take(&self) -> bool {
        let taken = self.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |answers| answers.checked_sub(1));
        self.lost.fetch_add(u64::from(taken.is_ok()), Ordering::SeqCst);
        taken.is_ok()
    }
}

async fn accept(listener: TcpListener, port: u16, line: watch::Receiver<Line>, answers: Arc<LostAnswers>) {
    while let Ok((client, _)) = listener.accept().await {
        let (mut line, answers) = (line.clone(), Arc::clone(&answers));
        let Line { is_refusing, generation, lifetime_bytes, .. } = line.borrow_and_update().clone();
        if is_refusing {
            continue;
        }
        let allowance = Arc::new(AtomicU64::new(lifetime_bytes.map_or(u64::MAX, fastrand::u64)));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let there = pass_on(from_client, to_server, line.clone(), Arc::clone(&allowance), None);
            let back = pass_on(from_server, to_client, line.clone(), allowance, Some((answers, Answers::default())));
            tokio::select! {
                () = there => {}
                () = back => {}
                _ = line.wait_for(|line| line.generation > generation) => {}
            }
        });
    }
}

/// Ends with either side, or when the connection is to be cut.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
    allowance: Arc<AtomicU64>,
    mut losing: Option<(Arc<LostAnswers>, Answers)>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length) = from.read(&mut buffer).await else { return };
        let Ok(delay) = line.wait_for(|line| !line.is_frozen).await.map(|line| line.delay) else { return };
        if length == 0 {
            return;
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some((lost, answers)) = &mut losing
            && answers.tells_of_commit(&buffer[..length])
            && lost.take()
        {
            return;
        }
        let left = allowance.load(Ordering::SeqCst);
        let passed = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        allowance.store(left - passed as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..passed]).await.is_err() || passed < length {
            return;
        }
    }
}

/// Postgres' answers, message by message: a kind, four bytes of length that count themselves, the rest.
#[derive(Default)]
struct Answers {
    message: Vec<u8>,
    /// Of a message that is of no interest.
    to_skip: usize,
    has_written: bool,
}

impl Answers {
    /// Whether `bytes` end with, or contain, the news that something written is committed.
    fn tells_of_commit(&mut self, bytes: &[u8]) -> bool {
        let mut is_told = false;
        for byte in bytes {
            if self.to_skip > 0 {
                self.to_skip -= 1;
                continue;
            }
            self.message.push(*byte);
            let &[kind, a, b, c, d, ref body @ ..] = self.message.as_slice() else { continue };
            let rest = u32::from_be_bytes([a, b, c, d]) as usize - 4;
            match kind {
                b'C' | b'Z' if body.len() < rest => continue,
                // A command is complete: its tag.
                b'C' => self.has_written = body.starts_with(b"COMMIT") || body.starts_with(b"INSERT"),
                // Ready for a query, outside of any transaction.
                b'Z' => is_told |= std::mem::take(&mut self.has_written) && body == b"I",
                _ => self.to_skip = rest,
            }
            self.message.clear();
        }
        is_told
    }
}
