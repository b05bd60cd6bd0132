//! Who computes the ciphers: chosen by what they take on the CPUs of the workers.

use core_affinity::CoreId;
use ringfort_aead::{Choice, Selection, SelectionError};

/// Tests and measures on `cpus`, which may name one of them several times.
///
/// # Errors
/// As [`Selection::resolve`].
pub(super) fn choose(selection: Selection, cpus: &[usize]) -> Result<Choice, SelectionError> {
    let mut each = cpus.to_vec();
    each.sort_unstable();
    each.dedup();
    // One that cannot be moved still measures something, and the worker of that CPU says what is wrong with it.
    selection.resolve_on(each.len(), &|number| _ = core_affinity::set_for_current(CoreId { id: each[number] }))
}
