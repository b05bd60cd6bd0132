//! The handbook's table of faults is that of these tests.

/// Asserts that the row of a fault names what is found on either side.
#[track_caller]
pub fn says(fault: &str, here: &[&str], there: &[&str]) {
    let rows = rows();
    let row = rows.iter().find(|row| row[0] == fault);
    let row = row.unwrap_or_else(|| panic!("docs/src/troubleshooting.md has no row for {fault:?}"));
    let codes = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let said = [codes(&row[2]), codes(&row[3])];
    assert_eq!(said, [here, there].map(<[&str]>::to_vec), "{fault}: left is docs/src/troubleshooting.md");
}

/// How many faults there are.
pub fn count() -> usize {
    rows().len()
}

/// The cells of the table below its heading.
fn rows() -> Vec<Vec<String>> {
    let page = ringfort_handbook::page("troubleshooting.md").unwrap();
    let section = page.text.split("\n## ").find(|section| section.starts_with("Seventeen faults")).unwrap().to_owned();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}
