//! Paths: what a thread may open, make or remove. Landlock sees to it, where the kernel has it (5.13, and enabled).
//!
//! Directories are named rather than files. A file that is replaced as a whole is another one for Landlock, and most of
//! them are: `resolv.conf`, the configuration in an editor, a log that was turned over.

use std::fs::{DirBuilder, metadata};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use nix::unistd::geteuid;

/// The newest Landlock that was looked at. Older kernels do what they can of it.
const KNOWN: ABI = ABI::V5;

/// What every daemon reads: in which order Debian's resolvconf has interfaces.
const SYSTEM: [&str; 1] = ["/etc/resolvconf"];

/// Directories that the resolver of the C library reads or loads from.
const OF_RESOLVER: [&str; 10] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/var/lib/sss/mc",
];

/// The files that it reads (`getaddrinfo(3)`, `nsswitch.conf(5)`, `resolver(5)`, `ld.so(8)`). They are opened by each
/// lookup anew: many are replaced as a whole.
const FILES_OF_RESOLVER: [&str; 11] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/ld.so.cache",
    "/etc/mdns.allow",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
];

/// What every daemon writes to: its standard streams when it detaches, and the mark that a default route needs.
const DEVICES: [&str; 2] = ["/dev/null", "/proc/sys/net/ipv4/conf/all"];

/// Directories that are nobody's own. Whoever may write below them has other programs run, or wipes their traces.
const SHARED: [&str; 20] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// The directories and files that this daemon was told of.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Whatever is below may be read.
    pub read: Vec<PathBuf>,
    /// Files may be made, replaced and removed: in it, and in all directories below that are there already. Landlock
    /// knows no other rule. Such a directory is made if it is not there.
    pub change: Vec<PathBuf>,
    /// The files that these directories are there for. Whose they are matters as well.
    pub files: Vec<PathBuf>,
    /// A file that is opened anew may be another user's by then.
    pub has_log: bool,
}

impl Places {
    /// The directory of a file may be read, and that of what it links to.
    pub fn read_beside(&mut self, file: &Path) {
        self.files.push(file.to_owned());
        self.read.extend(directories_of(file));
    }

    /// The same, and it may be replaced.
    pub fn change_beside(&mut self, file: &Path) {
        self.files.push(file.to_owned());
        self.change.extend(directories_of(file));
    }

    /// Those to be changed that others have files in or below, so the fence holds off little. Each once.
    #[must_use]
    pub fn shared(&self) -> Vec<&Path> {
        let is_shared = |path: &&Path| SHARED.iter().any(|shared| *path == Path::new(shared));
        let mut shared: Vec<_> = self.change.iter().map(PathBuf::as_path).filter(is_shared).collect();
        shared.sort_unstable();
        shared.dedup();
        shared
    }

    /// Whether `CAP_DAC_OVERRIDE` is needed for them: one is another user's, or in a directory of another user's who is
    /// not root.
    #[must_use]
    pub fn are_another_users(&self) -> bool {
        let own = geteuid().as_raw();
        let is_foreign = |path: &Path| metadata(path).is_ok_and(|meta| meta.uid() != own);
        let is_strangers = |path: &Path| metadata(path).is_ok_and(|meta| meta.uid() != own && meta.uid() != 0);
        let mut directories = self.read.iter().chain(&self.change);
        directories.any(|path| is_foreign(path) || path.ancestors().any(is_strangers))
            || self.files.iter().any(|path| is_foreign(path))
    }
}

fn directories_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let target = file.canonicalize().ok();
    let parents = [Some(file.to_owned()), target].into_iter().flatten();
    parents.filter_map(|path| Some(path.parent()?.to_owned()))
}

/// The rules, to be laid around one thread after the other.
#[derive(Debug)]
pub struct Fence {
    rules: Option<OwnedFd>,
    /// A rule belongs to an inode. proc and sysfs make another one for a path that nobody has used for a while, and
    /// that one has no rule. So their places stay open for as long as the process lives.
    _held: Vec<PathFd>,
}

impl Fence {
    /// Nothing is fenced in.
    pub const fn none() -> Self {
        Self { rules: None, _held: Vec::new() }
    }

    /// Places that are not there are left out.
    ///
    /// # Errors
    /// The kernel's. That it has no Landlock is none.
    pub fn new(places: &Places) -> Result<Self, RulesetError> {
        if !is_supported() {
            return Ok(Self::none());
        }
        let mut rules = Rules::new(BitFlags::EMPTY)?;
        let (reading, writing) = (reading(), AccessFs::WriteFile | AccessFs::Truncate);
        let changing = reading | writing | AccessFs::MakeReg | AccessFs::MakeSock | AccessFs::RemoveFile;
        for path in SYSTEM.iter().map(Path::new).chain(places.read.iter().map(PathBuf::as_path)) {
            rules.allow(path, reading)?;
        }
        for path in DEVICES.map(Path::new) {
            rules.allow(path, reading | writing)?;
        }
        for path in &places.change {
            // If it cannot be made, whoever wants to write there says so.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(path);
            rules.allow(path, changing)?;
        }
        Ok(rules.into())
    }

    /// For the process that has names looked up: it opens nothing but what its lookups may open, and signals no others.
    ///
    /// # Errors
    /// As [`Fence::new`].
    pub fn of_names() -> Result<Self, RulesetError> {
        if !is_supported() {
            return Ok(Self::none());
        }
        let mut rules = Rules::new(Scope::Signal.into())?;
        rules.allow(Path::new("/etc"), reading())?;
        rules.allow_resolver()?;
        Ok(rules.into())
    }

    /// For one lookup, which takes files by their names as they are now. To be called where there is Landlock.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_lookup() -> Result<Self, RulesetError> {
        let mut rules = Rules::new(Scope::Signal.into())?;
        for path in FILES_OF_RESOLVER.map(Path::new) {
            rules.allow(path, reading())?;
        }
        rules.allow_resolver()?;
        Ok(rules.into())
    }

    /// Whether paths are fenced in.
    pub const fn is_there(&self) -> bool {
        self.rules.is_some()
    }

    /// The calling thread, and whatever it starts, is inside from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&self) -> io::Result<()> {
        let Some(rules) = &self.rules else { return Ok(()) };
        // The library would take the rules with it, and each thread needs them.
        // SAFETY: landlock_restrict_self(2) takes a descriptor, which is open, and flags, of which there are none.
        let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Rules that are being written.
struct Rules {
    rules: RulesetCreated,
    held: Vec<PathFd>,
}

impl From<Rules> for Fence {
    fn from(Rules { rules, held }: Rules) -> Self {
        Self { rules: rules.into(), _held: held }
    }
}

impl Rules {
    /// No path yet. What is in `scopes` reaches no process outside.
    fn new(scopes: BitFlags<Scope>) -> Result<Self, RulesetError> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let rules = rules.handle_access(AccessFs::from_all(KNOWN))?;
        let rules = if scopes.is_empty() { rules } else { rules.scope(scopes)? };
        Ok(Self { rules: rules.create()?, held: Vec::new() })
    }

    fn allow_resolver(&mut self) -> Result<(), RulesetError> {
        for path in OF_RESOLVER.map(Path::new) {
            self.allow(path, reading())?;
        }
        match directories_of(Path::new("/etc/resolv.conf")).last().filter(|path| path != Path::new("/etc")) {
            Some(directory) => self.allow(&directory, reading()),
            None => Ok(()),
        }
    }

    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), RulesetError> {
        let Ok(place) = PathFd::new(path) else { return Ok(()) };
        // Of a file, only what concerns files.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
        (&mut self.rules).add_rule(PathBeneath::new(&place, access))?;
        if is_of_kernel(path) {
            self.held.push(place);
        }
        Ok(())
    }
}

/// Whether the kernel makes up what is there.
fn is_of_kernel(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/sys")
}

/// Asks the kernel in a thread that ends at once: only who is restricted knows for certain.
fn is_supported() -> bool {
    let attempt = || -> Result<RestrictionStatus, RulesetError> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        rules.handle_access(AccessFs::Execute)?.create()?.restrict_self()
    };
    let asked = std::thread::Builder::new().spawn(attempt).ok().and_then(|thread| thread.join().ok());
    matches!(asked, Some(Ok(status)) if status.ruleset != RulesetStatus::NotEnforced)
}
