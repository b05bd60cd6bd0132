use clap::CommandFactory as _;

use super::*;
use crate::cli::{Cli, Command};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn read(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::read(std::iter::once("ringfort").chain(args.iter().copied()))
}

/// As the daemon's.
fn parse(args: &[&str]) -> Result<Serve, clap::Error> {
    read(args).map(|cli| cli.serve)
}

fn cpus(args: &[&str], usable: &[usize]) -> Result<Vec<usize>, CpuError> {
    parse(args).unwrap().worker_cpus(&Cpus { usable, near: &[], reaches: &|_| false })
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wireguard_go_s_own_command_lines_are_understood() {
    let cli = parse(&["wg0"]).unwrap();
    assert!(!cli.foreground && cli.selection() == Selection::Auto && cli.name == "wg0");
    assert!(parse(&["-f", "wg0"]).unwrap().foreground);
    assert!(parse(&["--foreground", "wg0"]).unwrap().foreground);
}

#[test]
fn subcommands_need_no_interface_to_serve() {
    let cli = read(&["stats", "wg0"]).unwrap();
    assert!(matches!(cli.command, Some(Command::Stats(_))) && cli.serve.name.is_empty());
    assert!(read(&["wg0"]).unwrap().command.is_none());
    // A name that only begins like a command is a name.
    assert_eq!(parse(&["sta"]).unwrap().name, "sta");
    for slip in ["status", "relaod", "peer", "statsx"] {
        assert!(parse(&[slip]).is_err(), "{slip}");
    }
    assert_eq!(parse(&["-f", "status"]).unwrap().name, "status", "whoever means it");
}

#[test]
fn what_is_not_understood_is_refused() {
    for args in [
        &[][..],
        &["wg0", "wg1"],
        &["--workers", "0", "wg0"],
        &["--workers", "256", "wg0"],
        &["--cpus", "", "wg0"],
        &["--aead", "rot13", "wg0"],
        &["--log-level", "loud", "wg0"],
        &["--busy-poll", "soon", "wg0"],
        &["--busy-poll", "-1", "wg0"],
        &["--udp-gso", "maybe", "wg0"],
        &["--overlays", "auto", "wg0"],
        &["--memory", "0", "wg0"],
        &["--memory", "much", "wg0"],
        &["--memory", "99999999999999G", "wg0"],
        &["--socket-buffer", "1", "wg0"],
        &["--stats", "--memory", "1G", "wg0"],
        &["--stats", "--udp-gso", "on", "wg0"],
        &["--stats"],
        &["--set-suite", "aes256gcm"],
        &["--set-suite", "aes", "wg0"],
        &["--set-suite", "aes256gcm", "--peer", "wg0", "wg0"],
        &["--set-suite", "aes256gcm", "--config", "x", "wg0"],
        &["--set-suite", "aes256gcm", "--stats", "wg0"],
        &["--suites", "--stats", "wg0"],
        &["--suites", "-f", "wg0"],
        &["--peer", KEY, "wg0"],
        &["--stats", "-f", "wg0"],
        &["--stats", "--stages", "wg0"],
        &["--stages=0", "wg0"],
        &["stats"],
        &["-f", "stats", "wg0"],
    ] {
        assert!(parse(args).is_err(), "{args:?}");
    }
}

#[test]
fn suites_are_set_for_the_interface_or_a_peer() {
    let cli = parse(&["--set-suite", "aes256gcm", "wg0"]).unwrap();
    assert_eq!((cli.set_suite, cli.peer), (Some(SuiteArg(Some(Suite::Aes256Gcm))), None));
    let cli = parse(&["--set-suite", "default", "--peer", KEY, "wg0"]).unwrap();
    assert_eq!((cli.set_suite, cli.peer), (Some(SuiteArg(None)), Some(key_text::decode(KEY).unwrap())));
    assert!(parse(&["--suites", "wg0"]).unwrap().suites);
    assert_eq!(parse(&["--config", "x.conf", "wg0"]).unwrap().config, Some("x.conf".into()));
}

#[test]
fn the_list_of_ciphers_needs_no_interface() {
    assert_eq!(parse(&["--aead", "list"]).unwrap().aead, Some(AeadArg::List));
    assert!(parse(&["--aead", "auto"]).is_err());
    assert!(parse(&["-f"]).is_err());
}

#[test]
fn levels_have_wireguard_go_s_names_too() {
    for (name, level) in [("verbose", LevelFilter::Debug), ("silent", LevelFilter::Off), ("error", LevelFilter::Error)]
    {
        let cli = parse(&["--log-level", name, "wg0"]).unwrap();
        assert_eq!(cli.explicit_log_level(), Some(level));
    }
}

#[test]
fn stages_are_measured_in_some_turns() {
    assert_eq!(parse(&["wg0"]).unwrap().stages, None);
    let cli = parse(&["--stages", "wg0"]).unwrap();
    assert_eq!((cli.stages, cli.name.as_str()), (Some(16), "wg0"));
    assert_eq!(parse(&["--stages=1", "wg0"]).unwrap().stages, Some(1));
}

#[test]
fn trains_leave_as_asked_or_as_suits_the_kernel() {
    let segmentation = |args: &[&str]| parse(args).unwrap().segmentation();
    assert_eq!(segmentation(&["--udp-gso", "on", "wg0"]), Segmentation::On);
    assert_eq!(segmentation(&["--udp-gso", "off", "wg0"]), Segmentation::Off);
    assert_eq!(segmentation(&["--udp-gso", "ragged", "wg0"]), Segmentation::Ragged);
    for auto in [&["wg0"][..], &["--udp-gso", "auto", "wg0"]] {
        assert_eq!(segmentation(auto), Segmentation::for_this_kernel());
    }
}

#[test]
fn times_of_busy_polling() {
    assert_eq!(parse(&["wg0"]).unwrap().busy_poll(), Duration::ZERO);
    assert_eq!(parse(&["--busy-poll", "50", "wg0"]).unwrap().busy_poll(), Duration::from_micros(50));
    assert_eq!(parse(&["--busy-poll", "always", "wg0"]).unwrap().busy_poll(), Duration::MAX);
}

#[test]
fn sizes_have_units_and_the_option_counts_more_than_the_file() {
    for (text, bytes) in [("33554432", 32 << 20), ("32M", 32 << 20), ("64k", 64 << 10), ("2g", 2 << 30), ("1", 1)] {
        let mut cli = parse(&["--memory", text, "wg0"]).unwrap();
        cli.file.memory = Some(MemoryBound(7));
        assert_eq!(cli.memory(Some(1 << 30)).bound, Bound::Asked(bytes), "{text}");
    }
    let mut cli = parse(&["--socket-buffer", "1M", "wg0"]).unwrap();
    assert_eq!(cli.memory(Some(1 << 30)), Memory { bound: Bound::Usual(1 << 28), receive_buffer: Some(1 << 20) });
    cli.file.memory = Some(MemoryBound(7));
    assert_eq!(cli.memory(Some(1 << 30)).bound, Bound::Asked(7));
}

#[test]
fn overlays_are_merged_unless_the_option_or_else_the_file_says_no() {
    let merges = |args: &[&str], file| {
        let mut serve = parse(args).unwrap();
        serve.file.overlays = file;
        serve.merge(Merge::ALL).tunnels.is_some()
    };
    assert!(merges(&["wg0"], None));
    assert!(!merges(&["wg0"], Some(Overlays::Off)));
    assert!(merges(&["--overlays", "on", "wg0"], Some(Overlays::Off)));
    assert!(!merges(&["--overlays", "off", "wg0"], Some(Overlays::On)));
}

#[test]
fn a_gateway_stands_by_if_the_option_or_the_file_says_so() {
    let stands_by = |args: &[&str], file| {
        let mut serve = parse(args).unwrap();
        serve.file.passive = file;
        serve.is_passive()
    };
    assert!(!stands_by(&["wg0"], None) && !stands_by(&["wg0"], Some(false)));
    assert!(stands_by(&["wg0"], Some(true)) && stands_by(&["--passive", "wg0"], None));
    assert!(parse(&["--stats", "--passive", "wg0"]).is_err(), "a daemon that runs is promoted and demoted");
}

#[test]
fn a_gateway_is_the_node_that_the_option_or_the_file_names() {
    let node = |args: &[&str], file: Option<&str>| {
        let mut serve = parse(args).unwrap();
        serve.file.node = file.map(|text| text.parse().unwrap());
        serve.node().to_string()
    };
    assert_eq!(node(&["wg0"], Some("3/4")), "3/4");
    assert_eq!(node(&["--node", "1/2", "wg0"], Some("3/4")), "1/2");
    assert!(parse(&["wg0"]).unwrap().node().is_single());
    let error = parse(&["--node", "4/2", "wg0"]).unwrap_err().to_string();
    assert!(error.contains("BITS 2 has room for the numbers 0 to 3, not for 4"), "{error}");
    assert!(parse(&["--stats", "--node", "1/2", "wg0"]).is_err(), "a daemon that runs stays what it is");
}

#[test]
fn cpu_lists() {
    assert_eq!("0-3,6".parse(), Ok(CpuList(vec![0, 1, 2, 3, 6])));
    assert_eq!("5,2".parse(), Ok(CpuList(vec![5, 2])));
    assert_eq!(CpuList(vec![5, 2]).to_string(), "5,2");
    for bad in ["", ",", "1,", "3-1", "-1", "a", "1,1", "0-4,2", "8192", "0-99999999", "1 ,2"] {
        assert!(bad.parse::<CpuList>().is_err(), "{bad:?}");
    }
}

#[test]
fn workers_take_the_cpus_in_turn() {
    let usable: Vec<usize> = (0..40).collect();
    assert_eq!(cpus(&["w"], &usable[..3]), Ok(vec![0, 1, 2]));
    assert_eq!(cpus(&["w"], &usable).unwrap().len(), 16);
    assert_eq!(cpus(&["--cpus", "0-39", "w"], &usable).unwrap().len(), 40);
    assert_eq!(cpus(&["--workers", "5", "--cpus", "7,3", "w"], &usable), Ok(vec![7, 3, 7, 3, 7]));
    assert_eq!(cpus(&["--workers", "1", "w"], &usable), Ok(vec![0]));
    let error = cpus(&["--cpus", "1,9", "w"], &[0, 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CPU 9 is not usable here (it is offline, or a cpuset forbids it): choose --cpus among 0,1"
    );
}
