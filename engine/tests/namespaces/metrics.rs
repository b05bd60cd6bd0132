//! Metrics of a gateway at work, as Prometheus sees them: its linter, its rules, and the server itself.
//!
//! ```text
//!        namespace 0
//!  ┌──────────────────────────────────────────┐
//!  │ prometheus ── http://127.0.0.1:9586 ──┐  │         namespace 1
//!  │     ▲                            ringfort ──── tunnel ──── ringfort
//!  │     └── the test asks every expression   │
//!  │         of the rules and the dashboard   │
//!  └──────────────────────────────────────────┘
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringfort_testbed::command::run_with_input;
use ringfort_testbed::daemon::{find_in_path, peers_directory};
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Namespace, Tunnel, janitor, uapi};
use serde_json::Value;

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, us};

const ADDRESS: &str = "127.0.0.1:9586";
const PROMETHEUS: &str = "127.0.0.1:9090";

fn program(name: &str) -> PathBuf {
    find_in_path(Path::new(name), &peers_directory().join("bin"))
        .unwrap_or_else(|| panic!("there is no {name}: scripts/install-test-peers unpacks it"))
}

fn packaging(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path).canonicalize().unwrap()
}

/// Asks over a connection and returns the body of the answer, which must be a good one.
pub(crate) fn get(mut stream: impl Read + Write, path: &str, accept: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of HTTP: {answer:?}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}\n{body}");
    body.to_owned()
}

/// A scrape over the unix socket.
pub(crate) fn scrape(interface: &str, accept: &str) -> String {
    let path = format!("/run/ringfort/{interface}.metrics.sock");
    get(UnixStream::connect(&path).unwrap_or_else(|error| panic!("{path}: {error}")), "/metrics", accept)
}

/// The value of the first sample whose line begins so.
fn sample(text: &str, beginning: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(beginning));
    let line = line.unwrap_or_else(|| panic!("no {beginning} in:\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// A tunnel whose first gateway serves metrics on TCP as well, after some packets.
fn tunnel() -> Tunnel {
    let shown = us().with_options(&format!("--workers 2 --stages --metrics {ADDRESS}"));
    let tunnel = Tunnel::connected([&shown, &us()], &Peering::default()).unwrap();
    tunnel.namespace(0).run("ip link set lo up").unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel
}

fn ping(tunnel: &Tunnel, count: usize) {
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    for _ in 0..count {
        pinger.ping(100, PATIENCE).unwrap();
    }
}

#[test]
fn the_linter_has_nothing_to_say_and_the_numbers_are_those_of_stats() {
    let tunnel = tunnel();
    ping(&tunnel, 10);
    let interface = &tunnel.sides[0].interface;
    let text = scrape(interface, "*/*");
    let said = run_with_input(Command::new(program("promtool")).args(["check", "metrics"]), &text).unwrap();
    assert_eq!(said, "", "promtool");
    let sum = |text: &str, name: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    // Nothing is under way any more, except perhaps a keepalive.
    eventually(PATIENCE, "two looks at a gateway at rest show the same", || {
        let (text, stats) = (scrape(interface, "*/*"), uapi::stats(interface).unwrap());
        sum(&text, "ringfort_tun_read_packets_total") == stats["tun_read_packets"] as f64
            && sum(&text, "ringfort_udp_send_datagrams_total") == stats["udp_send_datagrams"] as f64
            && sum(&text, "ringfort_send_train_datagrams_sum") == stats["udp_send_datagrams"] as f64
            && sum(&text, "ringfort_slots") == stats["slots_total"] as f64
    });
    assert!(sum(&text, "ringfort_tun_read_packets_total") >= 10.0);
    let initiator = "role=\"initiator\",outcome=\"completed\"}";
    let handshakes = format!("ringfort_handshakes_total{{interface=\"{interface}\",{initiator}");
    assert!((sample(&text, &handshakes) - 1.0).abs() < f64::EPSILON, "{text}");
    let key = tunnel.sides[1].keys.public.base64();
    let peer = format!("{{interface=\"{interface}\",peer=\"{key}\"}}");
    assert!(sample(&text, &format!("ringfort_peer_receive_bytes_total{peer}")) > 1000.0);
    assert!(sample(&text, &format!("ringfort_peer_last_handshake_timestamp_seconds{peer}")) > 1.7e9);
    let asked = scrape(interface, "application/openmetrics-text;version=1.0.0");
    assert!(asked.ends_with("# EOF\n") && asked.contains("# TYPE ringfort_build info\n"));
}

#[test]
fn stats_can_be_had_as_json() {
    let tunnel = tunnel();
    let interface = &tunnel.sides[0].interface;
    for words in [["--stats", "--json"], ["stats", "--json"]] {
        let output = Command::new(us().path).args(words).arg(interface).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["interface"], interface.as_str());
        assert_eq!((json["peers"].as_u64(), json["up"].as_bool()), (Some(1), Some(true)));
        let workers = json["workers"].as_array().unwrap();
        assert_eq!(workers.len(), 2);
        let sent: u64 = workers.iter().map(|w| w["figures"]["udp_send_datagrams"].as_u64().unwrap()).sum();
        assert!(sent > 0 && json["handshakes"]["initiated"].as_u64() == Some(1), "{json}");
        let secret = tunnel.sides[0].keys.private.base64();
        assert!(!String::from_utf8_lossy(&output.stdout).contains(&secret), "no secrets");
    }
}

#[test]
fn the_socket_goes_with_the_gateway_and_an_address_that_is_taken_is_refused() {
    let namespace = Namespace::new().unwrap();
    namespace.run("ip link set lo up").unwrap();
    let shown = us().with_options(&format!("--metrics {ADDRESS}"));
    let daemon = Daemon::start(&shown, &namespace, &janitor::unique_name()).unwrap();
    let socket = PathBuf::from(format!("/run/ringfort/{}.metrics.sock", daemon.interface()));
    assert!(socket.exists());
    let mut second = Daemon::spawn(&shown, &namespace, &janitor::unique_name()).unwrap();
    let status = second.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(2), "{}", second.log());
    assert!(second.log().contains(ADDRESS) && second.log().contains("--metrics"), "{}", second.log());
    daemon.stop().unwrap();
    assert!(!socket.exists());
}

/// A Prometheus in a namespace, with its files. Dropping it ends it.
struct Prometheus<'a> {
    namespace: &'a Namespace,
    child: Child,
    directory: PathBuf,
}

impl<'a> Prometheus<'a> {
    fn start(namespace: &'a Namespace) -> Self {
        let directory = janitor::directory().join(janitor::unique_name());
        fs::create_dir_all(&directory).unwrap();
        let rules = packaging("prometheus/ringfort.rules.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs: \
             [{{job_name: ringfort, static_configs: [{{targets: ['{ADDRESS}']}}]}}]\n",
            rules.display()
        );
        let file = directory.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let child = namespace
            .command(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { namespace, child, directory }
    }

    /// Asks its API. `None` while it does not answer.
    fn api(&self, path: &str) -> Option<Value> {
        let stream = self.namespace.enter(|| TcpStream::connect(PROMETHEUS)).ok()?;
        let mut stream = stream;
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// How many series an expression yields, or why it is wrong.
    fn query(&self, expr: &str) -> Result<usize, String> {
        let hex = |byte: u8| format!("%{byte:02X}");
        let encoded: String = expr.bytes().map(hex).collect();
        let answer = self.api(&format!("query?query={encoded}")).ok_or("no answer")?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"]["result"].as_array().map_or(0, Vec::len)),
            _ => Err(answer["error"].as_str().unwrap_or("refused").to_owned()),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The expressions of the dashboard, as Grafana would ask them.
fn dashboard_expressions() -> BTreeSet<String> {
    let text = fs::read_to_string(packaging("grafana/ringfort.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let fill =
        |expr: &str| expr.replace("$__rate_interval", "5s").replace("$instance", ".*").replace("$interface", ".*");
    targets.map(|target| fill(target["expr"].as_str().unwrap())).collect()
}

/// Every panel has something to draw, and every rule is evaluated.
#[test]
fn a_real_prometheus_draws_every_panel_and_evaluates_every_rule() {
    let tunnel = tunnel();
    let prometheus = Prometheus::start(tunnel.namespace(0));
    eventually(PATIENCE, "prometheus has scraped the gateway", || {
        ping(&tunnel, 1);
        prometheus.query("ringfort_up == 1") == Ok(1)
    });
    let expressions = dashboard_expressions();
    assert!(expressions.len() > 20, "{expressions:?}");
    let mut without: BTreeSet<&String> = expressions.iter().collect();
    // Rates need two scrapes, and a handshake or a train between them.
    eventually(2 * PATIENCE, &format!("each panel shows something; {}", prometheus.log()), || {
        ping(&tunnel, 3);
        without.retain(|expr| {
            let series = prometheus.query(expr).unwrap_or_else(|error| panic!("{expr}: {error}"));
            series == 0
        });
        without.is_empty()
    });
    let rules = || {
        prometheus.api("rules").map_or(Vec::new(), |answer| {
            let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
        })
    };
    eventually(PATIENCE, "every rule was evaluated", || {
        let rules = rules();
        rules.len() > 10 && rules.iter().all(|rule| rule["health"] == "ok")
    });
    let firing: Vec<_> = rules().into_iter().filter(|rule| rule["state"] == "firing").collect();
    assert!(firing.is_empty(), "a gateway that is well alerts nobody: {firing:?}");
    // A rate over five minutes needs two scrapes that the rule has seen.
    eventually(PATIENCE, "what is recorded can be asked", || {
        prometheus.query("ringfort:receive_bytes:rate5m") == Ok(1)
    });
    assert_eq!(prometheus.query("up{job=\"ringfort\"} == 1"), Ok(1));
    let refused = prometheus.log().lines().filter(|line| line.contains("Error on ingesting")).count();
    assert_eq!(refused, 0, "it takes every sample: {}", prometheus.log());
}

#[test]
fn the_rules_pass_their_own_tests() {
    let directory = packaging("prometheus/ringfort.rules.yml").parent().unwrap().to_owned();
    for words in [["check", "rules", "ringfort.rules.yml"], ["test", "rules", "ringfort.rules.test.yml"]] {
        let output = Command::new(program("promtool")).args(words).current_dir(&directory).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
