//! A UNIX socket for datagrams that belongs to a service which may restart.
//!
//! A service that ends takes its socket with it, and the next datagram is refused. But the old socket may live on: a
//! service manager or a child holds it. Then nothing is refused, and nothing is read. So each datagram first looks
//! whether the path still leads to the socket that we are connected to, and none waits for ever.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader may take for a datagram, before we look whether it is still there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection.
#[derive(Debug)]
pub(super) struct Datagrams {
    path: PathBuf,
    connected: Option<(UnixDatagram, Identity)>,
}

/// Device and inode.
type Identity = (u64, u64);

impl Datagrams {
    /// For the service at `path`, which need not be there.
    pub(super) fn to(path: &Path) -> Self {
        Self { path: path.to_owned(), connected: None }
    }

    /// Sends one, to whoever is there now.
    ///
    /// # Errors
    /// Nobody is there, or nobody reads.
    pub(super) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        // A service that was replaced between the two is met by the second attempt.
        self.attempt(datagram).or_else(|_| self.attempt(datagram))
    }

    fn attempt(&mut self, datagram: &[u8]) -> io::Result<()> {
        let there = identity(&self.path)?;
        let (socket, _) = match self.connected.take_if(|(_, known)| *known == there) {
            Some(connected) => self.connected.insert(connected),
            None => self.connected.insert((connect(&self.path)?, there)),
        };
        match socket.send(datagram) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.connected = None;
                Err(error)
            }
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn identity(path: &Path) -> io::Result<Identity> {
    // `/dev/log` is often a symbolic link.
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A path in a directory of the test, where nothing is.
    pub(in super::super) fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ringfort-log-{name}-{}", std::process::id()));
        // A run that was killed may have left it, and had the same number.
        let _ = fs::remove_file(&path);
        path
    }

    pub(in super::super) fn received(socket: &UnixDatagram) -> Vec<u8> {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut bytes = vec![0; 16_384];
        let len = socket.recv(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn a_service_that_restarts_is_found_again() {
        let path = path("restarts");
        let mut datagrams = Datagrams::to(&path);
        datagrams.send(b"nobody is there").unwrap_err();
        for text in [&b"hello"[..], b"again"] {
            let service = UnixDatagram::bind(&path).unwrap();
            datagrams.send(text).unwrap();
            assert_eq!(received(&service), text);
            fs::remove_file(&path).unwrap();
        }
    }

    /// Somebody keeps the old socket open and does not read from it, which refuses nothing.
    #[test]
    fn a_service_whose_old_socket_lives_on_is_found_again() {
        let path = path("lives-on");
        let mut datagrams = Datagrams::to(&path);
        let old = UnixDatagram::bind(&path).unwrap();
        // Until its queue is full: then a datagram waits, but not for ever.
        while datagrams.send(b"unread").is_ok() {}
        fs::remove_file(&path).unwrap();
        let new = UnixDatagram::bind(&path).unwrap();
        datagrams.send(b"hello").unwrap();
        assert_eq!(received(&new), b"hello");
        assert_eq!(received(&old), b"unread");
        fs::remove_file(&path).unwrap();
    }
}
