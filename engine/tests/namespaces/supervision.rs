//! What a service manager hears: that we are ready, that all threads live, and that we end.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use ringfort_testbed::{Namespace, janitor, uapi};

use crate::harness::traffic::PATIENCE;
use crate::harness::us;

/// `WatchdogSec` of the tests.
const WATCHDOG: Duration = Duration::from_millis(900);

/// A service manager with one service.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    service: Child,
    interface: String,
    _namespace: Namespace,
}

impl Manager {
    fn start(watchdog: Option<Duration>) -> Self {
        let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
        let path = janitor::directory().join(format!("{interface}.notify"));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = namespace.command(us().path);
        command.args(["-f", "--workers", "2", &interface]).env("NOTIFY_SOCKET", &path);
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        let service = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { socket, path, service, interface, _namespace: namespace }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.service.id()).unwrap())
    }

    /// The next message, if one comes in time.
    fn message(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
    }

    fn await_message(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(message) = self.message()
                && message.lines().any(|line| line == wanted)
            {
                return message;
            }
        }
        panic!("{wanted} was not said");
    }

    /// The thread of worker 1.
    fn worker(&self) -> Pid {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let named = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.contains('1'));
        let mut found = tasks.map(|task| task.unwrap().path()).filter(named);
        let task = found.next().expect("a thread is named after worker 1");
        Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn it_says_when_it_serves_and_when_it_ends() {
    let mut manager = Manager::start(None);
    let ready = manager.await_message("READY=1");
    assert!(ready.contains("STATUS=serving with 2 workers"), "{ready}");
    assert!(uapi::get(&manager.interface).is_ok(), "whoever is ready answers");
    kill(manager.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(manager.message().unwrap().trim_end(), "STOPPING=1", "without a watchdog nothing is said in between");
    assert!(manager.service.wait().unwrap().success());
}

#[test]
fn a_worker_that_hangs_is_noticed_and_an_idle_one_is_not() {
    let manager = Manager::start(Some(WATCHDOG));
    manager.await_message("READY=1");
    for _ in 0..5 {
        manager.await_message("WATCHDOG=1");
    }
    // Stops this thread only, as no signal could.
    let worker = manager.worker();
    ptrace::seize(worker, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(worker).unwrap();
    waitpid(worker, Some(WaitPidFlag::__WALL)).unwrap();
    manager.socket.set_read_timeout(Some(3 * WATCHDOG)).unwrap();
    // One round may have been answered already.
    let said = std::iter::from_fn(|| manager.message()).take(3).count();
    assert!(said < 3, "the watchdog is still fed");
    ptrace::detach(worker, None).unwrap();
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    manager.await_message("WATCHDOG=1");
}
