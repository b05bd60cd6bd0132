//! The memory model: views that are claimed, cut, lent, sent away and dropped in any order. Every slot is free, held or
//! with the kernel; every view keeps its bytes, and nobody else's.
//!
//! The input: operations of two bytes, the second of which picks the view, and for some two bytes more.

use ring_buffers::fake::Loan;
use ring_buffers::{Accounting, Arena, Budget, Pool, SlotClass, View, Waker};

use crate::Seed;
use crate::input::Input;

const JUMBO: u16 = 2;
const PACKET: u16 = 3;
/// Views that are live at the same time; each is compared byte by byte.
const VIEWS_MAX: usize = 24;
const HEAP_LEN: usize = 300;

/// Where a slot is, as far as the views tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Slot(SlotClass),
    /// A slot whose view pretends to be on another core.
    Away(SlotClass),
    Heap,
}

/// What is known of a view without asking it.
#[derive(Clone, Debug)]
struct Known {
    /// Views with the same number share a backing.
    backing: usize,
    home: Home,
    /// First byte within the backing.
    start: usize,
    len: usize,
    /// Every byte of the view has this value.
    content: u8,
}

#[derive(Default)]
struct Model {
    views: Vec<(View, Known)>,
    lent: Vec<(Loan, Known)>,
    backings: usize,
    /// Slots that other cores have released and the owner has not taken home.
    returning: Vec<SlotClass>,
    painted: u8,
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let budget = Budget::new().line("jumbo", SlotClass::Jumbo, JUMBO).line("packet", SlotClass::Packet, PACKET);
    let waker = Waker::new().expect("a descriptor");
    let pool = Pool::new(Arena::new(&budget, waker).expect("140 KiB of memory"));
    let mut model = Model::default();
    while !input.is_empty() {
        let [operation, pick] = input.array();
        step(operation, pick.into(), &mut input, &pool, &mut model);
        model.check(&pool);
    }
    while !model.lent.is_empty() {
        model.take_back(0);
    }
    model.check(&pool);
    model.views.clear();
    pool.drain_returns();
    let all = usize::from(JUMBO + PACKET);
    assert_eq!(pool.accounting(), Accounting { free: all, kernel: 0, held: 0, total: all }, "every slot came home");
}

fn step(operation: u8, pick: usize, input: &mut Input<'_>, pool: &Pool, model: &mut Model) {
    match operation % 12 {
        0 => model.claim(pool, SlotClass::Jumbo),
        1 => model.claim(pool, SlotClass::Packet),
        2 => model.heap(),
        3 => model.split(pick, input.u16().into()),
        4 => model.advance(pick, input.u16().into()),
        5 => model.truncate(pick, input.u16().into()),
        6 => model.reserve_tail(pick, input.u16().into()),
        7 => model.drop_view(pick),
        8 => model.lend(pick),
        9 if !model.lent.is_empty() => model.take_back(pick % model.lent.len()),
        10 => model.send_away(pick, input.byte() & 1 == 0),
        11 => {
            assert_eq!(pool.drain_returns(), model.returning.len());
            model.returning.clear();
        }
        _ => {}
    }
}

impl Model {
    fn pick(&mut self, pick: usize) -> Option<(View, Known)> {
        if self.views.is_empty() { None } else { Some(self.views.swap_remove(pick % self.views.len())) }
    }

    /// Gives a view bytes of its own.
    fn paint(&mut self, mut view: View, known: Known) {
        self.painted = self.painted.wrapping_add(1);
        view.fill(self.painted);
        self.views.push((view, Known { content: self.painted, ..known }));
    }

    fn new_backing(&mut self, view: View, home: Home) {
        self.backings += 1;
        let known = Known { backing: self.backings, home, start: 0, len: view.len(), content: 0 };
        self.paint(view, known);
    }

    fn claim(&mut self, pool: &Pool, class: SlotClass) {
        if self.views.len() == VIEWS_MAX {
            return;
        }
        let free = pool.free(class);
        match pool.claim(class) {
            Some(view) => {
                assert!(free > 0 && view.len() == class.size() && view.is_unique() && pool.owns(&view));
                self.new_backing(view, Home::Slot(class));
            }
            None => assert_eq!(free, 0),
        }
    }

    fn heap(&mut self) {
        if self.views.len() < VIEWS_MAX {
            self.new_backing(View::heap(vec![0; HEAP_LEN]), Home::Heap);
        }
    }

    fn split(&mut self, pick: usize, at: usize) {
        if self.views.len() == VIEWS_MAX {
            return;
        }
        let Some((mut back, known)) = self.pick(pick) else { return };
        let at = at % (back.len() + 1);
        let front = back.split_to(at);
        assert!(!front.is_unique() && !back.is_unique());
        assert_eq!(front.len(), at);
        // The back one keeps its bytes, so painting the front shows whether they overlap.
        self.views.push((back, Known { start: known.start + at, len: known.len - at, ..known.clone() }));
        self.paint(front, Known { len: at, ..known });
    }

    fn advance(&mut self, pick: usize, n: usize) {
        let Some((mut view, known)) = self.pick(pick) else { return };
        let n = n % (view.len() + 1);
        view.advance(n);
        self.views.push((view, Known { start: known.start + n, len: known.len - n, ..known }));
    }

    fn truncate(&mut self, pick: usize, n: usize) {
        let Some((mut view, known)) = self.pick(pick) else { return };
        view.truncate(n);
        self.views.push((view, Known { len: known.len.min(n), ..known }));
    }

    fn reserve_tail(&mut self, pick: usize, n: usize) {
        let Some((mut view, known)) = self.pick(pick) else { return };
        let room = known.size() - known.start - known.len;
        assert_eq!(view.tail_room(), room);
        let is_alone = !self.shares(known.backing);
        assert_eq!(view.is_unique(), is_alone);
        assert_eq!(view.reserve_tail(n).is_ok(), is_alone && n <= room);
        let len = view.len();
        assert_eq!(len, known.len + if is_alone && n <= room { n } else { 0 });
        self.paint(view, Known { len, ..known });
    }

    fn drop_view(&mut self, pick: usize) {
        let Some((view, known)) = self.pick(pick) else { return };
        drop(view);
        self.gone(&known);
    }

    fn lend(&mut self, pick: usize) {
        let Some((view, known)) = self.pick(pick) else { return };
        let lent = Loan::of(view);
        assert_eq!(lent.len(), known.len);
        self.lent.push((lent, known));
    }

    fn take_back(&mut self, pick: usize) {
        let (lent, known) = self.lent.swap_remove(pick);
        self.views.push((lent.take_back(), known));
    }

    /// As if to another core, where the view is used or dropped on the way. The return path is the same.
    fn send_away(&mut self, pick: usize, arrives: bool) {
        let Some((view, known)) = self.pick(pick) else { return };
        let is_alone = !self.shares(known.backing);
        match view.send_away() {
            Err(view) => {
                assert!(!is_alone);
                self.views.push((view, known));
            }
            Ok(parcel) => {
                assert!(is_alone);
                let known = Known { home: known.home.away(), ..known };
                if arrives {
                    self.views.push((parcel.arrive(), known));
                } else {
                    drop(parcel);
                    self.gone(&known);
                }
            }
        }
    }

    /// Whether another view has the same backing.
    fn shares(&self, backing: usize) -> bool {
        let known = self.views.iter().map(|(_, known)| known).chain(self.lent.iter().map(|(_, known)| known));
        known.filter(|known| known.backing == backing).count() > 0
    }

    /// A view was dropped: perhaps the last of its backing.
    fn gone(&mut self, known: &Known) {
        if let (Home::Away(class), false) = (known.home, self.shares(known.backing)) {
            self.returning.push(class);
        }
    }

    fn check(&self, pool: &Pool) {
        for (view, known) in &self.views {
            assert_eq!(view.len(), known.len);
            let expected = [known.content; 2048];
            let is_its_own = view.chunks(expected.len()).all(|chunk| chunk == &expected[..chunk.len()]);
            assert!(is_its_own, "{view:?}: somebody else's bytes in {known:?}");
            assert_eq!(pool.owns(view), matches!(known.home, Home::Slot(_)));
        }
        assert_eq!(pool.accounting(), self.accounting());
        assert!(pool.accounting().adds_up());
        let used = |class| self.slots().filter(|(_, home)| home.class() == Some(class)).count();
        let returning = |class| self.returning.iter().filter(|&&returning| returning == class).count();
        for (class, count) in [(SlotClass::Jumbo, JUMBO), (SlotClass::Packet, PACKET)] {
            assert_eq!(pool.free(class) + used(class) + returning(class), usize::from(count));
        }
    }

    /// The slots that have a view, each once.
    fn slots(&self) -> impl Iterator<Item = (usize, Home)> {
        let known = self.views.iter().map(|(_, known)| known).chain(self.lent.iter().map(|(_, known)| known));
        let mut slots: Vec<_> = known.map(|known| (known.backing, known.home)).collect();
        slots.sort_by_key(|&(backing, _)| backing);
        slots.dedup();
        slots.into_iter().filter(|(_, home)| *home != Home::Heap)
    }

    fn accounting(&self) -> Accounting {
        let is_held = |backing| self.views.iter().any(|(_, known)| known.backing == backing);
        let (mut kernel, mut held) = (0, self.returning.len());
        for (backing, home) in self.slots() {
            match home {
                Home::Slot(_) if !is_held(backing) => kernel += 1,
                // Seen from its owner, a slot on another core is held whatever becomes of it there.
                _ => held += 1,
            }
        }
        let total = usize::from(JUMBO + PACKET);
        Accounting { free: total - kernel - held, kernel, held, total }
    }
}

impl Home {
    fn away(self) -> Self {
        match self {
            Self::Slot(class) | Self::Away(class) => Self::Away(class),
            Self::Heap => Self::Heap,
        }
    }

    fn class(self) -> Option<SlotClass> {
        match self {
            Self::Slot(class) | Self::Away(class) => Some(class),
            Self::Heap => None,
        }
    }
}

impl Known {
    fn size(&self) -> usize {
        self.home.class().map_or(HEAP_LEN, SlotClass::size)
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let train = [&[1, 0, 5, 0, 0xdc, 5][..], &[3, 0, 100, 0, 3, 0, 100, 0, 3, 0, 100, 0], &[7, 0].repeat(4)].concat();
    vec![
        Seed::new("claims", [0, 0, 1, 0].repeat(4)),
        Seed::new("train", train),
        Seed::new("lent-in-pieces", vec![1, 0, 3, 0, 10, 0, 8, 0, 8, 0, 9, 1, 9, 0, 7, 0, 7, 0]),
        Seed::new("lent-while-the-rest-is-dropped", vec![1, 0, 3, 0, 10, 0, 8, 0, 7, 0, 9, 0, 7, 0]),
        Seed::new("away", vec![1, 0, 10, 0, 0, 3, 0, 50, 0, 8, 0, 9, 0, 7, 0, 7, 0, 11, 0]),
        Seed::new("lost-on-the-way", vec![1, 0, 10, 0, 1, 11, 0, 0, 0, 10, 0, 1, 1, 0]),
        Seed::new("heap", vec![2, 0, 3, 0, 40, 0, 10, 0, 0, 7, 0, 10, 0, 0, 6, 0, 1, 0]),
        Seed::new("tail", vec![1, 0, 5, 0, 100, 0, 6, 0, 16, 0, 4, 0, 8, 0, 6, 0, 0xff, 7, 3, 0, 5, 0, 6, 0, 1, 0]),
    ]
}
