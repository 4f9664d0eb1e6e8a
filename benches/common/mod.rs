//! What the benches share: processes as the kernel accounts for them, figures of several rounds, the machine's name.

#![allow(dead_code, reason = "each bench uses a part of this")]

use std::{fmt, fs, path::PathBuf, time::Duration};

/// The kernel's clock ticks in a second, of `/proc/PID/stat`; 100 on every Linux for user space.
const TICKS_PER_SEC: f64 = 100.0;

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// Of its own threads and of children that ended.
    pub(crate) fn cpu_secs(self) -> f64 {
        let stat = fs::read_to_string(self.file("stat")).unwrap_or_default();
        // After the command's name, which may have anything in it but ends with the last parenthesis.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
            / TICKS_PER_SEC
    }

    /// In RAM now.
    pub(crate) fn memory_bytes(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most in RAM since [`Self::forget_peak`].
    pub(crate) fn peak_memory_bytes(self) -> u64 {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(self) {
        fs::write(self.file("clear_refs"), "5").expect("the process is ours");
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(self.file("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// It and all that descend from it.
    pub(crate) fn tree(self) -> Vec<Self> {
        let mut tree = vec![self];
        let mut looked_at = 0;
        while let Some(&Self(parent)) = tree.get(looked_at) {
            looked_at += 1;
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            tree.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).map(Self));
        }
        tree
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the figures are figures of.
pub(crate) struct Machine;

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let memory_kib: u64 = first("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
        write!(
            f,
            "{}, {cores} cores, {} GB, Linux {}",
            first("/proc/cpuinfo", "model name"),
            memory_kib / 1_000_000,
            kernel.trim()
        )
    }
}
