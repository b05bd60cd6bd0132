//! The parts of the page, in their order.

use std::collections::BTreeMap;

use ringfort_testbed::Result;

use super::elements::{figure, table};
use super::over_time;
use super::plots::{self, Axis, Bar, Curve, Part, escape};
use super::terminal::{comparison, footnote, range};
use crate::results::Results;
use crate::results::model::{Better, Contender, Figure, Run, Stage, Summary, Test, Unit, Verdict};
use crate::results::stamp::{Interface, Stamp};
use crate::results::stats::Spread;
use crate::scale::Scale;
use crate::text::{duration, grouped};

/// What this is, and where and when it was measured.
pub fn head(results: &Results, title: &str) -> String {
    let stamp = &results.stamp;
    let cpu = stamp.cpu.model.as_deref().unwrap_or("unknown CPU");
    let cores = stamp.cpu.online.map_or_else(|| "?".to_owned(), |cores| cores.to_string());
    let machine = if stamp.cpu.virtual_machine { ", virtual machine" } else { "" };
    format!(
        "<h1>{title}</h1>\n<p class=\"faint\">{} to {}. {}, {cores} cores{machine}; {}. Lab {} ({}).</p>\n<p>{}</p>\n",
        escape(&results.started),
        escape(&results.finished),
        escape(cpu),
        escape(&stamp.kernel),
        escape(&stamp.lab.version),
        escape(&stamp.lab.commit),
        escape(&footnote(results)),
    )
}

/// What a reader must know before a figure is quoted.
pub fn cautions(cautions: &[String]) -> String {
    let items: String =
        cautions.iter().map(|caution| format!("<p><b>Caution</b>: {}.</p>\n", escape(caution))).collect();
    if items.is_empty() { items } else { format!("<section class=\"cautions\">\n{items}</section>\n") }
}

/// The measurements that failed, if any did.
pub fn failures(results: &Results) -> String {
    let item = |run: &Run| {
        let error = escape(run.error.as_deref().unwrap_or_default());
        format!("<p>{} of {}, round {}:</p><pre>{error}</pre>\n", escape(&run.test), escape(&run.contender), run.round)
    };
    let items: String = results.failures().map(item).collect();
    if items.is_empty() { items } else { format!("<section class=\"failures\">\n<h3>Failed</h3>\n{items}</section>\n") }
}

/// The first figure of each test.
pub fn overview(results: &Results) -> String {
    let header = std::iter::once(String::new()).chain(results.contenders.iter().map(|one| escape(&one.name)));
    let rows = results.tests.iter().filter_map(|test| {
        let figure = test.figures.first()?;
        let cells = results
            .contenders
            .iter()
            .map(|contender| cell(results.summary_of(&test.name, &contender.name, &figure.name), figure));
        Some(std::iter::once(format!("{}, {}", escape(&test.title), escape(&figure.title))).chain(cells).collect())
    });
    let rows: Vec<Vec<String>> = rows.collect();
    format!("<h2>Overview</h2>\n{}", table("The main figure of each test", &header.collect::<Vec<_>>(), &rows))
}

/// A test: plots and a table.
///
/// # Errors
/// A plot cannot be drawn.
pub fn test(results: &Results, test: &Test) -> Result<String> {
    let mut text = format!("<h2>{}</h2>\n<p>{}</p>\n", escape(&test.title), escape(&test.detail));
    text += &bars(results, test)?;
    text += &latency(results, test)?;
    text += &over_time::of(results, test)?;
    let measured =
        |wanted: &&Figure| results.summary.iter().any(|row| row.test == test.name && row.figure == wanted.name);
    let figures: Vec<&Figure> = test.figures.iter().filter(measured).collect();
    let header = std::iter::once(String::new()).chain(figures.iter().map(|figure| escape(&figure.title)));
    let rows = results.contenders.iter().map(|contender| {
        let cells =
            figures.iter().map(|figure| cell(results.summary_of(&test.name, &contender.name, &figure.name), figure));
        std::iter::once(escape(&contender.name)).chain(cells).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    text += &table(&format!("All figures: {}", test.title), &header.collect::<Vec<_>>(), &rows);
    Ok(text)
}

fn cell(row: Option<&Summary>, figure: &Figure) -> String {
    let Some(row) = row else { return "–".to_owned() };
    let scale = Scale::of(figure.unit, row.median);
    let mut text = escape(&scale.value(row.median));
    if row.runs > 1 {
        text += &format!("<small>{}</small>", escape(&range(row, scale)));
    }
    if let Some(comparison) = comparison(row).filter(|_| figure.better != Better::Neither) {
        let class = match row.verdict {
            Some(Verdict::Better) => "good",
            Some(Verdict::Worse) => "bad",
            _ => "open",
        };
        text += &format!("<small class=\"{class}\">{}</small>", escape(&comparison));
    }
    text
}

fn bars(results: &Results, test: &Test) -> Result<String> {
    let Some(main) = test.figures.first() else { return Ok(String::new()) };
    let rows: Vec<(usize, &Summary)> = numbered(results)
        .filter_map(|(number, contender)| Some((number, results.summary_of(&test.name, &contender.name, &main.name)?)))
        .collect();
    let Some(greatest) = rows.iter().map(|(_, row)| row.max).max_by(f64::total_cmp) else { return Ok(String::new()) };
    let scale = Scale::of(main.unit, greatest);
    let bar = |(series, row): &(usize, &Summary)| Bar {
        label: row.contender.clone(),
        series: *series,
        median: row.median,
        min: row.min,
        max: row.max,
        text: Scale::of(main.unit, row.median).value(row.median),
    };
    let bars: Vec<Bar> = rows.iter().map(bar).collect();
    let spoken: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.label, bar.text)).collect();
    let axis = Axis { title: &main.title, label: &|value| scale.value(value) };
    let title = format!("{}: {}", test.title, main.title);
    let svg = plots::bars(&title, &format!("Medians. {}.", spoken.join("; ")), &bars, &axis)?;
    Ok(figure(&svg, &[]))
}

fn latency(results: &Results, test: &Test) -> Result<String> {
    let mut curves = Vec::new();
    let mut legend = Vec::new();
    for (series, contender) in numbered(results) {
        let points = percentiles(results.runs_of(&test.name, &contender.name));
        if !points.is_empty() {
            curves.push(Curve { series, points });
            legend.push((series, contender.name.as_str()));
        }
    }
    if curves.is_empty() {
        return Ok(String::new());
    }
    let axis = Axis { title: "time, logarithmic", label: &|value| Scale::of(Unit::Nanoseconds, value).value(value) };
    let description = "For each share of the packets or requests, the time that none of them exceeded: medians of \
                       the rounds. The percentiles are in the table.";
    let svg = plots::percentiles(&format!("{}: percentiles", test.title), description, &curves, &axis)?;
    Ok(figure(&svg, &legend))
}

/// (Share that took at most so long, nanoseconds): of each percentile the median of the runs, so one bad run does
/// not make the curve.
fn percentiles<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<(f64, f64)> {
    let mut times: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (percent, nanoseconds) in runs.flat_map(|run| &run.latency_ns).filter(|(percent, _)| *percent < 100.0) {
        // In thousandths: whole numbers are keys.
        times.entry((percent * 1e3).round() as u64).or_default().push(*nanoseconds as f64);
    }
    let point = |(key, times): (u64, Vec<f64>)| Some((key as f64 / 1e5, Spread::of(&times)?.median));
    times.into_iter().filter_map(point).collect()
}

/// What the larger gateway held, over time: in the test in which the most was held, and folded away in the others.
///
/// # Errors
/// A plot cannot be drawn.
pub fn memory(results: &Results) -> Result<String> {
    let tests: Vec<&Test> = results.tests.iter().filter(|test| peak(results, test) > 0.0).collect();
    let Some(largest) = tests.iter().max_by(|a, b| peak(results, a).total_cmp(&peak(results, b))) else {
        return Ok(String::new());
    };
    let mut text = String::from(
        "<h2>Memory over time</h2>\n<p>Resident memory of the larger of the two gateways, in the last round.</p>\n",
    );
    text += &format!("<h3>{}</h3>\n{}", escape(&largest.title), memory_of(results, largest)?);
    for test in tests.iter().filter(|test| test.name != largest.name) {
        text +=
            &format!("<details><summary>{}</summary>\n{}</details>\n", escape(&test.title), memory_of(results, test)?);
    }
    Ok(text)
}

fn peak(results: &Results, test: &Test) -> f64 {
    let points = numbered(results).flat_map(|(_, contender)| last_memory(results, test, contender));
    points.map(|(_, kib)| kib).fold(0.0, f64::max)
}

fn last_memory(results: &Results, test: &Test, contender: &Contender) -> Vec<(f64, f64)> {
    let last = results.runs_of(&test.name, &contender.name).filter(|run| !run.memory.is_empty()).last();
    let samples = last.map_or(&[][..], |run| &run.memory);
    samples.iter().map(|sample| (sample.at_s, sample.sender_kib.max(sample.receiver_kib) as f64)).collect()
}

fn memory_of(results: &Results, test: &Test) -> Result<String> {
    let curves =
        numbered(results).map(|(series, contender)| (series, contender, last_memory(results, test, contender)));
    let curves: Vec<_> = curves.filter(|(_, _, points)| !points.is_empty()).collect();
    let legend: Vec<(usize, &str)> =
        curves.iter().map(|(series, contender, _)| (*series, contender.name.as_str())).collect();
    let mebibytes = |points: Vec<(f64, f64)>| points.into_iter().map(|(at, kib)| (at, kib / 1_024.0)).collect();
    let curves: Vec<Curve> =
        curves.into_iter().map(|(series, _, points)| Curve { series, points: mebibytes(points) }).collect();
    let axis = Axis { title: "resident memory", label: &|mebibytes| format!("{mebibytes:.0} MiB") };
    let description = "The peaks are in the table of the test.";
    let svg = plots::over_time(&format!("{}: memory over time", test.title), description, &curves, &axis)?;
    Ok(figure(&svg, &legend))
}

/// Where the time of a packet goes, if somebody measured it.
///
/// # Errors
/// A plot cannot be drawn.
pub fn stages(stages: &[Stage]) -> Result<String> {
    if stages.is_empty() {
        return Ok(String::new());
    }
    let mut names: Vec<&str> = Vec::new();
    let mut workers: Vec<(String, Vec<Part>)> = Vec::new();
    for stage in stages {
        let series = names.iter().position(|name| *name == stage.name).unwrap_or_else(|| {
            names.push(&stage.name);
            names.len() - 1
        });
        let worker = worker_of(stage);
        let part = Part { series, value: stage.total_ns as f64 };
        match workers.iter_mut().find(|(label, _)| *label == worker) {
            Some((_, parts)) => parts.push(part),
            None => workers.push((worker, vec![part])),
        }
    }
    let axis = Axis { title: "time spent", label: &|value| Scale::of(Unit::Nanoseconds, value).value(value) };
    let description = "Each bar is a worker, each part a stage; the times are in the table.";
    let svg = plots::shares("Where the time of a packet goes", description, &workers, &axis)?;
    let legend: Vec<(usize, &str)> = names.iter().copied().enumerate().collect();
    let header = ["worker", "stage", "count", "together", "p50", "p99", "longest"].map(str::to_owned);
    let rows: Vec<Vec<String>> = stages.iter().map(stage_row).collect();
    let intro = "<h2>Where the time goes</h2>\n<p>Inside of the gateways, for each worker.</p>\n";
    Ok(format!("{intro}{}{}", figure(&svg, &legend), table("Stages", &header, &rows)))
}

fn worker_of(stage: &Stage) -> String {
    // Short, for it stands beside a bar; all stages of a file are of one contender.
    let (side, Stage { test, worker, core, .. }) = (stage.side.name(), stage);
    format!("{side} {worker}, core {core}, {test}")
}

fn stage_row(stage: &Stage) -> Vec<String> {
    let time = |nanoseconds: u64| duration(std::time::Duration::from_nanos(nanoseconds));
    let percentile = |wanted: f64| {
        let found = stage.percentiles_ns.iter().find(|(percent, _)| *percent >= wanted);
        found.map_or_else(|| "–".to_owned(), |(_, nanoseconds)| time(*nanoseconds))
    };
    let name = escape(&stage.name);
    let times = [50.0, 99.0, 100.0].map(percentile);
    [vec![escape(&worker_of(stage)), name, grouped(stage.count), time(stage.total_ns)], times.to_vec()].concat()
}

/// What the figures mean and what they do not.
pub fn reading(results: &Results) -> String {
    let reference = results.plan.reference.as_deref().unwrap_or("a reference");
    format!(
        "<h2>How to read this</h2>\n\
         <p>Each figure is the median of its runs; below it are the least and the greatest run, which the whiskers of \
         the bars show too. The third line compares with {}: the median of the ratios in each round, and whether a \
         difference is seen. None is claimed where two exact rank tests leave more than 1 % to chance; with five \
         rounds that means that the ranges must not overlap.</p>\n\
         <p>Contenders take turns in every round, and each round begins with another one. So what else the machine \
         does falls on all of them alike. Senders, receivers and gateways share the cores of one machine: figures \
         of two machines, or of a machine and a network, are something else. Ratios travel further than \
         figures.</p>\n",
        escape(reference)
    )
}

/// Everything that is known about the machine and the programs.
pub fn machine(heading: &str, command: &[String], stamp: &Stamp, contenders: &[Contender]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, value: String| rows.push(vec![escape(name), escape(&value)]);
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    if !command.is_empty() {
        add("command", command.join(" "));
    }
    add("lab", format!("{}, commit {}, {} build", stamp.lab.version, stamp.lab.commit, stamp.lab.profile));
    add("kernel", stamp.kernel.clone());
    add("system", known(&stamp.system));
    add("CPU", known(&stamp.cpu.model));
    add("instruction sets", stamp.cpu.features.join(" "));
    add("governor, boost", format!("{}, {}", known(&stamp.cpu.governor), known(&stamp.cpu.boost)));
    add(
        "SMT, isolated cores",
        format!("{}, {}", known(&stamp.cpu.smt), stamp.cpu.isolated.as_deref().unwrap_or("none")),
    );
    add("memory", stamp.memory_kib.map_or("unknown".to_owned(), |kib| format!("{:.1} GiB", kib as f64 / 1_048_576.0)));
    add("transparent huge pages", known(&stamp.huge_pages));
    add("load before", known(&stamp.load_average));
    add("mitigations", listed(&stamp.mitigations));
    add("settings", listed(&stamp.sysctls));
    add("tools", listed(&stamp.tools));
    for contender in contenders {
        add(&contender.name, program(contender));
    }
    let header = ["", ""].map(str::to_owned);
    format!("<h2>{heading}</h2>\n<div class=\"texts\">\n{}</div>\n", table("On what this was measured", &header, &rows))
}

fn program(contender: &Contender) -> String {
    let mut parts = vec![contender.version.clone().unwrap_or_else(|| "no version".to_owned())];
    parts.extend((!contender.command.is_empty()).then(|| format!("run as `{}`", contender.command.join(" "))));
    parts.extend(contender.sha256.as_ref().map(|digest| format!("SHA-256 {digest}")));
    parts.extend(contender.interfaces.iter().map(interface));
    parts.join("; ")
}

fn interface(interface: &Interface) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let queues = interface.queues.map_or_else(|| "?".to_owned(), |(send, receive)| format!("{send}/{receive}"));
    let (mtu, gso_max) = (number(interface.mtu), number(interface.gso_max));
    let offloads = listed(&interface.offloads);
    format!("{}: MTU {mtu}, queues {queues}, GSO up to {gso_max} bytes, {offloads}", interface.name)
}

fn listed(values: &BTreeMap<String, String>) -> String {
    if values.is_empty() {
        return "unknown".to_owned();
    }
    values.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

fn numbered(results: &Results) -> impl Iterator<Item = (usize, &Contender)> {
    results.contenders.iter().enumerate()
}
