//! Nothing is left behind, however the process ends.
//!
//! A child process in its own session waits for the end of its standard input, which comes when the owner closes it
//! or dies (a panic that aborts, Ctrl-C, SIGKILL). Then it ends every process in the namespaces named after the
//! owner, and removes those namespaces, their UAPI sockets and the owner's directory. Names carry the process id, so
//! that it cannot touch what belongs to another run.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// `$1`: prefix of all names, `$2`: directory.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
for namespace in $(ip netns list | awk -v p="$1" 'index($1, p) == 1 { print $1 }'); do
    for pid in $(ip netns pids "$namespace"); do kill -9 "$pid"; done
    ip netns del "$namespace"
done
rm -f /var/run/wireguard/"$1"*.sock
rm -rf "$2"
"#;

static JANITOR: OnceLock<Mutex<Option<Child>>> = OnceLock::new();
static NEXT_NAME: AtomicU32 = AtomicU32::new(0);

/// What all names of this process begin with, for example `rf1a2b-`. At most 8 characters.
pub fn prefix() -> String {
    format!("rf{}-", base36(std::process::id()))
}

/// A name that no other part of this process, and no other process, uses: at most 12 characters, so that it fits
/// an interface name (15) with room for a suffix. The janitor is started before the first name is given out.
pub fn unique_name() -> String {
    start();
    format!("{}{}", prefix(), base36(NEXT_NAME.fetch_add(1, Ordering::Relaxed)))
}

/// This process's own directory for logs and keys (mode 0700), removed with everything else.
pub fn directory() -> PathBuf {
    start();
    std::env::temp_dir().join(format!("{}files", prefix()))
}

/// Removes everything of this process now, and returns when it is done. Nothing may be created afterwards.
pub fn sweep() {
    let Some(janitor) = JANITOR.get() else { return };
    let child = janitor.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    if let Some(mut child) = child {
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

fn start() {
    JANITOR.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("{}files", prefix()));
        make_private(&directory);
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "janitor", &prefix()])
            .arg(&directory)
            .stdin(Stdio::piped())
            // A test runner waits for whoever holds its pipes.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("/bin/sh exists on every machine that this can run on");
        Mutex::new(Some(child))
    });
}

fn make_private(directory: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    assert!(made.is_ok(), "cannot create {}: {made:?}", directory.display());
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = char::from_digit(number % 36, 36).expect("a remainder of 36 is a base-36 digit");
        digits.push(digit);
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_base_36() {
        assert_eq!(base36(0), "0");
        assert_eq!(base36(35), "z");
        assert_eq!(base36(36), "10");
        assert_eq!(base36(4_194_304), "2hwcg");
    }

    #[test]
    fn names_fit_an_interface_with_a_suffix() {
        let longest = format!("rf{}-{}", base36(4_194_304), base36(36 * 36 - 1));
        assert!(longest.len() + 2 <= 15, "{longest}");
    }
}
