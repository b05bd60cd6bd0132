//! Copies a pipe or a socket to another on registered memory: bytes are read into slots of the arena, and written from
//! where they lie.
//!
//! ```text
//! seq 1000000 | cargo run --release -p ring-buffers --example copy | sha256sum
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::os::fd::AsFd;

use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, JUMBO_SIZE, Pool, Ring, RingConfig, SlotClass, Tag, View, Wait, Waker,
};

const SLOTS: u16 = 16;
/// Places in the ring's table of files.
const FROM: u32 = 0;
const TO: u32 = 1;
const TAG: Tag = Tag { edge: 0, context: 0 };

fn main() -> Result<(), Box<dyn Error>> {
    copy(&io::stdin(), &io::stdout())
}

/// Copies until the end of `from`. Linux 6.7 and later.
///
/// # Errors
/// The ring, a read or a write fails.
pub fn copy(from: &impl AsFd, to: &impl AsFd) -> Result<(), Box<dyn Error>> {
    let arena = Arena::new(&Budget::new().line("data", SlotClass::Jumbo, SLOTS), Waker::new()?)?;
    let mut ring = Ring::new(RingConfig::default())?;
    ring.register_arena(&arena)?;
    ring.register_files(&[Some(from.as_fd()), Some(to.as_fd())])?;
    let pool = Pool::new(arena);
    let mut group = BufferGroup::register(&mut ring, &pool, 0, SlotClass::Jumbo, SLOTS, JUMBO_SIZE)?;

    let mut waiting: VecDeque<View> = VecDeque::new();
    let mut completions = Vec::new();
    let (mut reads, mut writes, mut is_over) = (false, false, false);
    loop {
        // What was written has dropped its views, so their slots are free for the next reads.
        group.refill();
        if !reads && !is_over && group.in_kernel() > 0 {
            ring.read_multishot(FROM, &group, TAG)?;
            reads = true;
        }
        // One write at a time: they may complete in any order.
        if !writes && let Some(view) = waiting.pop_front() {
            ring.write(TO, view, TAG).map_err(|refused| refused.why)?;
            writes = true;
        }
        if !reads && !writes && is_over {
            return Ok(());
        }
        ring.turn(Wait::UntilCompletion)?;
        ring.reap(64, |completion| completions.push(completion));
        for completion in completions.drain(..) {
            match completion {
                Completion::Read(filled) => {
                    reads = filled.goes_on();
                    match filled.into_view() {
                        Ok(Some(view)) if !view.is_empty() => waiting.push_back(view),
                        Ok(_) => is_over = true,
                        // All slots wait to be written.
                        Err(libc::ENOBUFS) => {}
                        Err(libc::EBADFD) => return Err("only a pipe, a socket or a terminal can be copied".into()),
                        Err(errno) => return Err(io::Error::from_raw_os_error(errno).into()),
                    }
                }
                Completion::Wrote(wrote) => {
                    writes = false;
                    wrote.outcome().map_err(io::Error::from_raw_os_error)?;
                    // What there was no room for comes before all that waits.
                    if let Some(rest) = wrote.into_pieces() {
                        waiting.push_front(rest.first);
                    }
                }
                _ => {}
            }
        }
    }
}
