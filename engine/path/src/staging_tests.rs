//! Staging against a plain model, and the promises that it makes to those who have little in it.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const SMALL: SlotClass = SlotClass::Packet;
const LARGE: SlotClass = SlotClass::Jumbo;

fn peer(index: u32) -> PeerId {
    PeerId { index, generation: 7 }
}

fn packet(number: u32) -> View {
    View::heap(number.to_be_bytes().to_vec())
}

fn number(view: &View) -> u32 {
    u32::from_be_bytes(view[..].try_into().unwrap())
}

/// Whose it was, and which.
fn named(staged: &Staged) -> (u32, u32) {
    (staged.peer.index, number(&staged.view))
}

fn staging(packets: (u16, u16), jumbos: (u16, u16)) -> Staging {
    let limits = |(per_peer, in_all)| Limits { per_peer, in_all };
    Staging::new(limits(packets), limits(jumbos))
}

#[test]
fn packets_of_both_sizes_come_out_in_their_order() {
    let mut s = staging((10, 20), (10, 20));
    for n in 0..12 {
        assert!(s.push(peer(1), if n % 3 == 0 { LARGE } else { SMALL }, packet(n)).is_none());
        s.push(peer(2), SMALL, packet(99));
    }
    assert_eq!((s.waiting(peer(1)), s.len()), (12, 22), "the other peer has its share of ten");
    let numbers: Vec<_> = std::iter::from_fn(|| s.pop(peer(1))).map(|view| number(&view)).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    assert_eq!((s.waiting(peer(1)), s.len()), (0, 10));
}

#[test]
fn a_peer_with_its_share_gives_up_its_own_oldest() {
    let mut s = staging((3, 100), (1, 1));
    for n in 0..3 {
        assert!(s.push(peer(0), SMALL, packet(n)).is_none());
        assert!(s.push(peer(1), SMALL, packet(n)).is_none());
    }
    let evicted = s.push(peer(1), SMALL, packet(3)).expect("it has its share");
    assert_eq!((named(&evicted), s.waiting(peer(0)), s.waiting(peer(1))), ((1, 0), 3, 3));
}

#[test]
fn the_oldest_packet_of_the_greediest_makes_room() {
    let mut s = staging((10, 12), (1, 1));
    for n in 0..8 {
        s.push(peer(0), SMALL, packet(n));
    }
    for n in 0..4 {
        s.push(peer(1), SMALL, packet(100 + n));
    }
    assert!(s.is_full(SMALL) && !s.is_full(LARGE));
    for n in 0..2 {
        assert_eq!(named(&s.push(peer(2), SMALL, packet(200 + n)).expect("it is full")), (0, n));
    }
    assert_eq!([0, 1, 2].map(|p| s.waiting(peer(p))), [6, 4, 2]);
    assert_eq!(named(&s.make_room(peer(1), SMALL).expect("there are packets")), (0, 2));
    assert!(s.make_room(peer(1), LARGE).is_none());
}

/// Whoever floods, and for however many peers: who has no more than an equal share loses nothing.
#[test]
fn a_flood_costs_only_those_who_flood() {
    let mut s = staging((128, 448), (8, 8));
    let modest = peer(1_000);
    for n in 0..40 {
        assert!(s.push(modest, SMALL, packet(n)).is_none());
    }
    for round in 0..if cfg!(miri) { 600 } else { 5_000 } {
        s.push(peer(round % 8), SMALL, packet(round));
        s.push(peer(round % 8), LARGE, packet(round));
    }
    assert_eq!(s.waiting(modest), 40);
    assert_eq!(s.len(), 448 + 8);
    let shares: Vec<_> = (0..8).map(|p| s.waiting(peer(p))).collect();
    assert!(shares.iter().all(|&n| (51..=53).contains(&n)), "{shares:?}");
    // A newcomer is let in, and another one behind it.
    assert!(s.push(peer(2_000), SMALL, packet(0)).is_some());
    assert!(s.push(peer(2_001), LARGE, packet(0)).is_some());
    assert_eq!((s.waiting(peer(2_000)), s.waiting(peer(2_001)), s.waiting(modest)), (1, 1, 40));
}

#[test]
fn a_name_of_an_earlier_occupant_finds_nothing() {
    let mut s = staging((3, 3), (3, 3));
    let (old, new) = (PeerId { index: 4, generation: 0 }, PeerId { index: 4, generation: 1 });
    s.push(old, SMALL, packet(1));
    assert_eq!((s.waiting(new), s.drop_all(new)), (0, 0));
    s.push(new, LARGE, packet(2));
    assert_eq!((s.drop_all(old), s.waiting(new)), (1, 1));
    assert_eq!(number(&s.pop(new).unwrap()), 2);
    assert!(s.pop(new).is_none() && s.len() == 0);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32, bool),
    Pop(u32),
    MakeRoom(u32, bool),
    DropAll(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6u32, any::<bool>()).prop_map(|(p, large)| Step::Push(p, large)),
        3 => (0..6u32).prop_map(Step::Pop),
        1 => (0..6u32, any::<bool>()).prop_map(|(p, large)| Step::MakeRoom(p, large)),
        1 => (0..6u32).prop_map(Step::DropAll),
    ]
}

const PER_PEER: usize = 4;
const IN_ALL: usize = 9;

/// Packets by peer, as (number, large), and when a peer came to have as many as it has, on each shelf.
#[derive(Default)]
struct Model {
    queues: BTreeMap<u32, VecDeque<(u32, bool)>>,
    since: BTreeMap<(u32, bool), u32>,
    clock: u32,
}

impl Model {
    fn count(&self, p: u32, large: bool) -> usize {
        self.queues.get(&p).map_or(0, |q| q.iter().filter(|(_, l)| *l == large).count())
    }

    fn total(&self, large: bool) -> usize {
        (0..6).map(|p| self.count(p, large)).sum()
    }

    fn changed(&mut self, p: u32, large: bool) {
        self.clock += 1;
        self.since.insert((p, large), self.clock);
    }

    fn take_oldest(&mut self, p: u32, large: bool) -> u32 {
        let queue = self.queues.get_mut(&p).expect("it has packets");
        let place = queue.iter().position(|(_, l)| *l == large).expect("and one of this size");
        let (number, _) = queue.remove(place).expect("just found");
        self.changed(p, large);
        number
    }

    fn make_room(&mut self, p: u32, large: bool) -> Option<(u32, u32)> {
        let most = (0..6).map(|p| self.count(p, large)).max().filter(|&n| n > 0)?;
        let greediest: Vec<u32> = (0..6).filter(|&p| self.count(p, large) == most).collect();
        let longest = greediest.iter().copied().min_by_key(|&p| self.since[&(p, large)]);
        let victim = if greediest.contains(&p) { p } else { longest? };
        Some((victim, self.take_oldest(victim, large)))
    }

    fn push(&mut self, p: u32, large: bool, number: u32) -> Option<(u32, u32)> {
        let evicted = if self.count(p, large) == PER_PEER {
            Some((p, self.take_oldest(p, large)))
        } else if self.total(large) == IN_ALL {
            self.make_room(p, large)
        } else {
            None
        };
        self.queues.entry(p).or_default().push_back((number, large));
        self.changed(p, large);
        evicted
    }

    fn pop(&mut self, p: u32) -> Option<u32> {
        let (_, large) = *self.queues.get(&p)?.front()?;
        Some(self.take_oldest(p, large))
    }
}

proptest! {
    #[test]
    fn it_does_what_a_plain_model_does(steps in proptest::collection::vec(step(), 0..200)) {
        let limits = (PER_PEER as u16, IN_ALL as u16);
        let (mut s, mut model) = (staging(limits, limits), Model::default());
        let class = |large| if large { LARGE } else { SMALL };
        let got = |staged: Option<Staged>| staged.map(|staged| named(&staged));
        for (n, step) in (0..).zip(steps) {
            match step {
                Step::Push(p, large) => {
                    prop_assert_eq!(got(s.push(peer(p), class(large), packet(n))), model.push(p, large, n));
                }
                Step::Pop(p) => prop_assert_eq!(s.pop(peer(p)).map(|view| number(&view)), model.pop(p)),
                Step::MakeRoom(p, large) => {
                    prop_assert_eq!(got(s.make_room(peer(p), class(large))), model.make_room(p, large));
                }
                Step::DropAll(p) => {
                    let dropped = std::iter::from_fn(|| model.pop(p)).count();
                    prop_assert_eq!(s.drop_all(peer(p)), dropped);
                }
            }
            for p in 0..6 {
                prop_assert_eq!(s.waiting(peer(p)), model.count(p, false) + model.count(p, true));
            }
            prop_assert_eq!(s.len(), model.total(false) + model.total(true));
            prop_assert_eq!(s.is_full(SMALL), model.total(false) == IN_ALL);
        }
    }
}

/// Peers come and go for longer than any free list or map would bear that loses something.
#[test]
fn nothing_wears_out_and_nothing_grows() {
    // Miri takes a thousand times as long for each.
    const PEERS: u32 = if cfg!(miri) { 1_000 } else { 100_000 };
    let mut s = staging((4, 64), (1, 1));
    let capacity = s.packets.index.capacity();
    for n in 0..PEERS {
        s.push(peer(n), SMALL, packet(n));
        if n % 3 == 0 {
            s.drop_all(peer(n.saturating_sub(20)));
        }
    }
    // A place that was deleted from counts as taken until the map is cleaned up.
    assert!(s.packets.index.capacity() <= capacity);
    assert!((0..PEERS).map(|n| s.drop_all(peer(n))).sum::<usize>() <= 64);
    assert_eq!(s.len(), 0);
    for n in 0..64 {
        assert!(s.push(peer(n), SMALL, packet(n)).is_none());
    }
}
