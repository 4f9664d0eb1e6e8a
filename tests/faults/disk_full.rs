//! A disk that is full: a small tmpfs under the data directory, filled by audio that has nowhere to go.
//!
//! Only root may mount one. For everybody else there is nothing to see here, and it says so.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    scene::{HASTY, Scene},
    support::{accounts::Accounts, shopper::habits::Habits},
};

const SETTINGS: &str =
    "[journal]\nsegment_bytes = 1048576\nlimit_bytes = 8388608\n[server]\nmax_message_bytes = 524288\n";

/// Of 24 MiB, which is gone with it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at).status().unwrap();
        assert!(mount.success());
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // By now the server has ended. What is left of its folder could not be removed because of this.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_out() {
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        println!("only root may mount a small disk: not tested");
        return;
    }
    let settings: &'static str = format!("{HASTY}{SETTINGS}").leak();
    let habits = Habits { recording: Duration::from_secs(1), chunk_bytes: 60_000, ..Habits::default() };
    let disk = std::cell::OnceCell::new();
    let scene = Scene::begin_on("disk full, bucket away", settings, 1, 12, &habits, |server| {
        disk.get_or_init(|| SmallDisk::mount(&server.data_dir()));
    })
    .await;
    scene.until_acknowledged(50).await;
    scene.s3.lock().unwrap().stop();
    let until_it_waits = async {
        while Accounts::now(&scene.nodes[0]).await.of("audio_pauses_total") < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(40), until_it_waits).await.is_ok(), "the disk is never full");
    // It is full for a while, and nobody is the worse for it but by waiting.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.nodes[0].get("/healthz").await.status(), 200);
    scene.s3.lock().unwrap().restart();
    let audio = scene.load.totals().acknowledged_audio_bytes + 5_000_000;
    scene.until("audio is acknowledged", |totals| totals.acknowledged_audio_bytes >= audio).await;
    scene.until_acknowledged(100).await;
    scene.end().await;
}
