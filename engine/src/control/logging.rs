//! Where log lines go: the standard error, or syslog for a daemon that has none.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

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
    let socket = Syslog(UnixDatagram::unbound().and_then(|socket| {
        socket.connect(SYSLOG_SOCKET)?;
        // A syslog that does not read must never make the control loop wait.
        socket.set_nonblocking(true)?;
        Ok(socket)
    }));
    builder.target(Target::Pipe(Box::new(socket)));
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
