//! Rates and times in tables.

use std::time::Duration;

use ringfort_traffic::{Percentiles, Route, Size};

use crate::text::{duration, grouped};

/// Packets per second.
pub fn pps(rate: f64) -> String {
    grouped(rate.round() as u64)
}

/// `64`, `IMIX`.
pub fn size(size: Size) -> String {
    match size {
        Size::Fixed { bytes } => bytes.to_string(),
        Size::Imix(_) => "IMIX".to_owned(),
    }
}

/// Which way a leg goes.
pub fn way(route: Route) -> &'static str {
    match route {
        Route::Forward => "there",
        Route::Backward => "back",
        Route::RoundTrip => "there and back",
    }
}

/// p50, p90, p99, p99.9 and the longest; dashes when nothing arrived.
pub fn percentiles(times_ns: Option<Percentiles>) -> [String; 5] {
    let dash = || "–".to_owned();
    let Some(times) = times_ns else { return std::array::from_fn(|_| dash()) };
    [times.p50, times.p90, times.p99, times.p99_9, times.max].map(nanoseconds)
}

/// As people read it.
pub fn nanoseconds(time_ns: u64) -> String {
    duration(Duration::from_nanos(time_ns))
}
