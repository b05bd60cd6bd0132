//! The sockets of a lane, and which of them carry a flow.
//!
//! A flow is a pair of ports. *n* flows take √n sockets on each end, not n: every source sends to every sink. 10,000
//! flows are 100 sources and 100 sinks.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::{Context, Error, Result};

use crate::{Endpoint, Route, sys};

/// Loss must happen in between, not in the receiver's or sender's own buffers.
const BUFFER_BYTES: usize = 16 << 20;
/// How long the way may take to open.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const OPEN_EVERY: Duration = Duration::from_millis(20);

/// The sockets of one lane. Those of another host are known by their addresses only.
#[derive(Debug)]
pub(crate) struct Grid {
    /// In the sending namespace.
    pub(crate) sources: Vec<UdpSocket>,
    /// In the receiving namespace.
    pub(crate) sinks: Vec<UdpSocket>,
    /// The addresses of the sources.
    pub(crate) source_addresses: Vec<SocketAddr>,
    /// The addresses of the sinks.
    pub(crate) sink_addresses: Vec<SocketAddr>,
}

impl Grid {
    /// Makes the sockets for that many flows.
    pub(crate) fn new(from: Endpoint<'_>, to: Endpoint<'_>, flows: u32) -> Result<Self> {
        let (sources, sinks) = sides(flows);
        let (sources, source_addresses) = bind(from, sources)?;
        let (sinks, sink_addresses) = bind(to, sinks)?;
        Self { sources, sinks, source_addresses, sink_addresses }.connected()
    }

    /// The half of it whose sources are here.
    pub(crate) fn of_sources((sources, source_addresses): Bound, sink_addresses: Vec<SocketAddr>) -> Result<Self> {
        Self { sources, sinks: Vec::new(), source_addresses, sink_addresses }.connected()
    }

    /// The half of it whose sinks are here.
    pub(crate) fn of_sinks((sinks, sink_addresses): Bound, source_addresses: Vec<SocketAddr>) -> Self {
        Self { sources: Vec::new(), sinks, source_addresses, sink_addresses }
    }

    fn connected(self) -> Result<Self> {
        if let [sink] = self.sink_addresses[..] {
            // Spares the kernel a look-up of the route for each packet.
            for source in &self.sources {
                source.connect(sink).context(format_args!("connecting to {sink}"))?;
            }
        }
        Ok(self)
    }

    /// The places of the source and the sink of a flow.
    pub(crate) fn places(&self, flow: u32) -> (u16, u16) {
        let sinks = self.sink_addresses.len() as u32;
        ((flow / sinks) as u16, (flow % sinks) as u16)
    }

    /// The sockets at which packets are received and counted: a round trip ends where it began.
    pub(crate) fn receiving(&self, route: Route) -> &[UdpSocket] {
        if route == Route::RoundTrip { &self.sources } else { &self.sinks }
    }

    /// Whether sources are connected, and must not be given an address.
    pub(crate) fn is_connected(&self) -> bool {
        self.sink_addresses.len() == 1
    }

    /// Has the sources hand over trains of datagrams of `payload_len` bytes.
    pub(crate) fn segment(&self, payload_len: usize) -> Result<()> {
        let payload_len = i32::try_from(payload_len).context("switching UDP_SEGMENT on")?;
        let set = |socket| setsockopt(socket, sockopt::UdpGsoSegment, &payload_len);
        self.sources.iter().try_for_each(set).context("switching UDP_SEGMENT on")
    }
}

/// Has sockets take merged datagrams.
pub(crate) fn merge(sockets: &[UdpSocket]) -> Result<()> {
    let set = |socket| setsockopt(socket, sockopt::UdpGroSegment, &true);
    sockets.iter().try_for_each(set).context("switching UDP_GRO on")
}

/// Numbers of sources and sinks.
pub(crate) fn sides(flows: u32) -> (u32, u32) {
    let sources = (1..=flows).find(|side| side * side >= flows).unwrap_or(1);
    (sources, flows.div_ceil(sources))
}

/// Sockets, and the addresses that they have.
pub(crate) type Bound = (Vec<UdpSocket>, Vec<SocketAddr>);

fn bind(end: Endpoint<'_>, count: u32) -> Result<Bound> {
    end.namespace.enter(|| bind_here(end.address, count))
}

/// Makes sockets in the namespace of the calling thread.
pub(crate) fn bind_here(address: IpAddr, count: u32) -> Result<Bound> {
    (0..count).map(|_| bind_one(address)).collect()
}

pub(crate) fn bind_one(address: IpAddr) -> Result<(UdpSocket, SocketAddr)> {
    let attempt = format!("making a UDP socket on {address}");
    let socket = UdpSocket::bind((address, 0)).context(&attempt)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).context(&attempt)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES).context(&attempt)?;
    sys::forbid_fragments(socket.as_fd(), address.is_ipv4()).context(&attempt)?;
    let bound = socket.local_addr().context(&attempt)?;
    Ok((socket, bound))
}

/// Sends until something arrives, so neighbours are resolved and tunnels are up before anything counts (the
/// learning frames of RFC 2544, section 23). It uses sockets of its own.
///
/// # Errors
/// Nothing arrives within five seconds.
pub(crate) fn open_the_way(from: Endpoint<'_>, to: Endpoint<'_>) -> Result<()> {
    let (source, _) = from.namespace.enter(|| bind_one(from.address))?;
    let (sink, target) = to.namespace.enter(|| bind_one(to.address))?;
    sink.set_read_timeout(Some(OPEN_EVERY)).context("setting a timeout")?;
    let deadline = Instant::now() + OPEN_TIMEOUT;
    let mut refusal = None;
    while Instant::now() < deadline {
        refusal = source.send_to(b"learning", target).err().or(refusal);
        if sink.recv(&mut [0; 16]).is_ok() {
            return Ok(());
        }
    }
    let refusal = refusal.map_or_else(String::new, |error| format!(" ({error})"));
    let (from, to) = (from.address, to.address);
    Err(Error::new(format!("nothing that is sent from {from} arrives at {to} within {OPEN_TIMEOUT:?}{refusal}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_sockets_for_many_flows() {
        assert_eq!(sides(1), (1, 1));
        assert_eq!(sides(2), (2, 1));
        assert_eq!(sides(10_000), (100, 100));
    }

    proptest! {
        #[test]
        fn there_is_a_pair_for_every_flow(flows in 1_u32..=10_000) {
            let (sources, sinks) = sides(flows);
            prop_assert!(sources * sinks >= flows && (sources - 1) * sinks < flows);
            prop_assert!((flows - 1) / sinks < sources);
        }
    }
}
