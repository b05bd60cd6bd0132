//! A fixed table of things in flight, whose keys tell a late answer from a current one.

/// Names an entry of a [`Slab`] from its insertion to its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Index in the table.
    pub index: u16,
    /// How often the entry was used before.
    pub generation: u32,
}

impl Key {
    /// The key as 48 bits, for instance as the context of an operation.
    #[must_use]
    pub const fn encode(self) -> u64 {
        (self.index as u64) << 32 | self.generation as u64
    }

    /// The key that [`Key::encode`] gave; of other bits, one that names nothing or something else of the same slab.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "each part is cut out on purpose")]
    pub const fn decode(bits: u64) -> Self {
        Self { index: (bits >> 32) as u16, generation: bits as u32 }
    }
}

/// A table of things in flight, allocated once.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Box<[Entry<T>]>,
    free: Vec<u16>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// A table with room for `capacity` things.
    #[must_use]
    pub fn new(capacity: u16) -> Self {
        Self {
            entries: (0..capacity).map(|_| Entry { generation: 0, value: None }).collect(),
            free: (0..capacity).rev().collect(),
        }
    }

    /// Puts a thing into the table.
    ///
    /// # Errors
    /// The thing itself when the table is full.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<(Key, &mut T), T> {
        let Some(index) = self.free.pop() else { return Err(value) };
        let entry = &mut self.entries[usize::from(index)];
        Ok((Key { index, generation: entry.generation }, entry.value.insert(value)))
    }

    /// Where the next thing will be put; `None` if the table is full.
    #[inline]
    #[must_use]
    pub fn vacancy(&self) -> Option<u16> {
        self.free.last().copied()
    }

    /// What `key` names, if it is in the table.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(usize::from(key.index))?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// Takes a thing out of the table. `None` if `key` names none: it was taken out before.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(usize::from(key.index))?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Drops a thing in the table. False if `key` names none.
    #[inline]
    pub fn discard(&mut self, key: Key) -> bool {
        let Some(entry) = self.entries.get_mut(usize::from(key.index)) else { return false };
        if entry.generation != key.generation || entry.value.is_none() {
            return false;
        }
        entry.value = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        true
    }

    /// How many things fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// How many things are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether nothing is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_thing_is_taken_out_exactly_once() {
        let mut slab = Slab::new(1);
        let vacancy = slab.vacancy();
        let (first, _) = slab.insert("a").unwrap();
        assert_eq!((vacancy, slab.vacancy()), (Some(first.index), None));
        assert_eq!(slab.insert("b").unwrap_err(), "b");
        assert_eq!(slab.remove(first), Some("a"));
        assert_eq!(slab.remove(first), None);
        let (second, _) = slab.insert("c").unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(slab.remove(first), None, "a late answer does not end its successor");
        assert_eq!(slab.remove(Key { index: 9, generation: 0 }), None);
        assert_eq!(slab.get_mut(second), Some(&mut "c"));
        assert_eq!(slab.remove(second), Some("c"));
        let (third, _) = slab.insert("d").unwrap();
        assert_eq!([second, third, third].map(|key| slab.discard(key)), [false, true, false]);
        assert!(slab.is_empty());
    }

    #[test]
    fn a_key_is_not_one_of_another_use_when_the_generations_begin_again() {
        let mut slab = Slab::new(1);
        slab.entries[0].generation = u32::MAX;
        let (last, _) = slab.insert('a').unwrap();
        assert_eq!(slab.remove(last), Some('a'));
        let (first, _) = slab.insert('b').unwrap();
        assert_eq!((first.generation, slab.remove(last), slab.remove(first)), (0, None, Some('b')));
    }

    proptest! {
        #[test]
        fn a_key_survives_as_bits(index: u16, generation: u32) {
            let key = Key { index, generation };
            prop_assert_eq!(Key::decode(key.encode()), key);
        }
    }
}
