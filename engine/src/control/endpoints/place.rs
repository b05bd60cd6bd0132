//! Where the file is, and how it is read: at the start, and when a gateway that stood by is promoted.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};
use std::str::FromStr;

use ringfort_core::device::Remembered;
use ringfort_worker::clock;

use super::text::{self, Contents, Damage, FILE_LEN_MAX};

/// Where a service has its state if its manager names no other place.
const DIRECTORY: &str = "/var/lib/ringfort";
/// systemd names one place or more, separated by colons (systemd.exec(5), `StateDirectory=`).
const DIRECTORY_VARIABLE: &str = "STATE_DIRECTORY";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The argument of `--endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndpointFile {
    /// In the directory of the service's state, under the interface's name.
    #[default]
    OfInterface,
    /// Nowhere.
    Off,
    /// There. Absolute, because a daemon has another working directory.
    At(PathBuf),
}

impl FromStr for EndpointFile {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        match text {
            "" => Ok(Self::OfInterface),
            "off" => Ok(Self::Off),
            _ => absolute(text).map(Self::At),
        }
    }
}

impl EndpointFile {
    /// The path for the interface with this name; `None` if nothing is kept.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.path_with(name, std::env::var_os(DIRECTORY_VARIABLE).as_deref())
    }

    fn path_with(&self, name: &str, directories: Option<&OsStr>) -> Option<PathBuf> {
        let directory = || {
            let first = directories.and_then(|all| std::env::split_paths(all).find(|path| path.is_absolute()));
            first.unwrap_or_else(|| PathBuf::from(DIRECTORY))
        };
        match self {
            Self::Off => None,
            Self::At(path) => Some(path.clone()),
            Self::OfInterface => Some(directory().join(format!("{name}.endpoints"))),
        }
    }
}

/// What came of reading the file.
#[derive(Debug)]
pub struct Loaded {
    path: PathBuf,
    result: Result<Found, LoadError>,
}

/// What was found in it.
#[derive(Clone, Copy, Debug)]
struct Found {
    peers: usize,
    /// In seconds since 1970.
    written: u64,
    /// How long ago that was, in seconds.
    age: u64,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    System(#[from] io::Error),
    #[error("it is not a regular file")]
    Irregular,
    #[error("it is longer than any that we write")]
    TooLong,
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error("it is {0} s older than what this gateway knows itself")]
    Older(u64),
}

impl Loaded {
    /// Whether there is something to mend.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.result.is_err()
    }

    /// When it was written, in seconds since 1970, if it is believed.
    #[must_use]
    pub fn written(&self) -> Option<u64> {
        self.result.as_ref().ok().map(|found| found.written)
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.result {
            Ok(Found { peers, age, .. }) => write!(f, "{path} says where {peers} peers were last, {age} s ago"),
            Err(error) => write!(f, "{path} is ignored: {error}. It is replaced when a peer is heard of"),
        }
    }
}

/// Reads the file, and refuses one that was written before `known`, in seconds since 1970. It is `None` that is
/// returned if there is none.
#[must_use]
pub fn load(path: &Path, known: u64) -> (Vec<Remembered>, Option<Loaded>) {
    let (rows, result) = match read(path) {
        Err(LoadError::System(error)) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => (Vec::new(), Err(error)),
        Ok(Contents { written, .. }) if written < known => (Vec::new(), Err(LoadError::Older(known - written))),
        Ok(Contents { rows, written }) => {
            let age = clock::unix_secs().saturating_sub(written);
            let found = Found { peers: rows.len(), written, age };
            (rows, Ok(found))
        }
    };
    (rows, Some(Loaded { path: path.to_owned(), result }))
}

/// The number of this start of the machine; a dash if there is none.
pub(super) fn boot_id() -> String {
    let id = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let id = id.trim();
    if id.is_empty() || id.contains(char::is_whitespace) { "-".to_owned() } else { id.to_owned() }
}

fn read(path: &Path) -> Result<Contents, LoadError> {
    // A pipe must not keep us waiting.
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(LoadError::Irregular);
    }
    if metadata.len() > FILE_LEN_MAX {
        return Err(LoadError::TooLong);
    }
    let mut bytes = Vec::new();
    (&mut file).take(FILE_LEN_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Damage::Foreign)?;
    Ok(text::parse(&text, &boot_id())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_names_the_place() {
        let path = |text: &str, directories: Option<&str>| {
            text.parse::<EndpointFile>().unwrap().path_with("wg0", directories.map(OsStr::new))
        };
        assert_eq!(path("off", None), None);
        assert_eq!(path("/x/y", Some("/a")), Some("/x/y".into()));
        let by_default = |directories: Option<&str>| {
            EndpointFile::default().path_with("wg0", directories.map(OsStr::new)).unwrap().display().to_string()
        };
        assert_eq!(by_default(None), "/var/lib/ringfort/wg0.endpoints");
        assert_eq!(by_default(Some("/a:/b")), "/a/wg0.endpoints");
        assert_eq!(by_default(Some("")), "/var/lib/ringfort/wg0.endpoints", "an empty variable names none");
        assert!(path("x", None).unwrap().is_absolute());
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let (rows, loaded) = load(Path::new("/nonexistent/wg0.endpoints"), 0);
        assert!(rows.is_empty() && loaded.is_none());
        for path in ["/dev/zero", "/proc"] {
            let (rows, loaded) = load(Path::new(path), 0);
            assert!(rows.is_empty());
            let loaded = loaded.expect("something is there");
            assert!(loaded.is_bad() && loaded.to_string().contains("regular"), "{loaded}");
        }
    }

    #[test]
    fn a_boot_has_a_name() {
        assert_eq!(boot_id().len(), 36);
    }
}
