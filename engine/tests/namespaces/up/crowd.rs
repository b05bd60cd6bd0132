//! A file with 50,000 peers.

use super::*;

/// A large site: the work is what one `set=1` of that size takes, and a reload touches nobody.
#[test]
fn fifty_thousand_peers_come_up() {
    const COUNT: u32 = 50_000;
    let setting = Setting::new();
    let mut text = setting.interface_section("Table = off\n#ringfort: Workers = 1") + &setting.peer_section("");
    for number in 0..COUNT {
        let key = KeyPair::random().unwrap().public.base64();
        let [_, b, c, d] = number.to_be_bytes();
        text += &format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{}.{c}.{d}/32\n", 100 + b);
    }
    setting.write(&text);
    setting.run("up");
    let is_daemon = |process: &i32| {
        std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "ringfort")
    };
    let processes = setting.here().processes().unwrap();
    let process = processes.into_iter().find(is_daemon).expect("beside the one that runs commands");
    let stats = uapi::stats(&setting.interface).unwrap();
    assert_eq!((stats["peers"], stats["routes"]), (u64::from(COUNT) + 1, u64::from(COUNT) + 2));
    println!("{COUNT} peers: {} s of CPU until it was up", cpu_seconds(process));
    assert!(cpu_seconds(process) < 30.0, "it took {} s of CPU", cpu_seconds(process));
    setting.here().ip(&format!("route add {THEIRS} dev {}", setting.interface)).unwrap();
    setting.is_answered();
    let before = cpu_seconds(process);
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    println!("{} s of CPU for a reload that changes nothing", cpu_seconds(process) - before);
    setting.run("down");
}

/// User and system time of a process (`proc_pid_stat(5)`, fields 14 and 15), in hundredths of a second.
fn cpu_seconds(process: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
