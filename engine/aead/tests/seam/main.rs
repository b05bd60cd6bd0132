//! The seam as its callers see it, for every provider.

mod agreement;
mod choosing;
mod common;
mod forgeries;
mod refusals;
#[cfg(target_os = "linux")]
mod wiping;
