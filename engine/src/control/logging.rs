//! Where log lines go: the standard error, or syslog for a daemon that has none.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

const SYSLOG_SOCKET: &str = "/dev/log";
/// `LOG_DAEMON` of `syslog(3)`, already shifted.
const FACILITY_DAEMON: u8 = 3 << 3;

/// Logs to the standard error from now on.
pub fn to_stderr(name: &str, level: LevelFilter) {
    let mut builder = Builder::new();
    builder.target(Target::Stderr);
    let name = name.to_owned();
    builder.format(move |out, record| {
        let (time, level) = (out.timestamp_millis(), record.level());
        writeln!(out, "{time} {level:<5} {name}: {}", record.args())
    });
    install(builder, level);
}

/// Logs to syslog from now on, a datagram for each line (RFC 3164, as `syslog(3)` writes it to `/dev/log`). Without a
/// syslog the lines are lost: a daemon has nowhere else to put them.
pub fn to_syslog(name: &str, level: LevelFilter) {
    let mut builder = Builder::new();
    builder.target(Target::Pipe(Box::new(Syslog::connect(Path::new(SYSLOG_SOCKET)))));
    builder.write_style(env_logger::WriteStyle::Never);
    let (name, pid) = (name.to_owned(), std::process::id());
    builder.format(move |out, record| {
        let priority = FACILITY_DAEMON | severity(record.level());
        write!(out, "<{priority}>ringfort[{pid}]: {name}: {}", record.args())
    });
    install(builder, level);
}

fn install(mut builder: Builder, level: LevelFilter) {
    builder.filter_level(level);
    // Fails only if there is a logger already, as in tests: then that one is used.
    let _ = builder.try_init();
}

/// The severities of RFC 3164.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

struct Syslog(io::Result<UnixDatagram>);

impl Syslog {
    fn connect(path: &Path) -> Self {
        Self(UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            // A syslog that does not read must never make the control loop wait.
            socket.set_nonblocking(true)?;
            Ok(socket)
        }))
    }
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Ok(socket) = &self.0 {
            // Lost if syslog is full or restarts.
            let _ = socket.send(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_gets_lines_and_is_never_waited_for() {
        let path = std::env::temp_dir().join(format!("ringfort-syslog-{}", std::process::id()));
        // A run that was killed may have left it, and had the same number.
        let _ = std::fs::remove_file(&path);
        let log = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::connect(&path);
        std::fs::remove_file(&path).unwrap();
        syslog.write_all(b"<30>ringfort[1]: wg0: hello").unwrap();
        let mut line = [0; 64];
        let len = log.recv(&mut line).unwrap();
        assert_eq!(&line[..len], b"<30>ringfort[1]: wg0: hello");
        for _ in 0..10_000 {
            syslog.write_all(b"nobody reads this").unwrap();
        }
        drop(log);
        syslog.write_all(b"nobody is there").unwrap();
        Syslog::connect(&path).write_all(b"nobody was there").unwrap();
    }
}
