//! Blocks of pcapng: <https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/>.
//!
//! Little-endian whatever the processor is, times in nanoseconds since 1970.

use std::time::Duration;

use ringfort_path::tap::Direction;

/// Types of blocks.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
pub const INTERFACE_STATISTICS: u32 = 5;
pub const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_RAW`: the packet begins with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;

/// Options of any block, and of each kind.
const OPT_COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_USRDELIV: u16 = 8;

/// Bytes of a block of [`statistics`].
pub const STATISTICS_LEN: usize = 100;

/// `epb_flags`: which way it went, seen from the interface.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A packet to be written.
pub struct Packet<'a> {
    /// Its interface, by the order of their blocks.
    pub interface: u32,
    /// Since 1970.
    pub time: Duration,
    /// Its length in bytes, of which `parts` may be the first.
    pub len: usize,
    /// What is kept of it.
    pub parts: [&'a [u8]; 2],
    pub direction: Direction,
    /// How many of the interface are missing between the one before and this.
    pub lost: u32,
    pub comment: &'a str,
}

/// What was counted on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that were wanted.
    pub seen: u64,
    /// Those of them that found no room: the reader was slow.
    pub lost: u64,
    /// Those that the sample has.
    pub sampled: u64,
    /// Those that were written.
    pub written: u64,
}

/// Begins a file.
pub fn section(out: &mut Vec<u8>, application: &str, comment: &str) {
    let mut block = Block::begin(out, SECTION_HEADER);
    block.u32(BYTE_ORDER_MAGIC);
    // Version 1.0, and a length that is not known.
    block.u32(1);
    block.out.extend_from_slice(&u64::MAX.to_le_bytes());
    block.option(OPT_COMMENT, comment.as_bytes());
    block.option(SHB_OS, b"Linux");
    block.option(SHB_USERAPPL, application.as_bytes());
    block.end();
}

/// Describes the next interface.
pub fn interface(out: &mut Vec<u8>, name: &str, description: &str, snap_len: u32) {
    let mut block = Block::begin(out, INTERFACE_DESCRIPTION);
    block.u32(LINKTYPE_RAW.into());
    block.u32(snap_len);
    block.option(IF_NAME, name.as_bytes());
    block.option(IF_DESCRIPTION, description.as_bytes());
    // 10^-9 s.
    block.option(IF_TSRESOL, &[9]);
    block.end();
}

/// Adds a packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let [first, second] = packet.parts;
    let mut block = Block::begin(out, ENHANCED_PACKET);
    block.u32(packet.interface);
    block.time(packet.time);
    block.u32((first.len() + second.len()) as u32);
    block.u32(packet.len as u32);
    block.out.extend_from_slice(first);
    block.out.extend_from_slice(second);
    block.pad();
    let direction = if packet.direction == Direction::In { INBOUND } else { OUTBOUND };
    block.option(EPB_FLAGS, &direction.to_le_bytes());
    if packet.lost > 0 {
        block.option(EPB_DROPCOUNT, &u64::from(packet.lost).to_le_bytes());
    }
    block.option(OPT_COMMENT, packet.comment.as_bytes());
    block.end();
}

/// Adds what was counted on an interface between two times.
pub fn statistics(out: &mut Vec<u8>, interface: u32, [start, end]: [Duration; 2], counted: &Statistics) {
    let mut block = Block::begin(out, INTERFACE_STATISTICS);
    block.u32(interface);
    block.time(end);
    for (code, time) in [(ISB_STARTTIME, start), (ISB_ENDTIME, end)] {
        let [high, low] = halves(time);
        block.option(code, &[high.to_le_bytes(), low.to_le_bytes()].concat());
    }
    let Statistics { seen, lost, sampled, written } = *counted;
    let counts = [(ISB_IFRECV, seen), (ISB_IFDROP, lost), (ISB_FILTERACCEPT, sampled), (ISB_USRDELIV, written)];
    for (code, count) in counts {
        block.option(code, &count.to_le_bytes());
    }
    block.end();
}

/// The interface of a packet's or a statistics' block, without its type and length.
#[must_use]
pub fn read_interface(body: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*body.first_chunk()?) as usize)
}

/// What `statistics` wrote, of its block without type and length.
#[must_use]
pub fn read_statistics(body: &[u8]) -> Option<Statistics> {
    let mut options = body.get(12..)?;
    let mut counted = Statistics::default();
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let (code, len) = (u16::from_le_bytes([head[0], head[1]]), usize::from(u16::from_le_bytes([head[2], head[3]])));
        if let Some(Ok(count)) = rest.get(..len).map(<[u8; 8]>::try_from) {
            let count = u64::from_le_bytes(count);
            match code {
                ISB_IFRECV => counted.seen = count,
                ISB_IFDROP => counted.lost = count,
                ISB_FILTERACCEPT => counted.sampled = count,
                ISB_USRDELIV => counted.written = count,
                _ => {}
            }
        }
        options = rest.get(len.next_multiple_of(4)..)?;
    }
    Some(counted)
}

/// A block that is being written: type, length, body, length.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    has_options: bool,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        Self { out, start, has_options: false }
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn time(&mut self, time: Duration) {
        halves(time).into_iter().for_each(|half| self.u32(half));
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.out.extend_from_slice(&code.to_le_bytes());
        self.out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.out.extend_from_slice(value);
        self.pad();
        self.has_options = true;
    }

    fn pad(&mut self) {
        let len = self.out.len() - self.start;
        self.out.resize(self.start + len.next_multiple_of(4), 0);
    }

    fn end(mut self) {
        if self.has_options {
            self.u32(0);
        }
        let len = (self.out.len() - self.start + 4) as u32;
        self.u32(len);
        self.out[self.start + 4..self.start + 8].copy_from_slice(&len.to_le_bytes());
    }
}

/// Nanoseconds since 1970 as pcapng has them: the high half first.
fn halves(time: Duration) -> [u32; 2] {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    [(nanos >> 32) as u32, nanos as u32]
}
