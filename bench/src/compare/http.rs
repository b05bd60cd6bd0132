//! HTTP as servers and clients speak it: nginx (<https://nginx.org>) and wrk (<https://github.com/wg/wrk>), inside the
//! namespaces. They read no settings of the system and leave no file: all that they need is in a directory of this run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::{Context, Error, Result, command, janitor};
use ringfort_traffic::{Endpoint, Percentiles};
use serde::Deserialize;

use crate::peers;
use crate::results::stamp::short_version_of;

const PORT: u16 = 8_080;
/// Whoever waits longer for an answer fails the measurement. wrk has a counter for each microsecond of it.
const ANSWER_WITHIN_S: u32 = 10;
/// How long nginx may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A page from memory for whoever asks. Paths are below the directory that nginx is given.
const CONFIGURATION: &str = "\
daemon off;
worker_processes 1;
error_log stderr error;
pid pid;
events { worker_connections 512; }
http {
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    access_log off;
    keepalive_requests 2000000000;
    keepalive_timeout 1h;
    default_type text/plain;
    server {
        listen ADDRESS;
        location / { return 200 BODY; }
    }
}
";

/// What wrk prints at its end: one line of JSON. It has no figure for the 100th percentile, but the maximum.
const SCRIPT: &str = r#"function done(summary, latency, requests)
    local errors = summary.errors
    local times = { latency.min, latency.mean, latency.stdev }
    for _, percent in ipairs({ 50, 90, 99, 99.9, 99.99 }) do
        times[#times + 1] = latency:percentile(percent)
    end
    times[#times + 1] = latency.max
    for place, time in ipairs(times) do
        times[place] = string.format("%.0f", time)
    end
    print(string.format(
        '{"requests":%d,"bytes":%d,"duration_us":%d,"errors":[%d,%d,%d,%d,%d],"times_us":[%s]}',
        summary.requests, summary.bytes, summary.duration,
        errors.connect, errors.read, errors.write, errors.status, errors.timeout, table.concat(times, ",")))
end
"#;

/// What is asked for, and by how many.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Length of the answer's body: 4,000 at the most, since it stands in the configuration.
    pub bytes: u32,
    /// Connections at once, which stay open.
    pub connections: u16,
}

/// What wrk reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// After the warm-up.
    pub requests_per_s: f64,
    /// From a request to its answer, likewise. wrk adds what a connection would have asked while it waited for longer
    /// than twice the mean.
    pub time_ns: Percentiles,
    /// All requests, those of the warm-up included.
    pub requests_all: u64,
}

/// Asks from one namespace for a page that is served in the other, for `warm_up` and then for `time`. Each of the two
/// programs has one thread that works: chance does not divide connections among more.
///
/// # Errors
/// A program is missing or does not start, or wrk counted anything but answers.
pub fn ask(page: Page, from: Endpoint<'_>, to: Endpoint<'_>, warm_up: Duration, time: Duration) -> Result<Report> {
    let server = Server::start(page, to)?;
    let script = server.directory.join("done.lua");
    fs::write(&script, SCRIPT).context(script.display())?;
    let mut requests_all = 0;
    if !warm_up.is_zero() {
        requests_all += wrk(page, from, &server, &script, warm_up)?.requests;
    }
    let printed = wrk(page, from, &server, &script, time)?;
    requests_all += printed.requests;
    let requests_per_s = printed.requests as f64 / printed.duration_us as f64 * 1e6;
    Ok(Report { requests_per_s, time_ns: printed.times(), requests_all })
}

/// The versions of nginx and wrk, by name, of those that are there.
pub fn versions() -> BTreeMap<String, String> {
    let version = |name: &str| Some((name.to_owned(), short_version_of(&peers::find(name)?)?));
    ["nginx", "wrk"].into_iter().filter_map(version).collect()
}

/// nginx with one worker. Dropping it ends it.
struct Server {
    nginx: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Server {
    /// Starts it, and returns when it takes connections.
    fn start(page: Page, at: Endpoint<'_>) -> Result<Self> {
        let mut server = Self::spawn(page, at)?;
        let deadline = Instant::now() + PATIENCE;
        let connect = || TcpStream::connect_timeout(&server.address, PATIENCE);
        while at.namespace.enter(connect).is_err() {
            let ended = server.nginx.try_wait().context("waiting for nginx")?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or("does not listen".to_owned(), |status| format!("ended with {status}"));
                let said = fs::read_to_string(server.directory.join("log")).unwrap_or_default();
                return Err(Error::new(format!("nginx {state}; it printed:\n{said}")));
            }
            sleep(POLL);
        }
        Ok(server)
    }

    fn spawn(page: Page, at: Endpoint<'_>) -> Result<Self> {
        let program = program("nginx")?;
        let _permit = janitor::permit();
        let directory = janitor::directory().join(janitor::unique_name());
        fs::create_dir(&directory).context(directory.display())?;
        let address = SocketAddr::new(at.address, PORT);
        let file = directory.join("conf");
        fs::write(&file, configuration(page, address)).context(file.display())?;
        let log = File::create(directory.join("log")).context("making a log for nginx")?;
        let mut command = at.namespace.command(program);
        // What it says before it has read its configuration must not go to the log of the system's own.
        command.args(["-e", "stderr", "-p"]).arg(&directory).arg("-c").arg(&file);
        let nginx = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("starting nginx")?;
        Ok(Self { nginx, address, directory })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let master = i32::try_from(self.nginx.id()).expect("Linux process ids fit an i32");
        // Its worker ends with it. Who does not obey ends with the namespace.
        let _ = kill(Pid::from_raw(master), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.nginx.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(POLL);
        }
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn program(name: &str) -> Result<PathBuf> {
    peers::find(name).ok_or_else(|| Error::new(format!("{name} is missing: `ringfort-bench fetch-peers` installs it")))
}

fn configuration(page: Page, address: SocketAddr) -> String {
    let body: String = "0123456789abcdef".chars().cycle().take(page.bytes as usize).collect();
    CONFIGURATION.replace("ADDRESS", &address.to_string()).replace("BODY", &body)
}

/// What the script prints.
#[derive(Debug, Deserialize, PartialEq)]
struct Printed {
    requests: u64,
    bytes: u64,
    duration_us: u64,
    /// Connections that failed, reads, writes; answers that are no page; answers that came too late.
    errors: [u64; 5],
    /// Minimum, mean, standard deviation, then 50, 90, 99, 99.9, 99.99 and 100 %.
    times_us: [u64; 9],
}

impl Printed {
    fn times(&self) -> Percentiles {
        let [min, mean, stdev, p50, p90, p99, p99_9, p99_99, max] = self.times_us.map(|time| time * 1_000);
        let (mean, stdev) = (mean as f64, stdev as f64);
        Percentiles { count: self.requests, min, mean, stdev, p50, p90, p99, p99_9, p99_99, max }
    }
}

fn wrk(page: Page, from: Endpoint<'_>, server: &Server, script: &Path, time: Duration) -> Result<Printed> {
    let mut wrk = from.namespace.command(program("wrk")?);
    wrk.args(["--threads", "1", "--connections", &page.connections.to_string()]);
    // Whole seconds are all that wrk takes.
    wrk.args(["--duration", &(time.as_secs_f64().ceil() as u64).to_string()]);
    wrk.args(["--timeout", &ANSWER_WITHIN_S.to_string()]);
    wrk.arg("--script").arg(script).arg(format!("http://{}/", server.address));
    parse(&command::run(&mut wrk)?, page)
}

fn parse(said: &str, page: Page) -> Result<Printed> {
    let line = said.lines().rev().find(|line| line.starts_with('{'));
    let line = line.ok_or_else(|| Error::new(format!("wrk printed no results, but\n{said}")))?;
    let printed: Printed = serde_json::from_str(line).context(format_args!("wrk printed {line:?}"))?;
    let [connect, read, write, status, late] = printed.errors;
    if printed.errors != [0; 5] {
        return Err(Error::new(format!(
            "wrk counted errors: {connect} of connecting, {read} of reading, {write} of writing; {status} answers \
             without the page, {late} after {ANSWER_WITHIN_S} s"
        )));
    }
    if printed.requests == 0 {
        return Err(Error::new("wrk got no answer"));
    }
    if printed.bytes < printed.requests * u64::from(page.bytes) {
        let Printed { requests, bytes, .. } = printed;
        return Err(Error::new(format!("wrk got {requests} answers of {} bytes with {bytes} bytes", page.bytes)));
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page = Page { bytes: 1_024, connections: 64 };

    fn said(requests: u64, bytes: u64, errors: &str) -> String {
        format!(
            "Running 1s test @ http://10.77.0.2:8080/\n  1 threads and 64 connections\nRequests/sec:  98.04\n\
             {{\"requests\":{requests},\"bytes\":{bytes},\"duration_us\":1020000,\"errors\":[{errors}],\
             \"times_us\":[90,110,20,100,120,300,400,500,900]}}\n"
        )
    }

    #[test]
    fn what_wrk_prints_is_understood() {
        let printed = parse(&said(100, 120_000, "0,0,0,0,0"), PAGE).unwrap();
        let times = printed.times();
        assert_eq!((printed.requests, printed.duration_us), (100, 1_020_000));
        assert_eq!((times.count, times.min, times.p50, times.p99, times.max), (100, 90_000, 100_000, 300_000, 900_000));
        assert_eq!((times.mean, times.stdev), (110_000.0, 20_000.0));
    }

    #[test]
    fn whatever_is_no_answer_fails_with_its_count() {
        let failure = |text: &str| parse(text, PAGE).unwrap_err().to_string();
        let counted = failure(&said(100, 120_000, "1,2,3,4,5"));
        assert!(counted.contains("1 of connecting, 2 of reading, 3 of writing; 4 answers"), "{counted}");
        assert!(counted.contains("5 after 10 s"), "{counted}");
        assert!(failure(&said(0, 0, "0,0,0,0,0")).contains("no answer"));
        assert!(failure(&said(100, 102_399, "0,0,0,0,0")).contains("100 answers of 1024 bytes with 102399 bytes"));
        assert!(failure("unable to connect\n").contains("unable to connect"));
        assert!(failure("{\"requests\":").contains("wrk printed"));
    }

    #[test]
    fn the_page_is_as_long_as_it_must_be() {
        let address = SocketAddr::from(([10, 77, 0, 2], PORT));
        let text = configuration(PAGE, address);
        let body = text.split("return 200 ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
        assert_eq!(body.len(), 1_024);
        assert!(text.contains("listen 10.77.0.2:8080;"), "{text}");
    }
}
