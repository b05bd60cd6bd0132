//! What was said: when, how loudly, of whom.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};

use crate::plain;

/// Bytes of a line's text. What is longer is cut: no place must refuse it for its length.
const TEXT_LEN_MAX: usize = 8_000;

/// A line of the log.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) text: String,
    /// What it is about, for places that keep that apart from the text: `peer` and its key, for example.
    pub(super) fields: Vec<(String, String)>,
}

impl Line {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut line = Self::now(record.level(), record.args().to_string());
        if record.key_values().count() > 0 {
            // The visitor refuses nothing.
            let _ = record.key_values().visit(&mut Fields(&mut line.fields));
        }
        line
    }

    /// One of our own.
    pub(super) fn now(level: Level, text: String) -> Self {
        // A file's name, or what another process says, must not pass for a line of ours.
        let mut text = plain::line(&text).into_owned();
        cut(&mut text, TEXT_LEN_MAX);
        Self { time: SystemTime::now(), level, text, fields: Vec::new() }
    }

    /// The severities of RFC 3164, which are those of `syslog(3)`, of the journal and of the kernel's log.
    pub(super) fn severity(&self) -> u8 {
        match self.level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
    }

    /// As a file and the standard error have it.
    pub(super) fn dated(&self, interface: &str) -> String {
        format!("{} {:<5} {interface}: {}\n", Timestamp(self.time), self.level, self.text)
    }
}

/// Shortens a text to `len` bytes at most, between two characters.
pub(super) fn cut(text: &mut String, len: usize) {
    text.truncate(text.floor_char_boundary(len));
}

struct Fields<'a>(&'a mut Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

/// A time of day as RFC 3339 writes it, in UTC and with milliseconds. A clock before 1970 reads as 1970.
pub struct Timestamp(pub SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, millis) = (since.as_secs(), since.subsec_millis());
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day from the number of days since 1970, in eras of 400 years that begin on the first of March.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    /// From the first of March of the year 0.
    const DAYS_TO_1970: u64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    // 153 days are five months, from March.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_in_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_001, "2024-03-01T00:00:00.001Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(UNIX_EPOCH + Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = Line::now(Level::Info, "€".repeat(10_000));
        assert_eq!(line.text, "€".repeat(TEXT_LEN_MAX / 3));
    }

    #[test]
    fn a_line_is_one_line_whatever_is_said() {
        let record = Record::builder().args(format_args!("/x\nid; \x1b[2J is set up")).level(Level::Info).build();
        let line = Line::of(&record);
        assert_eq!(line.text, "/x; id; \\u{1b}[2J is set up");
        assert_eq!(line.dated("wg0").lines().count(), 1);
    }

    #[test]
    fn fields_are_kept_beside_the_text() {
        let pairs = [("peer", "xTIB")];
        let mut record = Record::builder();
        record.level(Level::Warn).key_values(&pairs);
        let line = Line::of(&record.args(format_args!("gone")).build());
        assert_eq!(line.fields, [("peer".to_owned(), "xTIB".to_owned())]);
        assert_eq!((line.text.as_str(), line.severity()), ("gone", 4));
    }
}
