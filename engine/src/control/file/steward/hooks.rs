//! Commands of the operator: `PreUp`, `PostUp`, `PreDown`, `PostDown`.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use ringfort_config::Interface;

use crate::control::runner::Runner;

/// How often a command that runs is looked at. Only while one runs.
const INTERVAL: Duration = Duration::from_millis(5);

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// For the commands of `PreDown`, and for those of `PostDown`, if the file does not say. With `GRACE` for each they end
/// before the service manager's patience does (TimeoutStopSec= of the unit).
const HOOK_TIMEOUT_S: u16 = 30;

/// What the shell is told to do: the command, which does not find itself in its environment. What fails in it ends it,
/// and in bash patterns are extended, as in `wg-quick`.
const EVALUATE: &str = "set -e; [ -z \"$BASH_VERSION\" ] || { set -o pipefail; shopt -s extglob; }; \
                        hook=$RINGFORT_HOOK; unset RINGFORT_HOOK; eval \"$hook\"";

/// Why a command does not count as done.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is no shell, or nobody runs it.
    #[error("cannot run {hook} number {number}: {source}")]
    Start {
        /// The setting.
        hook: &'static str,
        /// From 1.
        number: usize,
        /// The system's error.
        source: io::Error,
    },
    /// It had to be ended.
    #[error(
        "{hook} number {number} was ended: the commands of {hook} may take {} s together (HookTimeout in [Interface])",
        limit.as_secs()
    )]
    TooLong {
        /// The setting.
        hook: &'static str,
        /// From 1.
        number: usize,
        /// What was allowed.
        limit: Duration,
    },
    /// It has failed.
    #[error("{hook} number {number} failed ({status}): what it said is above, or in the journal")]
    Failed {
        /// The setting.
        hook: &'static str,
        /// From 1.
        number: usize,
        /// How it ended.
        status: ExitStatus,
    },
}

/// What follows when the interface is gone.
#[derive(Clone, Debug, Default)]
pub struct LastHooks {
    /// Of `PostDown`.
    pub commands: Vec<String>,
    /// How long they may take together.
    pub limit: Option<Duration>,
}

impl LastHooks {
    /// As the file says.
    #[must_use]
    pub fn of(interface: &Interface) -> Self {
        let seconds = interface.hook_timeout.unwrap_or(HOOK_TIMEOUT_S);
        let limit = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        Self { commands: interface.hooks.post_down.clone(), limit }
    }

    /// How long the commands of `PreDown` may take, with what the one has that is ended. `None`: as long as they like.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.limit.map(|limit| limit + GRACE)
    }
}

/// When commands are ended that have not ended by themselves.
#[derive(Clone, Copy, Debug)]
pub enum Until<'a> {
    /// Once this is set: who brings a gateway up can be stopped.
    Stopped(&'a AtomicBool),
    /// When they have taken this long together, if there is a limit: who takes it down must come to an end.
    Passed(Option<Duration>),
}

/// Has commands run one after the other until one fails, `%i` in them being the interface. They may hold secrets, so
/// nothing shows their text. Without a runner there are none.
///
/// # Errors
/// [`HookError`].
pub fn run(
    runner: Option<&Runner>,
    hook: &'static str,
    commands: &[String],
    interface: &str,
    until: Until<'_>,
) -> Result<(), HookError> {
    let Some(runner) = runner else { return Ok(()) };
    let begun = Instant::now();
    let passed = |limit: &Duration| begun.elapsed() >= *limit;
    for (number, command) in (1..).zip(commands) {
        let is_over = || match until {
            Until::Stopped(stop) => stop.load(Ordering::Relaxed),
            Until::Passed(limit) => limit.as_ref().is_some_and(passed),
        };
        let ended = runner.hook(command, interface, is_over);
        let status = ended.map_err(|source| HookError::Start { hook, number, source })?;
        match until {
            _ if status.success() => {}
            Until::Passed(Some(limit)) if passed(&limit) => return Err(HookError::TooLong { hook, number, limit }),
            _ => return Err(HookError::Failed { hook, number, status }),
        }
    }
    Ok(())
}

/// Runs a command in this process, and waits until it has ended. From the time when `stop` is true it is ended, with
/// all that it has started: it is asked to (SIGTERM), and has `GRACE` to undo what it must.
///
/// `wg-quick` gives commands to bash, so does this where there is one.
///
/// # Errors
/// The system's.
pub fn execute(text: &str, stop: impl FnMut() -> bool) -> io::Result<ExitStatus> {
    execute_within(text, GRACE, stop)
}

fn execute_within(text: &str, grace: Duration, mut stop: impl FnMut() -> bool) -> io::Result<ExitStatus> {
    // Anybody may read arguments. The environment of a process is its owner's.
    let mut child = shell().args(["-c", EVALUATE]).env("RINGFORT_HOOK", text).stdin(Stdio::null()).spawn()?;
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let signal = |signal| _ = group.map(|group| killpg(group, signal));
    let mut stopped: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        sleep(INTERVAL);
        match stopped {
            None if stop() => {
                signal(Signal::SIGTERM);
                stopped = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= grace => signal(Signal::SIGKILL),
            _ => {}
        }
    }
}

fn shell() -> Command {
    use std::os::unix::process::CommandExt as _;
    let bash = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(bash.unwrap_or("/bin/sh"));
    command.process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_command_is_in_nobody_s_list_of_processes() {
        let path = std::env::temp_dir().join(format!("ringfort-hook-arguments-{}", std::process::id()));
        let command = format!(": secret; tr '\\0' ' ' </proc/$$/cmdline >{}", path.display());
        assert!(execute(&command, || false).unwrap().success());
        let arguments = std::fs::read_to_string(&path).unwrap();
        assert!(arguments.contains("eval") && !arguments.contains("secret"), "{arguments}");
        std::fs::remove_file(path).unwrap();
    }

    /// Else a gateway would be up without the firewall of its first command.
    #[test]
    fn a_command_ends_where_something_fails() {
        let succeeds = |command: &str| execute(command, || false).unwrap().success();
        assert!(!succeeds("false; true"));
        assert!(succeeds("false || true; ! true || true"));
        let bash = shell().get_program() != "/bin/sh";
        assert_eq!(succeeds("false | cat"), !bash, "as in wg-quick, where there is bash");
        // Only bash has such patterns.
        assert_eq!(succeeds("case wg0 in @(wg|tun)[0-9]) true;; *) false;; esac"), bash);
    }

    #[test]
    fn a_command_is_stopped_with_all_that_it_has_started() {
        let marker = std::env::temp_dir().join(format!("ringfort-hook-{}", std::process::id()));
        let command = format!("touch {}; sleep 600; true", marker.display());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| execute(&command, || stop.load(Ordering::Relaxed)));
            while !marker.exists() {
                sleep(INTERVAL);
            }
            stop.store(true, Ordering::Relaxed);
            assert!(!run.join().unwrap().unwrap().success());
        });
        std::fs::remove_file(marker).unwrap();
        assert!(!execute("sleep 600", || true).unwrap().success(), "it was said before");
    }

    #[test]
    fn a_command_that_does_not_want_to_end_is_killed_and_one_that_cleans_up_may() {
        let path = std::env::temp_dir().join(format!("ringfort-hook-ends-{}", std::process::id()));
        let marker = path.display();
        let stop = || path.exists();
        let stubborn = format!("trap '' TERM; touch {marker}; while :; do sleep 600; done");
        let status = execute_within(&stubborn, Duration::from_millis(50), stop).unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
        std::fs::remove_file(&path).unwrap();
        let tidy = format!("trap 'echo done >{marker}; exit 7' TERM; touch {marker}; while :; do sleep 0.01; done");
        let status = execute(&tidy, stop).unwrap();
        assert_eq!((status.code(), std::fs::read_to_string(&path).unwrap().as_str()), (Some(7), "done\n"));
        std::fs::remove_file(path).unwrap();
    }
}
