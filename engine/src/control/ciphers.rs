//! Who computes the ciphers: chosen by what they take on the CPUs of the workers.

use core_affinity::CoreId;
use ringfort_aead::{Choice, Selection, SelectionError};

/// How far a thread that measures stands back where others serve (`nice`): for as long as they have work, it gets a
/// tenth of a CPU beside them. The start takes two seconds then, for which nobody waits.
const STANDS_BACK: libc::c_int = 10;

/// Tests and measures on `cpus`, which may name one of them several times. `serves`: another process serves there
/// meanwhile, and is not to be held up.
///
/// # Errors
/// As [`Selection::resolve`].
pub(super) fn choose(selection: Selection, cpus: &[usize], serves: bool) -> Result<Choice, SelectionError> {
    let mut each = cpus.to_vec();
    each.sort_unstable();
    each.dedup();
    selection.resolve_on(each.len(), &|number| settle(each[number], serves))
}

/// The calling thread measures on this CPU. One that cannot be moved still measures something, and the worker of that
/// CPU says what is wrong with it. Anybody may stand back.
fn settle(cpu: usize, serves: bool) {
    let _ = core_affinity::set_for_current(CoreId { id: cpu });
    if serves {
        // SAFETY: nice(2) takes a number. On Linux it is about the calling thread.
        unsafe { libc::nice(STANDS_BACK) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> libc::c_int {
        // SAFETY: getpriority(2) takes numbers. With 0, this is about the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn who_measures_stands_back_where_another_serves_and_only_he_does() {
        let before = niceness();
        for (serves, expected) in [(false, before), (true, (before + STANDS_BACK).min(19))] {
            let settled = std::thread::spawn(move || {
                settle(0, serves);
                niceness()
            });
            assert_eq!(settled.join().unwrap(), expected, "{serves}");
        }
        assert_eq!(niceness(), before);
    }
}
