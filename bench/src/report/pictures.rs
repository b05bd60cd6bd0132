//! The pictures and the table on the page of a file of a single command.

use ringfort_testbed::Result;
use ringfort_traffic::rrul::RrulOutcome;
use ringfort_traffic::search::Trial;
use ringfort_traffic::tcp::BulkOutcome;
use ringfort_traffic::{Interval, Outcome, Percentiles};

use super::elements::{figure, table};
use super::other::{Other, size_name};
use super::plots::{self, Axis, Bar, Curve, escape};
use super::sheet::{Pivot, cell, clocks};
use super::soak;
use crate::handshakes;
use crate::results::files::{Carried, Floods, Rfc2544, Sized};
use crate::results::model::{Series, Unit};
use crate::results::stats::Spread;
use crate::scale::Scale;
use crate::series;
use crate::text::grouped;
use crate::traffic::bulk::named;
use crate::traffic::numbers::way;

/// The figures of a file as a table.
pub fn figures(other: &Other) -> String {
    let data = other.data();
    let pivot = Pivot::of(&data);
    let header: Vec<String> =
        std::iter::once(String::new()).chain(pivot.figures.iter().map(|name| escape(name))).collect();
    let row = |(subject, cells): &(&str, Vec<Option<&super::other::Datum>>)| {
        let cells = cells.iter().map(|datum| datum.map_or_else(|| "–".to_owned(), |datum| escape(&cell(datum))));
        std::iter::once(escape(subject)).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = pivot.rows.iter().map(row).collect();
    let clocks = clocks(other).map_or(String::new(), |clocks| format!("<p>{}</p>\n", escape(&clocks)));
    format!("<h2>All figures</h2>\n{}{clocks}", table(other.title(), &header, &rows))
}

/// The pictures of a file. Those of stages are in `sections`.
///
/// # Errors
/// One cannot be drawn.
pub fn of(other: &Other) -> Result<String> {
    match other {
        Other::Traffic(file) => match &file.findings {
            Carried::Udp(udp) => Ok(over_time(&udp.outcome)? + &latencies(&udp.outcome)?),
            Carried::Rfc2544(found) => Ok(rates(found)? + &below_the_rate(found)? + &loss(found)? + &bursts(found)?),
            Carried::Tcp(outcome) => connections(outcome),
            Carried::Rrul(outcome) => under_load(outcome),
        },
        Other::Handshakes(file) => times(&file.findings),
        Other::Stages(_) => Ok(String::new()),
        Other::Floods(file) => kept(&file.findings),
        Other::Soak(file) => soak::plots(&file.findings),
    }
}

/// (Share that took at most so long, nanoseconds).
fn points(times: &Percentiles) -> Vec<(f64, f64)> {
    let known = [(0.0, times.min), (0.5, times.p50), (0.9, times.p90), (0.99, times.p99), (0.999, times.p99_9)];
    let known = known.into_iter().chain([(0.9999, times.p99_99)]);
    // A hundredth of a hundred packets is one.
    known
        .filter(|(share, _)| (1.0 - share) * times.count as f64 >= 0.999)
        .map(|(share, ns)| (share, ns as f64))
        .collect()
}

fn percentiles(title: &str, curves: Vec<(String, Percentiles)>) -> Result<String> {
    if curves.is_empty() {
        return Ok(String::new());
    }
    let legend: Vec<(usize, &str)> = curves.iter().map(|(name, _)| name.as_str()).enumerate().collect();
    let curve = |(series, (_, times)): (usize, &(String, Percentiles))| Curve { series, points: points(times) };
    let curves: Vec<Curve> = curves.iter().enumerate().map(curve).collect();
    let axis = Axis { title: "time, logarithmic", label: &nanoseconds };
    let description = "For each share, the time that none of it exceeded. The percentiles are in the table.";
    Ok(figure(&plots::percentiles(title, description, &curves, &axis)?, &legend))
}

fn latencies(outcome: &Outcome) -> Result<String> {
    let mut curves = Vec::new();
    for leg in &outcome.legs {
        let way = way(leg.route);
        curves.extend(leg.traffic.latency_ns.map(|times| (format!("{way}: until it was received"), times)));
        curves.extend(leg.traffic.lateness_ns.map(|times| (format!("{way}: until it was sent"), times)));
    }
    percentiles("Time from when a packet was due", curves)
}

/// What was delivered and how long it took, by when it was due.
fn over_time(outcome: &Outcome) -> Result<String> {
    let legs = outcome.legs.iter().filter(|leg| !leg.traffic.intervals.is_empty() && leg.traffic.interval_s > 0.0);
    let legs: Vec<_> = legs.collect();
    if legs.is_empty() {
        return Ok(String::new());
    }
    let legend: Vec<(usize, &str)> = legs.iter().map(|leg| way(leg.route)).enumerate().collect();
    let curves = |value: &dyn Fn(&Interval, f64) -> f64| -> Vec<Curve> {
        let curve = |(series, leg): (usize, &&ringfort_traffic::Leg)| {
            let (interval_s, count) = (leg.traffic.interval_s, leg.traffic.intervals.len());
            let last_s = leg.traffic.duration_s - interval_s * (count - 1) as f64;
            let point = |(number, interval): (usize, &Interval)| {
                // The last one may be shorter.
                let length_s = if number + 1 == count { last_s } else { interval_s };
                (number as f64 * interval_s + length_s / 2.0, value(interval, length_s.max(1e-9)))
            };
            Curve { series, points: leg.traffic.intervals.iter().enumerate().map(point).collect() }
        };
        legs.iter().enumerate().map(curve).collect()
    };
    let delivered = curves(&|interval, length_s| interval.received as f64 / length_s);
    let means = curves(&|interval, _| interval.latency_ns_mean as f64);
    let [rate, time] = [
        Axis { title: "delivered", label: &packets },
        Axis { title: "mean time from when a packet was due", label: &nanoseconds },
    ];
    let description = "By when packets were due. The figures of all of it are in the table.";
    let delivered = plots::over_time("Throughput over time", description, &delivered, &rate)?;
    let means = plots::over_time("Latency over time", description, &means, &time)?;
    Ok(figure(&delivered, &legend) + &figure(&means, &legend))
}

/// The longest burst of each size.
fn bursts(found: &Rfc2544) -> Result<String> {
    let bar_of = |sized: &Sized| {
        let found = sized.report.back_to_back.as_ref()?;
        let packets = found.packets.unwrap_or(0);
        let mark = if found.failed_at.is_none() { "≥ " } else { "" };
        Some(bar(size_name(sized.size), 0, packets as f64, format!("{mark}{}", grouped(packets))))
    };
    let bars: Vec<Bar> = found.sizes.iter().filter_map(bar_of).collect();
    if bars.is_empty() {
        return Ok(String::new());
    }
    let axis = Axis { title: "packets", label: &|value| grouped(value.round() as u64) };
    let spoken: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.label, bar.text)).collect();
    let svg = plots::bars("Longest burst without loss", &format!("{}.", spoken.join("; ")), &bars, &axis)?;
    Ok(figure(&svg, &[]))
}

fn times(outcome: &handshakes::Outcome) -> Result<String> {
    let mut curves: Vec<(String, Percentiles)> = Vec::new();
    curves.extend(outcome.time_to_session_ns.map(|times| ("to a session".to_owned(), times)));
    for (name, trips) in ["another's ping, before", "another's ping, meanwhile"].iter().zip(&outcome.bystander) {
        curves.extend(trips.times_ns.map(|times| ((*name).to_owned(), times)));
    }
    percentiles("Time to a session, and pings of another peer", curves)
}

/// A bar without a whisker.
fn bar(label: String, series: usize, value: f64, text: String) -> Bar {
    Bar { label, series, median: value, min: value, max: value, text }
}

fn rates(found: &Rfc2544) -> Result<String> {
    let mut bars = Vec::new();
    for sized in &found.sizes {
        let search = &sized.report.search;
        for (series, (name, found)) in [("NDR", search.ndr), ("PDR", search.pdr)].into_iter().enumerate() {
            let rate = found.rate_pps.unwrap_or(0) as f64;
            let mark = if found.generator_limited { " *" } else { "" };
            let text = format!("{}{mark}", packets(rate));
            bars.push(bar(format!("{} {name}", size_name(sized.size)), series, rate, text));
        }
    }
    let axis = Axis { title: "packets per second", label: &packets };
    let spoken: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.label, bar.text)).collect();
    let svg = plots::bars("Rates without loss and with little", &format!("{}.", spoken.join("; ")), &bars, &axis)?;
    let legend = [(0, "NDR: no packet lost"), (1, "PDR: few lost (* the generator could not offer more)")];
    Ok(figure(&svg, &legend))
}

fn below_the_rate(found: &Rfc2544) -> Result<String> {
    let mut bars = Vec::new();
    for sized in &found.sizes {
        for (series, at) in sized.report.latencies.iter().enumerate() {
            let Some(times) = at.outcome.total.latency_ns else { continue };
            let [median, min, max] = [times.p50, times.min, times.p99].map(|ns| ns as f64);
            let label = format!("{} at {} %", size_name(sized.size), at.pdr_percent);
            let text = format!("{}, p99 {}", nanoseconds(median), nanoseconds(max));
            bars.push(Bar { label, series, median, min, max, text });
        }
    }
    if bars.is_empty() {
        return Ok(String::new());
    }
    let axis = Axis { title: "time from when a packet was due", label: &nanoseconds };
    let description = "Medians; whiskers from the shortest to the 99th percentile. The figures are in the table.";
    let svg = plots::bars("Latency at 10, 50 and 90 % of the PDR", description, &bars, &axis)?;
    Ok(figure(&svg, &[(0, "10 % of the PDR"), (1, "50 %"), (2, "90 %")]))
}

/// Loss over the rate that was offered: every trial of the search.
fn loss(found: &Rfc2544) -> Result<String> {
    let curve = |(series, sized): (usize, &Sized)| {
        let mut points: Vec<(f64, f64)> = sized
            .report
            .search
            .trials
            .iter()
            .map(|trial: &Trial| (trial.offered_pps, trial.loss_ratio * 100.0))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve { series, points }
    };
    let curves: Vec<Curve> = found.sizes.iter().enumerate().map(curve).collect();
    let names: Vec<String> = found.sizes.iter().map(|sized| size_name(sized.size)).collect();
    let legend: Vec<(usize, &str)> = names.iter().map(String::as_str).enumerate().collect();
    let [offered, lost] = [
        Axis { title: "offered packets per second", label: &packets },
        Axis { title: "lost", label: &|percent| Scale::of(Unit::Percent, percent).value(percent) },
    ];
    let description = "All trials of the search, by the rate that was offered.";
    Ok(figure(&plots::lines("Loss at each rate", description, &curves, [&offered, &lost])?, &legend))
}

fn connections(outcome: &BulkOutcome) -> Result<String> {
    let rate = |bytes: u64| bytes as f64 * 8.0 / 1e6 / outcome.measured_s;
    let megabits = |value: f64| Scale::of(Unit::MegabitsPerSecond, value).value(value);
    let each = |(number, &bytes): (usize, &u64)| {
        bar(format!("connection {}", number + 1), 0, rate(bytes), megabits(rate(bytes)))
    };
    let bars: Vec<Bar> = outcome.stream_bytes.iter().enumerate().map(each).collect();
    let axis = Axis { title: "payload received", label: &megabits };
    let description = "Each connection by itself; all together are in the table.";
    let each = figure(&plots::bars("Throughput of each connection", description, &bars, &axis)?, &[]);
    if outcome.interval_bytes.is_empty() || outcome.interval_s <= 0.0 {
        return Ok(each);
    }
    let curve = Curve { series: 0, points: outcome.rate_over_time() };
    let description = "All connections together, interval by interval, after the warm-up.";
    Ok(figure(&plots::over_time("Throughput over time", description, &[curve], &axis)?, &[]) + &each)
}

/// Round trips and throughput over time, and the percentiles of round trips.
fn under_load(outcome: &RrulOutcome) -> Result<String> {
    let all = series::of(outcome);
    let description = "Probes begin before the load. The figures of all of it are in the table.";
    let plot = |title: &str, unit: Unit, label: &dyn Fn(f64) -> String| {
        let chosen: Vec<_> = all.iter().filter(|series| series.unit == unit && !series.points.is_empty()).collect();
        if chosen.is_empty() {
            return Ok(String::new());
        }
        let curve = |(number, series): (usize, &&Series)| Curve { series: number, points: series.points.clone() };
        let curves: Vec<Curve> = chosen.iter().enumerate().map(curve).collect();
        let legend: Vec<(usize, &str)> = chosen.iter().map(|series| series.title.as_str()).enumerate().collect();
        Ok(figure(&plots::over_time(title, description, &curves, &Axis { title, label })?, &legend))
    };
    let megabits = |value: f64| Scale::of(Unit::MegabitsPerSecond, value).value(value);
    let times = named(outcome).into_iter().filter_map(|(name, answers)| Some((name.to_owned(), answers.times_ns?)));
    Ok(plot("Round trips over time, medians", Unit::Nanoseconds, &nanoseconds)?
        + &plot("Throughput of TCP over time", Unit::MegabitsPerSecond, &megabits)?
        + &percentiles("Round trips", times.collect())?)
}

fn kept(floods: &Floods) -> Result<String> {
    let percent = |value: f64| Scale::of(Unit::Percent, value).value(value);
    let bars = floods.attacks.iter().filter_map(|found| {
        let Spread { median, min, max, .. } = Spread::of(&found.kept_percent)?;
        let label = format!("{}, IP{}", found.attack, found.family.to_lowercase());
        Some(Bar { label, series: 0, median, min, max, text: percent(median) })
    });
    let bars: Vec<Bar> = bars.collect();
    let axis = Axis { title: "of the throughput while nftables drops the flood", label: &percent };
    let description = "Medians of the pairs, from the least to the greatest.";
    Ok(figure(&plots::bars("What a transfer keeps under a flood", description, &bars, &axis)?, &[]))
}

fn nanoseconds(value: f64) -> String {
    Scale::of(Unit::Nanoseconds, value).value(value)
}

fn packets(value: f64) -> String {
    Scale::of(Unit::PacketsPerSecond, value).value(value)
}
