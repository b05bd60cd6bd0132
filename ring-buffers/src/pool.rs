//! The recycler: gives out free slots, takes every backing home, and can always say where each one is.

use crate::arena::{Arena, Shared, Slot};
use crate::layout::SlotClass;
use crate::view::View;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

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
        // Reversed, so that the first slots, which share the most pages and cache, are used the most.
        let numbers = |class| RefCell::new(layout.numbers(class).rev().collect());
        Self(Rc::new(Inner {
            free_jumbo: numbers(SlotClass::Jumbo),
            free_packet: numbers(SlotClass::Packet),
            kernel: Cell::new(0),
            held: Cell::new(0),
            shared: arena.shared,
        }))
    }

    /// Claims a free slot; the view covers all of it. `None` if the class is used up, which its caller counts.
    #[must_use]
    pub fn claim(&self, class: SlotClass) -> Option<View> {
        let slot = self.0.take_free(class)?;
        self.0.held.set(self.0.held.get() + 1);
        self.0.shared.shares(slot).views.set(1);
        Some(View::of_slot(self.0.clone(), slot))
    }

    /// Free slots of a class, not counting those that are on their way home from other cores.
    #[must_use]
    pub fn free(&self, class: SlotClass) -> usize {
        self.0.list(class).borrow().len()
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

    /// Asks other cores to ring the owner when they release a slot; to be called before sleeping with a reader that
    /// stands still for want of slots. Returns how many came home in the meantime: then do not sleep.
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
    fn list(&self, class: SlotClass) -> &RefCell<Vec<u16>> {
        match class {
            SlotClass::Jumbo => &self.free_jumbo,
            SlotClass::Packet => &self.free_packet,
        }
    }

    fn take_free(&self, class: SlotClass) -> Option<Slot> {
        self.list(class).borrow_mut().pop().map(Slot)
    }

    fn put_free(&self, slot: Slot) {
        self.list(self.shared.class(slot)).borrow_mut().push(slot.0);
    }

    /// A free slot goes to the kernel without a view in between.
    pub(crate) fn provide(&self, class: SlotClass) -> Option<Slot> {
        let slot = self.take_free(class)?;
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
