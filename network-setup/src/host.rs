//! What else of the machine is needed: programs, and files of the system.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Where programs of the system are, for a daemon whose `PATH` leaves these out.
const SYSTEM_DIRECTORIES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a program may take. They take milliseconds; one that hangs must not hang the gateway.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(20);
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
    name: &'static str,
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
    pub(crate) fn program(&self, name: &'static str) -> Option<Program> {
        let candidates = std::env::split_paths(&self.path).map(|directory| directory.join(name));
        candidates.filter(|path| is_executable(path)).map(|path| Program { name, path }).next()
    }

    /// A file of the system, named from the root.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Program {
    /// Runs it with this on its standard input, and returns what it writes.
    pub(crate) fn run(&self, arguments: &[&str], input: &str, what: &str) -> Result<String, Error> {
        let failed = |source| Error::System { what: format!("{what}: run {}", self.path.display()), source };
        let mut command = Command::new(&self.path);
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = run(&mut command, input).map_err(failed)?;
        let said = || [ended.errors.trim(), ended.output.trim()].join(" ").trim().to_owned();
        let output = match ended.status {
            Some(status) if status.success() => return Ok(ended.output),
            Some(status) if said().is_empty() => status.to_string(),
            Some(_) => said(),
            None => format!("it did not end within {} s, and was stopped", PROGRAM_TIME_MAX.as_secs()),
        };
        Err(Error::Program { what: what.to_owned(), program: self.name.to_owned(), output })
    }
}

struct Ended {
    /// `None` if it was stopped.
    status: Option<ExitStatus>,
    output: String,
    errors: String,
}

fn run(command: &mut Command, input: &str) -> io::Result<Ended> {
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // Each pipe has a thread, so no program waits for us while we wait for it.
        scope.spawn(move || {
            // A program that does not read to the end says why by how it ends.
            let _ = stdin.as_mut().map(|stdin| stdin.write_all(input.as_bytes()));
        });
        let output = scope.spawn(move || text_of(&mut stdout));
        let errors = scope.spawn(move || text_of(&mut stderr));
        let status = await_end(&mut child)?;
        let text = |reader: thread::ScopedJoinHandle<'_, String>| reader.join().unwrap_or_default();
        Ok(Ended { status, output: text(output), errors: text(errors) })
    })
}

fn text_of(pipe: &mut Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.as_mut().map(|pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn await_end(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + PROGRAM_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
