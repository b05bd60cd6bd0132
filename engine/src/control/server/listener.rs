//! The listening socket: where it is, who may use it, and that there is one daemon behind it.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::socket::{bind, getsockopt, listen, socket, sockopt};
use nix::sys::stat::{Mode, fchmod};

use super::directory::{self, DirectoryLock, failed, identity};
use super::unless_blocked;
use crate::control::error::DaemonError;

/// Where `wg` looks for the sockets of userspace implementations.
const DIRECTORY: &str = "/var/run/wireguard";

/// `SIOCUNIXFILE` of `include/uapi/linux/un.h`: opens the path of a socket (`O_PATH`), for whoever has `CAP_NET_ADMIN`.
const SIOCUNIXFILE: libc::Ioctl = 0x89e0;

/// For another daemon to make its socket, which takes a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The socket of an interface.
#[must_use]
pub fn socket_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.sock"))
}

/// Connects to whoever listens on this path, without waiting.
///
/// # Errors
/// `ENOENT` or `ECONNREFUSED` if nobody does; `EAGAIN` if somebody does who has more callers than he can take.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

/// The listening socket. Its path is removed when it is dropped, unless somebody else has put another in its place.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    place: SocketPlace,
    watch: Inotify,
    /// Another process has made it, and serves it.
    is_others: bool,
}

/// Makes the listening socket `file` of interface `name`, for the user of this process alone. A socket that nobody
/// listens on any more is replaced. The caller looks after its path.
///
/// # Errors
/// As [`Listener::open`].
pub fn make_socket(
    directory: &Path,
    file: &str,
    name: &str,
    signals: &SignalFd,
) -> Result<(UnixListener, SocketPlace), DaemonError> {
    directory::prepare(directory)?;
    // Held until this function returns: of two daemons that start at once, the second sees the socket of the first and
    // not the stale one that both have come to replace.
    let _lock = DirectoryLock::take(directory, LOCK_PATIENCE, signals)?;
    let path = directory.join(file);
    if is_served(&path) {
        return Err(DaemonError::Served(name.to_owned()));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace the socket", &path)(error));
        }
        _ => {}
    }
    bind_socket(path.clone()).map_err(failed("make the socket", &path))
}

fn bind_socket(path: PathBuf) -> io::Result<(UnixListener, SocketPlace)> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The path is born with the mode of its socket. The mask of the process would do it too, but other threads live
    // with it.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
    // Nobody else looks after the path before there is a listener.
    let made = listen(&socket, Backlog::MAXALLOWABLE).map_err(io::Error::from).and_then(|()| {
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok((listener, SocketPlace { identity: identity(&std::fs::symlink_metadata(&path)?), path: path.clone() }))
    });
    made.inspect_err(|_| _ = std::fs::remove_file(&path))
}

/// The path of a listening socket, and which socket it is.
#[derive(Clone, Debug)]
pub struct SocketPlace {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketPlace {
    /// That of the socket which is there now.
    ///
    /// # Errors
    /// The system's.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { identity: identity(&std::fs::symlink_metadata(path)?), path: path.to_owned() })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the path, unless somebody else has put another socket in its place. If that fails, the next daemon
    /// replaces it.
    pub fn remove(&self) {
        if self.is_in_place() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Gives the socket another name in its directory.
    ///
    /// # Errors
    /// The system's; somebody listens there. It stays where it is.
    pub fn rename(&mut self, file: &str) -> io::Result<()> {
        let path = self.path.with_file_name(file);
        if is_served(&path) {
            return Err(io::Error::other(format!("a daemon serves {}", path.display())));
        }
        let link = || std::fs::hard_link(&self.path, &path);
        match link() {
            // Nobody listens there any more.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&path)?;
                link()
            }
            linked => linked,
        }?;
        // For a moment it has both names, so nobody finds it gone.
        let former = std::mem::replace(&mut self.path, path);
        std::fs::remove_file(former)
    }

    fn is_in_place(&self) -> bool {
        is_at(&self.identity, &self.path)
    }
}

impl Listener {
    /// Makes the socket of interface `name`, for the user of this process alone. A socket that nobody listens on any
    /// more is replaced.
    ///
    /// # Errors
    /// [`DaemonError::Served`] if a daemon listens there; [`DaemonError::ControlSocket`] if the system refuses;
    /// [`DaemonError::Interrupted`] if one of `signals` comes while it waits for another daemon to make its own.
    pub fn open(name: &str, signals: &SignalFd) -> Result<Self, DaemonError> {
        Self::open_in(Path::new(DIRECTORY), name, signals)
    }

    /// Takes over a listening socket that somebody else has made. As in wireguard-go its path is removed in the end all
    /// the same: nobody would answer there.
    ///
    /// # Errors
    /// [`DaemonError::Inherited`] if it is no such socket, or its path is gone or another's.
    pub fn adopt(socket: OwnedFd) -> Result<Self, DaemonError> {
        let refused = |why| DaemonError::Inherited { variable: "WG_UAPI_FD", why };
        let listens = getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false);
        let listener = UnixListener::from(socket);
        let address = listener.local_addr().ok().filter(|_| listens);
        let path = address.as_ref().and_then(|address| address.as_pathname()).filter(|path| path.is_absolute());
        let path = path.ok_or_else(|| refused("a listening UNIX socket with an absolute path is expected"))?;
        if bound_file(&listener).is_some_and(|file| !is_at(&file, path)) {
            return Err(refused("another socket is at its path by now"));
        }
        Self::watched(listener, path.to_owned()).map_err(|_| refused("its path is gone or cannot be watched"))
    }

    /// The listening socket of interface `name`, which another process has made and still serves.
    ///
    /// # Errors
    /// [`DaemonError::ControlSocket`] if it is not there any more.
    pub fn inherit(socket: OwnedFd, name: &str) -> Result<Self, DaemonError> {
        let path = socket_path(name);
        let mut listener = Self::watched(socket.into(), path.clone()).map_err(failed("take over the socket", &path))?;
        listener.is_others = true;
        Ok(listener)
    }

    /// From now on it is ours. Whoever connects sees our process at the other end (`SO_PEERCRED`): that is the one
    /// which has called listen(2) last.
    pub(super) fn own(&mut self) {
        self.is_others = false;
        if let Err(errno) = Backlog::new(libc::SOMAXCONN).and_then(|backlog| listen(&self.socket, backlog)) {
            log::warn!("who asks on the control socket takes it for that of the process before us: {errno}");
        }
    }

    /// Which process has called listen(2) last: `unix_listen` notes it, and whoever connects sees it.
    pub(super) fn process(&self) -> Option<i32> {
        getsockopt(&self.socket, sockopt::PeerCredentials).ok().map(|peer| peer.pid())
    }

    /// From now on it is another process's.
    pub(super) fn leave(&mut self) {
        self.is_others = true;
    }

    /// A copy of the descriptor, for another process.
    ///
    /// # Errors
    /// The system's.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Whether a daemon listens on the socket of interface `name` right now.
    #[must_use]
    pub fn is_served(name: &str) -> bool {
        is_served(&socket_path(name))
    }

    pub(super) fn open_in(directory: &Path, name: &str, signals: &SignalFd) -> Result<Self, DaemonError> {
        let (socket, place) = make_socket(directory, &format!("{name}.sock"), name, signals)?;
        let path = place.path.clone();
        let listener = Self::watched(socket, path.clone());
        listener.inspect_err(|_| place.remove()).map_err(failed("make the socket", &path))
    }

    fn watched(socket: UnixListener, path: PathBuf) -> io::Result<Self> {
        let identity = identity(&std::fs::symlink_metadata(&path)?);
        socket.set_nonblocking(true)?;
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|errno| no_instance(errno, socket.as_fd()))?;
        // Removing the path changes the link count of the socket's inode, which the socket itself keeps alive.
        let changes = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        watch.add_watch(&path, changes).map_err(no_watch)?;
        Ok(Self { socket, place: SocketPlace { path, identity }, watch, is_others: false })
    }

    /// The socket, to poll.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Readable when the socket's path may have been removed or renamed.
    pub(super) fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Whether the socket's path is gone or is somebody else's by now.
    pub(super) fn was_removed(&self) -> bool {
        // Only that something happened matters, not what: it is drained.
        while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        is_gone(&self.place.identity, std::fs::symlink_metadata(&self.place.path))
    }

    /// Renames the socket with its interface: `wg` finds interfaces by the names of their sockets.
    ///
    /// # Errors
    /// The system's; somebody serves an interface of this name. It stays where it is.
    pub(super) fn rename(&mut self, interface: &str) -> io::Result<()> {
        self.place.rename(&format!("{interface}.sock"))
    }

    /// The next client, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        let Some((stream, _)) = unless_blocked(self.socket.accept())? else { return Ok(None) };
        stream.set_nonblocking(true)?;
        Ok(Some(stream))
    }

    /// Where the socket is, for an end that drops nothing.
    pub(super) fn place(&self) -> &SocketPlace {
        &self.place
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.is_others {
            self.place.remove();
        }
    }
}

/// Whether this file is no more where something was found or not. What we may not see may well be there: somebody has
/// changed the directory, for a gateway that is another user for instance.
fn is_gone(file: &(u64, u64), found: io::Result<Metadata>) -> bool {
    match found {
        Ok(metadata) => identity(&metadata) != *file,
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

fn is_at(file: &(u64, u64), path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| identity(&metadata) == *file)
}

/// The file that a socket was bound to, whatever is at its path by now. `None` if the kernel does not say.
fn bound_file(socket: &UnixListener) -> Option<(u64, u64)> {
    // SAFETY: SIOCUNIXFILE takes no argument, and returns a new descriptor or -1.
    let file = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCUNIXFILE) };
    // SAFETY: the descriptor was just opened by the call above, and nobody else has it.
    let file = (file >= 0).then(|| File::from(unsafe { OwnedFd::from_raw_fd(file) }))?;
    Some(identity(&file.metadata().ok()?))
}

/// `EMFILE` means one of two limits: that on open files only if there is no descriptor for anything else either.
fn no_instance(errno: Errno, any: BorrowedFd<'_>) -> io::Error {
    match errno {
        Errno::EMFILE if any.try_clone_to_owned().is_ok() => {
            io::Error::other("no inotify instance is left for this user: raise fs.inotify.max_user_instances")
        }
        errno => errno.into(),
    }
}

fn no_watch(errno: Errno) -> io::Error {
    match errno {
        Errno::ENOSPC => io::Error::other("no inotify watch is left for this user: raise fs.inotify.max_user_watches"),
        errno => errno.into(),
    }
}

/// Whether a process has a stream socket at this path. A datagram socket asks, and the kernel refuses it as of the
/// wrong type. The sandbox allows no others, and nobody gets a caller who says nothing.
fn is_served(path: &Path) -> bool {
    let asked = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
    };
    asked() == Err(Errno::EPROTOTYPE)
}
