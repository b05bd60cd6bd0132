//! A TUN interface behind which every address answers ping(8), on registered memory: answers are made where the
//! questions lie.
//!
//! ```text
//! cargo build --release -p tun-uring --example responder
//! sudo target/release/examples/responder ping0 &
//! sudo ip address add 10.9.0.1/24 dev ping0 && sudo ip link set ping0 up
//! ping 10.9.0.77
//! ```

use std::error::Error;

use ring_buffers::{Arena, Budget, LineId, Pool, Ring, RingConfig, SlotClass, View, Wait, Waker};
use tun_uring::checksum::Sum;
use tun_uring::{EdgeConfig, Offloads, Tun, TunEdge, TunEvent, VNET_HDR_LEN, WriteHeader};

/// Slots, each with room for the largest packet. Half of them wait in the kernel, the others are written.
const SLOTS: u16 = 32;
const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).filter(|name| !name.starts_with('-')).ok_or("usage: responder INTERFACE")?;
    // Without offloads packets come whole, with finished checksums.
    let tun = Tun::create(&name, 1, Offloads::NONE)?;
    println!("{name} answers; give it an address, and set it up");
    serve(tun)
}

/// Answers until the interface is deleted.
///
/// # Errors
/// The ring or the interface fails.
pub fn serve(tun: Tun) -> Result<(), Box<dyn Error>> {
    let arena = Arena::new(&Budget::new().line("packets", SlotClass::Jumbo, SLOTS), Waker::new()?)?;
    let mut ring = Ring::new(RingConfig::default())?;
    ring.register_arena(&arena)?;
    ring.register_files(&[None])?;
    let pool = Pool::new(arena);
    let config = EdgeConfig {
        edge: 0,
        place: 0,
        group: 0,
        read_slots: SLOTS / 2,
        line: LineId(0),
        writes: SLOTS,
        gathers: 0,
        capabilities: ring_buffers::probe()?,
    };
    let queue = tun.into_queues().remove(0);
    let mut edge = TunEdge::new(&mut ring, &pool, queue, config)?;

    let mut events = Vec::new();
    loop {
        // Free slots go to the kernel. Then one call submits all writes, and sleeps if nothing can be read.
        edge.prepare(&mut ring, 0)?;
        ring.turn(if edge.is_readable() { Wait::No } else { Wait::UntilCompletion })?;
        ring.reap(64, |completion| events.push(edge.complete(completion)));
        // Kernels without READ_MULTISHOT say only that there is something to read.
        while let Some(event) = edge.poll_read() {
            events.push(event);
        }
        for event in events.drain(..) {
            match event {
                TunEvent::Read(packet) => {
                    let Some(answer) = answer(packet) else { continue };
                    edge.write(&mut ring, answer, 0).map_err(|refused| refused.why)?;
                }
                TunEvent::ReadFailed(error) => return Err(error.into()),
                TunEvent::Gone => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Turns an echo request of IPv4, which begins behind the virtio-net header, into its answer. `None` if it is none.
fn answer(mut view: View) -> Option<View> {
    let (header, packet) = view.split_first_chunk_mut::<VNET_HDR_LEN>()?;
    let icmp = usize::from(packet.first()? & 15) * 4;
    if packet.len() < icmp.max(20) + 8 || packet[0] >> 4 != 4 || packet[9] != ICMP || packet[icmp] != ECHO_REQUEST {
        return None;
    }
    // The sum over the header stays: it does not depend on the order of the addresses.
    packet[12..20].rotate_left(4);
    packet[icmp] = ECHO_REPLY;
    packet[icmp + 2..icmp + 4].fill(0);
    let checksum = Sum::of(&packet[icmp..]).checksum();
    packet[icmp + 2..icmp + 4].copy_from_slice(&checksum);
    WriteHeader::Packet.write(header);
    Some(view)
}
