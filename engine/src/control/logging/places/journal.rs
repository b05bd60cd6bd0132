//! The journal of systemd, by its own protocol: a datagram for each line, which is a list of fields.
//!
//! Source: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL>.
//!
//! A crate for it would bring a second way to connect, and a logger of its own in place of ours, for these few lines.
//! Its part for messages that fit no datagram is not needed: our lines are cut long before that.

use std::io;
use std::path::Path;

use super::datagrams::Datagrams;
use super::{Line, Place};

/// Where the journal takes messages of this protocol.
pub(in super::super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// The journal.
pub(in super::super) struct Journal {
    socket: Datagrams,
    interface: String,
}

impl Journal {
    pub(in super::super) fn new(interface: &str) -> Self {
        Self::at(Path::new(JOURNAL), interface)
    }

    fn at(path: &Path, interface: &str) -> Self {
        Self { socket: Datagrams::to(path), interface: interface.to_owned() }
    }
}

impl Place for Journal {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(line.text.len() + 256);
        // The text names the interface as well, for whoever reads only that.
        field(&mut datagram, "MESSAGE", &format!("{}: {}", self.interface, line.text));
        field(&mut datagram, "PRIORITY", &line.severity().to_string());
        field(&mut datagram, "SYSLOG_IDENTIFIER", "ringfort");
        field(&mut datagram, "SYSLOG_FACILITY", "3");
        field(&mut datagram, "RINGFORT_INTERFACE", &self.interface);
        for (key, value) in &line.fields {
            field(&mut datagram, &name_of(key), value);
        }
        self.socket.send(&datagram)
    }

    fn rename(&mut self, interface: &str) {
        interface.clone_into(&mut self.interface);
    }
}

/// The journal takes upper case letters, digits and underscores, at most 64 of them.
fn name_of(key: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name = "RINGFORT_".chars().chain(key.chars().map(letter));
    name.take(64).collect()
}

/// A field with its length: its value may contain anything.
fn field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::net::UnixDatagram;

    use log::Level;

    use super::super::datagrams::tests::{path, received};
    use super::*;

    /// The fields of a datagram.
    fn fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (name, rest) = (&bytes[..end], &bytes[end + 1..]);
            let (len, rest) = rest.split_first_chunk().unwrap();
            let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*len)).unwrap());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.insert(text(name), text(value));
            bytes = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    #[test]
    fn priority_and_fields_are_there() {
        let path = path("journal");
        let service = UnixDatagram::bind(&path).unwrap();
        let mut line = Line::now(Level::Warn, "hello".to_owned());
        line.fields = vec![("peer".to_owned(), "xTIBA5rb=".to_owned()), ("last-error".to_owned(), "x".to_owned())];
        Journal::at(&path, "wg0").write(&line).unwrap();
        let fields = fields(&received(&service));
        let expected = [
            ("MESSAGE", "wg0: hello"),
            ("PRIORITY", "4"),
            ("RINGFORT_INTERFACE", "wg0"),
            ("RINGFORT_LAST_ERROR", "x"),
            ("RINGFORT_PEER", "xTIBA5rb="),
            ("SYSLOG_FACILITY", "3"),
            ("SYSLOG_IDENTIFIER", "ringfort"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(name_of(&"x".repeat(100)).len(), 64);
    }
}
