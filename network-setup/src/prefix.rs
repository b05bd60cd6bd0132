//! An address with the length of its network's prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// An address and the length of its network's prefix in bits. It keeps the bits behind the prefix: `10.0.0.1/24` is an
/// address of an interface, and `10.0.0.0/24` its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

/// A text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address with a prefix: write 10.0.0.1/24 or fd00::1/64")]
pub struct PrefixError(String);

impl Prefix {
    /// `None` if the address has fewer bits.
    #[must_use]
    pub const fn new(address: IpAddr, len: u8) -> Option<Self> {
        if len <= bits(address) { Some(Self { address, len }) } else { None }
    }

    /// The prefix that is this address alone.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, len: bits(address) }
    }

    /// The address, with all of its bits.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.len
    }

    /// Whether it is all addresses of its family: a default route.
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.len == 0
    }

    /// The network: the bits behind the prefix are 0.
    #[must_use]
    pub fn network(self) -> Self {
        self.shortened(self.len)
    }

    /// The network of this length that it is in; itself if `len` is longer.
    #[must_use]
    pub fn shortened(self, len: u8) -> Self {
        let len = len.min(self.len);
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, len }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// With or without a length: an address alone is a host.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let parse = || match text.split_once('/') {
            None => Some(Self::host(text.parse().ok()?)),
            // `parse` would take a sign.
            Some((_, len)) if !len.bytes().all(|byte| byte.is_ascii_digit()) => None,
            Some((address, len)) => Self::new(address.parse().ok()?, len.parse().ok()?),
        };
        parse().ok_or_else(|| PrefixError(text.to_owned()))
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts() {
        for text in ["10.0.0.1/24", "0.0.0.0/0", "::/0", "fd00::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.1".parse::<Prefix>().unwrap().to_string(), "10.0.0.1/32");
        for text in ["", "10.0.0.1/33", "10.0.0.1/+3", "10.0.0.1/", "::/129", "10.0.0/8", "a/3"] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError(text.to_owned())));
        }
    }

    #[test]
    fn networks() {
        let network = |text: &str| text.parse::<Prefix>().unwrap().network().to_string();
        assert_eq!(network("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(network("10.1.2.3/0"), "0.0.0.0/0");
        assert_eq!(network("10.1.2.3/32"), "10.1.2.3/32");
        assert_eq!(network("fd00::1:2/112"), "fd00::1:0/112");
        assert_eq!(network("fd00::1/0"), "::/0");
    }

    proptest! {
        #[test]
        fn a_prefix_is_written_and_read(bits in any::<u128>(), v6 in any::<bool>(), len in 0_u8..=128) {
            let address = if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() };
            if let Some(prefix) = Prefix::new(address, len) {
                prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
                prop_assert_eq!(prefix.network().network(), prefix.network());
            }
        }
    }
}
