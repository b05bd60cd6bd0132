//! The values of the protocol as parts of a state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::activity::{Sizes, Traffic};
use crate::allowed_ips::Prefix;
use crate::crypto::{Key, PresharedKey, PrivateKey, PublicKey};
use crate::ids::{Endpoint, LocalAddr};
use crate::keypair::SessionKeys;
use crate::noise::NewSession;
use crate::part::{Malformed, Part, Reader, Sink, kinds, parts};
use crate::suite::Suite;
use crate::tai64n::Tai64N;
use crate::time::Time;

parts!(Endpoint { remote, source });
parts!(LocalAddr { addr, ifindex });
parts!(Traffic { rx_bytes, tx_bytes, rx_packets, tx_packets });
parts!(Sizes { rx_largest, tx_largest, rx_missing });
parts!(SessionKeys { send, receive });
parts!(NewSession { keys, local_index, remote_index, initiator, suite });
kinds!(Suite, "a cipher suite");

/// A time is one of `CLOCK_BOOTTIME`, which is the same for all processes of a machine.
impl Part for Time {
    fn put(&self, to: &mut dyn Sink) {
        self.as_nanos().put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::take(from).map(Self)
    }
}

impl Part for Tai64N {
    fn put(&self, to: &mut dyn Sink) {
        to.put(self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("a timestamp").map(|bytes| Self::from_bytes(*bytes))
    }
}

impl Part for PublicKey {
    fn put(&self, to: &mut dyn Sink) {
        to.put(self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("a public key").map(|bytes| Self::new(*bytes))
    }
}

/// A secret goes from the bytes into its place, and by no other.
macro_rules! secrets {
    ($($type:ident),*) => { $(
        impl Part for $type {
            fn put(&self, to: &mut dyn Sink) {
                to.put(self.as_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                from.array("a key").map(Self::copy_of)
            }
        }
    )* };
}

secrets!(Key, PrivateKey, PresharedKey);

impl Part for IpAddr {
    fn put(&self, to: &mut dyn Sink) {
        match self {
            Self::V4(v4) => (4_u8, v4.to_bits()).put(to),
            Self::V6(v6) => (6_u8, v6.to_bits()).put(to),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            4 => Ok(Ipv4Addr::from_bits(u32::take(from)?).into()),
            6 => Ok(Ipv6Addr::from_bits(u128::take(from)?).into()),
            _ => Err(from.bad("an address")),
        }
    }
}

impl Part for SocketAddr {
    fn put(&self, to: &mut dyn Sink) {
        self.ip().put(to);
        self.port().put(to);
        if let Self::V6(v6) = self {
            (v6.flowinfo(), v6.scope_id()).put(to);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (ip, port) = Part::take(from)?;
        Ok(match ip {
            IpAddr::V4(v4) => SocketAddrV4::new(v4, port).into(),
            IpAddr::V6(v6) => {
                let (flow, scope) = Part::take(from)?;
                SocketAddrV6::new(v6, port, flow, scope).into()
            }
        })
    }
}

impl Part for Prefix {
    fn put(&self, to: &mut dyn Sink) {
        (self.addr(), self.len()).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (addr, len) = Part::take(from)?;
        Self::new(addr, len).ok_or_else(|| from.bad("a prefix"))
    }
}
