//! What was added to scenarios later, each from a source of its own. So nothing else of a seed depends on it.

use super::Scenario;
use crate::rng::Rng;

/// How many of 256 talks say that there was congestion on their way already.
const CONGESTED: u8 = 24;

/// Adds it.
pub(super) fn add(scenario: &mut Scenario) {
    add_classes(&mut Rng::new(scenario.seed, 6), scenario);
}

/// Talks have a DSCP, and now and then another ECN field.
fn add_classes(rng: &mut Rng, scenario: &mut Scenario) {
    for talk in &mut scenario.talks {
        // Best effort, assured and expedited forwarding, and all bits.
        talk.dscp = rng.pick(&[0, 0, 10, 46, 63]);
        if rng.chance(CONGESTED) {
            talk.ecn = 3;
        }
    }
}
