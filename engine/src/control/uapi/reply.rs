//! From a configuration to the lines of an answer.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use ringfort_core::suite::Suite;
use zeroize::Zeroize as _;

use super::errno::Errno;

/// An answer under construction, and then under way.
///
/// It holds the private key and the preshared keys in hexadecimal. So it is wiped when dropped, and when it outgrows
/// its memory the old memory is wiped too, which a `Vec` that reallocates would not do.
#[derive(Default)]
pub struct Reply {
    bytes: Vec<u8>,
    /// `bytes[..written]` has gone to the client.
    written: usize,
}

/// The interface's part of `get=1`.
#[derive(Default)]
pub struct InterfaceStatus<'a> {
    /// `None` if no key is set: the line is then left out.
    pub private_key: Option<&'a [u8; 32]>,
    /// 0 is left out.
    pub listen_port: u16,
    /// 0 is left out.
    pub fwmark: u32,
    /// WireGuard's own is left out.
    pub cipher_suite: Suite,
}

/// A peer's part of `get=1`.
pub struct PeerStatus<'a> {
    /// Which peer.
    pub public_key: &'a [u8; 32],
    /// All zeros for none.
    pub preshared_key: &'a [u8; 32],
    /// Left out if it is that of the interface.
    pub cipher_suite: Option<Suite>,
    /// The local address that was set for it, if one was.
    pub source: Option<IpAddr>,
    /// What the operator calls it, if anything.
    pub name: Option<&'a str>,
    /// Where we would send to.
    pub endpoint: Option<SocketAddr>,
    /// Seconds and nanoseconds of the last handshake since 1970; zero if there was none.
    pub last_handshake: (u64, u32),
    /// Bytes of transport data sent, with headers and tags.
    pub tx_bytes: u64,
    /// Bytes of transport data received, with headers and tags.
    pub rx_bytes: u64,
    /// Seconds; 0 is off.
    pub persistent_keepalive: u16,
}

impl Reply {
    /// Adds a `name=value` line.
    pub fn line(&mut self, name: &str, value: impl fmt::Display) {
        // Writing to memory cannot fail, and a `Display` that refuses is not among the values.
        let _ = writeln!(self, "{name}={value}");
    }

    /// Adds the interface.
    pub fn interface(&mut self, status: &InterfaceStatus<'_>) {
        if let Some(key) = status.private_key {
            self.key_line("private_key", key);
        }
        if status.listen_port != 0 {
            self.line("listen_port", status.listen_port);
        }
        if status.fwmark != 0 {
            self.line("fwmark", status.fwmark);
        }
        if status.cipher_suite != Suite::default() {
            self.line("cipher_suite", status.cipher_suite);
        }
    }

    /// Adds a peer. Its prefixes follow, each a line.
    pub fn peer(&mut self, status: &PeerStatus<'_>) {
        self.public_key(status.public_key);
        self.key_line("preshared_key", status.preshared_key);
        self.line("protocol_version", 1);
        if let Some(suite) = status.cipher_suite {
            self.line("cipher_suite", suite);
        }
        if let Some(source) = status.source {
            self.line("source", source);
        }
        if let Some(name) = status.name {
            self.line("name", name);
        }
        if let Some(endpoint) = status.endpoint {
            self.line("endpoint", endpoint);
        }
        self.line("last_handshake_time_sec", status.last_handshake.0);
        self.line("last_handshake_time_nsec", status.last_handshake.1);
        self.line("tx_bytes", status.tx_bytes);
        self.line("rx_bytes", status.rx_bytes);
        self.line("persistent_keepalive_interval", status.persistent_keepalive);
    }

    /// Adds the line that a peer begins with.
    pub fn public_key(&mut self, key: &[u8; 32]) {
        self.key_line("public_key", key);
    }

    /// Ends the answer.
    pub fn finish(&mut self, errno: Errno) {
        self.line("errno", errno.get());
        self.append(b"\n");
    }

    /// What the client has not got yet.
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// That many bytes of [`unwritten`](Self::unwritten) were sent. When all were, the memory is wiped and freed.
    pub fn advance(&mut self, len: usize) {
        self.written += len.min(self.unwritten().len());
        if self.written == self.bytes.len() {
            *self = Self::default();
        }
    }

    fn key_line(&mut self, name: &str, key: &[u8; 32]) {
        self.append(name.as_bytes());
        self.append(b"=");
        for byte in key {
            self.append(&[hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
        }
        self.append(b"\n");
    }

    fn append(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            let mut larger = Vec::with_capacity(needed.next_power_of_two().max(4096));
            larger.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl fmt::Write for Reply {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// Without a table: an index that depends on a key would show in the cache.
fn hex_digit(nibble: u8) -> u8 {
    let is_letter = (9_u8.wrapping_sub(nibble) >> 7) & 1;
    b'0' + nibble + is_letter * (b'a' - b'0' - 10)
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
