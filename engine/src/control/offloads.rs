//! What the operator is told of the kernel's offloads.

use tun_uring::SelfTest;
use tun_uring::self_test::Extent;
use udp_uring::Segmentation;

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

/// How trains leave, if that is not as they are.
pub fn report_segmentation(segmentation: Segmentation) {
    match segmentation {
        Segmentation::On => {}
        Segmentation::Ragged => log::info!(
            "trains of packets end in a shorter one, by a keepalive if need be (--udp-gso): Linux 7.0.0 to 7.1.4 \
             damages others with some drivers"
        ),
        Segmentation::Off => log::info!("packets leave one by one (--udp-gso off), which costs throughput"),
    }
}
