//! Horizontal bars.

use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use ringfort_testbed::Result;

use super::{AXIS_HEIGHT, Area, Axis, Drawn, GRID, INK, WIDTH, draw, font, series};

const ROW_HEIGHT: u32 = 34;
const LABEL_WIDTH: u32 = 175;
/// The room to the right of the longest bar, for its number, as a share of it.
const HEADROOM: f64 = 1.25;

/// A bar with its spread.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Beside it.
    pub label: String,
    /// Which colour.
    pub series: usize,
    /// How long it is.
    pub median: f64,
    /// Where the whisker begins.
    pub min: f64,
    /// Where the whisker ends.
    pub max: f64,
    /// Behind it.
    pub text: String,
}

/// A piece of a bar.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Which colour.
    pub series: usize,
    /// How long it is.
    pub value: f64,
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<
        plotters::coord::types::RangedCoordf64,
        plotters::coord::ranged1d::SegmentedCoord<plotters::coord::types::RangedCoordusize>,
    >,
>;

/// Horizontal bars, the first on top, each with a whisker from its least to its greatest run.
///
/// # Errors
/// The library cannot draw them.
pub fn bars(title: &str, description: &str, bars: &[Bar], axis: &Axis<'_>) -> Result<String> {
    let longest = bars.iter().map(|bar| bar.max).fold(0.0, f64::max);
    let labels: Vec<&str> = bars.iter().map(|bar| bar.label.as_str()).collect();
    draw(size(bars.len()), title, description, |root| {
        let mut chart = grid(root, &labels, longest * HEADROOM, axis)?;
        for (position, bar) in bars.iter().enumerate() {
            let row = bars.len() - 1 - position;
            fill(&mut chart, row, 0.0, bar.median, bar.series)?;
            let middle = SegmentValue::CenterOf(row);
            let whisker = ErrorBar::new_horizontal(middle.clone(), bar.min, bar.median, bar.max, INK.filled(), 9);
            chart.draw_series([whisker])?;
            let anchored = font().pos(Pos::new(HPos::Left, VPos::Center));
            let text = EmptyElement::at((bar.max, middle)) + Text::new(bar.text.clone(), (9, 0), anchored);
            chart.draw_series([text])?;
        }
        Ok(())
    })
}

/// Bars made of parts: a label, and what it is made of from left to right.
///
/// # Errors
/// The library cannot draw them.
pub fn shares(title: &str, description: &str, rows: &[(String, Vec<Part>)], axis: &Axis<'_>) -> Result<String> {
    let length = |parts: &[Part]| parts.iter().map(|part| part.value).sum::<f64>();
    let longest = rows.iter().map(|(_, parts)| length(parts)).fold(0.0, f64::max);
    let labels: Vec<&str> = rows.iter().map(|(label, _)| label.as_str()).collect();
    draw(size(rows.len()), title, description, |root| {
        let mut chart = grid(root, &labels, longest, axis)?;
        for (position, (_, parts)) in rows.iter().enumerate() {
            let mut begin = 0.0;
            for part in parts {
                fill(&mut chart, rows.len() - 1 - position, begin, begin + part.value, part.series)?;
                begin += part.value;
            }
        }
        Ok(())
    })
}

fn size(rows: usize) -> (u32, u32) {
    (WIDTH, u32::try_from(rows).unwrap_or(1_000) * ROW_HEIGHT + AXIS_HEIGHT)
}

/// Axes and grid; row 0 is the lowest, labels begin at the top.
fn grid<'a, 'b>(
    root: &'a Area<'b>,
    labels: &[&str],
    end: f64,
    axis: &Axis<'_>,
) -> std::result::Result<Chart<'a, 'b>, DrawingAreaErrorKind<std::io::Error>> {
    let end = if end > 0.0 { end } else { 1.0 };
    let mut chart = ChartBuilder::on(root)
        .margin_right(64)
        .x_label_area_size(AXIS_HEIGHT)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d(0.0..end, (0..labels.len().max(1)).into_segmented())?;
    let label = |value: &SegmentValue<usize>| match value {
        SegmentValue::CenterOf(row) if *row < labels.len() => {
            // The spaces keep it away from its bar.
            format!("{}\u{a0}\u{a0}", labels[labels.len() - 1 - row])
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .set_tick_mark_size(LabelAreaPosition::Left, 0)
        .x_labels(4)
        .y_labels(labels.len().max(1))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(font())
        .axis_desc_style(font())
        .x_desc(axis.title)
        .x_label_formatter(&|value| (axis.label)(*value))
        .y_label_formatter(&label)
        .draw()?;
    Ok(chart)
}

fn fill(chart: &mut Chart<'_, '_>, row: usize, from: f64, to: f64, colour: usize) -> Drawn {
    let corners = [(from, SegmentValue::Exact(row)), (to, SegmentValue::Exact(row + 1))];
    let mut body = Rectangle::new(corners, series(colour).filled());
    body.set_margin(6, 6, 0, 0);
    chart.draw_series([body]).map(drop)
}
