//! The two text formats that Prometheus reads, from one description of the metrics.
//!
//! OpenMetrics 1.0 and the format before it (0.0.4) differ in how a family of counters is named, in the type of
//! information, in units and in the end mark. Prometheus asks for the first. `promtool check metrics`, and collectors
//! that do not ask, read only the second. The `prometheus-client` crate writes the first alone, and from a registry of
//! counters that it owns; ours belong to the threads that count. So the writer is here: names, labels and numbers.

use std::fmt::{self, Write as _};

use super::families::{About, PREFIX, Type};

/// Which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Classic,
}

impl Format {
    /// What the answer's `Content-Type` says.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Labels of a sample, besides the one that all have.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A number as both formats write it.
pub trait Value: fmt::Display {}
impl Value for u64 {}
impl Value for f64 {}

/// A text under construction.
#[derive(Debug)]
pub struct Text {
    out: String,
    format: Format,
    /// The label that every sample has, ready to be written.
    common: String,
}

impl Text {
    /// Empty. Every sample has the label `interface`.
    pub fn new(format: Format, interface: &str) -> Self {
        let mut common = String::from("interface=\"");
        escape(&mut common, interface, true);
        common.push('"');
        Self { out: String::new(), format, common }
    }

    /// Room for so many bytes more, if it is known.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Begins a family.
    pub fn family(&mut self, about: &About) -> Family<'_> {
        let &About { name, ty, help, .. } = about;
        let is_classic = self.format == Format::Classic;
        let suffix = ty.suffix();
        let type_name = if ty == Type::Info && is_classic { Type::Gauge.name() } else { ty.name() };
        let family_suffix = if is_classic { suffix } else { "" };
        let out = &mut self.out;
        // Writing to a string cannot fail.
        let _ = write!(out, "# HELP {PREFIX}{name}{family_suffix} ");
        escape(out, help.trim(), false);
        let _ = writeln!(out, "\n# TYPE {PREFIX}{name}{family_suffix} {type_name}");
        let unit = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(unit));
        if let Some(unit) = unit.filter(|_| !is_classic) {
            let _ = writeln!(out, "# UNIT {PREFIX}{name} {unit}");
        }
        Family { text: self, name, suffix }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut Text,
    name: &'static str,
    suffix: &'static str,
}

impl Family<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Value) {
        self.line(self.suffix, labels, None, value);
    }

    /// Adds a histogram: the longest value that each bucket takes and how many it holds, in order, then how many are
    /// longer, and the sum of all values.
    pub fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (f64, u64)>,
        longer: u64,
        sum: impl Value,
    ) {
        let mut count = 0;
        for (longest, n) in buckets {
            count += n;
            self.line("_bucket", labels, Some(longest), count);
        }
        count += longer;
        self.line("_bucket", labels, Some(f64::INFINITY), count);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bucket: Option<f64>, value: impl Value) {
        let Text { out, common, .. } = &mut *self.text;
        for part in [PREFIX, self.name, suffix, "{", common] {
            out.push_str(part);
        }
        for &(name, value) in labels {
            out.push(',');
            out.push_str(name);
            out.push_str("=\"");
            escape(out, value, true);
            out.push('"');
        }
        let _ = match bucket {
            None => writeln!(out, "}} {value}"),
            Some(f64::INFINITY) => writeln!(out, ",le=\"+Inf\"}} {value}"),
            // With a point also in whole numbers, as OpenMetrics asks.
            Some(longest) => writeln!(out, ",le=\"{longest:?}\"}} {value}"),
        };
    }
}

/// Appends a text as both formats write it: in quotes, or as the rest of a line.
fn escape(out: &mut String, text: &str, is_quoted: bool) {
    if !text.contains(['\\', '\n', '"']) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if is_quoted => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut text = Text::new(format, "wg\"0");
        let about = |name, ty, help| About { name, ty, labels: &[], help };
        let read = about("tun_read_bytes", Type::Counter, " Bytes \\ read.\n");
        text.family(&read).sample(&[("worker", "0")], 7_u64);
        text.family(&about("build", Type::Info, "Which.")).sample(&[("version", "1.0")], 1_u64);
        let mut family = text.family(&about("took_seconds", Type::Histogram, "How long."));
        family.histogram(&[], [(0.5, 2), (1.0, 3)].into_iter(), 1, 4.25);
        text.finish()
    }

    #[test]
    fn openmetrics_as_its_specification_writes_it() {
        let expected = r#"# HELP ringfort_tun_read_bytes Bytes \\ read.
# TYPE ringfort_tun_read_bytes counter
# UNIT ringfort_tun_read_bytes bytes
ringfort_tun_read_bytes_total{interface="wg\"0",worker="0"} 7
# HELP ringfort_build Which.
# TYPE ringfort_build info
ringfort_build_info{interface="wg\"0",version="1.0"} 1
# HELP ringfort_took_seconds How long.
# TYPE ringfort_took_seconds histogram
# UNIT ringfort_took_seconds seconds
ringfort_took_seconds_bucket{interface="wg\"0",le="0.5"} 2
ringfort_took_seconds_bucket{interface="wg\"0",le="1.0"} 5
ringfort_took_seconds_bucket{interface="wg\"0",le="+Inf"} 6
ringfort_took_seconds_sum{interface="wg\"0"} 4.25
ringfort_took_seconds_count{interface="wg\"0"} 6
# EOF
"#;
        assert_eq!(written(Format::OpenMetrics), expected);
    }

    #[test]
    fn the_format_before_it_names_families_by_their_samples() {
        let text = written(Format::Classic);
        for line in ["# TYPE ringfort_tun_read_bytes_total counter", "# TYPE ringfort_build_info gauge"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }
}
