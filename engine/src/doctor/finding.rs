//! What an examination finds.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing, and nothing to do.
    Note,
    /// It costs throughput, latency or certainty.
    Warning,
    /// The gateway does not start, or not work.
    Fault,
}

impl Severity {
    /// Of a report of which this is the worst.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Good | Self::Note => 0,
            Self::Warning => 1,
            Self::Fault => 2,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "WARNING",
            Self::Fault => "FAULT",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, for machines: `kernel.version`.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is so.
    pub what: String,
    /// Why that matters; empty if it is as it should be.
    pub why: String,
    /// What to do; often a command.
    pub remedy: String,
}

impl Finding {
    /// As it should be.
    pub fn good(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, severity: Severity::Good, what: what.into(), why: String::new(), remedy: String::new() }
    }

    /// Worth knowing.
    pub fn note(check: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Note, why: why.into(), ..Self::good(check, what) }
    }

    /// It costs something.
    pub fn warning(check: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::note(check, what, why) }
    }

    /// It keeps the gateway from working.
    pub fn fault(check: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Fault, ..Self::note(check, what, why) }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of the form that follows.
    version: u32,
    /// Whom it is about, if a name was given.
    interface: Option<String>,
    /// A daemon serves it.
    running: bool,
    worst: Severity,
    findings: Vec<Finding>,
}

impl Report {
    /// Of these findings, in this order.
    #[must_use]
    pub fn new(interface: Option<String>, running: bool, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Good);
        Self { version: 1, interface, running, worst, findings }
    }

    /// The worst of it.
    #[must_use]
    pub const fn worst(&self) -> Severity {
        self.worst
    }

    /// For machines, on one line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("names, texts and numbers")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, severity, what, why, remedy } in &self.findings {
            writeln!(f, "{severity:<8} {check:<24} {what}")?;
            for (label, text) in [("why", why), ("do", remedy)] {
                if !text.is_empty() {
                    writeln!(f, "{:<9}{label:>23}: {text}", "")?;
                }
            }
        }
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let faults = counted(count(Severity::Fault), "fault");
        let warnings = counted(count(Severity::Warning), "warning");
        writeln!(f, "{faults}, {warnings}, {} looked at", self.findings.len())
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let findings = vec![
            Finding::good("kernel.version", "Linux 6.18"),
            Finding::warning("cpu.governor", "powersave", "it is slow").remedy("cpupower frequency-set -g performance"),
        ];
        Report::new(Some("wg0".to_owned()), true, findings)
    }

    #[test]
    fn the_worst_decides_the_exit_status() {
        assert_eq!(report().worst(), Severity::Warning);
        let order = [Severity::Good, Severity::Note, Severity::Warning, Severity::Fault];
        assert!(order.is_sorted());
        assert_eq!(order.map(Severity::exit_status), [0, 0, 1, 2]);
        assert_eq!(Report::new(None, false, Vec::new()).worst(), Severity::Good);
    }

    #[test]
    fn the_text_says_what_why_and_what_to_do() {
        let text = report().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "good     kernel.version           Linux 6.18");
        assert_eq!(lines[1], "WARNING  cpu.governor             powersave");
        assert_eq!(lines[2], "why: it is slow");
        assert_eq!(lines[3], "do: cpupower frequency-set -g performance");
        assert_eq!(lines[4], "0 faults, 1 warning, 2 looked at");
    }

    #[test]
    fn machines_read_the_same() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(
            (&json["interface"], &json["running"], &json["worst"]),
            (&"wg0".into(), &true.into(), &"warning".into())
        );
        assert_eq!(json["findings"][1]["check"], "cpu.governor");
        assert_eq!(json["findings"][1]["remedy"], "cpupower frequency-set -g performance");
        assert_eq!(json["findings"][0]["severity"], "good");
    }
}
