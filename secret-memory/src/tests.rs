use std::collections::HashSet;
use std::thread;

use super::*;

/// Where the value is.
fn address<T>(secret: &Secret<T>) -> usize {
    secret.place.addr().get()
}

/// What the cells of a value hold that was dropped.
fn remains(address: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let memory = std::fs::File::open("/proc/self/mem").expect("a process may look at itself");
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, address as u64).expect("it is mapped for ever");
    bytes
}

#[test]
fn a_value_stays_where_it_was_made() {
    let mut secret = Secret::<[u8; 32]>::zeroed();
    assert_eq!(secret.expose(), &[0; 32]);
    secret.expose_mut().fill(7);
    let before = address(&secret);
    let moved = Box::new(Some(secret));
    assert_eq!(moved.as_ref().as_ref().map(|secret| (address(secret), *secret.expose())), Some((before, [7; 32])));
}

#[test]
#[cfg_attr(miri, ignore = "reads /proc")]
fn a_place_is_wiped() {
    let key = Secret::copy_of(&[0x5a; 32]);
    let large = Secret::new([0x5a_u64; 100]);
    let places = [(address(&key), 32), (address(&large), 800)];
    assert!(places.iter().all(|&(place, len)| remains(place, len).iter().all(|&byte| byte == 0x5a || byte == 0)));
    drop((key, large));
    for (place, len) in places {
        // Another test may have taken it since; that one uses other bytes.
        assert!(!remains(place, len).contains(&0x5a));
    }
}

/// A type that is not zero when it is dropped, and has a destructor of its own.
#[test]
fn what_is_in_it_is_dropped() {
    let shared = std::sync::Arc::new(());
    let secret = Secret::new((shared.clone(), 5_u8));
    assert_eq!((std::sync::Arc::strong_count(&shared), secret.expose().1), (2, 5));
    drop(secret);
    assert_eq!(std::sync::Arc::strong_count(&shared), 1);
}

#[test]
fn places_do_not_overlap_and_are_aligned() {
    let count = if cfg!(miri) { 200 } else { 10_000 };
    let small: Vec<_> = (0..count).map(|_| Secret::<[u8; 32]>::zeroed()).collect();
    let large: Vec<_> = (0..count / 10).map(|_| Secret::<[u8; 1000]>::zeroed()).collect();
    let cells = |start: usize, len: usize| (start..start + len).step_by(slab::CELL_LEN);
    let small = small.iter().map(address).map(|place| (place, 32));
    let large = large.iter().map(address).map(|place| (place, 1000));
    let mut taken = HashSet::new();
    for (place, len) in small.chain(large) {
        assert_eq!(place % slab::CELL_LEN, 0);
        assert!(cells(place, len).all(|cell| taken.insert(cell)), "{place:#x} twice");
    }
}

/// Those that are far from where one was taken last are found as well, whatever their size.
#[test]
#[cfg_attr(miri, ignore = "slow")]
fn places_that_were_released_anywhere_are_taken_again() {
    let mut all: Vec<_> = (0..12_000).map(|_| Some(Secret::<[u8; 2000]>::zeroed())).collect();
    let mapped = footprint().mapped;
    for round in 0..3 {
        // Ten slabs in a row, so some chunks have much room and others little.
        let is_hole = |place: usize| place / 10 % 3 == round;
        let holes = (0..all.len()).filter(|&place| is_hole(place));
        holes.clone().for_each(|place| all[place] = None);
        holes.for_each(|place| all[place] = Some(Secret::zeroed()));
        assert!(footprint().mapped <= mapped + (4 << 20), "{} bytes more", footprint().mapped - mapped);
    }
}

/// Of the largest values each slab has one.
#[test]
#[cfg_attr(miri, ignore = "slow")]
fn places_grow_by_a_part_of_what_there_is() {
    let count = 4000;
    let before = footprint().mapped;
    let all: Vec<_> = (0..count).map(|_| Secret::<[u8; 2000]>::zeroed()).collect();
    let grown = footprint().mapped - before;
    assert!((count * 2048..count * 2048 * 9 / 8 + (4 << 20)).contains(&grown), "{grown} bytes");
    drop(all);
    let mapped = footprint().mapped;
    let _again: Vec<_> = (0..count).map(|_| Secret::<[u8; 2000]>::zeroed()).collect();
    assert!(footprint().mapped <= mapped + (4 << 20), "released places are taken again");
}

#[test]
fn many_threads_take_and_release() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let work = |mark: u8| {
        let mut held = Vec::new();
        for round in 0..rounds {
            let mut secret = Secret::<[u8; 48]>::zeroed();
            assert_eq!(secret.expose(), &[0; 48], "a free place holds zeros");
            secret.expose_mut().fill(mark);
            held.push(secret);
            if round % 3 == 0 {
                let secret = held.swap_remove(round % held.len());
                assert_eq!(secret.expose(), &[mark; 48], "nobody else has it");
            }
        }
    };
    thread::scope(|scope| (1..5).for_each(|mark| _ = scope.spawn(move || work(mark))));
}

#[test]
#[cfg_attr(miri, ignore = "reads /proc")]
fn places_are_locked_and_not_dumped() {
    let secret = Secret::copy_of(&[1; 32]);
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("there is /proc");
    let mut is_it = false;
    let flags = maps.lines().find_map(|line| match line.strip_prefix("VmFlags:") {
        Some(flags) if is_it => Some(flags),
        Some(_) => None,
        None => {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let range = range.and_then(|(start, end)| {
                Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
            });
            is_it = range.map_or(is_it, |range| range.contains(&address(&secret)));
            None
        }
    });
    let flags = flags.expect("its mapping is listed");
    assert!(flags.contains(" dd"), "{flags}");
    let Footprint { mapped, locked, errno } = footprint();
    assert_eq!(flags.contains(" lo"), errno.is_none(), "{flags}, {mapped} mapped, {locked} locked, {errno:?}");
}

/// The frame is gone: only its address is left, and whoever reads there reads a stack that is mapped.
#[test]
#[cfg_attr(miri, ignore = "reads /proc")]
fn the_stack_is_wiped() {
    /// Deep below the caller, where nothing that the test calls afterwards comes.
    #[inline(never)]
    fn leave_a_trace() -> usize {
        let trace = [0x3c_u8; SCRUBBED / 2];
        std::hint::black_box(&trace).as_ptr() as usize
    }
    let count = |place: usize| remains(place, 1024).iter().filter(|&&byte| byte == 0x3c).count();
    assert_eq!(count(leave_a_trace()), 1024, "or this test sees nothing");
    assert_eq!(count(scrubbed(leave_a_trace)), 0);
}

#[test]
fn nothing_is_printed() {
    assert_eq!(format!("{:?}", Secret::copy_of(&[9; 32])), "Secret(..)");
}
