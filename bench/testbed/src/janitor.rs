//! Nothing is left behind, however the process ends.
//!
//! A child process in its own process group waits for the end of its standard input. That comes when the owner closes
//! it or dies (a panic that aborts, Ctrl-C, SIGKILL). Then it ends every process in the namespaces named after the
//! owner, waits until they are gone, and removes those namespaces, their UAPI sockets and the owner's directory. Names
//! carry the process id, so it cannot touch what belongs to another run.
//!
//! What is made while it sweeps would escape it. The owner therefore asks for a [`permit`] before it makes something,
//! and gets none any more once [`sweep`] was called. The janitor looks twice at everything: a command that was under
//! way when the owner died may have made something after the first look.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use crate::{Context, Result};

/// `$1`: prefix of all names, `$2`: directory.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
for job in "$2"/group.*; do
    if [ -e "$job" ]; then kill -s KILL -- "-${job##*.}"; fi
done
for pass in 1 2; do
    for namespace in $(ip netns list | awk -v p="$1" 'index($1, p) == 1 { print $1 }'); do
        tries=0
        while pids=$(ip netns pids "$namespace") && [ -n "$pids" ] && [ "$tries" -lt 250 ]; do
            kill -9 $pids
            tries=$((tries + 1))
            sleep 0.02
        done
        ip netns del "$namespace"
    done
    rm -f /var/run/wireguard/"$1"*.sock /run/ringfort/"$1"*.sock
    for link in "$2"/remove.*; do
        if [ -L "$link" ]; then rm -rf "$(readlink "$link")"; fi
    done
    if [ "$pass" = 1 ]; then sleep 0.1; fi
done
rm -rf "$2"
"#;

/// Taken for reading while something is made, and for writing, for good, by the sweep.
static CREATION: RwLock<()> = RwLock::new(());
static JANITOR: OnceLock<Mutex<Option<Child>>> = OnceLock::new();
static NEXT_NAME: AtomicU32 = AtomicU32::new(0);

/// What all names of this process begin with, for example `rf1a2b-`. At most 8 characters.
pub fn prefix() -> String {
    prefix_of(std::process::id())
}

/// What all names of another process of this kind begin with.
pub fn prefix_of(process: u32) -> String {
    format!("rf{}-", base36(process))
}

/// Everything that a process of this kind has made and that is still there: namespaces, processes, sockets, files; a
/// line for each.
pub fn remains_of(process: u32) -> Vec<String> {
    let prefix = prefix_of(process);
    let namespaces = crate::command::ip("netns list").unwrap_or_default();
    let mut remains: Vec<String> = namespaces.lines().map(|line| format!("namespace {line}")).collect();
    for directory in [PathBuf::from("/var/run/wireguard"), PathBuf::from("/run/ringfort"), std::env::temp_dir()] {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        remains.extend(entries.map(|entry| format!("file {}", entry.path().display())));
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A gateway has the name of its interface, and `ip netns exec` that of its namespace, among its arguments.
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if !arguments.is_empty() {
            remains.push(format!("process {} {arguments}", entry.path().display()));
        }
    }
    remains.retain(|line| line.contains(&prefix));
    remains
}

/// A name that no other part of this process, and no other process, uses: at most 12 characters, so it fits
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

/// Held while something is made that the janitor has to remove. Once the sweep has begun it is not given any more: then
/// this never returns.
pub fn permit() -> RwLockReadGuard<'static, ()> {
    CREATION.read().unwrap_or_else(PoisonError::into_inner)
}

/// A note to the janitor about something outside of the namespaces. Dropped when it is over.
#[derive(Debug)]
pub struct Job(PathBuf);

impl Job {
    /// The processes of a group, by the process id of its leader, have to end when the owner does.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn group(leader: u32) -> Result<Self> {
        let note = directory().join(format!("group.{leader}"));
        std::fs::write(&note, "").context(note.display())?;
        Ok(Self(note))
    }

    /// A directory outside of [`directory`] has to be removed when the owner ends.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn removal(path: &Path) -> Result<Self> {
        let note = directory().join(format!("remove.{}", unique_name()));
        std::os::unix::fs::symlink(path, &note).context(note.display())?;
        Ok(Self(note))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // When it stays, the janitor does once more what is done already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes everything of this process now, and returns when it is done. Nothing can be created afterwards.
pub fn sweep() {
    std::mem::forget(CREATION.write().unwrap_or_else(PoisonError::into_inner));
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
        clear(&prefix(), &directory);
        make_private(&directory);
        Mutex::new(Some(janitor(&prefix(), &directory, Stdio::piped())))
    });
}

/// Removes what a process with our number has left that was killed together with its janitor: a container that is
/// started again counts from the beginning.
fn clear(prefix: &str, directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        // The numbers of process groups are others' by now.
        if entry.file_name().as_encoded_bytes().starts_with(b"group.") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    if directory.exists() {
        let _ = janitor(prefix, directory, Stdio::null()).wait();
    }
}

/// A janitor for `directory` and all whose names begin with `prefix`, which goes to work at the end of its input.
fn janitor(prefix: &str, directory: &Path, input: Stdio) -> Child {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "janitor", prefix])
        .arg(directory)
        .stdin(input)
        // A test runner waits for whoever holds its pipes.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("/bin/sh exists on every machine that this can run on")
}

fn make_private(directory: &Path) {
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
    fn what_a_dead_process_of_our_number_left_is_removed() {
        let prefix = format!("rft{}-", base36(std::process::id()));
        let directory = std::env::temp_dir().join(format!("{prefix}files"));
        make_private(&directory);
        let mut bystander = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        std::fs::write(directory.join(format!("group.{}", bystander.id())), "").unwrap();
        crate::command::ip(&format!("netns add {prefix}0")).unwrap();
        clear(&prefix, &directory);
        let is_unharmed = matches!(bystander.try_wait(), Ok(None));
        bystander.kill().unwrap();
        bystander.wait().unwrap();
        assert!(is_unharmed, "its process group was somebody else's by now");
        assert!(!directory.exists());
        assert!(!crate::command::ip("netns list").unwrap().contains(&prefix));
        clear(&prefix, &directory);
    }

    #[test]
    fn names_fit_an_interface_with_a_suffix() {
        let longest = format!("rf{}-{}", base36(4_194_304), base36(36 * 36 - 1));
        assert!(longest.len() + 2 <= 15, "{longest}");
    }
}
