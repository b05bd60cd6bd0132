//! The runner's end of it.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use network_setup::Invocation;
use nix::sys::prctl::set_name;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, fork as fork_process};
use ringfort_config::{Hooks, KeyFiles, load};
use secret_memory::scrubbed;

use super::client::Runner;
use super::wire::{Answer, Ask, is_readable, receive, send};
use crate::control::background;
use crate::control::error::DaemonError;
use crate::control::file::save::{give, name_of_new};
use crate::control::file::steward::execute_hook;
use crate::control::file::{LaterDisk, disk, is_interface};
use crate::control::inherited::{Alone, close_all_except};
use crate::origin;

/// As `ps` and `top` show it.
const NAME: &str = "ringfort-run";
/// How often it is looked whether a process has ended that is to go on in the place of the daemon.
const RESTART_INTERVAL_MS: u16 = 20;
/// Of each of a program's outputs. As JSON it may be six times as long, which still fits into a message.
const OUTPUT_LEN_MAX: usize = 1 << 20;

/// In which process the program goes on.
pub enum Forked {
    /// The daemon.
    Daemon(Runner),
    /// The other one, which has everything twice that the daemon had: drop it, and serve.
    Runner(RunnerProcess),
}

/// The process that is about to run commands.
pub struct RunnerProcess(UnixStream, Alone);

/// Makes the process. To be called before anything is opened that a command must not keep open. `detaches`: see
/// [`Runner::ready`].
///
/// # Errors
/// The system's.
pub fn fork(alone: Alone, detaches: Option<bool>) -> Result<Forked, DaemonError> {
    let step = "start a process for commands (fork)";
    let (ours, theirs) = UnixStream::pair().map_err(|error| DaemonError::system(step, error))?;
    // SAFETY: this process has one thread, so the child may do all that the parent could.
    let forked = unsafe { fork_process() };
    Ok(match forked.map_err(|errno| DaemonError::system(step, errno))? {
        ForkResult::Parent { child } => Forked::Daemon(Runner::new(ours, Some(child), detaches)),
        ForkResult::Child => {
            drop(ours);
            Forked::Runner(RunnerProcess(theirs, alone))
        }
    })
}

impl RunnerProcess {
    /// Runs commands of the file at this path, in which these stood at the start, until the daemon has ended. Ends the
    /// process: what was open before, and is owned by whoever called, is closed.
    pub fn serve(self, path: &Path, hooks: Hooks) -> ! {
        // What a step before us has left open.
        // SAFETY: this thread is the only one, and never goes back to whoever owns any of it.
        unsafe { close_all_except(&[self.0.as_raw_fd()]) };
        hear_no_signal();
        let _ = CString::new(NAME).map(|name| set_name(&name));
        serve(&self.0, path, hooks);
        std::process::exit(0)
    }
}

/// A service manager signals all processes of a service, and a terminal all of its group. What follows is for the
/// daemon to decide. A signal that is blocked or ignored would be so for commands and all that they start: nobody could
/// end them. One that is handled has its default again in whatever is executed.
pub(in crate::control) fn hear_no_signal() {
    extern "C" fn nothing(_: libc::c_int) {}
    use Signal::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2] {
        // SAFETY: the handler does nothing, so it may interrupt anything.
        let _ = unsafe { sigaction(signal, &action) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Answers until there is nobody to answer to.
fn serve(stream: &UnixStream, path: &Path, hooks: Hooks) {
    let mut commands: HashSet<String> = commands_of(hooks).collect();
    while let Ok(ask) = receive(stream) {
        let answer = match ask {
            Ask::Hook { command, interface } => {
                if !commands.contains(&command) {
                    learn(&mut commands, path);
                }
                if commands.contains(&command) {
                    hook(stream, &command, &interface)
                } else {
                    Answer::Refused(format!("{} does not say so any more: reload it", path.display()))
                }
            }
            Ask::Program(invocation) => run_program(&invocation),
            // The hook has ended on its own.
            Ask::Stop => continue,
            Ask::Learn { commands: found } => {
                learn(&mut commands, path);
                if found.iter().all(|command| commands.contains(command)) {
                    Answer::Done
                } else {
                    Answer::Refused(format!("{} has changed while it was read: reload it again", path.display()))
                }
            }
            Ask::Give { new, old } => match give_file(path, &new, &old) {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Refused(format!("the owner of {} cannot be kept: {error}", old.display())),
            },
            Ask::Restart => restart(stream),
            Ask::Detach { keeps_stderr } => {
                // Without /dev/null there is nothing to be done about it, and the daemon says so itself.
                let _ = background::detach(keeps_stderr);
                Answer::Done
            }
        };
        if tell(stream, &answer).is_err() {
            return;
        }
    }
}

fn tell(stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    match send(stream, answer) {
        // Nothing of it was sent.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            send(stream, &Answer::Refused("the answer is too long".to_owned()))
        }
        result => result,
    }
}

/// All commands that the file has, beside those that it ever had: what was brought up under an earlier version is taken
/// down by its commands.
fn learn(commands: &mut HashSet<String>, path: &Path) {
    // The daemon says what is wrong with it. Its keys are dropped at once.
    let Ok(loaded) = scrubbed(|| load(path, &LaterDisk(disk()), KeyFiles::IfReadable)) else { return };
    commands.extend(commands_of(loaded.config.interface.hooks));
}

/// Only what is about to replace a file of the configuration. Whoever has taken over the daemon can replace that file
/// anyway, and gains nothing by its owner.
fn give_file(path: &Path, new: &Path, old: &Path) -> io::Result<()> {
    let loaded = scrubbed(|| load(path, &LaterDisk(disk()), KeyFiles::IfReadable)).map_err(io::Error::other)?;
    let is_file = loaded.files.iter().any(|file| file.canonicalize().is_ok_and(|file| file == old));
    let name = new.file_name().unwrap_or_default().to_string_lossy();
    if !is_file || new.parent() != old.parent() || !name.starts_with(&name_of_new(old)) {
        return Err(io::Error::other("it is no file of the configuration"));
    }
    give(new, old)
}

fn commands_of(Hooks { pre_up, post_up, pre_down, post_down }: Hooks) -> impl Iterator<Item = String> {
    [pre_up, post_up, pre_down, post_down].into_iter().flatten()
}

fn hook(stream: &UnixStream, command: &str, interface: &str) -> Answer {
    // The shell reads it. An interface can have any name but one with a slash or a space.
    if !is_interface(interface) {
        return Answer::Refused(format!("{interface:?} is no name that a command is given"));
    }
    let stop = || is_stopped(stream);
    match execute_hook(&command.replace("%i", interface), stop) {
        Ok(status) => Answer::Ended { status: Some(status.into_raw()), output: String::new(), errors: String::new() },
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// The program as it is by now, started as we were. Nobody can have another one started, or with other arguments.
fn restart(stream: &UnixStream) -> Answer {
    let started = origin::get().ok_or(io::ErrorKind::NotFound.into()).and_then(|origin| origin.command().spawn());
    let ended = |status: Option<ExitStatus>| Answer::Ended {
        status: status.map(ExitStatus::into_raw),
        output: String::new(),
        errors: String::new(),
    };
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(status) => return ended(status),
            Err(error) => return Answer::Refused(error.to_string()),
        }
        // The daemon ends, and leaves its place to the new process.
        if is_readable(stream, RESTART_INTERVAL_MS).unwrap_or(true) {
            return ended(None);
        }
    }
}

/// Whether the daemon has said so. While a hook runs it says nothing else; and one that is gone stops nothing.
fn is_stopped(stream: &UnixStream) -> bool {
    is_readable(stream, 0).unwrap_or(false) && matches!(receive(stream), Ok(Ask::Stop))
}

fn run_program(invocation: &Invocation) -> Answer {
    let ended = invocation.check().map_err(|error| error.to_string());
    match ended.and_then(|()| invocation.run().map_err(|error| error.to_string())) {
        Ok(ended) => Answer::Ended {
            status: ended.status.map(|status| status.into_raw()),
            output: cut(ended.output),
            errors: cut(ended.errors),
        },
        Err(why) => Answer::Refused(why),
    }
}

/// Nobody reads more of what a program says.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(OUTPUT_LEN_MAX));
    text
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
