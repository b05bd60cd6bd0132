//! How busy the cores of the workers are, whatever runs there: other programs, interrupts, the host of a virtual
//! machine.
//!
//! A worker knows its own thread alone. The kernel knows the cores (`/proc/stat`). On a machine with many cores and
//! interrupts it takes a millisecond to say it, so control asks, and only if a worker wants to know.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use ringfort_core::time::Time;
use ringfort_worker::balance::{Balance, Share, WHOLE};

/// The kernel counts in hundredths of a second. In less than this, a share is a guess.
const WINDOW_MIN: Duration = Duration::from_millis(180);
/// What happened before this says nothing about now.
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// The lines of the cores come first. They are shorter than 128 bytes each.
const TEXT_MAX: usize = 128 << 10;

/// The account of the kernel, and who wants to know.
#[derive(Debug)]
pub struct Cores {
    file: File,
    balance: Arc<Balance>,
    /// On which core each worker runs.
    cpus: Vec<usize>,
    before: Option<(Time, Vec<Ticks>)>,
}

/// What a core did since the machine was started, in ticks of the kernel's accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Cores {
    /// Of workers that run on these cores. To be called before paths are fenced in. `None`: this cannot be known, and
    /// the log says why.
    pub fn open(balance: Arc<Balance>, cpus: &[usize]) -> Option<Self> {
        match open() {
            Ok(file) => {
                balance.will_tell();
                Some(Self { file, balance, cpus: cpus.to_vec(), before: None })
            }
            Err(error) => {
                log::info!(
                    "how busy cores are is not known, so a flow leaves a worker only if that is full by itself: cannot \
                     read /proc/stat: {error} (ProcSubset= of a unit and lxcfs hide it)"
                );
                None
            }
        }
    }

    /// When [`Cores::step`] can tell who has asked too early. Until then nobody wakes control for it again.
    pub fn next_deadline(&self) -> Option<Time> {
        self.earliest().filter(|_| self.balance.is_asked())
    }

    /// Tells the workers, if one of them has asked and enough time has passed to tell.
    pub fn step(&mut self, now: Time) {
        if !self.balance.is_asked() || self.earliest().is_some_and(|earliest| now < earliest) {
            return;
        }
        self.balance.note_answer();
        let ticks = match self.ticks() {
            Ok(ticks) => ticks,
            Err(error) => return log::debug!("cannot read how busy the cores are: {error}"),
        };
        let before = self.before.replace((now, ticks));
        let (Some((_, before)), Some((_, after))) =
            (before.filter(|(then, _)| now.since(*then) < WINDOW_MAX), &self.before)
        else {
            return;
        };
        for (worker, (before, after)) in before.iter().zip(after).enumerate() {
            if let Some(busy) = busy(*before, *after) {
                self.balance.publish_core(worker, busy, now);
            }
        }
    }

    fn earliest(&self) -> Option<Time> {
        self.before.as_ref().map(|(then, _)| *then + WINDOW_MIN)
    }

    /// Those of each worker's core. One that the kernel does not name has none.
    fn ticks(&self) -> io::Result<Vec<Ticks>> {
        let mut text = vec![0; TEXT_MAX];
        let len = self.file.read_at(&mut text, 0)?;
        let mut ticks = vec![Ticks::default(); self.cpus.len()];
        for (cpu, counted) in text[..len].split(|&byte| byte == b'\n').map_while(line) {
            for (of_worker, _) in ticks.iter_mut().zip(&self.cpus).filter(|&(_, &of_worker)| Some(of_worker) == cpu) {
                *of_worker = counted;
            }
        }
        Ok(ticks)
    }
}

/// What stands in for the file in a container (lxcfs) counts other cores under the same numbers.
fn open() -> io::Result<File> {
    let file = File::open("/proc/stat")?;
    if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is not the kernel's own"));
    }
    Ok(file)
}

/// `None`: nothing was counted, so nobody knows.
fn busy(before: Ticks, after: Ticks) -> Option<Share> {
    let all = after.all.checked_sub(before.all).filter(|&all| all > 0 && before.all > 0)?;
    // Idle time may seem to go back: it is put together from several counters.
    let idle = after.idle.saturating_sub(before.idle).min(all);
    Some((all - idle) * WHOLE / all)
}

/// A line about a core, or about all of them, which has no number. `None`: those are all.
fn line(line: &[u8]) -> Option<(Option<usize>, Ticks)> {
    let mut fields = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let cpu = fields.next()?.strip_prefix("cpu")?.parse().ok();
    // user, nice, system, idle, iowait, irq, softirq, steal. Guests are in user already.
    let mut counts = [0; 8];
    for (count, field) in counts.iter_mut().zip(fields) {
        *count = field.parse().ok()?;
    }
    Some((cpu, Ticks { idle: counts[3] + counts[4], all: counts.iter().sum() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(50);

    #[test]
    fn the_lines_of_cores_are_read() {
        let ticks = |idle, all| Ticks { idle, all };
        assert_eq!(line(b"cpu  9 9 9 9 9 9 9 9 9 9"), Some((None, ticks(18, 72))));
        assert_eq!(line(b"cpu12 1 2 3 40 5 6 7 8 100 200"), Some((Some(12), ticks(45, 72))));
        assert_eq!(line(b"cpu1 1 2 3 40"), Some((Some(1), ticks(40, 46))), "an old kernel");
        assert_eq!((line(b"intr 12 3"), line(b""), line(b"cpu1 x"), line(b"\xff")), (None, None, None, None));
    }

    #[test]
    fn busy_is_what_is_not_idle() {
        let ticks = |idle, all| Ticks { idle, all };
        assert_eq!(busy(ticks(10, 100), ticks(15, 120)), Some(750));
        assert_eq!(busy(ticks(10, 100), ticks(9, 120)), Some(WHOLE), "idle time went back");
        assert_eq!(busy(ticks(10, 100), ticks(99, 120)), Some(0));
        assert_eq!(busy(ticks(0, 0), ticks(0, 0)), None, "a core that the kernel does not name");
        assert_eq!(busy(ticks(10, 100), ticks(0, 0)), None, "it was taken out");
        assert_eq!(busy(ticks(0, 0), ticks(10, 100)), None, "it has come: these are years");
    }

    /// The unit that packages have must not hide what is read here, nor refuse what workers ask of the scheduler.
    #[test]
    fn the_unit_leaves_what_places_flows() {
        let unit = include_str!("../../../packaging/systemd/ringfort@.service");
        assert!(!unit.lines().any(|line| line == "ProcSubset=pid"));
        let allowed = |line: &str| line.starts_with("SystemCallFilter=") && line.contains(" sched_setattr");
        assert!(unit.lines().any(allowed), "{unit}");
    }

    /// With the kernel's own file, and time that passes in it.
    #[test]
    fn who_asks_is_told() {
        let balance = Arc::new(Balance::new(2));
        let mut cores = Cores::open(balance.clone(), &[0, usize::MAX]).unwrap();
        cores.step(NOW);
        assert!(cores.before.is_none(), "nobody has asked");
        let ask = |cores: &mut Cores, now| {
            assert!(balance.asks_again());
            cores.step(now);
        };
        ask(&mut cores, NOW);
        let first = cores.before.clone().unwrap().1;
        assert!(first[0].all > 0 && first[1] == Ticks::default(), "{first:?}");
        let began = std::time::Instant::now();
        while cores.ticks().unwrap()[0].all == first[0].all {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        ask(&mut cores, NOW + WINDOW_MIN / 2);
        assert!(balance.core(0, NOW).is_none(), "too early");
        assert!(balance.is_asked() && cores.next_deadline() == Some(NOW + WINDOW_MIN), "and control comes back");
        let now = NOW + WINDOW_MIN;
        cores.step(now);
        assert!(!balance.is_asked() && cores.next_deadline().is_none());
        assert!(balance.core(0, now).is_some_and(|busy| busy <= WHOLE));
        assert_eq!(balance.core(1, now), None);
        let later = now + WINDOW_MAX;
        ask(&mut cores, later);
        assert_eq!(balance.core(0, later), None, "that was long ago");
    }
}
