//! What makes passes: the state, the lanes and what is hashed beside them. Large, so it stays where it is made.

use core::cell::Cell;

use arrayvec::ArrayVec;

use super::Avx2;
use super::pass::{BLOCK, Inputs, LANES, Lane, Segments, State, make};

/// A block for each lane.
pub(super) type Blocks = [[Cell<u8>; BLOCK]; LANES];

/// A plan that is filled anew for each pass.
pub(super) struct Machine<'b> {
    avx2: Avx2,
    state: State,
    /// Where one-time keys arrive, and what is made for nobody.
    pub(super) keys: &'b Blocks,
    pub(super) lanes: Lanes<'b>,
    pub(super) segments: Segments<'b>,
}

/// What the lanes of a pass are for.
pub(super) struct Lanes<'b> {
    pub(super) lanes: [Lane<'b>; LANES],
    pub(super) inputs: Inputs,
    pub(super) runs: ArrayVec<Run, LANES>,
    /// How many have a block of some message.
    pub(super) count: usize,
}

/// Consecutive blocks of one message in the lanes of a pass.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) message: usize,
    pub(super) first_block: usize,
    pub(super) lane: usize,
}

impl<'b> Machine<'b> {
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn new(avx2: Avx2, key: &[u32; 8], keys: &'b Blocks) -> Self {
        let lanes = [Lane::key_stream(&keys[0]); LANES];
        let lanes = Lanes { lanes, inputs: Inputs::new(), runs: ArrayVec::new(), count: 0 };
        Self { avx2, state: State::new(key), keys, lanes, segments: Segments::new() }
    }

    /// Makes the pass that was planned.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn make(&mut self) {
        self.state.set_inputs(self.lanes.inputs);
        make(self.avx2, &self.state, &self.lanes.lanes, &mut self.segments);
    }
}
