//! The far end of round trips: sends every datagram of a lane back to where it came from.

use ring_buffers::{SlotClass, View, Wait};
use ringfort_testbed::Result;
use serde::{Deserialize, Serialize};

use crate::port::{Port, PortEvent, PortPlan, descriptors};
use crate::receiver::Signals;
use crate::schedule::Schedule;
use crate::sockets::Grid;
use crate::stamp::Stamp;

const PACKETS: u16 = 512;
const JUMBO_PACKETS: u16 = 64;

/// What a reflector did.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reflection {
    /// Datagrams that the kernel took back.
    pub(crate) reflected: u64,
    /// Datagrams of other lanes, or of nobody.
    pub(crate) foreign: u64,
}

/// A reflector that is ready to begin.
pub(crate) struct Reflector<'a> {
    port: Port,
    grid: &'a Grid,
    schedule: &'a Schedule,
    tag: u32,
    signals: &'a Signals,
    reflection: Reflection,
}

impl<'a> Reflector<'a> {
    /// Makes its ring and begins to receive on the sinks; called on the thread that will reflect.
    pub(crate) fn new(grid: &'a Grid, schedule: &'a Schedule, tag: u32, signals: &'a Signals) -> Result<Self> {
        let lone = schedule.payload_len_max() <= SlotClass::Packet.size();
        let (slot, receives) = if lone { (SlotClass::Packet, PACKETS) } else { (SlotClass::Jumbo, JUMBO_PACKETS) };
        let port = Port::new(&PortPlan {
            sockets: descriptors(&grid.sinks),
            addresses: grid.source_addresses.clone(),
            sends: 0,
            receives,
            slot,
            waker: &signals.waker,
        })?;
        Ok(Self { port, grid, schedule, tag, signals, reflection: Reflection::default() })
    }

    /// Reflects until it is told to stop.
    pub(crate) fn run(mut self) -> Result<Reflection> {
        while !self.signals.is_stopped() {
            // Does not sleep over something to send back: a send that does not wait completes in the turn that submits
            // it.
            self.port.turn(Wait::UntilCompletion)?;
            while let Some(event) = self.port.next_event()? {
                match event {
                    PortEvent::Received { place, bytes } => self.send_back(place, bytes)?,
                    PortEvent::Sent(_) => self.reflection.reflected += 1,
                    // Missing at the origin, and counted there.
                    _ => {}
                }
            }
        }
        Ok(self.reflection)
    }

    fn send_back(&mut self, sink: u16, bytes: View) -> Result<()> {
        let stamp = Stamp::read(&bytes).filter(|stamp| stamp.tag == self.tag && stamp.number < self.schedule.planned);
        let Some(stamp) = stamp else {
            self.reflection.foreign += 1;
            return Ok(());
        };
        let (source, _) = self.grid.places(self.schedule.flow(stamp.number));
        let len = bytes.len();
        self.port.send(sink, Some(source.into()), bytes, len)
    }
}
