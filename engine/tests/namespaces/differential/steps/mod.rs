//! What is played to each implementation, in chapters.

mod changes;
mod handshakes;
mod inner;
mod malformed;
mod roaming;
mod sending;
mod transport;

use super::stage::Stage;

/// One scene. It begins with nobody but the witnesses, and tells in words what happened. Nothing in them differs from
/// run to run.
pub struct Step {
    pub name: &'static str,
    pub run: fn(&mut Stage) -> String,
}

/// All of them, in the order in which they are played.
pub fn all() -> impl Iterator<Item = &'static Step> {
    let chapters = [
        malformed::STEPS,
        handshakes::STEPS,
        transport::STEPS,
        inner::STEPS,
        sending::STEPS,
        roaming::STEPS,
        changes::STEPS,
    ];
    chapters.into_iter().flatten()
}
