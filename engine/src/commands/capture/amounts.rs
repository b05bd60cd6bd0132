//! Sizes, times and shares as they are given on the command line.

use std::time::Duration;

/// Of a queue, in bytes.
const QUEUE_MIN: u64 = 256 << 10;
const QUEUE_MAX: u64 = 256 << 20;

/// Bytes, with K, M or G for powers of 1,024; 0 for "none".
pub fn size(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    let bytes = ringfort_config::bytes(text).filter(|&bytes| bytes > 0);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| "expected a size, such as 500K, 100M or 2G, or none".to_owned())
}

/// Bytes of a queue.
pub fn queue(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    let bytes = u32::try_from(bytes).ok().filter(|&bytes| (QUEUE_MIN..=QUEUE_MAX).contains(&u64::from(bytes)));
    bytes.ok_or_else(|| "expected a size from 256K to 256M".to_owned())
}

/// Seconds, or with a unit: ms, s, m, h. Zero for "none".
pub fn time(text: &str) -> Result<Duration, String> {
    if text == "none" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = split(text);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit of time: ms, s, m or h")),
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    let millis = millis.filter(|&millis| millis > 0);
    millis.map(Duration::from_millis).ok_or_else(|| "expected a time, such as 30s, 10m or 2h, or none".to_owned())
}

/// One of so many, with or without the "1/".
pub fn sample(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    number.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected 1/N, such as 1/100".to_owned())
}

/// Digits, and what follows them.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("7", 7), ("500K", 500 << 10), ("100M", 100 << 20), ("2g", 2 << 30), ("none", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "M", "-1", "+1", "1.5M", "10X", "99999999999G", "100MB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(queue("4M"), Ok(4 << 20));
        assert!(queue("255K").is_err() && queue("257M").is_err() && queue("none").is_err() && queue("4G").is_err());
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [("5", 5_000), ("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(time("none"), Ok(Duration::ZERO));
        for text in ["", "0", "s", "-1s", "1d", "99999999999999999999h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sample_is_one_of_some() {
        assert_eq!((sample("1/100"), sample("100"), sample("1/1")), (Ok(100), Ok(100), Ok(1)));
        for text in ["0", "1/0", "2/3", "", "1/", "all"] {
            assert!(sample(text).is_err(), "{text}");
        }
    }
}
