//! The stages of a packet's way, so somebody can find out which of them takes how long. There is no clock here.

/// What a worker does with its time, in the order of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Asleep until something completes, or runnable on a core that another thread has.
    Wait,
    /// Entering the ring, where that brought nothing to read: what `--busy-poll` does most of the time.
    Enter,
    /// The kernel reads from the TUN into our buffers.
    TunRead,
    /// Headers are parsed, the peer of each packet is found. Once for a super-packet, or for the packets gathered in a
    /// turn.
    Route,
    /// The headers of a super-packet's segments are made. Once for a train.
    Segment,
    /// A train is encrypted and authenticated, which includes copying it; or the lone packets of a batch are.
    Seal,
    /// The send of a train is queued; timers and counters are kept. Once for all that a step has
    /// left.
    Transmit,
    /// The kernel sends what was queued: UDP, IP and as much of the way as the driver goes at once. Once for a batch of
    /// trains.
    UdpSend,
    /// The kernel receives datagrams into our buffers.
    UdpReceive,
    /// A train's headers are parsed, its session is found. Once for each run of messages of one session, or for the
    /// messages that wait to be opened together.
    Classify,
    /// A run is authenticated and decrypted in place, or messages that came alone are.
    Open,
    /// What follows from a run: replay window, timers and counters, the source address of each packet.
    Check,
    /// Packets find their neighbours, and writes are queued.
    Coalesce,
    /// The kernel takes packets into its IP stack. Once for a batch of writes.
    TunWrite,
    /// The kernel reads from the TUN and receives datagrams in one go.
    BothRead,
    /// The loop itself: completions, mail, operations armed anew.
    Turn,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 16] = [
        Self::Wait,
        Self::Enter,
        Self::TunRead,
        Self::Route,
        Self::Segment,
        Self::Seal,
        Self::Transmit,
        Self::UdpSend,
        Self::UdpReceive,
        Self::Classify,
        Self::Open,
        Self::Check,
        Self::Coalesce,
        Self::TunWrite,
        Self::BothRead,
        Self::Turn,
    ];

    /// Its name in the answer to `stats=1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Enter => "enter",
            Self::TunRead => "tun_read",
            Self::Route => "route",
            Self::Segment => "segment",
            Self::Seal => "seal",
            Self::Transmit => "transmit",
            Self::UdpSend => "udp_send",
            Self::UdpReceive => "udp_receive",
            Self::Classify => "classify",
            Self::Open => "open",
            Self::Check => "check",
            Self::Coalesce => "coalesce",
            Self::TunWrite => "tun_write",
            Self::BothRead => "both_read",
            Self::Turn => "turn",
        }
    }
}

/// Told where one stage of a packet's way ends and the next begins.
pub trait Watch {
    /// What was done since the last time belongs to `stage`.
    fn lap(&mut self, stage: Stage);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    #[inline]
    fn lap(&mut self, _: Stage) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_names_of_their_own_and_places_in_order() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place);
            assert!(Stage::ALL[..place].iter().all(|other| other.name() != stage.name()), "{stage:?}");
        }
    }
}
