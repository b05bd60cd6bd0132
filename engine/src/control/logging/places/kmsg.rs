//! The kernel's log, for images without syslog: `dmesg` shows it.
//!
//! The kernel takes ten records in five seconds from each writer and leaves out the rest, unless `sysctl
//! kernel.printk_devkmsg` is `on`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::super::line::cut;
use super::syslog::FACILITY_DAEMON;
use super::{Line, Place, prefix};

const DEVICE: &str = "/dev/kmsg";
/// The kernel refuses a record of more than 1,024 bytes (`PRINTKRB_RECORD_MAX`, `LOG_LINE_MAX` of older ones, less 48).
const RECORD_LEN_MAX: usize = 976;

/// The kernel's log.
pub(in super::super) struct Kmsg {
    device: File,
    prefix: String,
}

impl Kmsg {
    /// # Errors
    /// The device is not there, or not for us.
    pub(in super::super) fn open(interface: &str) -> io::Result<Self> {
        Self::at(Path::new(DEVICE), interface)
    }

    fn at(path: &Path, interface: &str) -> io::Result<Self> {
        Ok(Self { device: OpenOptions::new().append(true).open(path)?, prefix: prefix(interface) })
    }
}

impl Place for Kmsg {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let priority = FACILITY_DAEMON | line.severity();
        let mut record = format!("<{priority}>{}: {}", self.prefix, line.text);
        cut(&mut record, RECORD_LEN_MAX);
        // One call is one record.
        let written = self.device.write(record.as_bytes())?;
        debug_assert!(written == record.len(), "the kernel takes a record or nothing");
        Ok(())
    }

    fn rename(&mut self, interface: &str) {
        self.prefix = prefix(interface);
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::super::datagrams::tests::path;
    use super::*;

    #[test]
    fn records_are_short_enough_for_the_kernel() {
        let path = path("kmsg");
        std::fs::write(&path, "").unwrap();
        let mut kmsg = Kmsg::at(&path, "wg0").unwrap();
        kmsg.write(&Line::now(Level::Error, "é".repeat(2_000))).unwrap();
        let record = std::fs::read_to_string(&path).unwrap();
        assert!(record.starts_with(&format!("<27>ringfort[{}]: wg0: éé", std::process::id())), "{record}");
        assert!((RECORD_LEN_MAX - 1..=RECORD_LEN_MAX).contains(&record.len()), "{} bytes", record.len());
        std::fs::remove_file(&path).unwrap();
    }
}
