//! What most peers never need.

use std::ops::{Deref, DerefMut};

/// A value that has memory of its own from the first change on. Until then it reads as [`Initial::initial`].
pub(crate) struct OnDemand<T>(Option<Box<T>>);

/// A value that is the same for all who have not changed it.
pub(crate) trait Initial: Default + 'static {
    /// That value.
    fn initial() -> &'static Self;
}

impl<T> OnDemand<T> {
    /// A value that is another one.
    pub fn of(value: T) -> Self {
        Self(Some(Box::new(value)))
    }

    /// Whether it was changed, or at least could have been.
    pub const fn is_used(&self) -> bool {
        self.0.is_some()
    }
}

impl<T> Default for OnDemand<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Initial> Deref for OnDemand<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::initial())
    }
}

impl<T: Initial> DerefMut for OnDemand<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

/// Implements [`Initial`] by the default.
macro_rules! initial {
    ($type:ty) => {
        impl $crate::on_demand::Initial for $type {
            fn initial() -> &'static Self {
                static INITIAL: std::sync::LazyLock<$type> = std::sync::LazyLock::new(<$type>::default);
                &INITIAL
            }
        }
    };
}

pub(crate) use initial;

#[cfg(test)]
mod tests {
    use super::*;

    initial!(u64);

    #[test]
    fn only_a_change_takes_memory() {
        let mut value = OnDemand::<u64>::default();
        assert_eq!((*value, value.is_used(), size_of_val(&value)), (0, false, 8));
        *value += 7;
        assert_eq!((*value, value.is_used()), (7, true));
    }
}
