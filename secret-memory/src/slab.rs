//! Cells: which are free, taking and releasing them.
//!
//! A cell that is free holds zeros. A bit of the slab's header says whether a cell is taken. Who sets it has the cell,
//! until he clears it.

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
/// used costs addresses and no memory.
const CHUNKS_MAX: usize = 1 << 20;
/// When all are full, as many more as this part of them are mapped: to find that they are full takes a look at each.
const GROWTH: usize = 16;

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
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The slab to look at first: where a cell was taken or released last.
static CURSOR: AtomicUsize = AtomicUsize::new(0);

/// Takes cells for a value of that many bytes, at most [`VALUE_LEN_MAX`]. They hold zeros.
///
/// # Panics
/// If the system has no memory, as for any other allocation.
pub(crate) fn claim(len: usize) -> NonNull<u8> {
    let cells = cells_of(len);
    loop {
        let chunks = COUNT.load(Ordering::Acquire);
        let slabs = chunks * SLABS_PER_CHUNK;
        let first = CURSOR.load(Ordering::Relaxed);
        for step in 0..slabs {
            let number = (first + step) % slabs;
            if let Some(place) = claim_in(slab(number), cells) {
                if step > 0 {
                    CURSOR.store(number, Ordering::Relaxed);
                }
                return place;
            }
        }
        grow(chunks);
    }
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
    CURSOR.store(header.number.load(Ordering::Relaxed) as usize, Ordering::Relaxed);
    // What was written before, the zeros, is seen by who takes the cells next.
    header.taken.fetch_and(!run(cell, cells_of(len)), Ordering::Release);
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
    (chunks..CHUNKS_MAX).take((chunks / GROWTH).max(1)).for_each(add);
}

/// Adds a chunk, if there is none of this number.
fn add(number: usize) {
    let chunk = pages::map(CHUNK_LEN);
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
        unsafe { pages::unmap(chunk, CHUNK_LEN) };
    }
    COUNT.fetch_max(number + 1, Ordering::AcqRel);
}

/// All chunks that there are, for whoever locks them again.
pub(crate) fn chunks() -> impl Iterator<Item = (NonNull<u8>, usize)> {
    let count = COUNT.load(Ordering::Acquire);
    CHUNKS[..count].iter().filter_map(|chunk| Some((NonNull::new(chunk.load(Ordering::Acquire))?, CHUNK_LEN)))
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
