//! The figures as a text that a person can read and a program can compare with.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A figure may rise by so much before somebody has to say why.
const TOLERANCE: f64 = 0.02;

/// Instructions per packet: without the cipher, and with the portable one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    without: f64,
    with: f64,
}

impl Row {
    /// What a figure is called, what it is, and what it was.
    const fn beside(self, then: &Self) -> [(&'static str, f64, f64); 2] {
        [("without cipher", self.without, then.without), ("with", self.with, then.with)]
    }
}

/// All cases.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Table(BTreeMap<String, Row>);

impl Table {
    pub(crate) fn add(&mut self, case: &str, without: f64, with: f64) {
        self.0.insert(case.into(), Row { without, with });
    }

    /// What has risen, in words. A case that was not in the table has, and one that is only there is missed.
    pub(crate) fn risen_since(&self, before: &Self) -> Vec<String> {
        let missed = before.0.keys().filter(|case| !self.0.contains_key(*case));
        let mut risen: Vec<_> = missed.map(|case| format!("{case} is gone")).collect();
        for (case, now) in &self.0 {
            let Some(then) = before.0.get(case) else {
                risen.push(format!("{case} is new"));
                continue;
            };
            let rises = now.beside(then).into_iter().filter(|(_, now, then)| *now > then * (1.0 + TOLERANCE));
            risen.extend(rises.map(|(what, now, then)| format!("{case} {what}: {then:.1} → {now:.1}")));
        }
        risen
    }

    /// What has fallen, in words. Until the table says so, as much may be lost again without a word.
    pub(crate) fn fallen_since(&self, before: &Self) -> Vec<String> {
        let both = self.0.iter().filter_map(|(case, now)| Some((case, now.beside(before.0.get(case)?))));
        let falls = both.flat_map(|(case, figures)| figures.map(|figure| (case, figure)));
        let falls = falls.filter(|(_, (_, now, then))| *now < then * (1.0 - TOLERANCE));
        falls.map(|(case, (what, now, then))| format!("{case} {what}: {then:.1} → {now:.1}")).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Instructions per packet, counted by callgrind; see bench/README.md.")?;
        writeln!(f, "# case                      without cipher    portable cipher")?;
        self.0.iter().try_for_each(|(case, row)| writeln!(f, "{case:<27} {:>14.1} {:>18.1}", row.without, row.with))
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let row = (|| {
                let case = words.next()?;
                Some((case, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
            })();
            let (case, without, with) = row.ok_or_else(|| line.to_owned())?;
            table.add(case, without, with);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, f64, f64)]) -> Table {
        let mut table = Table::default();
        rows.iter().for_each(|&(case, without, with)| table.add(case, without, with));
        table
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = table(&[("out-64", 210.5, 4_000.0), ("in-super", 80.0, 9_000.0)]);
        assert_eq!(table.to_string().parse(), Ok(table));
        assert_eq!("out-64 12".parse::<Table>(), Err("out-64 12".into()));
    }

    #[test]
    fn a_rise_of_more_than_two_per_cent_is_told() {
        let before = table(&[("a", 100.0, 1_000.0)]);
        assert_eq!(table(&[("a", 102.0, 1_020.0)]).risen_since(&before), [""; 0]);
        assert_eq!(table(&[("a", 50.0, 500.0)]).risen_since(&before), [""; 0]);
        assert_eq!(table(&[("a", 102.1, 1_000.0)]).risen_since(&before), ["a without cipher: 100.0 → 102.1"]);
        assert_eq!(table(&[("a", 100.0, 1_021.0)]).risen_since(&before), ["a with: 1000.0 → 1021.0"]);
        assert_eq!(table(&[("b", 1.0, 1.0)]).risen_since(&before), ["a is gone", "b is new"]);
    }

    #[test]
    fn a_fall_of_more_than_two_per_cent_is_told() {
        let before = table(&[("a", 100.0, 1_000.0)]);
        assert_eq!(table(&[("a", 98.1, 2_000.0), ("b", 1.0, 1.0)]).fallen_since(&before), [""; 0]);
        assert_eq!(table(&[("a", 97.9, 970.0)]).fallen_since(&before).len(), 2);
        assert_eq!(table(&[("a", 97.9, 990.0)]).fallen_since(&before), ["a without cipher: 100.0 → 97.9"]);
    }
}
