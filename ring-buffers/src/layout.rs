//! How an arena is cut into slots, and the budget that decides how many of each.

use std::fmt;

/// Bytes of a jumbo slot: 64 KiB of payload, and 1 KiB for what stands around it: the headers that the kernel puts
/// before a received datagram (`io_uring_recvmsg_out`, address, control data), padding and tag behind a packet.
///
/// Deliberately not a power of two, so the first lines of neighbouring slots do not fight for one cache set.
pub const JUMBO_SIZE: usize = 65_536 + 1_024;

/// Bytes of a packet slot: a lone or a staged packet of a common MTU with its header, padding and tag.
pub const PACKET_SIZE: usize = 2_048;

/// The two sizes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotClass {
    /// [`JUMBO_SIZE`] bytes: reads, trains, GRO datagrams.
    Jumbo,
    /// [`PACKET_SIZE`] bytes: lone and waiting packets.
    Packet,
}

impl SlotClass {
    /// Size of a slot of this class in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Jumbo => JUMBO_SIZE,
            Self::Packet => PACKET_SIZE,
        }
    }
}

/// One possible holder of slots, and how many the budget has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who holds them, for the operator.
    pub holder: &'static str,
    /// Which size.
    pub class: SlotClass,
    /// How many.
    pub count: u16,
    /// Nobody else can take them. What is not reserved goes to whoever claims first.
    pub reserved: bool,
}

/// A line of a budget, by its place in [`Budget::lines`]: for whom a slot is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId(pub u8);

impl Line {
    /// Slots that nobody else can take.
    pub(crate) fn reserved_count(&self) -> usize {
        if self.reserved { self.count.into() } else { 0 }
    }
}

/// The size of an arena as a sum with one line per possible holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    lines: Vec<Line>,
}

impl Budget {
    /// An empty budget.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a holder whose slots others may take while it does not use them.
    ///
    /// # Panics
    /// If the sum of all slots leaves the 16 bits of a slot number, or the lines the 8 bits of theirs.
    #[must_use]
    pub fn line(self, holder: &'static str, class: SlotClass, count: u16) -> Self {
        self.with(Line { holder, class, count, reserved: false })
    }

    /// Adds a holder whose slots nobody else can take, see [`crate::Pool::claim_for`].
    ///
    /// # Panics
    /// As [`Budget::line`].
    #[must_use]
    pub fn reserved(self, holder: &'static str, class: SlotClass, count: u16) -> Self {
        self.with(Line { holder, class, count, reserved: true })
    }

    fn with(mut self, line: Line) -> Self {
        self.lines.push(line);
        assert!(self.lines.len() < usize::from(u8::MAX), "a line's number has 8 bits");
        let slots: usize = self.lines.iter().map(|l| usize::from(l.count)).sum();
        assert!(slots < usize::from(u16::MAX), "a slot number has 16 bits");
        self
    }

    /// The lines in the order in which they were added.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Slots of a class over all holders.
    #[must_use]
    pub fn count(&self, class: SlotClass) -> u16 {
        self.lines.iter().filter(|l| l.class == class).map(|l| l.count).sum()
    }

    /// Bytes over all holders.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(|l| usize::from(l.count) * l.class.size()).sum()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, l) in self.lines.iter().enumerate() {
            let sep = if i == 0 { "" } else { ", " };
            write!(f, "{sep}{} {} × {} KiB", l.holder, l.count, l.class.size() / 1024)?;
        }
        write!(f, ": {} KiB", self.bytes() / 1024)
    }
}

// 65,534 jumbo slots are 4 GiB: places in an arena are counted without asking whether they fit.
const _: () = assert!(usize::BITS >= 64, "ring-buffers is for machines with addresses of 64 bits");

/// Where each slot of an arena lies. Jumbo slots come first, so they keep the alignment of the mapping's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    jumbo: u16,
    packet: u16,
}

impl Layout {
    pub(crate) fn of(budget: &Budget) -> Self {
        Self { jumbo: budget.count(SlotClass::Jumbo), packet: budget.count(SlotClass::Packet) }
    }

    pub(crate) fn slots(self) -> u16 {
        self.jumbo + self.packet
    }

    pub(crate) fn class(self, slot: u16) -> SlotClass {
        if slot < self.jumbo { SlotClass::Jumbo } else { SlotClass::Packet }
    }

    /// First byte of a slot, from the arena's start.
    pub(crate) fn offset(self, slot: u16) -> usize {
        debug_assert!(slot < self.slots());
        match self.class(slot) {
            SlotClass::Jumbo => usize::from(slot) * JUMBO_SIZE,
            SlotClass::Packet => usize::from(self.jumbo) * JUMBO_SIZE + usize::from(slot - self.jumbo) * PACKET_SIZE,
        }
    }

    pub(crate) fn numbers(self, class: SlotClass) -> std::ops::Range<u16> {
        match class {
            SlotClass::Jumbo => 0..self.jumbo,
            SlotClass::Packet => self.jumbo..self.slots(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_tile_the_arena_without_overlap() {
        let budget = Budget::new().line("reads", SlotClass::Jumbo, 3).line("staged", SlotClass::Packet, 5);
        let layout = Layout::of(&budget);
        let mut end = 0;
        for slot in 0..layout.slots() {
            assert_eq!(layout.offset(slot), end);
            end += layout.class(slot).size();
        }
        assert_eq!(end, budget.bytes());
    }

    #[test]
    fn a_budget_reads_as_a_sum() {
        let budget = Budget::new().line("TUN reads", SlotClass::Jumbo, 2).line("staged", SlotClass::Packet, 4);
        assert_eq!(budget.to_string(), "TUN reads 2 × 65 KiB, staged 4 × 2 KiB: 138 KiB");
    }

    #[test]
    #[should_panic(expected = "16 bits")]
    fn more_slots_than_a_number_has_bits_are_refused() {
        let _ = Budget::new().line("a", SlotClass::Packet, 60_000).line("b", SlotClass::Jumbo, 6_000);
    }

    #[test]
    #[should_panic(expected = "16 bits")]
    fn more_slots_of_one_class_than_a_number_has_bits_are_refused() {
        let _ = Budget::new().line("a", SlotClass::Packet, 60_000).line("b", SlotClass::Packet, 6_000);
    }
}
