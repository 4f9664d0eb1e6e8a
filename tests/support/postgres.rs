//! A private Postgres server for tests.
//!
//! Promises: needs no configuration and no port; runs as root too (Postgres itself then runs as `postgres` or `nobody`);
//! ends with the test process however that ends, `kill -9` included, and leaves no file behind.
//! Refuses: servers that are already there. A test never touches what it did not start.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Where a server listens besides its unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listen {
    SocketOnly,
    /// Also at a free port of 127.0.0.1, for tests that put a proxy before it.
    Tcp,
}

/// A running server.
pub(crate) struct TestPostgres {
    folder: PathBuf,
    port: u16,
    listen: Listen,
    supervisor: Mutex<Supervisor>,
    databases: AtomicU32,
}

struct Supervisor {
    /// `None` once it was told that no more come.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    process: Child,
}

/// Obeys one command per line, answers each with its exit code, and cleans up when there are no more commands, which is
/// when the test process closed the pipe or died. The server is its child, so that nothing is left for an init process
/// to reap; it is ended as a crash would end it, which is fast.
const SUPERVISOR: &str = r#"
PATH="$PATH:$(pg_config --bindir 2>/dev/null):$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)"
folder=$1 port=$2 server_options=$3
start() {
    postgres -D "$folder/data" -p "$port" $server_options &
    server=$!
    until pg_isready --quiet --host="$folder" --port="$port"; do
        kill -0 "$server" || return 1
        sleep 0.02
    done
}
stop() {
    kill -QUIT "$server"
    wait "$server"
    server=
}
while read -r command; do
    case $command in
        init) initdb --pgdata="$folder/data" --username=shopaloud --auth=trust --encoding=UTF8 --locale=C --no-sync ;;
        start) start ;;
        stop) stop ;;
    esac </dev/null >>"$folder/log" 2>&1
    echo $?
done
[ -n "$server" ] && stop 2>/dev/null
rm -rf "$folder"
"#;

impl TestPostgres {
    /// The server that the tests of this program share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<TestPostgres> = LazyLock::new(|| TestPostgres::start_private(Listen::SocketOnly));
        &SHARED
    }

    /// A server of one's own, to be stopped and started.
    pub(crate) fn start_private(listen: Listen) -> Self {
        // Directly in /tmp: the path of a unix socket is limited to 107 bytes, and temporary folders can be deep.
        let folder = tempfile::Builder::new().prefix("shopaloud-pg-").tempdir_in("/tmp").unwrap().keep();
        // Nobody listens there unless asked to, but the port is also in the socket's name.
        let port = free_port();
        let supervisor = Mutex::new(Supervisor::start(&folder, port, listen));
        let server = Self { folder, port, listen, supervisor, databases: AtomicU32::new(0) };
        server.obey("init");
        server.obey("start");
        server
    }

    /// Makes an empty database and returns its URL.
    pub(crate) async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    /// Ends the server as a crash would; returns when it is gone. What was committed is there again after
    /// [`Self::start`].
    pub(crate) fn stop(&self) {
        self.obey("stop");
    }

    /// Returns when the server takes connections.
    pub(crate) fn start(&self) {
        self.obey("start");
    }

    /// URL of a database over the unix socket.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://shopaloud@localhost:{}/{database}?host={}", self.port, self.folder.display())
    }

    /// URL of a database over 127.0.0.1.
    pub(crate) fn tcp_url(&self, database: &str) -> String {
        format!("postgres://shopaloud@127.0.0.1:{}/{database}?sslmode=disable", self.tcp_port())
    }

    /// Port at 127.0.0.1, to put a proxy before it.
    pub(crate) fn tcp_port(&self) -> u16 {
        assert_eq!(self.listen, Listen::Tcp, "this server listens at no port");
        self.port
    }

    /// Of the process above the server, with all that belongs to it below.
    pub(crate) fn pid(&self) -> u32 {
        self.supervisor.lock().unwrap().process.id()
    }

    fn obey(&self, command: &str) {
        let mut supervisor = self.supervisor.lock().unwrap();
        writeln!(supervisor.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut exit_code = String::new();
        supervisor.answers.read_line(&mut exit_code).unwrap();
        assert_eq!(
            exit_code.trim_end(),
            "0",
            "postgres: {command}:
{}",
            self.read_log()
        );
    }

    fn read_log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Supervisor {
    fn start(folder: &Path, port: u16, listen: Listen) -> Self {
        let address = match listen {
            Listen::SocketOnly => "",
            Listen::Tcp => "127.0.0.1",
        };
        let server_options = format!(
            "-c listen_addresses={address} -c unix_socket_directories={} -c max_connections=200 -c shared_buffers=32MB",
            folder.display()
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "postgres-supervisor"])
            .arg(folder)
            .arg(port.to_string())
            .arg(server_options)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C must end the tests only, so that the supervisor can clean up after them.
            .process_group(0);
        if std::fs::metadata(folder).unwrap().uid() == 0 {
            let (uid, gid) = unprivileged_account();
            chown(folder, Some(uid), Some(gid)).unwrap();
            command.uid(uid).gid(gid);
        }
        let mut process = command.spawn().unwrap();
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { commands, answers, process }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// User and group ids to run a server under, which refuses to be root. Every system has `nobody`.
fn unprivileged_account() -> (u32, u32) {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids_of = |name: &str| {
        let mut fields =
            accounts.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
        Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids_of("postgres").or_else(|| ids_of("nobody")).unwrap()
}
