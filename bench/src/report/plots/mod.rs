//! Plots as SVG inside the HTML page. They have only the colours of the page's style sheet, so they are readable in the
//! light and in the dark.
//!
//! The library draws with fixed colours only. It is given colours that stand for names, and names replace them
//! afterwards.

mod bars;
mod curves;

pub use bars::{Bar, Part, bars, shares};
pub use curves::{Curve, lines, over_time, percentiles};

use plotters::coord::Shift;
use plotters::prelude::*;
use ringfort_testbed::{Context, Result};

/// How many series have a colour of their own; more begin again with the first.
pub const SERIES: usize = 8;

/// Narrow, so letters stay readable where a page is narrow: plots shrink with it.
const WIDTH: u32 = 680;
const AXIS_HEIGHT: u32 = 46;
const FONT_SIZE: u32 = 16;

/// Stand for `var(--ink)`, `var(--grid)`, and `var(--series-N)`.
const INK: RGBColor = RGBColor(0xfd, 0x00, 0xf0);
const GRID: RGBColor = RGBColor(0xfd, 0x00, 0xf1);
const FIRST_SERIES: u8 = 0xe0;

/// Dashes of lines, so they do not differ in colour only.
const DASHES: [&str; SERIES] = ["none", "9 3", "3 3", "12 3 3 3", "6 6", "16 4", "6 2 1 2", "2 6"];

/// How an axis is labelled.
pub struct Axis<'a> {
    /// What it shows.
    pub title: &'a str,
    /// How a value is written.
    pub label: &'a dyn Fn(f64) -> String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a picture of `size`; `title` and `description` are for those who do not see it.
fn draw(size: (u32, u32), title: &str, description: &str, picture: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    picture(&root).and_then(|()| root.present()).context(format_args!("drawing {title:?}"))?;
    drop(root);
    Ok(themed(&svg, title, description))
}

/// Replaces stand-ins by names, and says what the picture shows.
fn themed(svg: &str, title: &str, description: &str) -> String {
    let head_end = svg.find('>').map_or(0, |position| position + 1);
    let (head, body) = svg.split_at(head_end);
    let mut body = body.replace(&hex(INK), "var(--ink)").replace(&hex(GRID), "var(--grid)");
    for (number, dashes) in DASHES.iter().enumerate() {
        let colour = hex(series(number));
        let stroke = format!("stroke=\"{colour}\"");
        body = body.replace(&stroke, &format!("stroke=\"var(--series-{number})\" stroke-dasharray=\"{dashes}\""));
        body = body.replace(&colour, &format!("var(--series-{number})"));
    }
    let head = head.replacen("<svg", "<svg role=\"img\"", 1);
    format!("{head}\n<title>{}</title>\n<desc>{}</desc>{body}", escape(title), escape(description))
}

/// Text for HTML and XML, also inside of an attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn series(number: usize) -> RGBColor {
    RGBColor(0xfd, 0x00, FIRST_SERIES + u8::try_from(number % SERIES).expect("there are few series"))
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn font() -> TextStyle<'static> {
    ("sans-serif", FONT_SIZE).into_font().color(&INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_keeps_a_colour_of_its_own() {
        let axis = Axis { title: "Mbit/s", label: &|value| format!("{value:.0}") };
        let bar = |series| Bar {
            label: format!("<contender & {series}>"),
            series,
            median: 10.0 * (series + 1) as f64,
            min: 5.0,
            max: 10.0 * (series + 2) as f64,
            text: "a \"number\"".to_owned(),
        };
        let bars: Vec<Bar> = (0..SERIES + 1).map(bar).collect();
        let curve = |series| Curve { series, points: vec![(0.0, 100.0), (0.5, 200.0), (0.999, 90_000.0)] };
        let curves: Vec<Curve> = (0..SERIES).map(curve).collect();
        let parts = vec![("worker".to_owned(), vec![Part { series: 0, value: 3.0 }, Part { series: 1, value: 1.0 }])];
        let drawn = [
            super::bars("bars", "what <they> show", &bars, &axis).unwrap(),
            percentiles("percentiles", "", &curves, &axis).unwrap(),
            over_time("time", "", &curves, &axis).unwrap(),
            lines("lines", "", &curves, [&axis, &axis]).unwrap(),
            shares("parts", "", &parts, &axis).unwrap(),
        ];
        for svg in drawn {
            let document = roxmltree::Document::parse(&svg).unwrap();
            assert_eq!(document.root_element().attribute("role"), Some("img"));
            for node in document.descendants().filter(|node| node.is_element()) {
                for name in ["fill", "stroke"] {
                    let value = node.attribute(name).unwrap_or("none");
                    assert!(value == "none" || value.starts_with("var(--"), "{name}={value}");
                }
            }
            assert!(
                document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text"))).count()
                    > 3
            );
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn plots_of_nothing_and_of_zeros_are_drawn() {
        let axis = Axis { title: "", label: &|value| format!("{value}") };
        let zero = Bar { label: "zero".to_owned(), series: 0, median: 0.0, min: 0.0, max: 0.0, text: "0".to_owned() };
        assert!(bars("", "", &[zero], &axis).is_ok());
        assert!(percentiles("", "", &[], &axis).is_ok());
        assert!(over_time("", "", &[Curve { series: 0, points: vec![(0.0, 0.0)] }], &axis).is_ok());
    }
}
