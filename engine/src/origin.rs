//! How this process was started, for one that is to go on in its place.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// What a service manager tells us, and what else we read of the environment.
const VARIABLES: [&str; 5] = ["JOURNAL_STREAM", "LOG_LEVEL", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WG_PROCESS_FOREGROUND"];
/// The same, and it names directories in which we read or write.
const DIRECTORIES: [&str; 4] =
    ["CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"];
/// Names the process that the manager's watchdog is for. It is another one then.
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";
/// What such a process is started with besides.
const TAKE_OVER: &str = "--take-over";

static ORIGIN: OnceLock<Origin> = OnceLock::new();
static PREDECESSOR: OnceLock<String> = OnceLock::new();

/// How a process was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The program. Another version may be there by now.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it was started.
    pub directory: PathBuf,
    /// Of its environment what we look at.
    pub environment: BTreeMap<String, String>,
}

/// Notes how this process was started, and the interface that it is to take over from another one. To be called before
/// it goes elsewhere.
pub fn note(predecessor: Option<&str>) {
    if let Some(name) = predecessor {
        let _ = PREDECESSOR.set(name.to_owned());
    }
    let _ = ORIGIN.set(Origin {
        program: env::current_exe().unwrap_or_else(|_| "ringfort".into()),
        arguments: env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        directory: env::current_dir().unwrap_or_else(|_| "/".into()),
        environment: ours(VARIABLES.into_iter().chain(DIRECTORIES)).collect(),
    });
}

/// These variables, as they are in our environment.
fn ours(names: impl Iterator<Item = &'static str>) -> impl Iterator<Item = (String, String)> {
    names.filter_map(|name| Some((name.to_owned(), env::var(name).ok()?)))
}

/// How this process was started, if that was noted.
#[must_use]
pub fn get() -> Option<&'static Origin> {
    ORIGIN.get()
}

/// The interface that another process is to leave to us.
#[must_use]
pub fn predecessor() -> Option<&'static str> {
    PREDECESSOR.get().map(String::as_str)
}

impl Origin {
    /// The directories that it has by its environment, and this process has not.
    pub fn directories(&self) -> impl Iterator<Item = (&str, &str)> {
        // Nothing of ours is in the others.
        let names = ["CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"].into_iter();
        let theirs = names.filter_map(|name| Some((name, self.environment.get(name)?.as_str())));
        theirs.filter(|&(name, value)| env::var(name).as_deref() != Ok(value))
    }

    /// The same, with the directories of this process: those of another one may be a lie.
    #[must_use]
    pub fn in_our_directories(mut self) -> Self {
        self.environment.retain(|name, _| !DIRECTORIES.contains(&name.as_str()));
        self.environment.extend(ours(DIRECTORIES.into_iter()));
        self
    }

    /// Starts the program again, with the same arguments, to go on in the place of this process. The environment is
    /// that of whoever starts it, except for what we look at.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.directory).env_remove(WATCHDOG_PROCESS);
        if !self.arguments.iter().any(|word| word == TAKE_OVER) {
            command.arg(TAKE_OVER);
        }
        for name in VARIABLES.into_iter().chain(DIRECTORIES) {
            match self.environment.get(name) {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_process_is_started_as_the_one_before_it() {
        let of = |arguments: &[&str]| Origin {
            program: "/usr/bin/ringfort".into(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            directory: "/etc".into(),
            environment: [("NOTIFY_SOCKET".to_owned(), "/run/notify".to_owned())].into(),
        };
        for before in [&["up", "-f", "wg0"][..], &["up", "-f", "wg0", TAKE_OVER]] {
            let command = of(before).command();
            assert!(command.get_args().eq(["up", "-f", "wg0", TAKE_OVER]), "{command:?}");
            let variables: BTreeMap<_, _> = command.get_envs().collect();
            assert_eq!(variables[OsStr::new("NOTIFY_SOCKET")], Some(OsStr::new("/run/notify")));
            assert_eq!((variables[OsStr::new(WATCHDOG_PROCESS)], variables[OsStr::new("LOG_LEVEL")]), (None, None));
        }
    }
}
