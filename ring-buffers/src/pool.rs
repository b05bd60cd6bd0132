//! The recycler: gives out free slots, takes every backing home, and can always say where each one is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::accounts::Accounts;
use crate::arena::{Arena, Shared, Slot};
use crate::layout::{LineId, SlotClass};
use crate::view::View;

/// The owner's side of an arena. Cloning gives another handle to the same pool, on the same thread.
#[derive(Clone, Debug)]
pub struct Pool(pub(crate) Rc<Inner>);

/// How many slots are in each state. `free + kernel + held` is the number of slots, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Ready to be claimed.
    pub free: usize,
    /// Provided to the kernel for reading, or with every view in an operation in flight.
    pub kernel: usize,
    /// With at least one view in the program, on this core or another.
    pub held: usize,
    /// All slots of the arena.
    pub total: usize,
}

impl Accounting {
    /// Whether every slot is in exactly one state.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.free + self.kernel + self.held == self.total
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    accounts: Accounts,
    free_jumbo: RefCell<Vec<u16>>,
    free_packet: RefCell<Vec<u16>>,
    kernel: Cell<usize>,
    held: Cell<usize>,
}

impl Pool {
    /// Makes the calling thread the owner of `arena`.
    #[must_use]
    pub fn new(arena: Arena) -> Self {
        let layout = arena.shared.layout;
        // Reversed, so the first slots, which share the most pages and cache, are used the most.
        let numbers = |class| RefCell::new(layout.numbers(class).rev().collect());
        Self(Rc::new(Inner {
            free_jumbo: numbers(SlotClass::Jumbo),
            free_packet: numbers(SlotClass::Packet),
            kernel: Cell::new(0),
            held: Cell::new(0),
            accounts: Accounts::new(&arena.shared.lines, layout.slots()),
            shared: arena.shared,
        }))
    }

    /// Claims a free slot that is reserved for nobody; the view covers all of it. `None` if there is none, which its
    /// caller counts.
    #[must_use]
    pub fn claim(&self, class: SlotClass) -> Option<View> {
        Some(self.hold(self.0.take_free(class)?))
    }

    /// Claims a slot for a line of the budget: one of its own, or, when these are used up, one that is reserved for
    /// nobody.
    ///
    /// # Panics
    /// If the budget has no such line.
    #[must_use]
    pub fn claim_for(&self, line: LineId) -> Option<View> {
        Some(self.hold(self.0.take_free_for(line)?))
    }

    /// Charges a slot to another line from now on, because its use has changed. False: that line may not have one more,
    /// or the slot is none of this pool's, or of another size; then nothing has changed.
    ///
    /// # Panics
    /// If the budget has no such line.
    #[must_use]
    pub fn transfer(&self, view: &View, to: LineId) -> bool {
        let class = self.0.accounts.class_of(to);
        let slot = view.slot_in(&self.0).filter(|&slot| self.0.shared.class(slot) == class);
        slot.is_some_and(|slot| self.0.accounts.transfer(slot, to, self.free(class)))
    }

    /// The line that the slot of `view` is charged to; `None` for none, or if it is not of this pool.
    #[must_use]
    pub fn charged(&self, view: &View) -> Option<LineId> {
        self.0.accounts.charged(view.slot_in(&self.0)?)
    }

    /// Free slots of a class, not counting those that are on their way home from other cores.
    #[must_use]
    pub fn free(&self, class: SlotClass) -> usize {
        self.0.list(class).borrow().len()
    }

    /// How many slots a line may claim now.
    ///
    /// # Panics
    /// If the budget has no such line.
    #[must_use]
    pub fn available(&self, line: LineId) -> usize {
        self.0.accounts.available(line, self.free(self.0.accounts.class_of(line)))
    }

    fn hold(&self, slot: Slot) -> View {
        self.0.held.set(self.0.held.get() + 1);
        self.0.shared.shares(slot).views.set(1);
        View::of_slot(self.0.clone(), slot)
    }

    /// Takes home what other cores released. Called once a turn.
    pub fn drain_returns(&self) -> usize {
        let mut n = 0;
        while let Some(slot) = self.0.shared.next_return() {
            self.0.recycle_held(slot);
            n += 1;
        }
        n
    }

    /// Asks other cores to ring the owner when they release a slot. Call it before sleeping with a reader that stands
    /// still because slots ran out. Returns how many came home in the meantime: then do not sleep.
    #[must_use]
    pub fn declare_starved(&self) -> usize {
        self.0.shared.declare_starved();
        self.drain_returns()
    }

    /// Where the slots are.
    #[must_use]
    pub fn accounting(&self) -> Accounting {
        Accounting {
            free: self.free(SlotClass::Jumbo) + self.free(SlotClass::Packet),
            kernel: self.0.kernel.get(),
            held: self.0.held.get(),
            total: usize::from(self.0.shared.layout.slots()),
        }
    }

    /// Whether `view` lies in this pool's arena, and so in the memory that is registered with this pool's ring.
    #[must_use]
    pub fn owns(&self, view: &View) -> bool {
        view.is_local_to(&self.0)
    }
}

impl Inner {
    pub(crate) fn class_of(&self, line: LineId) -> SlotClass {
        self.accounts.class_of(line)
    }

    fn list(&self, class: SlotClass) -> &RefCell<Vec<u16>> {
        match class {
            SlotClass::Jumbo => &self.free_jumbo,
            SlotClass::Packet => &self.free_packet,
        }
    }

    /// A slot that is promised to nobody.
    fn take_free(&self, class: SlotClass) -> Option<Slot> {
        let mut free = self.list(class).borrow_mut();
        if self.accounts.unpromised(class, free.len()) == 0 {
            return None;
        }
        free.pop().map(Slot)
    }

    fn take_free_for(&self, line: LineId) -> Option<Slot> {
        let mut free = self.list(self.accounts.class_of(line)).borrow_mut();
        if self.accounts.available(line, free.len()) == 0 {
            return None;
        }
        let slot = free.pop().map(Slot)?;
        self.accounts.charge(slot, line);
        Some(slot)
    }

    fn put_free(&self, slot: Slot) {
        self.accounts.discharge(slot);
        self.list(self.shared.class(slot)).borrow_mut().push(slot.0);
    }

    /// A free slot goes to the kernel without a view in between.
    pub(crate) fn provide(&self, class: SlotClass, line: Option<LineId>) -> Option<Slot> {
        let slot = match line {
            Some(line) => self.take_free_for(line),
            None => self.take_free(class),
        }?;
        self.kernel.set(self.kernel.get() + 1);
        Some(slot)
    }

    /// The kernel gave a provided slot back, filled.
    pub(crate) fn accept(&self, slot: Slot) {
        self.kernel_to_held();
        self.shared.shares(slot).views.set(1);
    }

    /// The last view of a slot was dropped on the owner's core, or came home from another.
    pub(crate) fn recycle_held(&self, slot: Slot) {
        self.held.set(self.held.get().checked_sub(1).expect("a slot is held once"));
        self.put_free(slot);
    }

    /// The kernel has let go of a provided slot without filling it.
    pub(crate) fn recycle_provided(&self, slot: Slot) {
        self.kernel.set(self.kernel.get().checked_sub(1).expect("the kernel holds a slot once"));
        self.put_free(slot);
    }

    pub(crate) fn held_to_kernel(&self) {
        self.held.set(self.held.get().checked_sub(1).expect("a slot is held once"));
        self.kernel.set(self.kernel.get() + 1);
    }

    pub(crate) fn kernel_to_held(&self) {
        self.kernel.set(self.kernel.get().checked_sub(1).expect("the kernel holds a slot once"));
        self.held.set(self.held.get() + 1);
    }
}
