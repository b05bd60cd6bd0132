//! What else of the machine is needed: programs, and files of the system.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::Error;
use crate::invocation::{Ended, Input, Invocation, delegated};

/// Where programs of the system are, for a daemon whose `PATH` leaves these out.
const SYSTEM_DIRECTORIES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Without it, packets of the mark would be looked up without it on their way in, and be dropped by a reverse path
/// filter.
const VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";
/// How long a program may take. They take milliseconds; one that hangs must not hang the gateway.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(20);
/// How long what a program has written is waited for once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The machine, or what a test puts in its place.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where programs are looked for.
    path: OsString,
    /// Before the paths of files.
    root: PathBuf,
}

/// A program of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: String,
    path: PathBuf,
}

impl Host {
    pub(crate) fn this() -> Self {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":");
        path.push(SYSTEM_DIRECTORIES);
        Self { path, root: PathBuf::from("/") }
    }

    #[cfg(test)]
    pub(crate) fn new(path: impl Into<OsString>, root: &Path) -> Self {
        Self { path: path.into(), root: root.to_owned() }
    }

    /// A program, if it is installed.
    pub(crate) fn program(&self, name: &str) -> Option<Program> {
        let candidates = std::env::split_paths(&self.path).map(|directory| directory.join(name));
        let mut found = candidates.filter(|path| is_executable(path));
        found.next().map(|path| Program { name: name.to_owned(), path })
    }

    /// A file of the system, named from the root.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Has IPv4 packets of a mark looked up by it also on their way in.
    pub(crate) fn set_valid_mark(&self) -> Result<(), Error> {
        let path = self.file(VALID_MARK);
        let failed = |source: io::Error| Error::Refused {
            what: "set net.ipv4.conf.all.src_valid_mark, which a default route needs".to_owned(),
            reason: source.to_string(),
            errno: source.raw_os_error().unwrap_or(0),
            remedy: "Set it to 1 in /etc/sysctl.d, or let the gateway write to /proc/sys".to_owned(),
        };
        if fs::read_to_string(&path).map_err(failed)?.trim() == "1" {
            return Ok(());
        }
        fs::write(&path, "1").map_err(failed)
    }
}

impl Invocation {
    /// Runs it in this process, whoever else is there to do so.
    ///
    /// # Errors
    /// The system's, or that the program is not installed.
    pub fn run(&self) -> io::Result<Ended> {
        let program = Host::this().program(&self.program).ok_or(io::ErrorKind::NotFound)?;
        program.run_here(self)
    }
}

impl Program {
    /// Runs it with this on its standard input, and returns what it writes.
    pub(crate) fn run(&self, arguments: &[&str], input: impl Into<Input>, what: &str) -> Result<String, Error> {
        let failed = |source| Error::System { what: format!("{what}: run {}", self.path.display()), source };
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let invocation = Invocation { program: self.name.clone(), arguments, input: input.into() };
        let ended = match delegated() {
            Some(run) => run(&invocation),
            None => self.run_here(&invocation),
        };
        let ended = ended.map_err(failed)?;
        let said = || [ended.errors.trim(), ended.output.trim()].join(" ").trim().to_owned();
        let output = match ended.status {
            Some(status) if status.success() => return Ok(ended.output),
            Some(status) if said().is_empty() => status.to_string(),
            Some(_) => said(),
            None => format!("it did not end within {} s, and was stopped", PROGRAM_TIME_MAX.as_secs()),
        };
        Err(Error::Program { what: what.to_owned(), program: self.name.clone(), output })
    }

    /// Whether its name is that of another program, which acts as this one.
    pub(crate) fn is_link(&self) -> bool {
        self.path.is_symlink()
    }

    /// Runs it in this process.
    fn run_here(&self, invocation: &Invocation) -> io::Result<Ended> {
        let mut command = Command::new(&self.path);
        command.args(&invocation.arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(&mut command, invocation.input.to_string())
    }
}

/// In a process group of its own, so all that it has started can be ended with it.
fn run(command: &mut Command, input: String) -> io::Result<Ended> {
    let mut child = command.process_group(0).spawn()?;
    let stdin = child.stdin.take();
    // Each pipe has a thread, so no program waits for us while we wait for it. Nobody waits for the threads either: a
    // daemon that the program leaves behind may keep a pipe open for ever.
    thread::spawn(move || {
        // A program that does not read to the end says why by how it ends.
        let _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
    });
    let (output, errors) = (pieces_of(child.stdout.take()), pieces_of(child.stderr.take()));
    let status = await_end(&mut child)?;
    Ok(Ended { status, output: text_of(&output), errors: text_of(&errors) })
}

/// What comes out of a pipe, as it comes.
fn pieces_of(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (piece, pieces) = channel();
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = [0; 8192];
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            if piece.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}

/// All of it, to the end of the pipe; without an end, what comes in [`LAST_WORDS`].
fn text_of(pieces: &Receiver<Vec<u8>>) -> String {
    let deadline = Instant::now() + LAST_WORDS;
    let mut bytes = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        bytes.extend(piece);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn await_end(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + PROGRAM_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            end_group(child);
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Ends all that the child has started, as far as it has stayed in its group.
fn end_group(child: &Child) {
    // The child is not reaped yet, so the group of its number is its own. It may have no members any more.
    let _ = i32::try_from(child.id()).map(|group| killpg(Pid::from_raw(group), Signal::SIGKILL));
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon that a program leaves behind has its output open, for ever perhaps.
    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let fifo = std::env::temp_dir().join(format!("ringfort-host-{}", std::process::id()));
        let name = fifo.to_str().expect("a name of ours");
        assert!(Command::new("mkfifo").arg(name).status().unwrap().success());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("echo done; cat {name} & exit 3")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = run(&mut command, String::new()).unwrap();
        assert_eq!((ended.status.and_then(|status| status.code()), ended.output.as_str()), (Some(3), "done\n"));
        // It is still there to read this, and ends.
        fs::write(&fifo, "the end").unwrap();
        fs::remove_file(fifo).unwrap();
    }
}
