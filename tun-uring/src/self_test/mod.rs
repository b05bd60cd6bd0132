//! Whether the kernel's offloads can be trusted, found out before they are used.
//!
//! Packets are merged as the data path merges them, and written to a TUN device in a network namespace that exists for
//! this alone. The kernel routes them to a second one, where they are read:
//!
//! ```text
//!   64 packets ─ Coalescer ─► [in] ── kernel ──► [out] ─┬─ without offloads: 64 packets, cut by the kernel
//!                                                       └─ with offloads: a super-packet, cut by Segments
//! ```
//!
//! Either way the very packets must come out that went in, with one hop less to live. Thus each feature is tested by
//! itself: merging by what the kernel makes of it, reading by what it says of what it has not cut up. For super-packets
//! in tunnels this also finds out how the kernel counts ([`vnet_packets::OuterOffset`]).
//!
//! Without `CAP_SYS_ADMIN` there is no such namespace. Then nothing can come back, and what is left to find out is
//! whether the kernel accepts the headers: a device that is down refuses a good one with `EIO`, a bad one with
//! `EINVAL`.

mod headers_only;
mod judge;
mod network;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::mpsc;
use std::thread;

use vnet_packets::Merge;
use vnet_packets::virtio::SuperKind;

use crate::device::Offloads;
use network::PrivateNetwork;

/// What may be trusted, and how that is known.
#[derive(Debug)]
pub struct SelfTest {
    /// What to ask of a device ([`crate::Tun::create`]). Not more than was wanted.
    pub offloads: Offloads,
    /// What to merge for it ([`crate::Coalescer::new`]).
    pub merge: Merge,
    /// How far the test went.
    pub extent: Extent,
    /// Why anything that was wanted is missing; one for each [`Feature`] at most. What the kernel never offered is not
    /// among them.
    pub failures: Vec<Failure>,
}

/// How far a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Packets went through the kernel and came back.
    RoundTrip {
        /// IPv6 packets as well; they do not where IPv6 is disabled.
        ipv6: bool,
    },
    /// The kernel was asked whether it accepts the headers, since a round trip was not possible for this reason.
    HeadersOnly(String),
    /// Nothing could be tested, for this reason: all but super-packets in tunnels is trusted until it fails.
    Nothing(String),
}

/// What can be taken out of service by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// [`Offloads::checksum`], and with it all offloads.
    Checksum,
    /// [`Offloads::tcp`].
    ReadTcp,
    /// [`Offloads::udp`].
    ReadUdp,
    /// [`Merge::tcp`].
    MergeTcp,
    /// [`Merge::udp`].
    MergeUdp,
    /// [`Offloads::tunnels`].
    ReadTunnels,
    /// [`Merge::tunnels`].
    MergeTunnels,
}

/// A feature that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub feature: Feature,
    /// What went wrong.
    pub why: String,
}

/// Tests on devices of its own, which are gone afterwards, those of the calling thread's namespace untouched. `wanted`
/// are the offloads that the device is to have.
///
/// Takes some milliseconds if all is well. Waits a tenth of a second for each feature that loses packets.
#[must_use]
pub fn self_test(wanted: Offloads) -> SelfTest {
    let (verdict, judged) = mpsc::sync_channel(1);
    // Its namespace is the thread's, not the process's. It ends by itself: nobody need wait until the kernel has taken
    // the devices apart.
    let body = move || {
        // The receiver waits for exactly one message.
        run(wanted, |result| drop(verdict.send(result)));
    };
    let reason = match thread::Builder::new().name("tun-self-test".into()).spawn(body) {
        Ok(_) => match judged.recv() {
            Ok(result) => return result,
            Err(_) => "its thread ended without a word".to_owned(),
        },
        Err(error) => format!("no thread for it: {error}"),
    };
    SelfTest::untested(wanted, reason)
}

/// On a thread of its own.
fn run(wanted: Offloads, report: impl FnOnce(SelfTest)) {
    let round_trip = PrivateNetwork::new(wanted).and_then(|mut network| {
        let result = judge::judge(&mut network, wanted)?;
        // Before the devices go, which takes longer than the test.
        Ok((result, network))
    });
    match round_trip {
        Ok((result, _network)) => report(result),
        Err(reason) => report(match headers_only::test(wanted) {
            Ok(result) => SelfTest { extent: Extent::HeadersOnly(reason), ..result },
            Err(worse) => SelfTest::untested(wanted, format!("{reason}; {worse}")),
        }),
    }
}

impl SelfTest {
    /// Everything but tunnels is trusted, for nothing is known. Of tunnels nobody knows how the kernel counts.
    fn untested(wanted: Offloads, reason: String) -> Self {
        let offloads = Offloads { tunnels: false, ..wanted };
        Self { offloads, merge: Merge::PLAIN, extent: Extent::Nothing(reason), failures: Vec::new() }
    }

    /// Takes a feature out of service. The first reason is told.
    fn fail(&mut self, feature: Feature, why: String) {
        match feature {
            Feature::Checksum => self.offloads = Offloads::NONE,
            Feature::ReadTcp => self.offloads.tcp = false,
            Feature::ReadUdp => self.offloads.udp = false,
            Feature::MergeTcp => self.merge.tcp = false,
            Feature::MergeUdp => self.merge.udp = false,
            Feature::ReadTunnels => self.offloads.tunnels = false,
            Feature::MergeTunnels => self.merge.tunnels = None,
        }
        if self.failures.iter().all(|failure| failure.feature != feature) {
            self.failures.push(Failure { feature, why });
        }
    }
}

impl Feature {
    /// Reading super-packets of this kind.
    fn reading(kind: SuperKind) -> Self {
        if kind.is_tcp() { Self::ReadTcp } else { Self::ReadUdp }
    }

    /// Writing super-packets of this kind.
    fn merging(kind: SuperKind) -> Self {
        if kind.is_tcp() { Self::MergeTcp } else { Self::MergeUdp }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checksum => "all offloads of packets from the TUN interface",
            Self::ReadTcp => "TCP super-packets from the TUN interface",
            Self::ReadUdp => "UDP super-packets from the TUN interface",
            Self::MergeTcp => "TCP super-packets to the TUN interface",
            Self::MergeUdp => "UDP super-packets to the TUN interface",
            Self::ReadTunnels => "super-packets in UDP tunnels from the TUN interface",
            Self::MergeTunnels => "super-packets in UDP tunnels to the TUN interface",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} are not used, because they failed the self-test: {}", self.feature, self.why)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundTrip { ipv6: true } => f.write_str("IPv4 and IPv6 super-packets made the round trip"),
            Self::RoundTrip { ipv6: false } => {
                f.write_str("IPv4 super-packets made the round trip; IPv6 is not available")
            }
            Self::HeadersOnly(why) => write!(f, "the kernel was only asked whether it accepts their headers ({why})"),
            Self::Nothing(why) => write!(f, "untested ({why})"),
        }
    }
}
