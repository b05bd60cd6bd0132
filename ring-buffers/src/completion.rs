//! What came back from the kernel: an operation that ended, or the next part of one that goes on.
//!
//! A completion is a value with an owner. Only a ring makes one, and nobody can copy one. The kernel is done with what
//! it holds. Dropped, it lets its slots go home.

use crate::view::View;

/// What an operation is called by whoever began it. It comes back with each of its completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Which part of the program began it; each has a number of its own.
    pub edge: u8,
    /// Means nothing here.
    pub context: u64,
}

/// What came back, by the kind of operation.
#[derive(Debug)]
#[must_use = "it may hold buffers, and its owner waits for it"]
pub enum Completion {
    /// A read from a file filled a buffer, or ended.
    Read(Filled),
    /// A receive from a socket filled a buffer, or ended.
    Received(Filled),
    /// Something can be read, or nobody looks any more.
    Polled(Polled),
    /// A write ended.
    Wrote(Wrote),
    /// A send ended.
    Sent(Sent),
    /// A doorbell was rung.
    Rang(Rang),
}

impl Completion {
    /// What the operation is called.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        match self {
            Self::Read(filled) | Self::Received(filled) => filled.tag,
            Self::Polled(polled) => polled.tag,
            Self::Wrote(wrote) => wrote.tag,
            Self::Sent(sent) => sent.tag,
            Self::Rang(rang) => rang.tag,
        }
    }

    /// Which part of the program began it.
    #[must_use]
    pub const fn edge(&self) -> u8 {
        self.tag().edge
    }
}

/// A completion of a multishot operation on a [`crate::BufferGroup`].
#[derive(Debug)]
#[must_use = "it may hold a buffer"]
pub struct Filled {
    pub(crate) view: Option<View>,
    pub(crate) tag: Tag,
    pub(crate) result: i32,
    pub(crate) goes_on: bool,
}

impl Filled {
    /// The buffer, as a view of the bytes that were filled. `None`: there was nothing to read, as at the end of a file.
    ///
    /// # Errors
    /// The `errno` that the operation ended with. `EPROTO` if the kernel named a buffer that it did not have.
    #[inline]
    pub fn into_view(self) -> Result<Option<View>, i32> {
        if self.result < 0 { Err(-self.result) } else { Ok(self.view) }
    }
}

/// A completion of a multishot poll.
#[derive(Debug)]
pub struct Polled {
    pub(crate) tag: Tag,
    pub(crate) result: i32,
    pub(crate) goes_on: bool,
}

impl Polled {
    /// That something can be read, or that a read will say what is wrong.
    ///
    /// # Errors
    /// The `errno` that the operation ended with.
    pub fn outcome(&self) -> Result<(), i32> {
        if self.result < 0 { Err(-self.result) } else { Ok(()) }
    }
}

/// A write that ended. If it was carried out, its views have gone home.
#[derive(Debug)]
#[must_use = "it may hold buffers"]
pub struct Wrote {
    pub(crate) returned: Option<Box<Returned>>,
    pub(crate) tag: Tag,
    pub(crate) result: i32,
    pub(crate) is_gathered: bool,
}

/// The pieces of a write that failed; a lone write has one.
#[derive(Debug)]
pub struct Returned {
    /// The first piece.
    pub first: View,
    /// The others, in order.
    pub rest: Vec<View>,
}

impl Wrote {
    /// Whether it was written by [`crate::Ring::write_gathered`].
    #[must_use]
    pub const fn is_gathered(&self) -> bool {
        self.is_gathered
    }

    /// How many bytes were written.
    ///
    /// # Errors
    /// The `errno` that the operation ended with.
    pub fn outcome(&self) -> Result<usize, i32> {
        usize::try_from(self.result).map_err(|_| -self.result)
    }

    /// What was not written: all of it after an error, and of a lone write the rest if there was room for a part only.
    /// `None` if the write was carried out, or was from static memory.
    #[must_use]
    pub fn into_pieces(self) -> Option<Returned> {
        self.returned.map(|returned| *returned)
    }
}

/// A send that ended.
#[derive(Debug)]
#[must_use = "it holds a buffer"]
pub struct Sent {
    pub(crate) view: View,
    pub(crate) tag: Tag,
    pub(crate) result: i32,
}

impl Sent {
    /// How many bytes were sent.
    ///
    /// # Errors
    /// The `errno` that the operation ended with.
    pub fn outcome(&self) -> Result<usize, i32> {
        usize::try_from(self.result).map_err(|_| -self.result)
    }

    /// The bytes that were to be sent.
    #[must_use]
    pub fn into_view(self) -> View {
        self.view
    }
}

/// A doorbell was rung, or its read ended otherwise.
#[derive(Debug)]
pub struct Rang {
    pub(crate) tag: Tag,
    pub(crate) result: i32,
}

impl Rang {
    /// Whether the bell was rung.
    ///
    /// # Errors
    /// The `errno` with which its read ended.
    pub const fn outcome(&self) -> Result<(), i32> {
        if self.result < 0 { Err(-self.result) } else { Ok(()) }
    }
}

/// Completions of one kind know what their operation is called.
macro_rules! tagged {
    ($($kind:ident),*) => {
        $(impl $kind {
            /// What the operation is called.
            #[must_use]
            pub const fn tag(&self) -> Tag {
                self.tag
            }
        })*
    };
}

/// Those of a multishot operation know whether it has ended.
macro_rules! multishot {
    ($($kind:ident),*) => {
        $(impl $kind {
            /// Whether the operation goes on and completes again.
            #[must_use]
            pub const fn goes_on(&self) -> bool {
                self.goes_on
            }
        })*
    };
}

tagged!(Filled, Polled, Wrote, Sent, Rang);
multishot!(Filled, Polled);

const _: () = assert!(size_of::<Completion>() <= 80, "completions are moved for every packet");
