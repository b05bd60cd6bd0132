use ringfort_core::crypto::PublicKey;
use serde_json::Value;

use super::*;

const NOW: Time = Time::from_secs(100);

fn device(peers: u16) -> Device {
    let mut device = Device::new(1);
    for n in 0..peers {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&n.to_le_bytes());
        device.add_peer(PublicKey::new(key)).unwrap();
    }
    device
}

fn watchers(places: usize) -> Watchers {
    let mut watchers = Watchers::default();
    watchers.limit(places);
    watchers
}

/// The next page, as its reader takes it.
fn page(watching: &mut Watching, device: &mut Device) -> Vec<Value> {
    let mut reply = Reply::default();
    watching.page(&mut reply, device, "wg0", NOW);
    let text = std::str::from_utf8(reply.unwritten()).unwrap();
    text.lines().map(|line| serde_json::from_str(line.strip_prefix("json=").unwrap()).unwrap()).collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[test]
fn peers_come_in_pages_and_then_changes() {
    let mut device = device(300);
    let mut watching = watchers(64).admit(&mut device, &mut Reply::default()).unwrap();
    let mut lines = Vec::new();
    let mut pages = 0;
    while watching.is_behind() {
        let page = page(&mut watching, &mut device);
        assert!(page.len() <= LINES_PER_PAGE + 1, "{}", page.len());
        lines.extend(page);
        pages += 1;
    }
    assert_eq!((lines.len(), pages), (1 + 300 + 1, 3));
    assert_eq!(
        (&lines[0]["event"], &lines[0]["role"], &lines[0]["interface"]),
        (&"begin".into(), &"active".into(), &"wg0".into())
    );
    assert!(lines[1..301].iter().all(|line| line["event"] == "peer" && line["session"] == false));
    assert_eq!(lines[301]["peers"], 300);
    assert!(page(&mut watching, &mut device).is_empty(), "nothing has happened");
    let peer = device.peers().next().unwrap().id();
    device.set_endpoint(NOW, peer, "192.0.2.1:7".parse().unwrap());
    let changed = page(&mut watching, &mut device);
    assert_eq!((events(&changed), &changed[0]["changes"]), (vec!["changed"], &json!(["endpoint"])));
    assert_eq!(changed[0]["endpoint"], "192.0.2.1:7");
    assert!(changed[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[test]
fn a_role_is_told_when_it_changes() {
    let mut device = device(0);
    device.set_passive(NOW, true);
    let mut watching = watchers(64).admit(&mut device, &mut Reply::default()).unwrap();
    assert_eq!(page(&mut watching, &mut device)[0]["role"], "passive");
    device.set_passive(NOW, false);
    let told = page(&mut watching, &mut device);
    assert_eq!((events(&told), &told[0]["role"]), (vec!["role"], &"active".into()));
    // It did not look in between.
    device.set_passive(NOW, true);
    device.set_passive(NOW, false);
    assert!(page(&mut watching, &mut device).is_empty());
}

/// Half of the places on the control socket stay for others.
#[test]
fn some_may_watch_and_nothing_is_remembered_for_nobody() {
    let (mut device, watchers) = (device(1), watchers(6));
    let admit = |device: &mut Device| watchers.admit(device, &mut Reply::default());
    let mut three: Vec<_> = (0..3).map(|_| admit(&mut device).unwrap()).collect();
    let mut reply = Reply::default();
    assert_eq!(watchers.admit(&mut device, &mut reply).unwrap_err(), Errno::BUSY);
    assert!(String::from_utf8_lossy(reply.unwritten()).contains("3 clients watch already"));
    three.pop();
    three.push(admit(&mut device).unwrap());
    watchers.step(&mut device);
    assert!(device.is_watched());
    three.clear();
    watchers.step(&mut device);
    assert!(!device.is_watched());
    assert_eq!(Watchers::default().admit(&mut device, &mut reply).unwrap_err(), Errno::BUSY);
}
