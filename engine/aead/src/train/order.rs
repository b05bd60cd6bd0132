//! The order in which the messages of a batch are worked on.

use arrayvec::ArrayVec;

use crate::{Message, SEGMENT_LEN_MAX, SEGMENTS_MAX};

// A place in a batch is a byte, and a length two.
const _: () = assert!(SEGMENTS_MAX <= 1 << 8 && SEGMENT_LEN_MAX < 1 << 16);

/// The order in which they were given.
const AS_GIVEN: [u8; SEGMENTS_MAX] = {
    let mut places = [0; SEGMENTS_MAX];
    let mut place = 0;
    while place < SEGMENTS_MAX {
        places[place] = place as u8;
        place += 1;
    }
    places
};

/// Long messages first: a group of Poly1305 takes as many steps as its longest message, so those of like length
/// belong together. Lengths are no secret.
#[derive(Clone, Copy)]
pub(in crate::train) struct Order([u8; SEGMENTS_MAX]);

impl Order {
    /// The order for these messages. A train is in that order already.
    pub(in crate::train) fn of(messages: &[Message<'_>]) -> Self {
        let mut order = Self(AS_GIVEN);
        if !messages.is_sorted_by(|a, b| a.text().len() >= b.text().len()) {
            order.sort(messages);
        }
        order
    }

    #[cold]
    #[inline(never)]
    fn sort(&mut self, messages: &[Message<'_>]) {
        // By what is missing from the greatest length, then by place.
        let key =
            |(place, message): (usize, &Message<'_>)| ((SEGMENT_LEN_MAX - message.text().len()) << 8 | place) as u32;
        let mut keys: ArrayVec<u32, SEGMENTS_MAX> = messages.iter().enumerate().map(key).collect();
        keys.sort_unstable();
        for (place, key) in self.0.iter_mut().zip(keys) {
            *place = key as u8;
        }
    }

    /// Puts what is in the order of the messages into this one.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(in crate::train) fn arrange<T: Copy>(&self, items: &mut ArrayVec<T, SEGMENTS_MAX>) {
        if self.0 != AS_GIVEN {
            self.move_all(items);
        }
    }

    #[cold]
    #[inline(never)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    fn move_all<T: Copy>(&self, items: &mut ArrayVec<T, SEGMENTS_MAX>) {
        let given = items.clone();
        for (place, item) in items.iter_mut().enumerate() {
            *item = given[self.at(place)];
        }
    }

    /// Which message, by its place in the batch, comes at this place in the order.
    #[inline(always)]
    pub(in crate::train) fn at(&self, place: usize) -> usize {
        self.0[place].into()
    }
}
