//! What peers say to each other has no place in a core dump, wherever it lies.

use crate::RingError;

/// Leaves memory outside of an arena out of core dumps, with whatever else is in its pages. The allocator may give them
/// to somebody else later, and they are still left out.
///
/// # Errors
/// [`RingError::Dumped`]: a filter of system calls is in the way.
#[cfg(not(miri))]
pub fn leave_out_of_dumps(memory: &mut [u8]) -> Result<(), RingError> {
    if memory.is_empty() {
        return Ok(());
    }
    // SAFETY: takes no pointer.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page has a size");
    let range = memory.as_mut_ptr_range();
    let offset = range.start.addr() % page;
    let len = (range.end.addr() - range.start.addr() + offset).next_multiple_of(page);
    // SAFETY: in each of these pages some of `memory` is, so they are mapped. The advice changes no content.
    let result = unsafe { libc::madvise(range.start.wrapping_sub(offset).cast(), len, libc::MADV_DONTDUMP) };
    if result == 0 { Ok(()) } else { Err(RingError::Dumped(std::io::Error::last_os_error())) }
}

/// Miri leaves no dumps, and knows no advice.
///
/// # Errors
/// None.
#[cfg(miri)]
pub fn leave_out_of_dumps(_: &mut [u8]) -> Result<(), RingError> {
    Ok(())
}

/// An empty vector that is left out of core dumps, with room for so many bytes. If it grows beyond them, it is not.
///
/// # Errors
/// As [`leave_out_of_dumps`].
pub fn left_out_of_dumps(capacity: usize) -> Result<Vec<u8>, RingError> {
    let mut bytes = vec![0; capacity];
    leave_out_of_dumps(&mut bytes)?;
    bytes.clear();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Of the mapping that has this address.
    fn is_left_out(address: usize) -> bool {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let range = |line: &str| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        };
        let behind = maps.lines().skip_while(|line| !range(line).is_some_and(|range| range.contains(&address)));
        let flags = behind.into_iter().find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
        flags.split_whitespace().any(|flag| flag == "dd")
    }

    #[test]
    #[cfg_attr(miri, ignore = "it leaves no dumps")]
    fn each_byte_is_left_out() {
        let bytes = left_out_of_dumps(100_000).unwrap();
        assert!(bytes.is_empty() && bytes.capacity() >= 100_000);
        let start = bytes.as_ptr().addr();
        assert!(is_left_out(start) && is_left_out(start + 99_999));
        left_out_of_dumps(0).unwrap();
        let other = vec![1_u8; 1 << 20];
        assert!(!is_left_out(other.as_ptr().addr() + (1 << 19)));
    }
}
