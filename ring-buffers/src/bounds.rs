//! What these types must not be able to do, or the counts of slots were wrong: the compiler says so here, whoever
//! changes what they are made of.

use crate::{BufferGroup, Completion, Doorbell, Parcel, Pool, Ring, View};

/// Does not compile if the type has one of these traits: then both impls of `Lacks` hold, and it is not known which is
/// meant.
macro_rules! lacks {
    ($($type:ty: $($trait:path),+;)+) => {
        $($(const _: () = {
            trait Lacks<Which> {
                const IT: () = ();
            }
            impl<T: ?Sized> Lacks<()> for T {}
            #[allow(dead_code, reason = "it exists to be in the way")]
            struct HasIt;
            impl<T: ?Sized + $trait> Lacks<HasIt> for T {}
            <$type as Lacks<_>>::IT
        };)+)+
    };
}

lacks! {
    // One thread counts who shares a slot, without asking others.
    View: Send, Sync, Clone, Copy;
    Pool: Send, Sync;
    // One thread enters a ring, and its operations hold views.
    Ring: Send, Sync, Clone;
    BufferGroup: Send, Sync, Clone;
    // A completion gives its slot back once.
    Completion: Send, Sync, Clone, Copy;
    // Whoever has it may make a view of it: one, at one place.
    Parcel: Sync, Clone;
    // It knows whether its read is in flight.
    Doorbell: Clone;
}
