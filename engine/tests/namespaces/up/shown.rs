//! Metrics at an address that only the gateway itself brings.

use std::net::TcpStream;

use super::*;
use crate::metrics::get;

const METRICS: &str = "10.77.0.1:9586";
const METRICS_V6: &str = "[fd77::1]:9586";

fn scraped(from: &Namespace, address: &str) -> bool {
    from.enter(|| TcpStream::connect(address))
        .is_ok_and(|stream| get(stream, "/metrics", "*/*").contains("ringfort_up"))
}

#[test]
fn metrics_at_an_address_of_the_tunnel() {
    let setting = Setting::new();
    let before = setting.state();
    let there = &setting.wire.ends[1];
    let write = |address: &str, metrics: &str| {
        let section = setting.interface_section(&format!("Metrics = {metrics}"));
        let section = section.replace("10.77.0.1/24", &format!("{address}/24, fd77::1/64"));
        setting.write(&(section + &setting.peer_section("")));
    };
    // One that nobody will ever have is a mistake.
    write("10.77.0.1", "10.77.0.3:9586");
    let (status, text) = setting.fails("up");
    assert!(status == 2 && text.contains("10.77.0.3:9586") && text.contains("Metrics"), "{status}: {text}");
    setting.assert_nothing_is_left(&before);

    write("10.77.0.1", METRICS);
    setting.run("up");
    setting.is_answered();
    assert!(scraped(there, METRICS), "through the tunnel");
    // The address goes and comes back, as the socket stays.
    write("10.77.0.9", METRICS);
    let said = setting.run("reload");
    assert!(said.contains("Metrics = 10.77.0.1:9586 is no address of the interface any more"), "{said}");
    setting.is_answered();
    write("10.77.0.1", METRICS);
    setting.run("reload");
    setting.is_answered();
    assert!(scraped(there, METRICS), "again");
    setting.run("down");

    setting.here().ip("link set lo up").unwrap();
    write("10.77.0.1", METRICS_V6);
    setting.run("up");
    assert!(scraped(setting.here(), METRICS_V6));
    setting.run("down");
}
