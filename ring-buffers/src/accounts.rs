//! Which line of the budget each slot is charged to, and how many free slots are promised to which line.
//!
//! A reserved line can always claim what it has not used of its own. Beyond that it competes with everybody for the
//! slots that nobody is promised. One number per class is enough to know: `promised`, the sum over all reserved lines
//! of what each has not used. Then `free >= promised` at any moment, and a claim beyond the own share needs
//! `free > promised`.

use std::cell::Cell;

use crate::arena::Slot;
use crate::layout::{Line, LineId, SlotClass};

/// A slot that is charged to no line.
const NOBODY: u8 = u8::MAX;

#[derive(Debug)]
pub(crate) struct Accounts {
    lines: Box<[Account]>,
    /// Free jumbo slots, and free packet slots, that are promised to reserved lines.
    promised: [Cell<usize>; 2],
    /// By slot number.
    charged: Box<[Cell<u8>]>,
}

#[derive(Debug)]
struct Account {
    class: SlotClass,
    own: usize,
    used: Cell<usize>,
}

impl Accounts {
    pub(crate) fn new(lines: &[Line], slots: u16) -> Self {
        let promised = |class| lines.iter().filter(|l| l.class == class).map(Line::reserved_count).sum();
        let account = |line: &Line| Account { class: line.class, own: line.reserved_count(), used: Cell::new(0) };
        Self {
            promised: [Cell::new(promised(SlotClass::Jumbo)), Cell::new(promised(SlotClass::Packet))],
            lines: lines.iter().map(account).collect(),
            charged: (0..slots).map(|_| Cell::new(NOBODY)).collect(),
        }
    }

    pub(crate) fn class_of(&self, line: LineId) -> SlotClass {
        self.account(line).class
    }

    /// How many of `free` slots somebody may claim who speaks for no line.
    pub(crate) fn unpromised(&self, class: SlotClass, free: usize) -> usize {
        free.checked_sub(self.promised(class).get()).expect("no more is promised than is free")
    }

    /// How many of the `free` slots of its class a line may claim.
    pub(crate) fn available(&self, line: LineId, free: usize) -> usize {
        let account = self.account(line);
        account.unused() + self.unpromised(account.class, free)
    }

    /// A slot that was free is the line's now.
    pub(crate) fn charge(&self, slot: Slot, line: LineId) {
        let account = self.account(line);
        if account.unused() > 0 {
            let promised = self.promised(account.class);
            promised.set(promised.get() - 1);
        }
        account.used.set(account.used.get() + 1);
        self.charged[usize::from(slot.0)].set(line.0);
    }

    /// A slot is about to be free.
    pub(crate) fn discharge(&self, slot: Slot) {
        let number = self.charged[usize::from(slot.0)].replace(NOBODY);
        let Some(account) = self.lines.get(usize::from(number)) else { return };
        account.used.set(account.used.get() - 1);
        if account.unused() > 0 {
            let promised = self.promised(account.class);
            promised.set(promised.get() + 1);
        }
    }

    /// Charges a slot that is in use to another line of its class, if that could claim it were it free.
    pub(crate) fn transfer(&self, slot: Slot, to: LineId, free: usize) -> bool {
        let from = self.charged(slot);
        self.discharge(slot);
        let moved = self.available(to, free + 1) > 0;
        if let Some(line) = if moved { Some(to) } else { from } {
            self.charge(slot, line);
        }
        moved
    }

    pub(crate) fn charged(&self, slot: Slot) -> Option<LineId> {
        Some(self.charged[usize::from(slot.0)].get()).filter(|&line| line != NOBODY).map(LineId)
    }

    fn account(&self, line: LineId) -> &Account {
        &self.lines[usize::from(line.0)]
    }

    fn promised(&self, class: SlotClass) -> &Cell<usize> {
        &self.promised[match class {
            SlotClass::Jumbo => 0,
            SlotClass::Packet => 1,
        }]
    }
}

impl Account {
    fn unused(&self) -> usize {
        self.own.saturating_sub(self.used.get())
    }
}
