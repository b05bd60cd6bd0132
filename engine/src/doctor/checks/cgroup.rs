//! What control groups allow a process.

use super::System;

/// The bytes that they allow, if they do not allow all.
pub(super) fn memory_max(system: &System, process: &str) -> Option<u64> {
    tightest(system, process, "memory.max", |text| text.parse::<f64>().ok()).map(|bytes| bytes as u64)
}

/// The smallest of the limits of a control group and those above it.
pub(super) fn tightest(system: &System, process: &str, file: &str, parse: fn(&str) -> Option<f64>) -> Option<f64> {
    let groups = system.read(&format!("proc/{process}/cgroup"))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?.trim_matches('/').to_owned();
    let parts: Vec<&str> = group.split('/').filter(|part| !part.is_empty()).collect();
    let limits = (0..=parts.len()).filter_map(|depth| {
        let path = ["sys/fs/cgroup"].into_iter().chain(parts[..depth].iter().copied()).chain([file]);
        parse(&system.read(&path.collect::<Vec<_>>().join("/"))?)
    });
    limits.min_by(f64::total_cmp)
}
