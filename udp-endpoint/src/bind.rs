//! What the sockets are bound to beside their port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What datagrams come in by, and leave by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bind {
    /// All addresses of both families.
    #[default]
    Any,
    /// This address, and no other family. `0.0.0.0` and `::` are all addresses of their family.
    Address(IpAddr),
    /// All addresses, but this device only (`SO_BINDTODEVICE`).
    Device(DeviceName),
}

impl Bind {
    /// The address for IPv4; `None`: it is not used.
    #[must_use]
    pub const fn v4(self) -> Option<Ipv4Addr> {
        match self {
            Self::Address(IpAddr::V4(address)) => Some(address),
            Self::Address(IpAddr::V6(_)) => None,
            Self::Any | Self::Device(_) => Some(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// The address for IPv6; `None`: it is not used.
    #[must_use]
    pub const fn v6(self) -> Option<Ipv6Addr> {
        match self {
            Self::Address(IpAddr::V6(address)) => Some(address),
            Self::Address(IpAddr::V4(_)) => None,
            Self::Any | Self::Device(_) => Some(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Whether both families are used.
    #[must_use]
    pub const fn is_dual(self) -> bool {
        !matches!(self, Self::Address(_))
    }
}

/// An address, or else the name of a device.
impl FromStr for Bind {
    type Err = NotBindable;

    fn from_str(text: &str) -> Result<Self, NotBindable> {
        match text.parse() {
            Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => Err(NotBindable::LinkLocal),
            Ok(address) if address.is_multicast() => Err(NotBindable::Multicast),
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => DeviceName::new(text).map(Self::Device).ok_or(NotBindable::Text),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("all addresses"),
            Self::Address(address) => address.fmt(f),
            Self::Device(device) => device.fmt(f),
        }
    }
}

/// A text that names nothing to bind to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBindable {
    /// Neither an address nor a possible name.
    #[error("expected an IP address, or the name of a network device (up to 15 characters)")]
    Text,
    /// Such an address exists on each link.
    #[error("a link-local address is on every link: bind to the device instead")]
    LinkLocal,
    /// Nobody sends from such an address.
    #[error("a multicast address cannot be sent from: choose an address of this machine")]
    Multicast,
}

/// Bytes of a name with the zero at its end: `IFNAMSIZ`.
const NAME_LEN: usize = 16;

/// The name of a network device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeviceName {
    bytes: [u8; NAME_LEN],
    len: usize,
}

impl DeviceName {
    /// `None`: no device can have this name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_name = !matches!(name, "" | "." | "..") && name.len() < NAME_LEN;
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
        if !is_name || !name.bytes().all(is_plain) {
            return None;
        }
        let mut bytes = [0; NAME_LEN];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { bytes, len: name.len() })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("made of a string, which was ASCII")
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_devices() {
        let address = |text: &str| Ok(Bind::Address(text.parse().unwrap()));
        for text in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::"] {
            assert_eq!(text.parse(), address(text), "{text}");
        }
        assert_eq!("eth0".parse::<Bind>().unwrap().to_string(), "eth0");
        assert_eq!("eth0.100".parse::<Bind>().unwrap(), Bind::Device(DeviceName::new("eth0.100").unwrap()));
        for (text, why) in [
            ("", NotBindable::Text),
            ("a name", NotBindable::Text),
            ("192.0.2.1:51820", NotBindable::Text),
            ("sixteen-letters-", NotBindable::Text),
            ("fe80::1", NotBindable::LinkLocal),
            ("ff02::1", NotBindable::Multicast),
            ("224.0.0.1", NotBindable::Multicast),
        ] {
            assert_eq!(text.parse::<Bind>(), Err(why), "{text}");
        }
    }

    #[test]
    fn an_address_has_one_family() {
        let v6: Bind = "2001:db8::1".parse().unwrap();
        assert_eq!((v6.v4(), v6.v6()), (None, Some("2001:db8::1".parse().unwrap())));
        let any = Bind::Any;
        assert!(any.is_dual() && !v6.is_dual() && any.v4().is_some() && any.v6().is_some());
    }
}
