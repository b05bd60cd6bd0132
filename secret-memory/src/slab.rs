//! Cells: which are free, taking and releasing them.
//!
//! A cell that is free holds zeros. A bit of the slab's header says whether a cell is taken. Who sets it has the cell,
//! until he clears it.
//!
//! To find a free cell takes a short look however many there are. Each chunk of slabs has a bit for each size class,
//! which says that there may be room. Whoever finds none clears it, and whoever makes room sets it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::pages;

/// Bytes of a cell: a key.
pub(crate) const CELL_LEN: usize = 32;
/// The longest value: all cells of a slab but that of its header.
pub(crate) const VALUE_LEN_MAX: usize = SLAB_LEN - CELL_LEN;

const SLAB_LEN: usize = u64::BITS as usize * CELL_LEN;
const SLABS_PER_CHUNK: usize = 32;
const CHUNK_LEN: usize = SLABS_PER_CHUNK * SLAB_LEN;
/// 64 GiB. Schedules of AES keys take a slab each, so a million peers may need some of it. Of the table, what is not
/// used costs addresses and no memory. Under Miri a large table is slow.
const CHUNKS_MAX: usize = if cfg!(miri) { 1 << 10 } else { 1 << 20 };
/// When all are full, as many more as this part of them are mapped, but not many: whoever claims waits for it.
const GROWTH: usize = 16;
const GROWTH_MAX: usize = 64;
/// Sizes from a power of two to the next, in cells. Where one of a class finds no room, a smaller one of that class
/// does not look either, until something is released there: values have few sizes.
const CLASSES: usize = u64::BITS.ilog2() as usize;
/// Chunks that a claim looks into in vain, before more are mapped. Their bits are cleared, so the next one sees others.
const LOOKS_MAX: usize = 64;
const CHUNKS_PER_WORD: usize = u64::BITS as usize;

/// In the first cell of each slab.
#[repr(C)]
struct Header {
    /// One bit for each cell, its own included.
    taken: AtomicU64,
    /// Which slab this is.
    number: AtomicU32,
}

const _: () = assert!(size_of::<Header>() <= CELL_LEN);
const HEADER_TAKEN: u64 = 1;

/// All chunks, in the order in which they were mapped. None is ever given back.
static CHUNKS: [AtomicPtr<u8>; CHUNKS_MAX] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS_MAX];
/// A bit for each chunk: there may be room for a size of this class. Each word is of 64 chunks.
static ROOM: [[AtomicU64; CLASSES]; CHUNKS_MAX / CHUNKS_PER_WORD] =
    [const { [const { AtomicU64::new(0) }; CLASSES] }; CHUNKS_MAX / CHUNKS_PER_WORD];
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The slab to look at first: where a cell was taken or released last.
static CURSOR: AtomicUsize = AtomicUsize::new(0);

/// Locks all of it again. A child that was forked has inherited the secrets, but no lock.
pub fn lock_again() {
    let chunks = CHUNKS[..COUNT.load(Ordering::Acquire)].iter();
    let chunks = chunks.filter_map(|chunk| NonNull::new(chunk.load(Ordering::Acquire)));
    pages::lock_all(chunks.map(|chunk| (chunk, CHUNK_LEN)));
}

/// Takes cells for a value of that many bytes, at most [`VALUE_LEN_MAX`]. They hold zeros.
///
/// # Panics
/// If the system has no memory, as for any other allocation.
pub(crate) fn claim(len: usize) -> NonNull<u8> {
    let cells = cells_of(len);
    loop {
        let chunks = COUNT.load(Ordering::Acquire);
        let first = CURSOR.load(Ordering::Relaxed);
        for chunk in with_room(class_of(cells), first / SLABS_PER_CHUNK, chunks).take(LOOKS_MAX) {
            if let Some(place) = claim_in_chunk(chunk, first, cells) {
                return place;
            }
        }
        grow(chunks);
    }
}

/// Of so many chunks those that may have room, from `first` on and round again.
fn with_room(class: usize, first: usize, chunks: usize) -> impl Iterator<Item = usize> {
    let words = chunks.div_ceil(CHUNKS_PER_WORD);
    let first_word = first / CHUNKS_PER_WORD;
    let before = (1_u64 << (first % CHUNKS_PER_WORD)) - 1;
    // The first word comes again at the end, with what it has before the first chunk.
    (0..=words)
        .filter(move |_| words > 0)
        .flat_map(move |step| {
            let word = (first_word + step) % words;
            let bits = ROOM[word][class].load(Ordering::Acquire);
            let mut bits = match step {
                0 => bits & !before,
                _ if step == words => bits & before,
                _ => bits,
            };
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < u64::BITS).then_some(word * CHUNKS_PER_WORD + bit as usize)
            })
        })
        // One that is about to be added has its bits already.
        .filter(move |&chunk| chunk < chunks)
}

/// Looks into a chunk, at slab `first` before others if that is in it.
fn claim_in_chunk(chunk: usize, first: usize, cells: usize) -> Option<NonNull<u8>> {
    let base = chunk * SLABS_PER_CHUNK;
    let offset = first.checked_sub(base).filter(|&offset| offset < SLABS_PER_CHUNK).unwrap_or(0);
    let look = || {
        (0..SLABS_PER_CHUNK).find_map(|step| {
            let number = base + (offset + step) % SLABS_PER_CHUNK;
            let place = claim_in(slab(number), cells)?;
            if number != first {
                CURSOR.store(number, Ordering::Relaxed);
            }
            Some(place)
        })
    };
    look().or_else(|| {
        let (room, bit) = room(chunk, class_of(cells));
        room.fetch_and(!bit, Ordering::AcqRel);
        // Who has made room before that is seen now; who does so later sets the bit again.
        let place = look()?;
        room.fetch_or(bit, Ordering::AcqRel);
        Some(place)
    })
}

fn class_of(cells: usize) -> usize {
    cells.ilog2() as usize
}

fn room(chunk: usize, class: usize) -> (&'static AtomicU64, u64) {
    (&ROOM[chunk / CHUNKS_PER_WORD][class], 1 << (chunk % CHUNKS_PER_WORD))
}

/// Gives the cells of a value back.
///
/// # Safety
/// `place` is of [`claim`] with the same `len`, nobody uses it any more, and it holds zeros.
pub(crate) unsafe fn release(place: NonNull<u8>, len: usize) {
    let slab = place.map_addr(|address| {
        let base = address.get() & !(SLAB_LEN - 1);
        base.try_into().expect("a slab is not at the null address")
    });
    let cell = (place.addr().get() - slab.addr().get()) / CELL_LEN;
    let header = header(slab);
    let number = header.number.load(Ordering::Relaxed) as usize;
    CURSOR.store(number, Ordering::Relaxed);
    // What was written before, the zeros, is seen by who takes the cells next.
    let freed = run(cell, cells_of(len));
    let taken = header.taken.fetch_and(!freed, Ordering::Release) & !freed;
    for class in (0..CLASSES).take_while(|&class| free_run(taken, 1 << class).is_some()) {
        let (room, bit) = room(number / SLABS_PER_CHUNK, class);
        room.fetch_or(bit, Ordering::AcqRel);
    }
}

fn cells_of(len: usize) -> usize {
    len.max(1).div_ceil(CELL_LEN)
}

/// The bits of `cells` cells from `first` on. There are at most 63.
const fn run(first: usize, cells: usize) -> u64 {
    ((1 << cells) - 1) << first
}

/// The first of `cells` free cells side by side.
fn free_run(taken: u64, cells: usize) -> Option<usize> {
    let mut starts = !taken;
    for _ in 1..cells {
        starts &= !taken & (starts >> 1);
    }
    (starts != 0).then(|| starts.trailing_zeros() as usize)
}

fn claim_in(slab: NonNull<u8>, cells: usize) -> Option<NonNull<u8>> {
    let taken = &header(slab).taken;
    let mut seen = taken.load(Ordering::Relaxed);
    loop {
        let first = free_run(seen, cells)?;
        let wanted = seen | run(first, cells);
        match taken.compare_exchange_weak(seen, wanted, Ordering::Acquire, Ordering::Relaxed) {
            // SAFETY: the cells are in the slab, whose mapping is larger.
            Ok(_) => return Some(unsafe { slab.add(first * CELL_LEN) }),
            Err(now) => seen = now,
        }
    }
}

/// Slab `number`, which is in a chunk that exists.
fn slab(number: usize) -> NonNull<u8> {
    let chunk = NonNull::new(CHUNKS[number / SLABS_PER_CHUNK].load(Ordering::Acquire));
    let chunk = chunk.expect("COUNT is raised after the chunk was entered");
    // SAFETY: a chunk has that many slabs.
    unsafe { chunk.add(number % SLABS_PER_CHUNK * SLAB_LEN) }
}

fn header(slab: NonNull<u8>) -> &'static Header {
    // SAFETY: each slab begins with its header, made of atomics. Chunks are aligned to pages and live for ever.
    unsafe { slab.cast().as_ref() }
}

/// Adds chunks, unless another thread has done it: there were `chunks`.
fn grow(chunks: usize) {
    assert!(chunks < CHUNKS_MAX, "no memory for keys: they take less than {} GiB", (CHUNKS_MAX * CHUNK_LEN) >> 30);
    (chunks..CHUNKS_MAX).take((chunks / GROWTH).clamp(1, GROWTH_MAX)).for_each(add);
    CURSOR.store(chunks * SLABS_PER_CHUNK, Ordering::Relaxed);
}

/// Adds a chunk, if there is none of this number.
fn add(number: usize) {
    let (chunk, is_locked) = pages::map(CHUNK_LEN);
    for place in 0..SLABS_PER_CHUNK {
        // SAFETY: a chunk has that many slabs.
        let header = header(unsafe { chunk.add(place * SLAB_LEN) });
        header.taken.store(HEADER_TAKEN, Ordering::Relaxed);
        let slab = number * SLABS_PER_CHUNK + place;
        header.number.store(u32::try_from(slab).expect("there are 2^25 slabs at most"), Ordering::Relaxed);
    }
    let null = std::ptr::null_mut();
    if CHUNKS[number].compare_exchange(null, chunk.as_ptr(), Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: it was mapped just now, and nobody else has seen it.
        unsafe { pages::unmap(chunk, CHUNK_LEN, is_locked) };
    }
    for class in 0..CLASSES {
        let (room, bit) = room(number, class);
        room.fetch_or(bit, Ordering::AcqRel);
    }
    COUNT.fetch_max(number + 1, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_where_there_is_one() {
        assert_eq!(free_run(HEADER_TAKEN, 1), Some(1));
        assert_eq!(free_run(HEADER_TAKEN, 63), Some(1));
        assert_eq!(free_run(HEADER_TAKEN, 64), None);
        assert_eq!(free_run(u64::MAX, 1), None);
        assert_eq!(free_run(!(0b101 << 4), 1), Some(4));
        assert_eq!(free_run(!(0b101 << 4), 2), None);
        assert_eq!(free_run(!(0b1101 << 40), 2), Some(42));
        assert_eq!(free_run(1 | 1 << 63, 62), Some(1));
        assert_eq!(free_run(1 | 1 << 63, 63), None);
        assert_eq!((run(1, 63), run(4, 2)), (!1, 0b11 << 4));
    }
}
