//! The pictures of a soak: its figures, turn by turn.

use ringfort_testbed::Result;

use super::elements::figure;
use super::plots::{self, Axis, Curve, escape};
use crate::results::model::Unit;
use crate::scale::Scale;
use crate::soak::{Soak, Turn, drift, extent};

/// A figure of a turn.
type Read = fn(&Turn) -> Option<f64>;

/// What a plot shows, in what, and its lines.
type Plot = (&'static str, Unit, &'static [(&'static str, Read)]);

const PLOTS: [Plot; 5] = [
    (
        "TCP throughput",
        Unit::MegabitsPerSecond,
        &[("there", |turn| Some(turn.tcp_megabits_per_s[0])), ("back", |turn| Some(turn.tcp_megabits_per_s[1]))],
    ),
    ("UDP packets lost", Unit::Percent, &[("both ways", |turn| Some(turn.udp_lost_percent()))]),
    (
        "round trips of UDP",
        Unit::Nanoseconds,
        &[("p50", |turn| Some(turn.trips.times_ns?.p50 as f64)), ("p99", |turn| Some(turn.trips.times_ns?.p99 as f64))],
    ),
    (
        "resident memory",
        Unit::Kibibytes,
        &[
            ("sending gateway", |turn| Some(turn.memory_kib?[0] as f64)),
            ("receiving gateway", |turn| Some(turn.memory_kib?[1] as f64)),
        ],
    ),
    (
        "CPU",
        Unit::Percent,
        &[
            ("sending gateway", |turn| Some(turn.cpu_percent?[0])),
            ("receiving gateway", |turn| Some(turn.cpu_percent?[1])),
        ],
    ),
];

/// What drifted, and a plot of each figure by the time of the traffic. Turns that failed are left out.
///
/// # Errors
/// A plot cannot be drawn.
pub fn plots(soak: &Soak) -> Result<String> {
    let mut text = format!("<p>{}.</p>\n", escape(&extent(soak)));
    text += &drift::sentences(&soak.turns).iter().map(|line| format!("<p>{}</p>\n", escape(line))).collect::<String>();
    for plot in &PLOTS {
        text += &over_time(soak, plot)?;
    }
    Ok(text)
}

fn over_time(soak: &Soak, (title, unit, lines): &Plot) -> Result<String> {
    let minutes = |number: usize| (number as f64 + 0.5) * soak.plan.every_s as f64 / 60.0;
    let good = || soak.turns.iter().enumerate().filter(|(_, turn)| turn.error.is_none());
    let curve = |(series, (_, read)): (usize, &(&str, Read))| Curve {
        series,
        points: good().filter_map(|(number, turn)| Some((minutes(number), read(turn)?))).collect(),
    };
    let curves: Vec<Curve> = lines.iter().enumerate().map(curve).filter(|curve| !curve.points.is_empty()).collect();
    if curves.is_empty() {
        return Ok(String::new());
    }
    let highest = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).fold(0.0, f64::max);
    let scale = Scale::of(*unit, highest);
    let [time, value] = [
        Axis { title: "minutes of traffic", label: &|minutes| format!("{minutes:.1}") },
        Axis { title, label: &|value| scale.value(value) },
    ];
    let legend: Vec<(usize, &str)> = lines.iter().map(|(name, _)| *name).enumerate().collect();
    let description = "Turn by turn. Medians of all turns are in the table.";
    Ok(figure(&plots::lines(&format!("Soak: {title}"), description, &curves, [&time, &value])?, &legend))
}
