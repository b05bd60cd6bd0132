//! The turn that ends a worker.

use ringfort_core::drops::DropReason;

use super::solo::Solo;
use super::*;
use crate::failure::WorkerError;

/// An operator looks at the counters of a worker that has failed, so they must not end one turn too early.
#[test]
fn a_turn_that_fails_publishes_what_it_has_counted() {
    in_namespace(|| {
        let mut f = Solo::new();
        ip("link del rf0");
        let deadline = Instant::now() + WAIT;
        let mut counted = 0;
        loop {
            assert!(Instant::now() < deadline, "the worker does not notice");
            f.worker.path.count_drop(DropReason::Down, 1);
            counted += 1;
            let result = f.worker.turn();
            assert_eq!(f.stats[0].dropped(DropReason::Down), counted);
            if let Err(error) = result {
                assert!(matches!(error, WorkerError::DeviceGone), "{error}");
                break;
            }
        }
    });
}
