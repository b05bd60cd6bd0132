//! Lines.

use plotters::prelude::*;
use ringfort_testbed::Result;

use super::{AXIS_HEIGHT, Axis, GRID, WIDTH, draw, font, series};

const HEIGHT: u32 = 330;
const LABEL_WIDTH: u32 = 128;
/// 99.9999 %: what lies beyond is drawn at the edge.
const NINES_MAX: f64 = 6.0;

/// A line.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Which colour.
    pub series: usize,
    /// Points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Percentiles of a time: 90 %, 99 %, 99.9 % lie at equal distances, and the axis of the times is logarithmic.
/// Points are (share at most as long, time).
///
/// # Errors
/// The library cannot draw them.
pub fn percentiles(title: &str, description: &str, curves: &[Curve], axis: &Axis<'_>) -> Result<String> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let farthest = points().map(|(share, _)| nines(*share)).fold(1.0, f64::max);
    let low = points().map(|(_, time)| *time).fold(f64::INFINITY, f64::min);
    let low = if low.is_finite() { low.max(1.0) } else { 1.0 };
    let high = points().map(|(_, time)| *time).fold(low, f64::max);
    draw((WIDTH, HEIGHT), title, description, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin_right(24)
            .margin_top(10)
            .margin_left(8)
            .x_label_area_size(AXIS_HEIGHT)
            .y_label_area_size(LABEL_WIDTH)
            .build_cartesian_2d(0.0..farthest, (low / 1.3..high * 1.3).log_scale())?;
        chart
            .configure_mesh()
            .x_labels(farthest.ceil() as usize + 1)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(font())
            .axis_desc_style(font())
            .x_desc("share that took at most so long")
            .y_desc(axis.title)
            .x_label_formatter(&|nines| percent_of(*nines))
            .y_label_formatter(&|value| (axis.label)(*value))
            .draw()?;
        for curve in curves {
            let line = curve.points.iter().map(|(share, time)| (nines(*share), *time));
            chart.draw_series(LineSeries::new(line, series(curve.series).stroke_width(2)))?;
        }
        Ok(())
    })
}

/// Lines over seconds, from zero upwards. Points are (seconds, value).
///
/// # Errors
/// The library cannot draw them.
pub fn over_time(title: &str, description: &str, curves: &[Curve], axis: &Axis<'_>) -> Result<String> {
    let seconds = Axis { title: "seconds since the traffic began", label: &|seconds| format!("{seconds:.1}") };
    lines(title, description, curves, [&seconds, axis])
}

/// Lines from zero rightwards and upwards.
///
/// # Errors
/// The library cannot draw them.
pub fn lines(title: &str, description: &str, curves: &[Curve], [x, y]: [&Axis<'_>; 2]) -> Result<String> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let end = points().map(|(time, _)| *time).fold(0.1, f64::max);
    let high = points().map(|(_, value)| *value).fold(0.1, f64::max);
    draw((WIDTH, HEIGHT), title, description, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin_right(24)
            .margin_top(10)
            .margin_left(8)
            .x_label_area_size(AXIS_HEIGHT)
            .y_label_area_size(LABEL_WIDTH)
            .build_cartesian_2d(0.0..end, 0.0..high * 1.1)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(font())
            .axis_desc_style(font())
            .x_desc(x.title)
            .y_desc(y.title)
            .x_label_formatter(&|value| (x.label)(*value))
            .y_label_formatter(&|value| (y.label)(*value))
            .draw()?;
        for curve in curves {
            chart.draw_series(LineSeries::new(curve.points.iter().copied(), series(curve.series).stroke_width(2)))?;
        }
        Ok(())
    })
}

/// 0.9 is 1, 0.99 is 2.
fn nines(share: f64) -> f64 {
    (-(1.0 - share).log10()).clamp(0.0, NINES_MAX)
}

/// The reverse, in percent: `0 %`, `90 %`, `99 %`, `99.9 %`.
fn percent_of(nines: f64) -> String {
    let decimals = (nines - 2.0).ceil().max(0.0) as usize;
    format!("{:.*} %", decimals, 100.0 * (1.0 - 10.0_f64.powf(-nines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_counted() {
        assert_eq!([0.0, 1.0, 2.0, 3.0, 4.0].map(percent_of), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
        assert_eq!(nines(1.0), NINES_MAX);
    }
}
