//! Which program this is.

/// The version, with the commit that it was built from if whoever built it says so: `scripts/package` does.
pub const VERSION: &str = match option_env!("RINGFORT_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
