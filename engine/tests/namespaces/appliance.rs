//! What the appliance does with leases of DHCP, without booting it: `packaging/appliance/dhcp`, as udhcpc calls it.

use ringfort_testbed::{Namespace, command};

/// Its files are in `/run`, which is another one here. A card has an address and no server.
const BEGIN: &str = "set -eu
mount -t tmpfs none /run
touch /run/resolv.static
ip link add eth0 type veth peer name far
ip link set far up
ip link set eth0 up
ip address add 192.0.2.7/24 dev eth0
lease() { interface=eth0 ip=$2 mask=24 router=$3 dns=192.0.2.53 sh ../packaging/appliance/dhcp $1; }
ip monitor route >/run/changes &
trap 'kill $!' EXIT
# A route that nobody needs shows how far the monitor is.
mark() {
    until grep -q 203.0.113.$1 /run/changes; do
        ip route add blackhole 203.0.113.$1
        ip route del blackhole 203.0.113.$1
        sleep 0.02
    done
}
mark 1
";

/// What these lines print at the end.
fn shell(lines: &str) -> String {
    let namespace = Namespace::new().unwrap();
    command::run(namespace.command("sh").args(["-c", &format!("{BEGIN}{lines}")])).unwrap()
}

/// Neither when a line has named the same address, nor when the lease has its own.
#[test]
fn a_lease_that_is_renewed_takes_nothing_away_meanwhile() {
    for address in ["192.0.2.7", "192.0.2.8"] {
        let changes = shell(&format!(
            "lease bound {address} 192.0.2.1; mark 2
lease renew {address} 192.0.2.1; mark 3; sed 1,/203.0.113.2/d /run/changes"
        ));
        assert!(!changes.contains("Deleted default") && changes.contains("203.0.113.3"), "{address}: {changes}");
    }
}

#[test]
fn a_lease_takes_back_what_it_brought_and_leaves_what_a_line_says() {
    let shown = "ip -4 -brief address show dev eth0; ip route show default; cat /run/resolv.conf";
    let other = shell(&format!("lease bound 192.0.2.8 192.0.2.1; lease renew 192.0.2.9 192.0.2.2; {shown}"));
    assert!(other.contains("192.0.2.7/24 192.0.2.9/24 \n") && other.contains("via 192.0.2.2 "), "{other}");
    assert!(other.lines().filter(|line| line.starts_with("default")).count() == 1, "{other}");
    assert!(other.contains("nameserver 192.0.2.53"), "{other}");
    let routerless = shell(&format!("lease bound 192.0.2.8 192.0.2.1; lease renew 192.0.2.8 ''; {shown}"));
    assert!(routerless.contains("192.0.2.8/24") && !routerless.contains("default"), "{routerless}");
    let gone = shell(&format!("lease bound 192.0.2.8 192.0.2.1; lease deconfig '' ''; {shown}"));
    assert!(gone.contains("192.0.2.7/24") && !gone.contains("192.0.2.8") && !gone.contains("default"), "{gone}");
}
