//! syslog: a datagram for each line (RFC 3164, as `syslog(3)` writes it to `/dev/log`).

use std::io;
use std::path::Path;

use super::datagrams::Datagrams;
use super::{Line, Place, prefix};

const SOCKET: &str = "/dev/log";
/// `LOG_DAEMON` of `syslog(3)`, already shifted.
pub(super) const FACILITY_DAEMON: u8 = 3 << 3;

/// The syslog of the system.
pub(in super::super) struct Syslog {
    socket: Datagrams,
    prefix: String,
}

impl Syslog {
    pub(in super::super) fn new(interface: &str) -> Self {
        Self::at(Path::new(SOCKET), interface)
    }

    fn at(path: &Path, interface: &str) -> Self {
        Self { socket: Datagrams::to(path), prefix: prefix(interface) }
    }
}

impl Place for Syslog {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let priority = FACILITY_DAEMON | line.severity();
        self.socket.send(format!("<{priority}>{}: {}", self.prefix, line.text).as_bytes())
    }

    fn rename(&mut self, interface: &str) {
        self.prefix = prefix(interface);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use log::Level;

    use super::super::datagrams::tests::{path, received};
    use super::*;

    #[test]
    fn lines_are_written_as_syslog_writes_them() {
        let path = path("syslog");
        let service = UnixDatagram::bind(&path).unwrap();
        Syslog::at(&path, "wg0").write(&Line::now(Level::Info, "hello".to_owned())).unwrap();
        let expected = format!("<30>ringfort[{}]: wg0: hello", std::process::id());
        assert_eq!(String::from_utf8(received(&service)), Ok(expected));
        std::fs::remove_file(&path).unwrap();
    }
}
