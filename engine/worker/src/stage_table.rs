//! What the stopwatch of a worker has found, for whoever asks.

use ringfort_path::Stage;

use super::histogram::Histogram;

/// One worker's stages.
#[derive(Debug, Default)]
pub struct StageTable {
    /// The core that the worker runs on.
    pub core: usize,
    /// One of so many turns is measured, on average.
    pub every: u32,
    histograms: [Histogram; Stage::ALL.len()],
}

impl StageTable {
    /// An empty one, for the worker on `core` that measures one of `every` turns.
    #[must_use]
    pub fn new(core: usize, every: u32) -> Self {
        Self { core, every, ..Self::default() }
    }

    /// How long a stage took each time.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Histogram {
        &self.histograms[stage as usize]
    }
}
