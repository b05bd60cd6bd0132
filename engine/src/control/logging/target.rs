//! Which place lines go to: that which was asked for, or the best that is there.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf, absolute};
use std::str::FromStr;

use nix::sys::stat::fstat;

use super::places::{JOURNAL, Journal, Kmsg, LogFile, Place, Stderr, Syslog};
use crate::control::error::DaemonError;

/// Where to log, as `--log` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The journal if we run under it, else the standard error in the foreground, and syslog in the background.
    #[default]
    Auto,
    /// The standard error.
    Stderr,
    /// syslog, at `/dev/log`.
    Syslog,
    /// The journal of systemd.
    Journal,
    /// The kernel's log.
    Kmsg,
    /// A file, by its absolute path.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "stderr" => Ok(Self::Stderr),
            "syslog" => Ok(Self::Syslog),
            "journal" => Ok(Self::Journal),
            "kmsg" => Ok(Self::Kmsg),
            // A slash tells a file from a word that was mistyped.
            path if path.contains('/') => {
                let path = absolute(path).map_err(|error| format!("the path leads nowhere: {error}"))?;
                Ok(Self::File(path))
            }
            _ => Err("one of auto, stderr, syslog, journal, kmsg, or a file with a slash in its path".into()),
        }
    }
}

/// A place that is open.
pub struct Log(Box<dyn Place + Send>);

impl Target {
    /// Whether a daemon in the background goes on writing to the standard error that it was started with.
    ///
    /// `leveled`: the operator gave a level, and so wants to read what there is to read.
    #[must_use]
    pub fn keeps_stderr(&self, leveled: bool) -> bool {
        match self {
            Self::Auto => leveled,
            Self::Stderr => true,
            Self::Syslog | Self::Journal | Self::Kmsg | Self::File(_) => false,
        }
    }

    /// Opens the place for the lines of `interface`. `has_stderr`: somebody reads our standard error.
    ///
    /// # Errors
    /// [`DaemonError::Log`]: a place that was asked for is not to be had.
    pub fn open(&self, interface: &str, has_stderr: bool) -> Result<Log, DaemonError> {
        let failed = |place: &str| {
            let place = place.to_owned();
            move |source| DaemonError::Log { place, source }
        };
        Ok(Log(match self {
            Self::Auto => match best(has_stderr) {
                Self::Journal => Box::new(Journal::new(interface)),
                Self::Syslog => Box::new(Syslog::new(interface)),
                _ => Box::new(Stderr::new(interface)),
            },
            Self::Stderr => Box::new(Stderr::new(interface)),
            Self::Syslog => Box::new(Syslog::new(interface)),
            Self::Journal => {
                takes_messages(JOURNAL).map_err(failed(JOURNAL))?;
                Box::new(Journal::new(interface))
            }
            Self::Kmsg => Box::new(Kmsg::open(interface).map_err(failed("/dev/kmsg"))?),
            Self::File(path) => Box::new(LogFile::open(path, interface).map_err(failed(&path.display().to_string()))?),
        }))
    }
}

impl Log {
    /// The place itself.
    pub(super) fn into_place(self) -> Box<dyn Place + Send> {
        self.0
    }
}

/// What suits us if nobody has chosen.
fn best(has_stderr: bool) -> Target {
    let is_journal = if has_stderr { stderr_is_journal() } else { true };
    match (has_stderr, is_journal && takes_messages(JOURNAL).is_ok()) {
        (_, true) => Target::Journal,
        (true, false) => Target::Stderr,
        (false, false) => Target::Syslog,
    }
}

/// Whether our standard error is a stream of the journal: `JOURNAL_STREAM` of systemd.exec(5).
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(stderr) = fstat(io::stderr().as_fd()) else { return false };
    names(&stream, stderr.st_dev, stderr.st_ino)
}

/// Whether `DEVICE:INODE` are these.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// Whether somebody takes datagrams there.
fn takes_messages(path: &str) -> io::Result<()> {
    fs::metadata(path)?;
    UnixDatagram::unbound()?.connect(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_paths() {
        for (text, target) in [
            ("auto", Target::Auto),
            ("stderr", Target::Stderr),
            ("syslog", Target::Syslog),
            ("journal", Target::Journal),
            ("kmsg", Target::Kmsg),
            ("/var/log/wg0.log", Target::File("/var/log/wg0.log".into())),
        ] {
            assert_eq!(text.parse(), Ok(target));
        }
        let Ok(Target::File(path)) = "./wg0.log".parse() else { panic!("a file") };
        assert!(path.is_absolute(), "a daemon has another working directory: {}", path.display());
        assert!("jurnal".parse::<Target>().unwrap_err().contains("journal"));
    }

    #[test]
    fn the_stream_of_the_journal_is_known_by_its_numbers() {
        assert!(names("9:12345", 9, 12345));
        for other in ["9:12346", "8:12345", "9", "", "9:", ":12345", "nine:12345"] {
            assert!(!names(other, 9, 12345), "{other}");
        }
    }

    #[test]
    fn a_daemon_keeps_its_standard_error_for_who_reads_it() {
        assert!(Target::Stderr.keeps_stderr(false) && Target::Auto.keeps_stderr(true));
        assert!(!Target::Auto.keeps_stderr(false) && !Target::Syslog.keeps_stderr(true));
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let Err(error) = Target::File("/nonexistent/wg0.log".into()).open("wg0", true) else { panic!("it is not") };
        assert!(error.to_string().contains("/nonexistent/wg0.log"), "{error}");
        assert_eq!(error.exit_status(), 2);
    }
}
