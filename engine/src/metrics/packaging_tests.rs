//! The dashboard and the rules ask for metrics that there are, and the dashboard is one that Grafana can draw.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ringfort_core::activity::Traffic;
use ringfort_core::drops::DropReason;
use ringfort_core::node::Node;
use serde_json::Value;

use super::text::Format;
use super::*;
use crate::cli::memory::{Bound, Memory};

fn packaging(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A scrape in which every family has a sample.
fn scrape(format: Format) -> String {
    let registry = Registry {
        interface: InterfaceName::new("wg0"),
        started: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        ciphers: vec![(Suite::ChaCha20Poly1305, "aws-lc")],
        control_thread: nix::unistd::gettid().as_raw(),
        workers: vec![Arc::new(WorkerStats::with_stages(0, 16))],
        queues: Arc::new(Queues::new(1).unwrap()),
        memory: Memory { bound: Bound::of(None, Some(1 << 30)), receive_buffer: None }.divide(1),
        node: Node::new(1, 2).unwrap(),
    };
    let peer = PeerSample {
        key: [7; 32],
        traffic: Traffic { rx_bytes: 1, tx_bytes: 2, rx_packets: 3, tx_packets: 4 },
        last_handshake: Some(Duration::from_secs(1_800_000_000)),
        drops: vec![(DropReason::SourceNotAllowed, 9)],
        ..PeerSample::default()
    };
    let states = Some(expose::states(std::slice::from_ref(&peer)));
    expose::text(format, &registry, &Snapshot::default(), &[peer], states)
}

/// The names of the samples of a scrape.
fn samples() -> BTreeSet<String> {
    let text = scrape(Format::Classic);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Every word of `text` that is the name of a metric of ours. Recording rules have a colon in their names.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':' && c != '.' && c != '/');
    words.filter(|word| word.starts_with("ringfort_") && !word.contains(['.', '/'])).map(str::to_owned).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&packaging("grafana/ringfort.json")).unwrap()
}

#[test]
fn whoever_asks_for_a_metric_gets_one() {
    let there = samples();
    for (path, least) in [("grafana/ringfort.json", 15), ("prometheus/ringfort.rules.yml", 10)] {
        let asked = names(&packaging(path));
        assert!(asked.len() >= least, "{path} asks for {asked:?}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{path} asks for {missing:?}; there are {there:?}");
    }
}

/// Each alert is raised by the test of the rules: `promtool test rules` would not notice one that nothing raises.
#[test]
fn every_alert_is_tested() {
    let (rules, test) = (packaging("prometheus/ringfort.rules.yml"), packaging("prometheus/ringfort.rules.test.yml"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in alerts {
        assert!(test.contains(&format!("alertname=\"{alert}\"")), "nothing raises {alert}");
    }
}

/// The handbook lists the families and their labels. What is written has all of them, and no others.
#[test]
fn the_list_of_families_is_what_is_written() {
    let text = scrape(Format::Classic);
    let mut written: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, _) = rest.rsplit_once('}').unwrap();
        let family = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
        written.entry(family.unwrap_or(name)).or_default().extend(names.filter(|&name| name != "le"));
    }
    let families = families();
    let listed: BTreeMap<String, BTreeSet<&str>> = families
        .iter()
        .map(|about| (about.full_name(), about.labels.iter().copied().chain(["interface"]).collect()))
        .collect();
    assert_eq!(listed.len(), families.len(), "a family twice");
    let written: BTreeMap<String, BTreeSet<&str>> =
        written.into_iter().map(|(name, labels)| (name.to_owned(), labels)).collect();
    assert_eq!(written, listed);
}

/// Both formats say the same, each in its way.
#[test]
fn both_formats_have_the_same_samples() {
    let lines = |format| -> BTreeSet<String> {
        let text = scrape(format);
        // CPU time goes on between the two.
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains("cpu_seconds"));
        samples.map(str::to_owned).collect()
    };
    assert_eq!(lines(Format::Classic), lines(Format::OpenMetrics));
}

/// What Grafana needs to draw a panel, as far as it can be said without Grafana.
#[test]
fn the_dashboard_is_one() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36 && dashboard["uid"] == "ringfort");
    let variables: BTreeSet<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance", "interface"]));
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: a number that another has");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{title}: outside of the 24 columns");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title}: on top of another");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}: no description");
        let targets = panel["targets"].as_array().unwrap();
        let letters: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{title}: queries without names of their own");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expr = target["expr"].as_str().unwrap();
            assert!(expr.contains("$instance") && expr.contains("$interface"), "{title}: {expr}");
        }
    }
}
