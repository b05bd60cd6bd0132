//! What can be wrong with a packet and its header.

/// Why a read is not a packet that this crate can handle. Each is dropped and counted; none can come from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VnetError {
    /// The read is shorter than the header.
    #[error("read shorter than the virtio-net header")]
    ShortRead,
    /// A GSO type with segments of zero bytes.
    #[error("GSO type without a segment size")]
    ZeroSegment,
    /// `hdr_len` is beyond the packet.
    #[error("header length beyond the packet")]
    HeaderBeyondPacket,
    /// The checksum field, or where to begin, is beyond the packet.
    #[error("checksum beyond the packet")]
    ChecksumBeyondPacket,
    /// The checksum of a super-packet is not that of its transport header.
    #[error("checksum is not that of the transport header")]
    ChecksumElsewhere,
    /// A GSO type that was not asked for (UFO) or does not exist.
    #[error("unknown GSO type {0}")]
    GsoType(u8),
    /// A GSO type for the other IP version.
    #[error("GSO type does not match the IP version")]
    GsoVersion,
    /// A GSO type for another transport protocol.
    #[error("GSO type does not match the transport protocol")]
    GsoProtocol,
    /// Neither IPv4 nor IPv6.
    #[error("super-packet is not IP")]
    NotIp,
    /// Shorter than its IP header says, or than an IP header.
    #[error("super-packet shorter than its IP length")]
    Truncated,
    /// An IPv4 header below 20 bytes, headers beyond the packet, or segments left in an IPv6 routing header: then the
    /// sum over the last destination is unknown.
    #[error("malformed IP header")]
    IpHeader,
    /// A fragment with a transport offload.
    #[error("super-packet is a fragment")]
    Fragment,
    /// No room for a TCP or UDP header.
    #[error("no room for the transport header")]
    Transport,
    /// A TCP data offset below 5 words, or beyond the packet.
    #[error("TCP data offset out of range")]
    TcpDataOffset,
    /// The inner packet of a UDP tunnel begins in front of the tunnel's header, or at an odd place, or behind the outer
    /// packet; or the outer UDP header has a checksum that was not announced.
    #[error("tunnel header out of range")]
    TunnelHeader,
    /// The inner packet of a UDP tunnel does not end where the outer one does.
    #[error("inner packet of a tunnel is not as long as the outer one")]
    TunnelLength,
}
