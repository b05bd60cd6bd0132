//! Numbers as they fit into a column.

/// A number with three digits and a prefix of SI, in five characters at the most: `0`, `17`, `1.23k`, `456M`.
pub fn si(value: f64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    if !value.is_finite() || value < 0.5 {
        return "0".to_owned();
    }
    let mut value = value;
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    let digits = match () {
        () if prefix == 0 || value >= 99.95 => 0,
        () if value >= 9.995 => 1,
        () => 2,
    };
    format!("{value:.digits$}{}", PREFIXES[prefix])
}

/// A number below a hundred with one digit behind the point, as for the length of trains.
pub fn mean(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 99.95 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// A share as percents.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

/// A duration in its two largest units.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days}d {hours}h"),
        () if hours > 0 => format!("{hours}h {minutes}m"),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// A short duration, as that of a handshake.
pub fn short(seconds: f64) -> String {
    match () {
        () if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        () if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        () => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0"),
            (1.0, "1"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1_234.0, "1.23k"),
            (12_345.0, "12.3k"),
            (99_960.0, "100k"),
            (1.5e9, "1.50G"),
            (9.999e6, "10.0M"),
            (f64::NAN, "0"),
            (1e20, "100E"),
        ] {
            assert_eq!(si(value), text, "{value}");
            assert!(si(value).len() <= 5);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(5.9, "5s"), (65.0, "1m 5s"), (3_700.0, "1h 1m"), (90_000.0, "1d 1h")] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!([short(0.00025), short(0.0123), short(5.04)], ["250 µs", "12.3 ms", "5.0 s"]);
        assert_eq!([percent(Some(0.995)), percent(None), mean(Some(44.04))], ["100%", "-", "44.0"]);
    }
}
