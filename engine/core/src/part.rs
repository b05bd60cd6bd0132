//! How one part of a state is written and read. Both are made from one list of fields, so they cannot differ.
//!
//! Integers are little-endian. Nothing is aligned, and nothing has a name: the version says what comes where.

use std::time::Duration;

/// Where the bytes of a state go.
pub(crate) trait Sink {
    /// Takes the next bytes.
    fn put(&mut self, bytes: &[u8]);
}

/// Counts bytes, and keeps none.
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Fills a place from its start on: what is left of it.
pub(crate) struct Fill<'a>(pub(crate) &'a mut [u8]);

impl Sink for Fill<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.0 = rest;
    }
}

/// The bytes make no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What was looked for.
    pub(crate) what: &'static str,
    /// Behind which byte.
    pub(crate) at: usize,
}

/// The bytes of a state that have not been read yet.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next bytes, where they lie: a key is copied from there into its place.
    pub(crate) fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.bad(what))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The same, of known length.
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.bad(what))?;
        self.rest = rest;
        Ok(array)
    }

    /// What was read last is not what it should be.
    pub(crate) const fn bad(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.len - self.rest.len() }
    }
}

/// A part of a state.
pub(crate) trait Part: Sized {
    /// Writes it.
    fn put(&self, to: &mut dyn Sink);

    /// Reads it. Never panics, and allocates no more than there are bytes for.
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// A structure is its fields, in this order. With `..` behind them, the others are not written, and are read as the
/// default has them.
macro_rules! parts {
    ($type:ident { $($field:ident,)* .. }) => {
        impl $crate::part::Part for $type {
            fn put(&self, to: &mut dyn $crate::part::Sink) {
                $($crate::part::Part::put(&self.$field, to);)*
            }

            fn take(
                from: &mut $crate::part::Reader<'_>,
            ) -> Result<Self, $crate::part::Malformed> {
                Ok(Self { $($field: $crate::part::Part::take(from)?,)* ..Self::default() })
            }
        }
    };
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::part::Part for $type {
            fn put(&self, to: &mut dyn $crate::part::Sink) {
                $($crate::part::Part::put(&self.$field, to);)*
            }

            fn take(
                from: &mut $crate::part::Reader<'_>,
            ) -> Result<Self, $crate::part::Malformed> {
                Ok(Self { $($field: $crate::part::Part::take(from)?),* })
            }
        }
    };
}

pub(crate) use parts;

/// A kind is its number, which is its place among all of them.
macro_rules! kinds {
    ($type:ident, $what:literal) => {
        impl $crate::part::Part for $type {
            fn put(&self, to: &mut dyn $crate::part::Sink) {
                $crate::part::Part::put(&(*self as u8), to);
            }

            fn take(from: &mut $crate::part::Reader<'_>) -> Result<Self, $crate::part::Malformed> {
                let number: u8 = $crate::part::Part::take(from)?;
                Self::ALL.get(usize::from(number)).copied().ok_or_else(|| from.bad($what))
            }
        }
    };
}

pub(crate) use kinds;

macro_rules! integers {
    ($($type:ident),*) => { $(
        impl Part for $type {
            fn put(&self, to: &mut dyn Sink) {
                to.put(&self.to_le_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                from.array(stringify!($type)).map(|bytes| Self::from_le_bytes(*bytes))
            }
        }
    )* };
}

integers!(u8, u16, u32, u64, u128);

impl Part for bool {
    fn put(&self, to: &mut dyn Sink) {
        u8::from(*self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.bad("yes or no")),
        }
    }
}

impl Part for Duration {
    fn put(&self, to: &mut dyn Sink) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::take(from).map(Self::from_nanos)
    }
}

impl<T: Part> Part for Option<T> {
    fn put(&self, to: &mut dyn Sink) {
        self.is_some().put(to);
        self.iter().for_each(|value| value.put(to));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Part> Part for Box<T> {
    fn put(&self, to: &mut dyn Sink) {
        (**self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::take(from).map(Self::new)
    }
}

/// Each part has a byte at least, so a list that says to be long, and is not, ends soon.
impl<T: Part> Part for Vec<T> {
    fn put(&self, to: &mut dyn Sink) {
        u32::try_from(self.len()).expect("no list has 2^32 entries").put(to);
        self.iter().for_each(|value| value.put(to));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        (0..u32::take(from)?).map(|_| T::take(from)).collect()
    }
}

impl<T: Part, const N: usize> Part for [T; N] {
    fn put(&self, to: &mut dyn Sink) {
        self.iter().for_each(|value| value.put(to));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let parts: Vec<T> = (0..N).map(|_| T::take(from)).collect::<Result<_, _>>()?;
        parts.try_into().map_err(|_| from.bad("a row"))
    }
}

/// One after the other.
impl<A: Part, B: Part> Part for (A, B) {
    fn put(&self, to: &mut dyn Sink) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::take(from)?, B::take(from)?))
    }
}
