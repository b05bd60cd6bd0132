//! `iperf3` (<https://software.es.net/iperf/>): a generator that others know, beside our own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringfort_testbed::{Context, Error, Result, command};
use ringfort_traffic::Endpoint;
use serde::Deserialize;

/// What iperf3 reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// What the receiver saw after the warm-up.
    pub megabits_per_s: f64,
    /// Everything that was sent, the warm-up included.
    pub bytes_all: u64,
}

/// Sends from one namespace to the other for `warm_up` and `time`.
///
/// # Errors
/// iperf3 does not start, or says that something went wrong.
pub fn tcp(from: Endpoint<'_>, to: Endpoint<'_>, streams: u16, warm_up: Duration, time: Duration) -> Result<Report> {
    let _server = Server::start(to)?;
    let mut client = from.namespace.command("iperf3");
    client.args(["--json", "--client", &to.address.to_string()]);
    // Whole seconds is all that iperf3 3.12 takes.
    let seconds = |time: Duration| (time.as_secs_f64().ceil() as u64).to_string();
    client.args(["--time", &seconds(time), "--omit", &seconds(warm_up), "--parallel", &streams.to_string()]);
    let output = command::output(&mut client).context("iperf3")?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// The version that iperf3 reports; `None` when it is not installed.
pub fn version() -> Option<String> {
    let output = command::output(Command::new("iperf3").arg("--version")).ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// A server for one client. Dropping it ends it.
struct Server(Child);

impl Server {
    /// Starts it, and returns when it listens.
    fn start(at: Endpoint<'_>) -> Result<Self> {
        let mut command = at.namespace.command("iperf3");
        command.args(["--server", "--one-off", "--forceflush", "--bind", &at.address.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut server = Self(child.context("starting an iperf3 server")?);
        let output = server.0.stdout.take().expect("its standard output is a pipe");
        let mut lines = BufReader::new(output).lines().map_while(std::io::Result::ok);
        if !lines.any(|line| line.contains("listening")) {
            return Err(Error::new("the iperf3 server ended before it listened"));
        }
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Deserialize)]
struct Printed {
    error: Option<String>,
    #[serde(default)]
    intervals: Vec<Interval>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct Interval {
    sum: Sum,
}

#[derive(Deserialize)]
struct End {
    sum_received: Option<Sum>,
}

#[derive(Deserialize)]
struct Sum {
    bytes: u64,
    bits_per_second: f64,
}

fn parse(printed: &str) -> Result<Report> {
    let printed: Printed = serde_json::from_str(printed).context(format_args!("iperf3 printed {printed:?}"))?;
    if let Some(error) = printed.error {
        return Err(Error::new(format!("iperf3: {error}")));
    }
    let received = printed.end.and_then(|end| end.sum_received);
    let received = received.ok_or_else(|| Error::new("iperf3 does not say what was received"))?;
    let bytes_all = printed.intervals.iter().map(|interval| interval.sum.bytes).sum();
    Ok(Report { megabits_per_s: received.bits_per_second / 1e6, bytes_all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iperf3_prints_is_understood() {
        let printed = r#"{"start": {}, "intervals": [
            {"streams": [], "sum": {"bytes": 1000, "bits_per_second": 1.0, "omitted": true}},
            {"streams": [], "sum": {"bytes": 3000, "bits_per_second": 2.0, "omitted": false}}],
            "end": {"sum_sent": {"bytes": 3000, "bits_per_second": 9.0},
                    "sum_received": {"bytes": 2900, "bits_per_second": 2.5e9}}}"#;
        assert_eq!(parse(printed).unwrap(), Report { megabits_per_s: 2_500.0, bytes_all: 4_000 });
    }

    #[test]
    fn what_went_wrong_is_said() {
        let printed = r#"{"start": {}, "intervals": [], "end": {}, "error": "unable to connect to server"}"#;
        assert!(parse(printed).unwrap_err().to_string().contains("unable to connect"));
        assert!(parse("").is_err());
        assert!(parse(r#"{"intervals": [], "end": {}}"#).is_err());
    }
}
