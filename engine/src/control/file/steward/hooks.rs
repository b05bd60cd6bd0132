//! Commands of the operator: `PreUp`, `PostUp`, `PreDown`, `PostDown`.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How often a command that runs is looked at. Only while one runs.
const INTERVAL: Duration = Duration::from_millis(5);

/// What the shell is told to do: the command, which does not find itself in its environment.
const EVALUATE: &str = "hook=$RINGFORT_HOOK; unset RINGFORT_HOOK; eval \"$hook\"";

/// Why a command does not count as done.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is no shell.
    #[error("cannot run {hook} number {number}: {source}")]
    Start {
        /// The setting.
        hook: &'static str,
        /// From 1.
        number: usize,
        /// The system's error.
        source: io::Error,
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

/// Runs commands one after the other until one fails, `%i` in them being the interface. They may hold secrets, so
/// nothing shows their text.
///
/// `wg-quick` gives them to bash, so does this where there is one. Once `stop` is set they are ended: who brings a
/// gateway up can be stopped. Who takes it down cannot, and has none.
///
/// # Errors
/// [`HookError`].
pub fn run(
    hook: &'static str,
    commands: &[String],
    interface: &str,
    stop: Option<&AtomicBool>,
) -> Result<(), HookError> {
    for (number, command) in (1..).zip(commands) {
        let text = command.replace("%i", interface);
        // Anybody may read arguments. The environment of a process is its owner's.
        let started = shell().args(["-c", EVALUATE]).env("RINGFORT_HOOK", text).stdin(Stdio::null()).spawn();
        let mut child = started.map_err(|source| HookError::Start { hook, number, source })?;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => sleep(INTERVAL),
                Err(source) => return Err(HookError::Start { hook, number, source }),
            }
            if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                // With all that it has started.
                let _ = i32::try_from(child.id()).map(|id| killpg(Pid::from_raw(id), Signal::SIGTERM));
            }
        };
        if !status.success() {
            return Err(HookError::Failed { hook, number, status });
        }
    }
    Ok(())
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
    use super::*;

    #[test]
    fn commands_run_in_order_until_one_fails() {
        let path = std::env::temp_dir().join(format!("ringfort-hooks-{}", std::process::id()));
        let name = path.display();
        let list = [format!("echo 1 %i >{name}"), "exit 3 # secret".into(), format!("echo 2 >>{name}")];
        let error = run("PostUp", &list, "wg7", None).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1 wg7\n");
        assert!(error.to_string().contains("PostUp number 2 failed (exit status: 3)"), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_command_is_in_nobody_s_list_of_processes() {
        let path = std::env::temp_dir().join(format!("ringfort-hook-arguments-{}", std::process::id()));
        let list = [format!(": secret; tr '\\0' ' ' </proc/$$/cmdline >{}", path.display())];
        run("PreUp", &list, "wg0", None).unwrap();
        let arguments = std::fs::read_to_string(&path).unwrap();
        assert!(arguments.contains("eval") && !arguments.contains("secret"), "{arguments}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_command_that_brings_up_is_stopped_with_all_that_it_has_started() {
        let marker = std::env::temp_dir().join(format!("ringfort-hook-{}", std::process::id()));
        let list = [format!("touch {}; sleep 600; true", marker.display())];
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| run("PreUp", &list, "wg0", Some(&stop)));
            while !marker.exists() {
                sleep(INTERVAL);
            }
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(run.join().unwrap(), Err(HookError::Failed { .. })));
        });
        std::fs::remove_file(marker).unwrap();
        assert!(run("PreUp", &["sleep 600".to_owned()], "wg0", Some(&stop)).is_err(), "it was set before");
    }
}
