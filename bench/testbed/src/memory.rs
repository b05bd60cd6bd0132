//! Looks for secrets in the memory of another process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, read_dir, read_to_string};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Context, Error, Result};

/// A secret is looked for in pieces, so a copy that was overwritten in part is found as well.
const PIECE: usize = 8;
/// Read at once.
const WINDOW: usize = 1 << 20;
/// What the standard library maps for the stack of a thread, in bytes.
const STACK_LEN: usize = 2 << 20;
/// How long a thread may compute without a pause. Its stack cannot be found as long as it does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A secret, under a name for the reader of a failed test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// What it is.
    pub name: String,
    bytes: Vec<u8>,
}

impl Needle {
    /// Of the bytes, a remainder of fewer than eight is not looked for.
    pub fn new(name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Self {
        let (pieces, _) = bytes.as_ref().as_chunks::<PIECE>();
        Self { name: name.into(), bytes: pieces.as_flattened().to_vec() }
    }
}

/// A place where something of a needle is.
#[derive(Clone, Debug)]
pub struct Find {
    /// The needle.
    pub name: String,
    /// Where the whole would begin.
    pub at: usize,
    /// How many bytes are there.
    pub found: usize,
    /// Of how many.
    pub of: usize,
    /// In which mapping.
    pub place: Place,
}

/// A writable mapping of a process.
#[derive(Clone, Debug)]
pub struct Place {
    range: Range<usize>,
    name: String,
    /// Whether it is locked, and left out of core dumps.
    pub is_safe: bool,
    /// Whether it is left out of core dumps at least.
    pub is_left_out: bool,
}

impl Find {
    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.found == self.of
    }
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, at, found, of, place: Place { range, name: place, is_safe, is_left_out } } = self;
        let kind = match (is_safe, is_left_out) {
            (true, _) => "safe",
            (false, true) => "swappable",
            (false, false) => "ordinary",
        };
        let below = range.end - at;
        write!(f, "{found} of {of} bytes of {name} at {at:#x}, {below} bytes below the end of {kind} memory ({place})")
    }
}

/// Where the needles are, or parts of them, in memory that the process can write.
///
/// # Errors
/// The process is gone, or is not ours to look into.
pub fn find(pid: i32, needles: &[Needle]) -> Result<Vec<Find>> {
    let path = format!("/proc/{pid}/mem");
    let memory = File::open(&path).context(&path)?;
    let index = Index::new(needles);
    let mut window = vec![0; WINDOW];
    let mut finds = Vec::new();
    for place in places(pid)? {
        let mut found: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for start in place.range.clone().step_by(WINDOW - PIECE + 1) {
            let len = WINDOW.min(place.range.end - start);
            // What the kernel shares with the process, a ring for instance, cannot always be read.
            let Ok(len) = memory.read_at(&mut window[..len], start as u64) else { break };
            index.search(&window[..len], |offset, needle, piece| {
                let at = (start + offset).wrapping_sub(piece);
                *found.entry((needle, at)).or_default() |= 1 << (piece / PIECE);
            });
        }
        finds.extend(found.into_iter().map(|((needle, at), pieces)| {
            let Needle { name, bytes } = &needles[needle];
            let found = pieces.count_ones() as usize * PIECE;
            Find { name: name.clone(), at, found, of: bytes.len(), place: place.clone() }
        }));
    }
    Ok(finds)
}

/// The stack of a thread, live and dead frames alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack(Range<usize>);

impl Stack {
    /// Whether this find begins in it.
    pub fn has(&self, find: &Find) -> bool {
        self.0.contains(&find.at)
    }
}

/// The stacks of those threads whose names begin like this, but not of the first thread: the kernel maps that one.
///
/// # Errors
/// The process is gone, or is not ours to look into. A thread does nothing but compute for 30 s.
pub fn stacks(pid: i32, names: &str) -> Result<Vec<Stack>> {
    let path = format!("/proc/{pid}/task");
    let places = places(pid)?;
    let mut stacks = Vec::new();
    for task in read_dir(&path).context(&path)?.flatten() {
        let task = task.path();
        // A thread may have ended by now.
        if read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(names)) {
            let pointer = stack_pointer(&task.join("syscall").display().to_string())?;
            let of_thread = |place: &&Place| place.range.contains(&pointer);
            let place = places.iter().find(of_thread).ok_or_else(|| Error::new(format!("{path} has no stack")))?;
            // A page that nobody may touch is below a stack. Above it another mapping may follow, which the kernel
            // shows as one with it.
            let Range { start, end } = place.range;
            stacks.push(Stack(start..end.min(start + STACK_LEN)));
        }
    }
    Ok(stacks)
}

/// Of a thread that sleeps. The kernel says it of no other.
fn stack_pointer(path: &str) -> Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = read_to_string(path).context(path)?;
        // The number of the call, its arguments, the stack pointer, the program counter. Or the word "running".
        let pointer = text.split_whitespace().rev().nth(1).and_then(|word| word.strip_prefix("0x"));
        if let Some(pointer) = pointer.and_then(|digits| usize::from_str_radix(digits, 16).ok()) {
            return Ok(pointer);
        }
        if Instant::now() > deadline {
            return Err(Error::new(format!("{path} has no stack pointer after {PATIENCE:?}: {text}")));
        }
        sleep(Duration::from_millis(1));
    }
}

/// The pieces of all needles, by their first two bytes: most of memory needs no second look.
struct Index {
    by_start: Vec<Vec<(usize, usize)>>,
    pieces: Vec<Vec<u8>>,
}

impl Index {
    fn new(needles: &[Needle]) -> Self {
        let mut by_start = vec![Vec::new(); 1 << 16];
        for (number, needle) in needles.iter().enumerate() {
            for offset in (0..needle.bytes.len()).step_by(PIECE) {
                let piece = &needle.bytes[offset..offset + PIECE];
                by_start[usize::from(u16::from_le_bytes([piece[0], piece[1]]))].push((number, offset));
            }
        }
        Self { by_start, pieces: needles.iter().map(|needle| needle.bytes.clone()).collect() }
    }

    fn search(&self, memory: &[u8], mut found: impl FnMut(usize, usize, usize)) {
        const PAGE: usize = 4096;
        let zeros = [0; PAGE];
        for page in (0..memory.len()).step_by(PAGE) {
            let end = memory.len().min(page + PAGE + PIECE - 1);
            // Most pages were never written to.
            if memory[page..end.min(page + PAGE)] == zeros[..end.min(page + PAGE) - page] {
                continue;
            }
            for offset in page..(page + PAGE).min(end.saturating_sub(PIECE - 1)) {
                let start = u16::from_le_bytes([memory[offset], memory[offset + 1]]);
                for &(needle, piece) in &self.by_start[usize::from(start)] {
                    if memory[offset..offset + PIECE] == self.pieces[needle][piece..piece + PIECE] {
                        found(offset, needle, piece);
                    }
                }
            }
        }
    }
}

/// The writable mappings of a process.
fn places(pid: i32) -> Result<Vec<Place>> {
    let path = format!("/proc/{pid}/smaps");
    let mut places: Vec<Place> = Vec::new();
    for line in read_to_string(&path).context(&path)?.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let has = |wanted| flags.split_whitespace().any(|flag| flag == wanted);
            let place = places.last_mut().ok_or_else(|| Error::new(format!("{path} begins with flags")))?;
            place.is_left_out = has("dd");
            place.is_safe = has("lo") && place.is_left_out;
            if !has("wr") {
                places.pop();
            }
        } else if let Some((range, rest)) = line.split_once(' ')
            && let Some((start, end)) = range.split_once('-')
            && let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
        {
            let name = rest.split_whitespace().nth(4).unwrap_or("anonymous").to_owned();
            places.push(Place { range: start..end, name, is_safe: false, is_left_out: false });
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::mpsc::channel;
    use std::thread::Builder;

    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    /// The process looks into itself. What it looks for is only masked elsewhere in its memory.
    #[test]
    fn copies_and_pieces_are_found() {
        let masked: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(83) ^ 0x31).collect();
        let unmasked = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 0x99).collect::<Vec<u8>>();
        let whole = black_box(unmasked(&masked));
        let mut piece = vec![0; 64];
        piece[13..21].copy_from_slice(&whole[16..24]);
        let finds = find(own_pid(), &[Needle::new("key", &whole)]).unwrap();
        let found_at = |at: usize| finds.iter().find(|find| find.at == at).map(|find| (find.found, find.is_whole()));
        assert_eq!(found_at(whole.as_ptr() as usize), Some((32, true)), "{finds:?}");
        assert_eq!(found_at(black_box(piece).as_ptr() as usize + 13 - 16), Some((8, false)), "{finds:?}");
    }

    /// One copy on the stack of a thread, one in a box of the same thread.
    #[test]
    fn the_stack_of_a_thread_is_told_from_the_heap() {
        let ((tell, told), (end, ended)) = (channel(), channel::<()>());
        let key: [u8; 32] = std::array::from_fn(|i| (i as u8).wrapping_mul(59) ^ 0xa7);
        let thread = Builder::new().name("holds-a-key".to_owned()).spawn(move || {
            let (on_stack, on_heap) = (black_box(key), black_box(Box::new(key)));
            tell.send([on_stack.as_ptr(), on_heap.as_ptr()].map(|at| at as usize)).unwrap();
            let _ = ended.recv();
            black_box((&on_stack, &on_heap));
        });
        let [on_stack, on_heap] = told.recv().unwrap();
        let finds = find(own_pid(), &[Needle::new("key", key)]).unwrap();
        let stacks = stacks(own_pid(), "holds-a-").unwrap();
        drop(end);
        thread.unwrap().join().unwrap();
        let is_on_stack = |at: usize| {
            let find = finds.iter().find(|find| find.at == at).unwrap();
            stacks.iter().filter(|stack| stack.has(find)).count()
        };
        assert_eq!((is_on_stack(on_stack), is_on_stack(on_heap)), (1, 0), "{stacks:x?}, {finds:?}");
    }
}
