//! What the operator is told of the test of the kernel's offloads.

use tun_uring::SelfTest;
use tun_uring::self_test::Extent;

/// One warning for each feature that is not used, and how far the test went if that was not all the way.
pub fn report(test: &SelfTest) {
    for failure in &test.failures {
        log::warn!("{failure}");
    }
    match &test.extent {
        extent @ Extent::RoundTrip { .. } => log::debug!("offloads: {extent}"),
        extent => log::info!("offloads: {extent}"),
    }
}
