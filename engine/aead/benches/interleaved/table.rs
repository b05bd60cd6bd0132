//! The figures as text: one table for each operation, a row for each shape, a group of columns for each contender.

use std::fmt;

use ringfort_aead::{Operation, Shape, Suite};

use crate::measure::{Contender, Figures, Spread};

/// All tables of one suite.
pub struct Tables<'a> {
    pub suite: Suite,
    pub contenders: &'a [Contender],
    pub shapes: &'a [Shape],
    /// For each shape the figures of each contender.
    pub results: &'a [Vec<Figures>],
}

const OPERATIONS: [(Operation, &str); 3] = [
    (Operation::Seal, "sealing in place"),
    (Operation::SealFrom, "sealing from sources"),
    (Operation::Open, "opening in place"),
];

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (operation, title) in OPERATIONS {
            writeln!(f, "{}, {title}: ns per packet, median (min–max); GB/s of plaintext; × aws-lc", self.suite)?;
            write!(f, "{:>18}", "")?;
            for contender in self.contenders {
                write!(f, "  {:<34}", contender.provider)?;
            }
            writeln!(f)?;
            for (shape, figures) in self.shapes.iter().zip(self.results) {
                let spreads: Option<Vec<Spread>> = figures.iter().map(|figures| figures.of(operation)).collect();
                if let Some(spreads) = spreads {
                    self.row(f, shape, &spreads)?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Tables<'_> {
    fn row(&self, f: &mut fmt::Formatter<'_>, shape: &Shape, spreads: &[Spread]) -> fmt::Result {
        let name = match shape {
            Shape::Train { len, count } => format!("{len} B × {count}"),
            Shape::Burst { range, lens } => format!("{}–{} B × {}", range.start(), range.end(), lens.len()),
        };
        write!(f, "{name:>18}")?;
        let reference = self.contenders.iter().position(Contender::is_reference).map(|index| spreads[index].median);
        for Spread { median, min, max } in spreads {
            let range = format!("({min:.0}–{max:.0})");
            let speed = shape.text_len() as f64 / shape.count() as f64 / median;
            let ratio = reference.map_or(String::new(), |reference| format!("{:.2} ×", reference / median));
            write!(f, "  {median:>6.0} {range:<13}{speed:>6.2} {ratio:>7}")?;
        }
        writeln!(f)
    }
}
