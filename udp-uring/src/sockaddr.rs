//! Socket addresses as the kernel has them in memory: `struct sockaddr_in` and `struct sockaddr_in6` (`<linux/in.h>`,
//! `<linux/in6.h>`), written and read as bytes, so nothing depends on alignment.

use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the longer of the two.
pub const SOCKADDR_LEN_MAX: usize = size_of::<libc::sockaddr_in6>();

const V4_LEN: usize = size_of::<libc::sockaddr_in>();
const V6_LEN: usize = size_of::<libc::sockaddr_in6>();

const FAMILY: usize = offset_of!(libc::sockaddr_in, sin_family);
const PORT: usize = offset_of!(libc::sockaddr_in, sin_port);
const V4_ADDR: usize = offset_of!(libc::sockaddr_in, sin_addr);
const FLOWINFO: usize = offset_of!(libc::sockaddr_in6, sin6_flowinfo);
const V6_ADDR: usize = offset_of!(libc::sockaddr_in6, sin6_addr);
const SCOPE_ID: usize = offset_of!(libc::sockaddr_in6, sin6_scope_id);

const _: () = assert!(
    FAMILY == offset_of!(libc::sockaddr_in6, sin6_family) && PORT == offset_of!(libc::sockaddr_in6, sin6_port),
    "family and port lie at the same place in both, so that one reader serves both"
);

/// Writes `addr` and returns how many bytes of `out` it takes.
#[must_use]
pub fn write_sockaddr(addr: &SocketAddr, out: &mut [u8; SOCKADDR_LEN_MAX]) -> usize {
    out.fill(0);
    out[PORT..PORT + 2].copy_from_slice(&addr.port().to_be_bytes());
    match addr {
        SocketAddr::V4(v4) => {
            put_family(out, libc::AF_INET);
            out[V4_ADDR..V4_ADDR + 4].copy_from_slice(&v4.ip().octets());
            V4_LEN
        }
        SocketAddr::V6(v6) => {
            put_family(out, libc::AF_INET6);
            out[FLOWINFO..FLOWINFO + 4].copy_from_slice(&v6.flowinfo().to_be_bytes());
            out[V6_ADDR..V6_ADDR + 16].copy_from_slice(&v6.ip().octets());
            out[SCOPE_ID..SCOPE_ID + 4].copy_from_slice(&v6.scope_id().to_ne_bytes());
            V6_LEN
        }
    }
}

/// Reads what the kernel wrote. `None` if it is too short or of another family.
///
/// The flow label is left out: it is a property of a packet, not of the endpoint that two packets share.
#[must_use]
pub fn read_sockaddr(bytes: &[u8]) -> Option<SocketAddr> {
    let family = libc::c_int::from(u16::from_ne_bytes(array(bytes, FAMILY)?));
    let port = u16::from_be_bytes(array(bytes, PORT)?);
    match family {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(array::<4>(bytes, V4_ADDR)?);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(array::<16>(bytes, V6_ADDR)?);
            let scope_id = u32::from_ne_bytes(array(bytes, SCOPE_ID)?);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope_id)))
        }
        _ => None,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "address families are small positive numbers"
)]
fn put_family(out: &mut [u8], family: libc::c_int) {
    out[FAMILY..FAMILY + 2].copy_from_slice(&(family as u16).to_ne_bytes());
}

/// A `struct msghdr` that points to nothing.
pub(crate) fn empty_msghdr() -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid msghdr: null pointers and lengths of zero.
    unsafe { std::mem::zeroed() }
}

/// `N` bytes from `offset` on, if there are that many.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_ipv4_address_has_the_layout_of_the_uapi_header() {
        let mut out = [0xff; SOCKADDR_LEN_MAX];
        let len = write_sockaddr(&"192.0.2.7:51820".parse().expect("literal"), &mut out);
        assert_eq!(len, 16);
        assert_eq!(out[..2], 2u16.to_ne_bytes());
        assert_eq!(out[2..8], [0xca, 0x6c, 192, 0, 2, 7]);
        assert_eq!(out[8..16], [0; 8], "the padding is zero");
    }

    proptest! {
        #[test]
        fn every_address_comes_back(ip: std::net::IpAddr, port: u16, scope: u32) {
            let addr = match ip {
                std::net::IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
                std::net::IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            };
            let mut out = [0xff; SOCKADDR_LEN_MAX];
            let len = write_sockaddr(&addr, &mut out);
            prop_assert_eq!(read_sockaddr(&out[..len]), Some(addr));
            prop_assert_eq!(read_sockaddr(&out[..len.min(7)]), None, "too short");
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read_sockaddr(&bytes);
        }
    }
}
