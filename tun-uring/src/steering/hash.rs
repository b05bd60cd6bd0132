//! The hash of a flow: the same for both directions, and the same as the program's.

/// An odd constant without a pattern (2^64 divided by the golden ratio): a multiplication with it spreads each bit
/// upwards.
pub(super) const SPREAD: u32 = 0x9e37_79b1;
pub(super) const STIR: u32 = 15;

/// The offset of an IPv4 fragment, without the flags. The fragment header of IPv6 has it in the upper bits.
pub(super) const OFFSET_V4: u16 = 0x1fff;
pub(super) const OFFSET_V6: u16 = 0xfff8;
/// The next header value of IPv6's fragment header, and the length of that.
pub(super) const FRAGMENT_HEADER: u8 = 44;
const FRAGMENT_HEADER_LEN: usize = 8;

/// How many buckets there are, a power of two.
pub(super) const BUCKETS: usize = 1024;
/// The bits of a hash that say the bucket. In a note those above are of the datagram's key.
pub(super) const BUCKET_MASK: u32 = BUCKETS as u32 - 1;

/// What nobody outside knows of the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seed {
    /// It begins with this.
    pub(super) hash: u32,
    /// Both of a pair of words are changed by this before they are multiplied.
    pub(super) pair: u32,
}

/// `hash = (hash ^ word) * SPREAD`, then the upper bits down, where the next multiplication takes them up again.
pub(super) const fn mix(hash: u32, word: u32) -> u32 {
    let product = (hash ^ word).wrapping_mul(SPREAD);
    product ^ product >> STIR
}

/// The same for both directions of a flow. What two pairs have in common says nothing of their products, unless one
/// knows the secret.
pub(super) const fn mix_pair(hash: u32, a: u32, b: u32, seed: Seed) -> u32 {
    mix(hash, (a ^ seed.pair).wrapping_mul(b ^ seed.pair))
}

pub(super) fn mix_addresses<const WORDS: usize>(seed: Seed, from: &[[u8; 4]; WORDS], to: &[[u8; 4]; WORDS]) -> u32 {
    let words = from.iter().zip(to).map(|(a, b)| (u32::from_be_bytes(*a), u32::from_be_bytes(*b)));
    words.fold(seed.hash, |hash, (a, b)| mix_pair(hash, a, b, seed))
}

pub(super) fn mix_ports(hash: u32, ports: [u8; 4], seed: Seed) -> u32 {
    let [a, b, c, d] = ports;
    mix_pair(hash, u16::from_be_bytes([a, b]).into(), u16::from_be_bytes([c, d]).into(), seed)
}

/// What [`program`](super::program::program) makes of a packet, and of the packets in the other direction of its flow;
/// `None` where a load ends it. Nothing is noted: later fragments use their addresses.
pub(super) fn bucket(packet: &[u8], seed: Seed) -> Option<u32> {
    let hash = if packet.first()? >> 4 == 6 { hash_v6(packet, seed)? } else { hash_v4(packet, seed)? };
    Some(mix(hash, 0) & BUCKET_MASK)
}

fn hash_v4(packet: &[u8], seed: Seed) -> Option<u32> {
    let (from, to) = (*packet.get(12..)?.first_chunk()?, *packet.get(16..)?.first_chunk()?);
    let hash = mix_addresses(seed, &[from], &[to]);
    let is_later_fragment = u16::from_be_bytes([packet[6], packet[7]]) & OFFSET_V4 != 0;
    if is_later_fragment || !has_ports(packet[9]) {
        return Some(hash);
    }
    let header_len = usize::from(packet[0] & 15) * 4;
    Some(mix_ports(hash, *packet.get(header_len..)?.first_chunk()?, seed))
}

fn hash_v6(packet: &[u8], seed: Seed) -> Option<u32> {
    let addresses = packet.get(8..40)?.as_chunks::<4>().0;
    let (from, to) = (addresses.first_chunk::<4>()?, addresses.last_chunk::<4>()?);
    let hash = mix_addresses(seed, from, to);
    let behind = packet.get(40..)?;
    if packet[6] != FRAGMENT_HEADER {
        return if has_ports(packet[6]) { Some(mix_ports(hash, *behind.first_chunk()?, seed)) } else { Some(hash) };
    }
    if !has_ports(*behind.first()?) {
        return Some(hash);
    }
    let (header, behind) = behind.split_first_chunk::<FRAGMENT_HEADER_LEN>()?;
    let is_later_fragment = u16::from_be_bytes([header[2], header[3]]) & OFFSET_V6 != 0;
    if is_later_fragment { Some(hash) } else { Some(mix_ports(hash, *behind.first_chunk()?, seed)) }
}

fn has_ports(protocol: u8) -> bool {
    matches!(i32::from(protocol), libc::IPPROTO_TCP | libc::IPPROTO_UDP)
}
