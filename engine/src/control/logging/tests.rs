use std::sync::mpsc::{Receiver, Sender, channel};

use log::{Level, Log as _};

use super::*;

/// How long that may take which is bound to happen.
const WAIT: Duration = Duration::from_secs(30);

/// A reader that takes the next line only when it is told to, as one does that has stopped.
struct Reader {
    lines: Sender<String>,
    go_on: Receiver<()>,
}

impl Place for Reader {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        // Both fail when the test is over.
        let _ = self.go_on.recv();
        let _ = self.lines.send(line.text.clone());
        Ok(())
    }

    fn rename(&mut self, _: &str) {}
}

fn logger() -> (Logger, Sender<()>, Receiver<String>) {
    let ((lines, written), (go_on, may_go_on)) = (channel(), channel());
    set_level(LevelFilter::Debug);
    let logger = Logger::start(Reader { lines, go_on: may_go_on }).unwrap();
    (logger, go_on, written)
}

/// As from line `place` of a file.
fn say(logger: &Logger, place: u32, text: &str) {
    let record = &mut Record::builder();
    record.file_static(Some("src/test.rs")).line(Some(place)).level(Level::Warn);
    logger.log(&record.args(format_args!("{text}")).build());
}

#[test]
fn nobody_waits_for_a_reader_that_has_stopped() {
    let (logger, go_on, written) = logger();
    let many = 2 * WAITING as u32;
    for number in 0..many {
        say(&logger, number % 200, &format!("line {number}"));
    }
    let begun = Instant::now();
    logger.flush();
    let waited = begun.elapsed();
    assert!(waited >= LAST_WORDS, "it waits for a while");
    assert_eq!(written.try_recv().ok(), None, "nothing can have been written");
    // The reader goes on: what did not fit is counted, and all that comes afterwards is there.
    (0..many).for_each(|_| go_on.send(()).unwrap());
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("not read fast enough")) {
        lines.push(written.recv_timeout(WAIT).unwrap());
    }
    let lost: u32 = lines.pop().unwrap().split(' ').next().unwrap().parse().unwrap();
    while let Ok(line) = written.try_recv() {
        lines.push(line);
    }
    logger.flush();
    lines.extend(written.try_iter());
    assert_eq!(u32::try_from(lines.len()).unwrap() + lost, many, "each is written or counted");
    let numbers: Vec<u32> = lines.iter().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert!(numbers.is_sorted());
}

#[test]
fn one_kind_of_line_does_not_fill_the_log() {
    let (logger, go_on, written) = logger();
    (0..1_000).for_each(|_| go_on.send(()).unwrap());
    for number in 0..100_000 {
        say(&logger, 1, &format!("a stranger did {number}"));
    }
    say(&logger, 2, "something else");
    logger.flush();
    let lines: Vec<String> = written.try_iter().collect();
    // A slow machine may take some seconds for it, each of which is good for one more.
    assert!(lines.len() < 1_000, "{} lines", lines.len());
    assert!(lines.contains(&"something else".to_owned()));
    let left_out = |line: &String| {
        let (_, count) = line.split_once(" (")?;
        count.strip_suffix(" more like this were left out)")?.parse::<usize>().ok()
    };
    let counted: usize = lines.iter().filter_map(left_out).sum();
    assert_eq!(lines.len() - 1 + counted, 100_000, "each is written or counted");
}

#[test]
fn what_is_not_wanted_is_not_even_counted() {
    let (logger, _go_on, written) = logger();
    let record = &mut Record::builder();
    logger.log(&record.level(Level::Trace).args(format_args!("too much")).build());
    assert!(!logger.enabled(record.build().metadata()) && written.try_recv().is_err());
}
