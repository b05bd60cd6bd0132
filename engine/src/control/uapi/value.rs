//! The values of the protocol: numbers, keys, endpoints, prefixes. Each is parsed in full or refused.
//!
//! Values are bytes, not text: none of the valid ones is outside ASCII.

use std::net::{SocketAddr, SocketAddrV6};

use ringfort_config::{SecretKey, is_source};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::device::is_name;

use super::request::{PeerSource, PeerSuite};

/// The value of `cipher_suite` that takes a setting back.
pub const DEFAULT_SUITE: &str = "default";
/// The value of `source` that takes a setting back.
pub const DEFAULT_SOURCE: &str = "default";

/// A decimal number without sign. Leading zeros are accepted, as wireguard-go does.
pub(super) fn decimal<T: TryFrom<u64>>(value: &[u8]) -> Option<T> {
    if value.is_empty() {
        return None;
    }
    let number = value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    T::try_from(number).ok()
}

/// The only value that a flag can take.
pub(super) fn flag(value: &[u8]) -> Option<()> {
    (value == b"true").then_some(())
}

/// A public key: 64 hexadecimal digits of either case.
pub(super) fn public_key(value: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    decode_hex(value, &mut key).then_some(key)
}

/// A private or preshared key: 64 hexadecimal digits of either case.
pub(super) fn secret_key(value: &[u8]) -> Option<SecretKey> {
    let mut key = SecretKey::zero();
    decode_hex(value, key.expose_mut()).then_some(key)
}

/// The name of a cipher suite, or `default`.
pub(super) fn cipher_suite(value: &[u8]) -> Option<PeerSuite> {
    let text = std::str::from_utf8(value).ok()?;
    if text == DEFAULT_SUITE { Some(PeerSuite::Interface) } else { text.parse().ok().map(PeerSuite::Own) }
}

/// `192.0.2.1`, `2001:db8::1` or `default`.
pub(super) fn source(value: &[u8]) -> Option<PeerSource> {
    let text = std::str::from_utf8(value).ok()?;
    if text == DEFAULT_SOURCE {
        return Some(PeerSource::Any);
    }
    text.parse().ok().filter(is_source).map(PeerSource::Own)
}

/// What the operator calls a peer; empty takes a name back.
pub(super) fn name(value: &[u8]) -> Option<Option<String>> {
    let text = std::str::from_utf8(value).ok()?;
    if text.is_empty() { Some(None) } else { is_name(text).then(|| Some(text.to_owned())) }
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820` or `[fe80::1%eth0]:51820`.
///
/// `resolve_zone` turns the name of an interface into its index.
pub(super) fn endpoint(value: &[u8], resolve_zone: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let text = std::str::from_utf8(value).ok()?;
    if let Ok(addr) = text.parse() {
        return Some(addr);
    }
    let (host, port) = text.strip_prefix('[')?.split_once("]:")?;
    let (addr, zone) = host.split_once('%')?;
    let scope_id = resolve_zone(zone)?;
    let port = decimal(port.as_bytes())?;
    Some(SocketAddrV6::new(addr.parse().ok()?, port, 0, scope_id).into())
}

/// `192.0.2.0/24` or `2001:db8::/32`. The length is mandatory and has no leading zero, as in Go's `netip.ParsePrefix`.
pub(super) fn prefix(value: &[u8]) -> Option<Prefix> {
    let text = std::str::from_utf8(value).ok()?;
    let (addr, len) = text.split_once('/')?;
    if len.len() > 1 && len.starts_with('0') {
        return None;
    }
    Prefix::new(addr.parse().ok()?, decimal(len.as_bytes())?)
}

/// Decodes exactly 64 digits. No branch and no table index depends on a digit, so the time tells nothing of a key.
fn decode_hex(digits: &[u8], key: &mut [u8; 32]) -> bool {
    if digits.len() != 2 * key.len() {
        return false;
    }
    let mut bad = 0_u8;
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        bad |= (high | low) >> 4;
        *byte = (high << 4) | (low & 0x0f);
    }
    bad == 0
}

/// The value of one hexadecimal digit, or 0xf0 or more for any other byte.
fn nibble(digit: u8) -> u8 {
    let within = |low: u8, high: u8| {
        // All ones if low <= digit <= high: both differences are then not negative.
        let digit = i16::from(digit);
        let outside = (digit - i16::from(low)) | (i16::from(high) - digit);
        !((outside >> 15) as u8)
    };
    let decimal = within(b'0', b'9');
    let lower = within(b'a', b'f');
    let upper = within(b'A', b'F');
    let value = (decimal & digit.wrapping_sub(b'0'))
        | (lower & digit.wrapping_sub(b'a' - 10))
        | (upper & digit.wrapping_sub(b'A' - 10));
    value | (!(decimal | lower | upper) & 0xf0)
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
