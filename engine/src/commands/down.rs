//! `ringfort down FILE|NAME`: ends a daemon, and waits until it has ended. If another process has gone on in its place
//! meanwhile, it ends that one.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;

use crate::app::exit;
use crate::control::ask;
use crate::control::error::DaemonError;
use crate::control::file::Target;
use crate::control::server::{connect, socket_path};
use crate::fault_points::fault_point;

/// For commands of the operator, and then for everything to go: as long as the unit of the service allows, which says
/// what takes how long.
const PATIENCE: Duration = Duration::from_secs(150);
const INTERVAL: Duration = Duration::from_millis(5);

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves, or its configuration
    #[arg(value_name = "FILE|NAME")]
    target: String,
}

/// Ends it.
pub fn run(args: &Args) -> ExitCode {
    exit(Target::interface_of(&args.target).map_err(DaemonError::from).and_then(|name| end(&name)))
}

fn end(name: &str) -> Result<(), DaemonError> {
    match ask::file(name) {
        // Whoever is too busy to answer is asked to end all the same.
        Ok(_) | Err(DaemonError::NoAnswer { .. }) => {}
        Err(error) => {
            if matches!(error, DaemonError::NotServed { .. }) {
                // It may have been killed, and rules outlive it.
                network_setup::take_back(name)?;
            }
            return Err(error);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut server = Process::of(name, deadline)?;
    loop {
        server.end(name, deadline)?;
        match Process::of(name, deadline) {
            // It was handing over when the signal came, and did not hear it any more.
            Ok(next) if next.is_heir_of(&server) => server = next,
            Ok(_) | Err(DaemonError::NotServed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The process that serves an interface.
struct Process {
    pid: i32,
    /// Opened before the signal, so it never shows another process of the same number.
    status: File,
    /// Which control socket it has, and since when. Whoever goes on in its place has the same. Who is started anew
    /// makes another, which may get the former one's number.
    socket: (u64, u64, i64, i64),
}

impl Process {
    /// A socket may outlive its process for a moment: until the one that goes on in its place listens.
    fn of(name: &str, deadline: Instant) -> Result<Self, DaemonError> {
        let no_answer = |source| ask::unanswered(name, source);
        let path = socket_path(name);
        loop {
            let socket = fs::metadata(&path).map_err(no_answer)?;
            let stream = connect(&path).map_err(no_answer)?;
            let credentials = getsockopt(&stream, PeerCredentials);
            let pid = credentials.map_err(|errno| DaemonError::system("ask which process serves it", errno))?.pid();
            // One that this system cannot name has no number.
            let may_come = pid > 0 && Instant::now() < deadline;
            match File::open(format!("/proc/{pid}/stat")) {
                Ok(status) => {
                    let socket = (socket.dev(), socket.ino(), socket.mtime(), socket.mtime_nsec());
                    return Ok(Self { pid, status, socket });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && may_come => sleep(INTERVAL),
                Err(error) => return Err(no_answer(error)),
            }
        }
    }

    fn is_heir_of(&self, other: &Self) -> bool {
        self.socket == other.socket && self.pid != other.pid
    }

    /// Asks it to end, and waits until it has.
    fn end(&mut self, name: &str, deadline: Instant) -> Result<(), DaemonError> {
        fault_point("down-signals");
        match kill(Pid::from_raw(self.pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(DaemonError::system("end the daemon", errno)),
        }
        while is_running(&mut self.status) {
            if Instant::now() > deadline {
                return Err(DaemonError::DoesNotEnd(name.to_owned(), self.pid));
            }
            sleep(INTERVAL);
        }
        Ok(())
    }
}

/// Whether it is neither gone nor a zombie.
fn is_running(process: &mut File) -> bool {
    let mut read = || -> io::Result<String> {
        process.rewind()?;
        let mut text = String::new();
        process.read_to_string(&mut text)?;
        Ok(text)
    };
    // The name of the program may have brackets of its own, so the last one counts.
    read().is_ok_and(|text| text.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_as_long_as_the_service_manager_does() {
        let unit = include_str!("../../../packaging/systemd/ringfort@.service");
        assert!(unit.lines().any(|line| line == format!("TimeoutStopSec={}s", PATIENCE.as_secs())));
    }
}
