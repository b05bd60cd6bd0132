//! The configuration file of the daemon: what it says, what of it is meant, and how it becomes what runs.
//!
//! ```text
//!   ConfigFile ──► difference(Config, Running) ──► SetRequest ──► control/config
//!        │                                                           ▲
//!        └──► steward: hooks, network, names, reloads ───────────────┘
//! ```
//!
//! `ringfort up` means all of it. The plain daemon means the part of `wg(8)`, and that only if there is a private key:
//! addresses and routes are then the business of who started it, `wg-quick` for instance. Without a key, as in files
//! that stand beside those of `wg-quick`, it takes suites and sources and nothing else.

pub mod difference;
mod running;
pub mod save;
pub mod steward;
mod summary;

use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ringfort_config::{Config, Content, Disk, Files, KeyFiles, Loaded, Mistakes, Place, Problem};

use super::inherited::is_descriptor;
pub use running::{Copying, Running, RunningPeer};
pub use summary::{kept_endpoints, summary};

/// Where the plain daemon looks for the file of its interface.
const DIRECTORY: &str = "/etc/ringfort";
/// Where `wg-quick` has its files.
const DIRECTORY_OF_WG_QUICK: &str = "/etc/wireguard";

/// How much of a file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Gateway,
    /// What `wg(8)` has words for, with suites and sources.
    Device,
    /// Suites and sources.
    Settings,
}

/// A file that was read.
#[derive(Debug)]
pub struct ConfigFile {
    /// Where it is, whatever the working directory becomes.
    pub path: PathBuf,
    /// What it said when it was read last.
    pub loaded: Loaded,
    /// When it was read first, as time since the Unix epoch in nanoseconds: what is changed later is not known.
    pub read_at: u64,
    is_gateway: bool,
}

/// An interface and its file, as commands name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name of the interface.
    pub interface: String,
    /// Its file.
    pub path: PathBuf,
}

/// An argument that names no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// The name of the file is not that of an interface.
    #[error(
        "the file {0} must have the name of an interface, and .conf behind it: 1 to 15 letters, digits or any of _=+.-"
    )]
    Name(PathBuf),
    /// There is no such file.
    #[error("there is no configuration for {0}: write {DIRECTORY}/{0}.conf (or {DIRECTORY_OF_WG_QUICK}/{0}.conf)")]
    Missing(String),
}

impl ConfigFile {
    /// The file of a plain daemon: `path`, or else that of the interface `name` if there is one.
    ///
    /// # Errors
    /// All that is wrong with it. That there is none is a mistake only for a `path`.
    pub fn of_daemon(path: Option<&Path>, name: &str) -> Result<Option<Self>, Mistakes> {
        let usual = Path::new(DIRECTORY).join(format!("{name}.conf"));
        if path.is_none() && !usual.exists() {
            return Ok(None);
        }
        Self::read(path.unwrap_or(&usual), false).map(Some)
    }

    /// The file of `ringfort up`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn of_gateway(path: &Path) -> Result<Self, Mistakes> {
        Self::read(path, true)
    }

    fn read(path: &Path, is_gateway: bool) -> Result<Self, Mistakes> {
        let path = std::path::absolute(path)
            .map_err(|error| Mistakes::one(Place::file(path), Problem::Unreadable(error.to_string())))?;
        // Before it is read, so a change meanwhile counts as one that came later.
        let read_at = unix_nanos();
        let loaded = load(&path, &disk(), is_gateway)?;
        Ok(Self { path, loaded, read_at, is_gateway })
    }

    /// What the file says now.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read_again(&self) -> Result<Loaded, Mistakes> {
        load(&self.path, &LaterDisk(disk()), self.is_gateway)
    }

    /// What it said when it was read last.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// How much of `config`, which is of this file, is meant.
    #[must_use]
    pub fn scope_of(&self, config: &Config) -> Scope {
        match (self.is_gateway, config.has_key()) {
            (true, _) => Scope::Gateway,
            (false, true) => Scope::Device,
            (false, false) => Scope::Settings,
        }
    }

    /// The addresses of the interface. They are set when the gateway is up, by us or by who started us.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.config().interface.addresses.iter().map(|address| address.addr).collect()
    }

    /// Whether the daemon was started by `ringfort up`.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.is_gateway
    }
}

impl Target {
    /// What `argument` names: a file, if it has a slash or ends in `.conf`, else an interface, whose file is
    /// `/etc/ringfort/NAME.conf` or else `/etc/wireguard/NAME.conf`.
    ///
    /// # Errors
    /// [`NoTarget`].
    pub fn of(argument: &str) -> Result<Self, NoTarget> {
        let path = Path::new(argument);
        if argument.contains('/') || argument.ends_with(".conf") {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".conf"));
            let interface = name.filter(|name| is_interface(name)).ok_or_else(|| NoTarget::Name(path.to_owned()))?;
            return Ok(Self { interface: interface.to_owned(), path: path.to_owned() });
        }
        if !is_interface(argument) {
            return Err(NoTarget::Name(path.to_owned()));
        }
        let mut places = Self::usual_files(argument).into_iter();
        let path = places.find(|path| path.exists()).ok_or_else(|| NoTarget::Missing(argument.to_owned()))?;
        Ok(Self { interface: argument.to_owned(), path })
    }

    /// Where the file of an interface is looked for, in this order.
    #[must_use]
    pub fn usual_files(interface: &str) -> [PathBuf; 2] {
        [DIRECTORY, DIRECTORY_OF_WG_QUICK].map(|directory| Path::new(directory).join(format!("{interface}.conf")))
    }

    /// Whether `argument` names an interface, and no file.
    #[must_use]
    pub fn is_interface_alone(argument: &str) -> bool {
        is_interface(argument) && !argument.ends_with(".conf")
    }

    /// The interface alone, for commands that ask a daemon which knows its file.
    ///
    /// # Errors
    /// [`NoTarget::Name`].
    pub fn interface_of(argument: &str) -> Result<String, NoTarget> {
        if Self::is_interface_alone(argument) {
            return Ok(argument.to_owned());
        }
        Self::of(argument).map(|target| target.interface)
    }
}

/// The files of this machine, and the credentials of this service.
#[must_use]
pub fn disk() -> Disk {
    Disk { credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
}

/// The same for whoever reads them another time. What was handed over as an open descriptor can be read once, and its
/// number may be that of something else by now. A pipe would keep its reader waiting for somebody who writes again.
#[derive(Debug)]
pub struct LaterDisk(pub Disk);

impl Files for LaterDisk {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Content> {
        if is_descriptor(path) {
            let why = "it was handed over as an open descriptor, and can be read once: restart the gateway";
            return Err(io::Error::other(why));
        }
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(io::Error::other("it is no regular file, and can be read once: restart the gateway"));
        }
        Content::of(file, len_max)
    }

    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
        self.0.matching(directory, pattern)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        self.0.identity(path)
    }

    fn credentials(&self) -> Option<&Path> {
        self.0.credentials()
    }
}

fn load(path: &Path, files: &dyn Files, is_gateway: bool) -> Result<Loaded, Mistakes> {
    let loaded = ringfort_config::load(path, files, KeyFiles::Needed)?;
    if is_gateway { Ok(loaded) } else { loaded.key_or_settings_only() }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The names that `wg-quick` allows.
#[must_use]
pub fn is_interface(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    (1..=15).contains(&name.len()) && name.bytes().all(legal) && !name.starts_with('-') && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_read_once() {
        let directory = std::env::temp_dir().join(format!("ringfort-once-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (path, key) = (directory.join("wg0.conf"), directory.join("key"));
        std::fs::write(&key, "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n").unwrap();
        let open = std::fs::File::open(&key).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        std::fs::write(&path, format!("[Interface]\nPrivateKeyFile = /dev/fd/{number}\n")).unwrap();
        let file = ConfigFile::of_gateway(&path).unwrap();
        assert!(file.config().has_key());
        let refused = file.read_again().unwrap_err().to_string();
        assert!(refused.contains(":2:18: the key file that this names cannot be read"), "{refused}");
        assert!(refused.contains("can be read once: restart the gateway"), "{refused}");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// Nobody writes to it, so whoever waits for that waits for ever.
    #[test]
    fn a_pipe_is_read_once() {
        let directory = std::env::temp_dir().join(format!("ringfort-pipe-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let pipe = directory.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (line, what) in [("PrivateKeyFile", "key"), ("Include", "peers")] {
            let path = directory.join(format!("{what}.conf"));
            std::fs::write(&path, format!("[Interface]\n{line} = {}\n", pipe.display())).unwrap();
            let refused = load(&path, &LaterDisk(disk()), true).unwrap_err().to_string();
            assert!(refused.contains("it is no regular file, and can be read once: restart"), "{line}: {refused}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn arguments_name_files_and_interfaces() {
        let target = Target::of("dir/wg0.conf").unwrap();
        assert_eq!((target.interface.as_str(), target.path.as_path()), ("wg0", Path::new("dir/wg0.conf")));
        assert_eq!(Target::of("x.conf").unwrap().interface, "x");
        for bad in ["a/b", "dir/.conf", "dir/a b.conf", "dir/sixteen-letters-.conf", "", "-x", "..", "a b"] {
            assert!(matches!(Target::of(bad), Err(NoTarget::Name(_))), "{bad}");
        }
        let missing = Target::of("no-such-one").unwrap_err();
        assert!(missing.to_string().contains("/etc/ringfort/no-such-one.conf (or /etc/wireguard/"), "{missing}");
        assert_eq!(Target::interface_of("no-such-one").unwrap(), "no-such-one");
        assert_eq!(Target::interface_of("/x/wg1.conf").unwrap(), "wg1");
    }
}
