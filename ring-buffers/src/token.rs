//! What travels through the kernel in `user_data` and names the operation when it comes back.

/// Edge, operation, slot of the operation, and the generation that tells a late completion from a current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which edge of the program submitted it; each edge chooses a number of its own.
    pub edge: u8,
    /// Which kind of operation, numbered by the edge.
    pub op: u8,
    /// Which operation in flight (an index into [`crate::Ops`]) or any 16 bits of the edge's.
    pub index: u16,
    /// Counts reuse of `index`, so that a completion after a cancel cannot be taken for its successor's.
    pub generation: u32,
}

impl Token {
    /// The 64 bits for `io_uring_sqe.user_data`.
    #[must_use]
    pub const fn encode(self) -> u64 {
        (self.edge as u64) << 56 | (self.op as u64) << 48 | (self.index as u64) << 32 | self.generation as u64
    }

    /// The parts of `io_uring_cqe.user_data`. Every pattern of bits is a token; whether it names an operation that
    /// is in flight is checked where that is known, by [`crate::Ops::complete`] and [`crate::BufferGroup::take`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "each part is cut out on purpose")]
    pub const fn decode(user_data: u64) -> Self {
        Self {
            edge: (user_data >> 56) as u8,
            op: (user_data >> 48) as u8,
            index: (user_data >> 32) as u16,
            generation: user_data as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_user_data_is_one_token(user_data: u64) {
            prop_assert_eq!(Token::decode(user_data).encode(), user_data);
        }

        #[test]
        fn parts_do_not_run_into_each_other(edge: u8, op: u8, index: u16, generation: u32) {
            let token = Token { edge, op, index, generation };
            prop_assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
