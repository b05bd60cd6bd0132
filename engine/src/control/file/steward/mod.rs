//! The thread that does for the configuration what would keep control waiting: it reads files, runs hooks, sets the
//! network up and has names resolved.
//!
//! ```text
//!   control ── Task: reload, end ──► steward ──► network-setup, hooks, files
//!      ▲                               │  ▲
//!      └── Wish: copy, apply, ready ──┘  └── resolver's thread ◄──► ringfort-dns
//! ```
//!
//! It decides nothing about peers. It asks control for a copy of what runs, and has control apply the difference.
//! Control answers between two turns of its loop, so hooks may use `wg` as they like.

mod hooks;
mod network;
mod reload;
mod resolver;
mod unresolved;
mod work;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_core::crypto::PublicKey;
use ringfort_worker::queues::Queues;
use udp_uring::BindError;

use super::{ConfigFile, Running};
use crate::control::error::{DaemonError, Fault};
use crate::control::names::Names;
use crate::control::runner::Runner;
use crate::control::uapi::{Refusal, SetRequest};
pub use hooks::{HookError, LastHooks, Until, execute as execute_hook, run as run_hooks};
use resolver::Resolver;
pub use unresolved::Unresolved;
use work::Work;

/// For what was going on to end, and the network to be taken back, when the gateway ends for another reason than a
/// request. Commands of `PreDown` have their own time.
const LAST_WORK: Duration = Duration::from_secs(20);

/// What control wants done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Read the file again, and make the difference. The number is that of the report.
    Reload(u64),
    /// Have another process started that is to go on in our place. The number is that of the report, if it does not.
    Restart(u64),
    /// The interface has this name from now on.
    Renamed(String),
    /// Take down what `ringfort up` has set up.
    End,
    /// A name has an address.
    Resolved(resolver::Found),
    /// All names were tried once.
    Tried,
}

/// What the steward wants from control.
#[derive(Debug)]
pub enum Wish {
    /// A copy of what runs.
    Copy(SyncSender<Running>),
    /// Carry this out.
    Apply(Box<SetRequest>, SyncSender<Result<(), Refusal>>),
    /// Say whether the interface is up and the port is ours, or why not.
    Listen(SyncSender<Result<(), BindError>>),
    /// Set endpoints whose names were resolved.
    Endpoints(Vec<Located>),
    /// All is up.
    Ready,
    /// It could not be brought up, and nothing is left of it.
    Failed(Box<DaemonError>),
    /// All is down, except the interface. These commands follow when it is gone.
    Ended(LastHooks),
}

/// A peer whose endpoint was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Which peer.
    pub key: PublicKey,
    /// Where it is.
    pub addr: SocketAddr,
    /// The file was changed, so this counts more than where the peer was heard from.
    pub is_news: bool,
}

/// What became of the reload that was asked for last.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Which one.
    pub number: u64,
    /// Whose fault it is, if it was not carried out.
    pub failure: Option<Fault>,
    /// What has changed, or what is wrong.
    pub lines: Vec<String>,
}

/// Control's end of it.
#[derive(Debug)]
pub struct Steward {
    tasks: Sender<Task>,
    wishes: Receiver<Wish>,
    report: Arc<Mutex<Report>>,
    /// Ends a hook that runs.
    ending: Arc<AtomicBool>,
    asked: u64,
    /// The last number that was a reload's.
    reload_asked: u64,
    /// A reload that waits until everything is up.
    deferred: Option<u64>,
    is_gateway: bool,
    path: std::path::PathBuf,
    /// When the file was read last, as time since the Unix epoch in nanoseconds.
    read_at: Arc<AtomicU64>,
    /// Names of endpoints without an address.
    unresolved: Arc<Unresolved>,
    /// What follows when the interface is gone, if the thread has no time left to say it. As the file was applied last.
    post_down: Arc<Mutex<LastHooks>>,
}

impl Steward {
    /// Starts it. If the file is one of `ringfort up`, it begins to bring everything up; that needs a runner. If
    /// another process has done so, `resumed` is the mark of its sockets.
    ///
    /// # Errors
    /// The system's, if there is no thread.
    pub fn start(
        interface: String,
        file: ConfigFile,
        queues: Arc<Queues>,
        runner: Option<Arc<Runner>>,
        names: Arc<Names>,
        resumed: Option<u32>,
    ) -> Result<Self, DaemonError> {
        let ((tasks, to_do), (wish, wishes)) = (channel(), channel());
        let (report, ending) = (Arc::new(Mutex::new(Report::default())), Arc::new(AtomicBool::new(false)));
        let (is_gateway, path) = (file.is_gateway(), file.path.clone());
        let post_down = Arc::new(Mutex::new(LastHooks::of(&file.config().interface)));
        let line = Line { wishes: wish, queues, ending: ending.clone(), runner };
        let read_at = Arc::new(AtomicU64::new(file.read_at));
        let unresolved = Arc::new(Unresolved::default());
        let resolver = Resolver::start(names, tasks.clone(), unresolved.clone());
        let resolver = resolver.map_err(|error| DaemonError::system("start the resolver's thread", error))?;
        let told = (report.clone(), read_at.clone(), post_down.clone());
        let work = Work::new(interface, file, line, resolver, told, resumed);
        let thread = thread::Builder::new().name("steward".to_owned()).spawn(move || work.run(&to_do));
        thread.map_err(|error| DaemonError::system("start the steward's thread", error))?;
        let (asked, reload_asked, deferred) = (0, 0, None);
        Ok(Self {
            tasks,
            wishes,
            report,
            ending,
            asked,
            reload_asked,
            deferred,
            is_gateway,
            path,
            read_at,
            unresolved,
            post_down,
        })
    }

    /// Whether there is anything to take down at the end.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.is_gateway
    }

    /// The file that it reads.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// When it read the file last, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn read_at(&self) -> u64 {
        self.read_at.load(Ordering::Relaxed)
    }

    /// Names of endpoints that have no address yet.
    #[must_use]
    pub fn unresolved(&self) -> &Unresolved {
        &self.unresolved
    }

    /// What it wants next.
    pub fn next_wish(&self) -> Option<Wish> {
        self.wishes.try_recv().ok()
    }

    /// Has it read the file again. The number is that of the [`Report`] to wait for.
    pub fn reload(&mut self) -> u64 {
        self.asked += 1;
        self.reload_asked = self.asked;
        // It is there for as long as we are.
        let _ = self.tasks.send(Task::Reload(self.asked));
        self.asked
    }

    /// Has another process started that is to go on in our place. The number is that of the [`Report`] to look at: it
    /// says why that failed, and otherwise nothing.
    pub fn restart(&mut self) -> u64 {
        self.asked += 1;
        let _ = self.tasks.send(Task::Restart(self.asked));
        self.asked
    }

    /// As [`Steward::reload`], but not before [`Steward::reload_now_if_asked`]. All who ask until then share one
    /// reading.
    pub fn reload_later(&mut self) -> u64 {
        if self.deferred.is_none() {
            self.asked += 1;
        }
        *self.deferred.get_or_insert(self.asked)
    }

    /// Has it begin the reload that was put off, if one was.
    pub fn reload_now_if_asked(&mut self) {
        if let Some(number) = self.deferred.take() {
            self.reload_asked = number;
            let _ = self.tasks.send(Task::Reload(number));
        }
    }

    /// Tells it the interface's new name.
    pub fn rename(&self, name: &str) {
        let _ = self.tasks.send(Task::Renamed(name.to_owned()));
    }

    /// Whether a reload is being carried out, or waits.
    #[must_use]
    pub fn reloads(&self) -> bool {
        self.deferred.is_some() || self.report().number < self.reload_asked
    }

    /// The last reload that was finished.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has it take everything down. A hook that brings something up is ended first.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.tasks.send(Task::End);
    }

    /// The same for a control loop that has ended: waits until it is done, and gives the commands that follow when the
    /// interface is gone.
    pub fn finish(self) -> LastHooks {
        if !self.is_gateway {
            return LastHooks::default();
        }
        self.end();
        let patience = patience(&self.post_down());
        let deadline = Instant::now() + patience;
        loop {
            match self.wishes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Wish::Ended(last)) => return last,
                // Whoever waits for an answer hears that there is none: what held its place is dropped here.
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return LastHooks::default(),
                Err(RecvTimeoutError::Timeout) => {
                    log::error!("what was set up could not be taken down within {patience:?}");
                    return self.post_down();
                }
            }
        }
    }

    fn post_down(&self) -> LastHooks {
        self.post_down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long the gateway waits for its end to be prepared, when nobody waits for it any more: as long as `PreDown` may
/// take, and what else must be done. Commands without a limit get none of their own: who asks twice wants an end.
fn patience(hooks: &LastHooks) -> Duration {
    hooks.longest().unwrap_or_default() + LAST_WORK
}

/// The steward's way to control, and to who runs commands.
struct Line {
    runner: Option<Arc<Runner>>,
    wishes: Sender<Wish>,
    queues: Arc<Queues>,
    ending: Arc<AtomicBool>,
}

impl Line {
    fn send(&self, wish: Wish) {
        // Without control there is nobody to serve.
        let _ = self.wishes.send(wish);
        self.queues.control.wake();
    }

    /// What control answers. `None` if it has ended.
    fn ask<T>(&self, wish: impl FnOnce(SyncSender<T>) -> Wish) -> Option<T> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.send(wish(answer));
        answered.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::file::save::{SaveError, refuse_changed};
    use crate::control::names::test;

    /// A start takes a while, in which the operator may write to the file.
    #[test]
    fn what_is_written_after_the_reading_is_a_change_also_during_the_start() {
        let path = std::env::temp_dir().join(format!("ringfort-read-at-{}.conf", std::process::id()));
        let text = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n";
        std::fs::write(&path, text).unwrap();
        let file = ConfigFile::of_daemon(Some(&path), "wg0").unwrap().unwrap();
        let written = std::fs::File::options().append(true).open(&path).unwrap();
        written.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(file.read_at + 1)).unwrap();
        let (queues, names) = (Arc::new(Queues::new(1).unwrap()), Arc::new(test::nobody()));
        let steward = Steward::start("wg0".to_owned(), file, queues, None, names, None).unwrap();
        assert!(matches!(refuse_changed(&path, steward.read_at()), Err(SaveError::Changed(_))));
        std::fs::remove_file(path).unwrap();
    }

    /// Otherwise what follows `PreDown` would be lost: the network, `PostDown`.
    #[test]
    fn an_end_by_failure_waits_for_pre_down() {
        let hooks = |hook_timeout| {
            let interface = ringfort_config::Interface { hook_timeout, ..Default::default() };
            patience(&LastHooks::of(&interface))
        };
        // The limit, the time from SIGTERM to SIGKILL, and the rest.
        assert_eq!(hooks(None), Duration::from_secs(30 + 10 + 20));
        assert_eq!(hooks(Some(300)), Duration::from_secs(300 + 10 + 20));
        assert_eq!(hooks(Some(0)), Duration::from_secs(20), "commands without a limit");
    }

    /// Otherwise the service manager would kill a gateway that is about to end, and its rules would stay.
    #[test]
    fn the_unit_leaves_room_beyond_what_hooks_may_take() {
        let unit = include_str!("../../../../../packaging/systemd/ringfort@.service");
        let allowed = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s')).unwrap();
        let hooks = 2 * LastHooks::of(&ringfort_config::Interface::default()).longest().unwrap();
        assert!(Duration::from_secs(allowed.parse().unwrap()) >= hooks + 2 * LAST_WORK);
    }
}
