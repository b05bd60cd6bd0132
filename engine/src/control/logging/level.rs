//! Levels by their names, as `--log-level`, `LOG_LEVEL` and the control socket have them.

use log::LevelFilter;
use ringfort_config::LogLevel;

/// A level by its name. Those of wireguard-go are among them.
#[must_use]
pub fn parse_level(name: &str) -> Option<LevelFilter> {
    name.parse().ok().map(|LogLevel(level)| level)
}

/// The name of a level.
#[must_use]
pub const fn level_name(level: LevelFilter) -> &'static str {
    LogLevel(level).name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for level in LevelFilter::iter() {
            assert_eq!(parse_level(level_name(level)), Some(level));
        }
        assert_eq!(parse_level("verbose"), Some(LevelFilter::Debug), "wireguard-go's word");
        assert_eq!(parse_level("loud"), None);
    }
}
