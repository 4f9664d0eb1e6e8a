//! Programs of other languages that drive the server from outside.
//!
//! Promises: installed once below `target/`, from lock files. What cannot be installed fails the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

/// One installation at a time; the tests run in parallel.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A folder that is filled by `install` when it is not there yet for these `inputs`.
pub(crate) fn installed(name: &str, inputs: &[PathBuf], install: impl FnOnce(&Path)) -> PathBuf {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Cargo tells tests and benches, and not examples, which install nothing.
    let Some(target) = option_env!("CARGO_TARGET_TMPDIR") else { panic!("nowhere to install {name}") };
    let folder = Path::new(target).join(name);
    let wanted: String = inputs.iter().map(|input| fs::read_to_string(input).unwrap()).collect();
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return folder;
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    install(&folder);
    fs::write(stamp, wanted).unwrap();
    folder
}

/// A virtual environment with what `requirements` lists.
pub(crate) fn python_with(name: &str, requirements: &Path) -> PathBuf {
    installed(name, &[requirements.to_owned()], |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let pip = folder.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements));
    })
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}
