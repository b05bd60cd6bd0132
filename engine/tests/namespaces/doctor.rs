//! `ringfort doctor`, and the CPUs of the workers.

use std::process::{Command, Output};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use ringfort_testbed::daemon::Daemon;
use ringfort_testbed::{Namespace, janitor};
use serde_json::Value;

use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, seccomp, us};

fn examined(mut command: Command) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code(), serde_json::from_slice(&stdout).unwrap())
}

fn doctor(namespace: &Namespace, words: &[&str]) -> Command {
    let mut command = namespace.command(us().path);
    command.args(["doctor", "--json"]).args(words);
    command
}

#[track_caller]
fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check} in {report}"))
}

#[test]
fn before_a_start_and_while_it_runs() {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let (status, before) = examined(doctor(&namespace, &[&interface]));
    assert_eq!((&before["running"], &before["version"]), (&Value::Bool(false), &Value::from(1)));
    let nobody = finding(&before, "gateway.running");
    assert!(nobody["severity"] == "note" && nobody["what"].as_str().unwrap().contains(&interface), "{nobody}");
    assert_eq!(finding(&before, "io_uring.permission")["severity"], "good");
    assert_eq!(finding(&before, "container.tun")["severity"], "good");
    let expected = match before["worst"].as_str().unwrap() {
        "good" | "note" => 0,
        "warning" => 1,
        worst => panic!("tests run here, and it is {worst}: {before}"),
    };
    assert_eq!(status, Some(expected));
    let program = us().with_options("--workers 2 --cpus 0 --socket-buffer 512K");
    let daemon = Daemon::start(&program, &namespace, &interface).unwrap();
    let (status, during) = examined(doctor(&namespace, &[&interface]));
    assert_eq!((status, &during["running"]), (Some(1), &Value::Bool(true)));
    let serves = format!("process {} serves {interface}", daemon.pid());
    assert_eq!(finding(&during, "gateway.running")["what"], serves);
    let workers = finding(&during, "cpu.workers");
    assert!(workers["severity"] == "warning" && workers["what"] == "2 workers share 1 CPUs", "{workers}");
    let taken = finding(&during, "memory.bound")["what"].as_str().unwrap();
    assert!(taken.starts_with("workers may take 12.3 MiB for packets and 6.0 MiB for the buffers"), "{taken}");
    assert!(daemon.log().contains("2 workers share 1 CPUs"), "the log says so as well: {}", daemon.log());
}

#[test]
fn a_filter_that_forbids_io_uring_is_found() {
    let namespace = Namespace::new().unwrap();
    let mut command = doctor(&namespace, &[]);
    seccomp::deny_io_uring(&mut command, libc::EPERM);
    let (status, report) = examined(command);
    assert_eq!((status, &report["worst"]), (Some(2), &Value::from("fault")));
    let permission = finding(&report, "io_uring.permission");
    assert!(permission["what"].as_str().unwrap().contains("seccomp"), "{permission}");
}

/// As on a machine with isolated CPUs: they are in nobody's affinity before they are asked for.
#[test]
fn workers_leave_the_affinity_that_they_inherit() {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap()).collect();
    let [first, second, ..] = cpus[..] else { panic!("this test needs two CPUs") };
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let start = |cpu: usize| {
        let program = us().with_options(&format!("--cpus {cpu}"));
        let mut command = namespace.command("taskset");
        command.args(["--cpu-list", &first.to_string()]).arg(&program.path).args(program.arguments(&interface));
        Daemon::spawn_command(command, &interface).unwrap()
    };
    let daemon = start(second);
    let tasks = format!("/proc/{}/task", daemon.pid());
    let affinity = || {
        std::fs::read_dir(&tasks).into_iter().flatten().flatten().find_map(|task| {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).ok();
            read("comm")?.strip_prefix("ringfort-w0")?;
            let status = read("status")?;
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(|cpus| cpus.trim().to_owned())
        })
    };
    eventually(PATIENCE, "the worker is there", || affinity() == Some(second.to_string()));
    assert!(daemon.stop().unwrap().success());
    let mut refused = start(8_000);
    assert_eq!(refused.wait(PATIENCE).unwrap().code(), Some(2));
    assert!(refused.log().contains("CPU 8000 is not usable here"), "{}", refused.log());
}
