//! Processes of this machine, as the kernel accounts for them. What is gone has used nothing.

use std::{fs, path::PathBuf};

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
        fs::write(self.file("clear_refs"), "5").unwrap();
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(self.file("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Of it and all that descend from it.
    pub(crate) fn tree_cpu_secs(self) -> f64 {
        self.tree().into_iter().map(Self::cpu_secs).sum()
    }

    fn tree(self) -> Vec<Self> {
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
