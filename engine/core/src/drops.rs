//! Every reason for which something is thrown away, by name. One list, so the counters, the metrics and the tests
//! speak of the same things.

/// Defines [`DropReason`], its names and its list from one table.
macro_rules! drops {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a datagram, a packet or a message went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// All reasons, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The reason's name in metrics and tables: stable, lower case, `_` between words.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, in sentences: those that stand at the reason itself.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

drops! {
    // The wire, before anything is authenticated.
    /// A datagram too short to hold a message type.
    Runt = "runt",
    /// A message type that the protocol does not define.
    UnknownType = "unknown_type",
    /// The three reserved bytes after the type are neither zero nor, in an initiation, the marker of a cipher suite.
    BadReserved = "bad_reserved",
    /// The length is not the one that the message type has, or a data message is shorter than header and tag.
    BadLength = "bad_length",
    /// The kernel truncated the datagram because it did not fit its buffer.
    TruncatedDatagram = "truncated_datagram",
    /// What the kernel says of a datagram that it received contradicts itself: a bug, there or here.
    MalformedReceive = "malformed_receive",
    /// mac1 does not prove knowledge of our public key.
    BadMac1 = "bad_mac1",
    /// Under load, mac2 was absent or wrong: a cookie reply went out instead of a handshake.
    CookieRequired = "cookie_required",
    /// Under load, mac2 was absent or wrong, and no more cookie replies could leave at that moment. In a flood, mac1 is
    /// not looked at before.
    CookieBudget = "cookie_budget",
    /// The source address sent more handshake messages than it may while we are under load.
    RateLimited = "rate_limited",
    /// A receiver index that names no handshake and no session of ours.
    UnknownIndex = "unknown_index",
    /// A receiver index that another of several gateways has chosen: it was not passed on to that one.
    OtherNode = "other_node",
    /// An ephemeral or static key of low order: the Diffie-Hellman result is all zero.
    LowOrderPoint = "low_order_point",
    /// A handshake message that does not decrypt, or that no handshake of ours waits for.
    BadHandshake = "bad_handshake",
    /// A cookie reply that does not decrypt with the mac1 that we sent last, or that answers nothing.
    InvalidCookieReply = "invalid_cookie_reply",
    /// A data message whose tag is wrong.
    BadTag = "bad_tag",
    /// No private key is set, so nothing can be answered.
    NoPrivateKey = "no_private_key",

    // The wire, authenticated.
    /// An initiation under a static key that belongs to none of our peers, or under our own.
    UnknownPeer = "unknown_peer",
    /// An authentic initiation of a peer under another cipher suite than the peer is set to.
    SuiteMismatch = "suite_mismatch",
    /// An initiation with a timestamp not later than the last one accepted from that peer.
    HandshakeReplay = "handshake_replay",
    /// An initiation too soon after the last one accepted from that peer.
    HandshakeFlood = "handshake_flood",
    /// A counter that was seen before, lies below the window, or is at or past Reject-After-Messages.
    Replay = "replay",
    /// A session past Reject-After-Time.
    ExpiredSession = "expired_session",
    /// The inner source address belongs to another peer, or to none.
    SourceNotAllowed = "source_not_allowed",
    /// The inner packet is neither IPv4 nor IPv6.
    NotIp = "not_ip",
    /// The inner packet's header contradicts itself or its length.
    MalformedIp = "malformed_ip",
    /// The outer header says Congestion Experienced over an inner packet that cannot carry it (RFC 6040).
    CongestionNotCapable = "congestion_not_capable",

    // On the way out.
    /// No peer is responsible for the inner destination address.
    NoRoute = "no_route",
    /// The peer has no endpoint yet.
    NoEndpoint = "no_endpoint",
    /// The peer's endpoint is reached through the tunnel itself.
    LoopedEndpoint = "looped_endpoint",
    /// More packets waited for a handshake than may.
    StagedOverflow = "staged_overflow",
    /// Packets that waited for a handshake when it was given up.
    NoSession = "no_session",
    /// A packet larger than a slot or than the interface takes.
    Oversized = "oversized",
    /// A virtio-net header that contradicts its packet.
    BadVnetHeader = "bad_vnet_header",
    /// The kernel refused to send a datagram.
    SendFailed = "send_failed",
    /// The kernel refused to take a packet on the TUN device.
    TunWriteFailed = "tun_write_failed",

    // Resources.
    /// Control did not keep up with the handshake messages.
    HandshakeQueueFull = "handshake_queue_full",
    /// Another worker did not keep up with what was handed to it.
    HandoffFull = "handoff_full",
    /// No free slot.
    NoSlot = "no_slot",
    /// The device, the peer, or the socket that it came to, is down or gone.
    Down = "down",
    /// The gateway is passive: it answers nothing and asks nothing until it is promoted.
    Passive = "passive",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason's place in [`DropReason::ALL`] and in [`DropCounts`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One plain counter per reason, for an owner that is alone with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::COUNT]);

impl DropCounts {
    /// All zero.
    pub const fn new() -> Self {
        Self([0; DropReason::COUNT])
    }

    /// Counts one more.
    pub fn bump(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `n` more.
    pub fn add(&mut self, reason: DropReason, n: u64) {
        let count = &mut self.0[reason.index()];
        *count = count.wrapping_add(n);
    }

    /// How many there were for one reason.
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// Every reason with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.get(reason)))
    }

    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &count| sum.wrapping_add(count))
    }
}

impl Default for DropCounts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn indices_are_dense_and_names_unique() {
        let mut names = HashSet::new();
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
            assert!(names.insert(reason.name()), "{} twice", reason.name());
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(reason.meaning().ends_with('.'), "{reason} does not say what it means");
        }
        assert_eq!(names.len(), DropReason::COUNT);
    }

    #[test]
    fn counts_are_kept_apart() {
        let mut counts = DropCounts::new();
        counts.bump(DropReason::Runt);
        counts.add(DropReason::Replay, 3);
        assert_eq!(counts.get(DropReason::Runt), 1);
        assert_eq!(counts.get(DropReason::Replay), 3);
        assert_eq!(counts.total(), 4);
        let seen: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(seen, [(DropReason::Runt, 1), (DropReason::Replay, 3)]);
    }
}
