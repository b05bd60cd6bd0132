//! Operations in flight: a fixed table whose entries do not move while the kernel looks at them.

/// Names an entry of [`Ops`] for the time of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId {
    /// Index in the table.
    pub index: u16,
    /// How often the entry was used before.
    pub generation: u32,
}

/// A table of operations in flight, allocated once. An entry keeps its address from [`Ops::insert`] to
/// [`Ops::complete`], so that a `msghdr` in it can be given to the kernel; it owns what it lends (see [`crate::Lent`]).
#[derive(Debug)]
pub struct Ops<T> {
    entries: Box<[Entry<T>]>,
    free: Vec<u16>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    op: Option<T>,
}

impl<T> Ops<T> {
    /// A table of `capacity` operations.
    #[must_use]
    pub fn new(capacity: u16) -> Self {
        Self {
            entries: (0..capacity).map(|_| Entry { generation: 0, op: None }).collect(),
            free: (0..capacity).rev().collect(),
        }
    }

    /// Puts an operation into the table.
    ///
    /// # Errors
    /// The operation itself when the table is full.
    pub fn insert(&mut self, op: T) -> Result<(OpId, &mut T), T> {
        let Some(index) = self.free.pop() else {
            return Err(op);
        };
        let entry = &mut self.entries[usize::from(index)];
        Ok((OpId { index, generation: entry.generation }, entry.op.insert(op)))
    }

    /// The operation that `id` names, if it is in flight.
    pub fn get_mut(&mut self, id: OpId) -> Option<&mut T> {
        let entry = self.entries.get_mut(usize::from(id.index))?;
        if entry.generation == id.generation { entry.op.as_mut() } else { None }
    }

    /// Takes the operation out of the table at its final completion. `None` if `id` names none that is in flight:
    /// a completion that came twice, or late.
    pub fn complete(&mut self, id: OpId) -> Option<T> {
        let entry = self.entries.get_mut(usize::from(id.index))?;
        if entry.generation != id.generation {
            return None;
        }
        let op = entry.op.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(op)
    }

    /// How many operations fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// How many are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_completes_exactly_once() {
        let mut ops = Ops::new(1);
        let (first, _) = ops.insert("a").unwrap();
        assert_eq!(ops.insert("b").unwrap_err(), "b");
        assert_eq!(ops.complete(first), Some("a"));
        assert_eq!(ops.complete(first), None);
        let (second, _) = ops.insert("c").unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(ops.complete(first), None, "a late completion does not end its successor");
        assert_eq!(ops.complete(OpId { index: 9, generation: 0 }), None);
        assert_eq!(ops.complete(second), Some("c"));
        assert_eq!(ops.in_flight(), 0);
    }

    #[test]
    fn entries_keep_their_address() {
        let mut ops = Ops::new(2);
        let (id, op) = ops.insert(1u64).unwrap();
        let address = &raw const *op;
        ops.insert(2).unwrap();
        assert_eq!(&raw const *ops.get_mut(id).unwrap(), address);
    }
}
