//! A UDP echo on registered memory: trains of datagrams leave again from the slots in which they arrived.
//!
//! ```text
//! cargo run --release -p udp-uring --example echo -- 7007
//! echo hello | nc -u -w1 127.0.0.1 7007
//! ```

use std::error::Error;

use ring_buffers::{Arena, Budget, BufferGroup, Pool, Ring, RingConfig, SlotClass, Wait, Waker};
use udp_uring::{
    EdgeConfig, RECEIVE_BUFFER_LEN, Received, Segmentation, SocketConfig, SocketGroup, Transmit, UdpEdge, UdpEvent,
};

/// Slots, each with room for a train of 64 KiB. Half of them wait in the kernel for datagrams, the others leave.
const SLOTS: u16 = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).ok_or("usage: echo PORT")?;
    let sockets = SocketGroup::bind(&SocketConfig::new(port, 1))?;
    println!("UDP port {} answers what it hears", sockets.port());
    serve(&sockets)
}

/// Sends each datagram back to where it came from, from the address that it was sent to.
///
/// # Errors
/// The ring or a socket fails.
pub fn serve(sockets: &SocketGroup) -> Result<(), Box<dyn Error>> {
    let arena = Arena::new(&Budget::new().line("trains", SlotClass::Jumbo, SLOTS), Waker::new()?)?;
    let mut ring = Ring::new(RingConfig::default())?;
    ring.register_arena(&arena)?;
    ring.register_files(&[None; 2])?;
    let pool = Pool::new(arena);
    let group = BufferGroup::register(&mut ring, &pool, 0, SlotClass::Jumbo, SLOTS / 2, RECEIVE_BUFFER_LEN)?;
    // A train that the kernel cannot cut up takes an operation for each of its datagrams.
    let (operations, segmentation) = (128, Segmentation::for_this_kernel());
    let mut edge = UdpEdge::new(group, EdgeConfig { edge: 0, place_v4: 0, place_v6: 1, operations, segmentation });
    edge.rebind(&mut ring, sockets.pair(0))?;

    let mut completions = Vec::new();
    loop {
        // Free slots go to the kernel. Then one call submits all sends, and sleeps if nothing has arrived.
        edge.prepare(&mut ring)?;
        ring.turn(Wait::UntilCompletion)?;
        ring.reap(64, |completion| completions.push(completion));
        for completion in completions.drain(..) {
            match edge.complete(&mut ring, completion) {
                UdpEvent::Received(Received { view, stride, endpoint, ecn }) => {
                    let train = Transmit { view, stride, endpoint, ecn, context: 0 };
                    if let Err(refused) = edge.send(&mut ring, train) {
                        eprintln!("{} datagrams are lost: {:?}", refused.segments, refused.why);
                    }
                }
                UdpEvent::SendFailed(failed) => eprintln!("{} datagrams are lost: {}", failed.segments, failed.errno),
                UdpEvent::ReceiveFailed { errno, .. } => return Err(errno.into()),
                _ => {}
            }
        }
    }
}
