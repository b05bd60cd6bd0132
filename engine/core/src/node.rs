//! Several gateways with one key behind one address, and whose a receiver index is.
//!
//! Each of them chooses indices whose top bits are its number. So whatever stands in front of them finds the owner of a
//! message without any state: data, responses and cookie replies carry the receiver's index. Only initiations do not,
//! and any of the gateways may answer these.
//!
//! ```text
//!   bit 31        24                8         0
//!       [ node  │ random ......... │ worker  ]      node: 1 to 8 bits
//! ```

use std::fmt;
use std::str::FromStr;

use crate::constants::{FORMER_SESSIONS, PEERS_MAX};
use crate::drops::DropReason;

/// The number of a gateway among several, and how many bits of an index say so. By default there is one gateway, and
/// no bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    number: u8,
    bits: u8,
}

/// The most bits of a node: one byte, since the lowest one names the worker and what is between must stay random.
pub const NODE_BITS_MAX: u8 = 8;

/// Indices that a peer may have at one time: of a handshake, and of its sessions. These are the next one, the current
/// one, the one that it replaces, and those of before that are still heard.
const INDICES_OF_A_PEER: u64 = 4 + FORMER_SESSIONS as u64;

const _: () = assert!(
    PEERS_MAX as u64 * INDICES_OF_A_PEER <= (1_u64 << (32 - NODE_BITS_MAX)) / 2,
    "every other index is free at least, so a random one soon is"
);

/// Why there is no such node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The text is not of that form.
    #[error("expected NUMBER/BITS, as in 2/4: the number of this gateway, and how many top bits of an index have it")]
    Form,
    /// No bit, or too many.
    #[error("BITS is a number from 1 to {NODE_BITS_MAX}: the rest of an index must stay random")]
    Bits,
    /// The number is too large for the bits.
    #[error("BITS {bits} has room for the numbers 0 to {}, not for {number}", (1_u32 << bits) - 1)]
    Number {
        /// The number.
        number: u32,
        /// The bits.
        bits: u8,
    },
}

impl Node {
    /// There is one gateway.
    pub const SINGLE: Self = Self { number: 0, bits: 0 };

    /// The gateway with this number, which the top `bits` of its indices have.
    ///
    /// # Errors
    /// [`NodeError`].
    pub const fn new(number: u32, bits: u8) -> Result<Self, NodeError> {
        if bits == 0 || bits > NODE_BITS_MAX {
            return Err(NodeError::Bits);
        }
        if number >= 1 << bits {
            return Err(NodeError::Number { number, bits });
        }
        Ok(Self { number: number as u8, bits })
    }

    /// Whether there is one gateway, and no bit.
    pub const fn is_single(self) -> bool {
        self.bits == 0
    }

    /// Its number, from 0.
    pub const fn number(self) -> u8 {
        self.number
    }

    /// How many of the top bits of an index say so.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The bits of an index that have the number.
    pub const fn mask(self) -> u32 {
        (((1_u32 << self.bits) - 1) << 24) << (NODE_BITS_MAX - self.bits)
    }

    /// What these are in its own indices.
    pub const fn value(self) -> u32 {
        ((self.number as u32) << 24) << (NODE_BITS_MAX - self.bits)
    }

    /// The index of its own that is nearest to `random`.
    #[must_use]
    pub const fn own(self, random: u32) -> u32 {
        random & !self.mask() | self.value()
    }

    /// Whether an index may be one of its own. Without a bit all are.
    pub const fn owns(self, index: u32) -> bool {
        index & self.mask() == self.value()
    }

    /// Why a message is dropped whose receiver index nobody has here.
    #[must_use]
    pub const fn unknown(self, index: u32) -> DropReason {
        if self.owns(index) { DropReason::UnknownIndex } else { DropReason::OtherNode }
    }

    /// How many indices it has, those in use included.
    pub const fn indices(self) -> u64 {
        1 << (32 - self.bits)
    }
}

impl FromStr for Node {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        let (number, bits) = text.split_once('/').ok_or(NodeError::Form)?;
        // A number may have a sign elsewhere.
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(number) || !is_number(bits) {
            return Err(NodeError::Form);
        }
        Self::new(number.parse().map_err(|_| NodeError::Form)?, bits.parse().map_err(|_| NodeError::Bits)?)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_bits_of_its_indices_are_its_number() {
        for bits in 1..=NODE_BITS_MAX {
            for number in 0..1 << bits {
                let node = Node::new(number, bits).unwrap();
                for random in [0, 0x1234_5678, u32::MAX] {
                    let index = node.own(random);
                    assert_eq!(index >> (32 - bits), number, "{node}");
                    assert_eq!(index << bits, random << bits, "{node}: the rest stays random");
                    assert!(node.owns(index));
                    assert!(!node.owns(index ^ 1 << 31) && !node.owns(index ^ 1 << (32 - bits)), "{node}");
                    assert!(node.owns(index ^ 1 << (31 - bits)), "{node}");
                }
            }
        }
    }

    #[test]
    fn who_is_alone_owns_all_and_changes_none() {
        for index in [0, 0x8000_0000, u32::MAX] {
            assert_eq!((Node::SINGLE.own(index), Node::SINGLE.owns(index)), (index, true));
            assert_eq!(Node::SINGLE.unknown(index), DropReason::UnknownIndex);
        }
        assert_eq!((Node::SINGLE.indices(), Node::default()), (1 << 32, Node::SINGLE));
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["0/1", "1/1", "3/2", "255/8"] {
            assert_eq!(text.parse::<Node>().unwrap().to_string(), text);
        }
        let errors = [
            ("", NodeError::Form),
            ("2", NodeError::Form),
            ("+1/2", NodeError::Form),
            ("/2", NodeError::Form),
            ("1/", NodeError::Bits),
            ("0/0", NodeError::Bits),
            ("0/9", NodeError::Bits),
            ("0/300", NodeError::Bits),
            ("2/1", NodeError::Number { number: 2, bits: 1 }),
            ("256/8", NodeError::Number { number: 256, bits: 8 }),
        ];
        for (text, error) in errors {
            assert_eq!(text.parse::<Node>(), Err(error), "{text}");
        }
        assert_eq!(
            NodeError::Number { number: 4, bits: 2 }.to_string(),
            "BITS 2 has room for the numbers 0 to 3, not for 4"
        );
    }
}
