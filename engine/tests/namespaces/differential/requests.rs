//! Requests to the control socket, right and wrong. The text of each is its name.

/// A request, and how its client behaves. `{private}` and `{own}` are the gateway's keys. `{peer}` is the key of a peer
/// that it has, and `{peer's private}` what belongs to it. `{other}` is of a peer that it has not, and `{psk}` is a
/// preshared key.
pub struct Request {
    /// What stands after `set=1`, if it does not begin with an operation of its own.
    pub text: &'static str,
    pub end: End,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the blank line, as it should.
    Blank,
    /// The client hangs up instead.
    HangUp,
    /// As it stands.
    AsIs,
    /// With the blank line, and then all of `get=1` is looked at.
    Show,
}

const fn set(text: &'static str) -> Request {
    Request { text, end: End::Blank }
}

const fn cut(text: &'static str) -> Request {
    Request { text, end: End::HangUp }
}

const fn raw(text: &'static str) -> Request {
    Request { text, end: End::AsIs }
}

const fn show(text: &'static str) -> Request {
    Request { text, end: End::Show }
}

/// Values of the interface's keys.
const INTERFACE: &[Request] = &[
    set(""),
    set("private_key="),
    set("private_key=-1"),
    set("private_key=00"),
    set("private_key=zz46a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f80910"),
    set("private_key=046a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f8091"),
    set("private_key=f046a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f8091000"),
    set("private_key=f046a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f80940"),
    set("private_key=F046A87B8F0F0CBD6F5B1A0D1C5F5F1A2B3C4D5E6F708192A3B4C5D6E7F80940"),
    set("private_key=ff46a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f809ff"),
    set("private_key=0000000000000000000000000000000000000000000000000000000000000000"),
    set("private_key={private}"),
    set("private_key={peer's private}"),
    set("private_key={peer's private}\npublic_key={peer}\nallowed_ip=10.2.0.0/16"),
    set("listen_port="),
    set("listen_port=-1"),
    set("listen_port=65536"),
    set("listen_port=18446744073709551617"),
    set("listen_port=0x10"),
    set("listen_port=+7"),
    set("listen_port= 7"),
    set("listen_port=7 "),
    set("listen_port=007"),
    set("listen_port=5555"),
    set("listen_port=51820"),
    set("fwmark="),
    set("fwmark=-1"),
    set("fwmark=4294967296"),
    set("fwmark=0x10"),
    set("fwmark=off"),
    set("fwmark=42"),
    set("fwmark=4294967295"),
    set("replace_peers="),
    set("replace_peers=false"),
    set("replace_peers=1"),
    set("replace_peers=true"),
    show("fwmark=42"),
];

/// Values of a peer's keys.
const PEER: &[Request] = &[
    set("public_key="),
    set("public_key=-1"),
    set("public_key=00"),
    set("public_key=zz46a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f80910"),
    set("public_key=0000000000000000000000000000000000000000000000000000000000000000"),
    set("public_key={other}"),
    set("public_key={other}\npublic_key={other}"),
    set("public_key={own}\nallowed_ip=10.2.0.0/16"),
    set("public_key={peer}"),
    set("public_key={peer}\npreshared_key="),
    set("public_key={peer}\npreshared_key=-1"),
    set("public_key={peer}\npreshared_key=00"),
    set("public_key={peer}\npreshared_key=zz46a87b8f0f0cbd6f5b1a0d1c5f5f1a2b3c4d5e6f708192a3b4c5d6e7f80910"),
    set("public_key={peer}\npreshared_key={psk}"),
    set("public_key={peer}\npreshared_key=0000000000000000000000000000000000000000000000000000000000000000"),
    set("public_key={peer}\nendpoint="),
    set("public_key={peer}\nendpoint=1.2.3.4"),
    set("public_key={peer}\nendpoint=1.2.3.4:"),
    set("public_key={peer}\nendpoint=1.2.3.4:65536"),
    set("public_key={peer}\nendpoint=1.2.3.4:-1"),
    set("public_key={peer}\nendpoint=1.2.3.4:0x5"),
    set("public_key={peer}\nendpoint=01.2.3.4:5"),
    set("public_key={peer}\nendpoint=1.2.3:5"),
    set("public_key={peer}\nendpoint=::1:5"),
    set("public_key={peer}\nendpoint=[::1]"),
    set("public_key={peer}\nendpoint=[1.2.3.4]:5"),
    set("public_key={peer}\nendpoint=[::1]:5"),
    set("public_key={peer}\nendpoint=1.2.3.4:5"),
    set("public_key={peer}\nendpoint=0.0.0.0:0"),
    set("public_key={peer}\nendpoint=[::ffff:1.2.3.4]:5"),
    set("public_key={peer}\nendpoint=[fe80::1%lo]:5"),
    set("public_key={peer}\nendpoint=[fe80::1%1]:5"),
    set("public_key={peer}\nendpoint=[fe80::1%nosuch]:5"),
    set("public_key={peer}\nendpoint=localhost:5"),
    set("public_key={peer}\npersistent_keepalive_interval="),
    set("public_key={peer}\npersistent_keepalive_interval=-1"),
    set("public_key={peer}\npersistent_keepalive_interval=65536"),
    set("public_key={peer}\npersistent_keepalive_interval=off"),
    set("public_key={peer}\npersistent_keepalive_interval=25"),
    set("public_key={peer}\nprotocol_version="),
    set("public_key={peer}\nprotocol_version=0"),
    set("public_key={peer}\nprotocol_version=-1"),
    set("public_key={peer}\nprotocol_version=2"),
    set("public_key={peer}\nprotocol_version=1"),
    set("public_key={peer}\nupdate_only="),
    set("public_key={peer}\nupdate_only=false"),
    set("public_key={peer}\nupdate_only=true\npersistent_keepalive_interval=9"),
    set("public_key={other}\nupdate_only=true\nallowed_ip=10.2.0.0/16"),
    set("public_key={peer}\nremove="),
    set("public_key={peer}\nremove=false"),
    set("public_key={peer}\nremove=true"),
    set("public_key={other}\nremove=true"),
    set("public_key={peer}\nremove=true\nallowed_ip=10.2.0.0/16"),
    set("public_key={peer}\nremove=true\npublic_key={peer}\nallowed_ip=10.2.0.0/16"),
    show("public_key={peer}\npreshared_key={psk}\nendpoint=[2001:db8::1]:5\npersistent_keepalive_interval=25"),
    show("public_key={peer}\nallowed_ip=10.2.0.0/16\nallowed_ip=fd00::/8\nendpoint=192.0.2.1:5"),
];

/// Prefixes.
const PREFIXES: &[Request] = &[
    set("public_key={peer}\nallowed_ip="),
    set("public_key={peer}\nallowed_ip=-"),
    set("public_key={peer}\nallowed_ip=10.0.0.0"),
    set("public_key={peer}\nallowed_ip=10.0.0.0/"),
    set("public_key={peer}\nallowed_ip=10.0.0.0/33"),
    set("public_key={peer}\nallowed_ip=10.0.0.0/-1"),
    set("public_key={peer}\nallowed_ip=10.0.0.0/08"),
    set("public_key={peer}\nallowed_ip=10.0.0.0/+8"),
    set("public_key={peer}\nallowed_ip=10.0.0/8"),
    set("public_key={peer}\nallowed_ip=::/129"),
    set("public_key={peer}\nallowed_ip=fe80::1%1/64"),
    set("public_key={peer}\nallowed_ip=10.2.3.4/16"),
    set("public_key={peer}\nallowed_ip=2001:db8::7/32"),
    set("public_key={peer}\nallowed_ip=::ffff:10.2.3.4/112"),
    set("public_key={peer}\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0"),
    set("public_key={peer}\nallowed_ip=10.1.0.0/16"),
    set("public_key={peer}\nallowed_ip=10.9.0.0/16\nallowed_ip=10.3.0.0/16\nallowed_ip=fd00::/8"),
    set("public_key={peer}\nallowed_ip=-10.1.0.0/16"),
    set("public_key={peer}\nallowed_ip=-10.1.2.3/16"),
    set("public_key={peer}\nallowed_ip=-10.8.0.0/16"),
    set("public_key={peer}\nallowed_ip=--10.1.0.0/16"),
    set("public_key={other}\nallowed_ip=-10.1.0.0/16"),
    set("public_key={other}\nallowed_ip=10.1.0.0/16"),
    set("public_key={other}\nallowed_ip=10.1.2.0/24"),
    set("public_key={peer}\nreplace_allowed_ips="),
    set("public_key={peer}\nreplace_allowed_ips=false"),
    set("public_key={peer}\nreplace_allowed_ips=true"),
    set("public_key={peer}\nallowed_ip=10.2.0.0/16\nreplace_allowed_ips=true\nallowed_ip=10.3.0.0/16"),
];

/// Requests that are no requests, and lines that are no lines.
const FORM: &[Request] = &[
    set("nonsense=1"),
    set("=1"),
    set("="),
    set("fwmark"),
    set("set=1"),
    set("get=1"),
    set("allowed_ip=10.2.0.0/16"),
    set("public_key={peer}\nnonsense=1"),
    set("public_key={peer}\nfwmark=9"),
    set("public_key={peer}\nremove"),
    set("fwmark=7\nlisten_port=x"),
    set("fwmark=7\nfwmark=8"),
    set("fwmark=7\r"),
    set("replace_peers=true\nfwmark=7\nreplace_peers=true\npublic_key={other}"),
    set("fwmark=7\npublic_key={other}\nallowed_ip=x\npublic_key={peer}\nremove=true"),
    cut(""),
    cut("fwmark=7"),
    cut("fwmark=7\npublic_key={other}\nallowed_ip=10.2.0.0/16"),
    raw("get=1\n\nget=1\n\n"),
    raw("get=1\nfwmark=7\n\n"),
    raw("get=0\n\n"),
    raw("set=0\n\n"),
    raw("set=1 \n\n"),
    raw("nonsense=1\n\n"),
    raw("nonsense\n\n"),
    raw("\n"),
    raw("get=1"),
    raw("GET / HTTP/1.1\r\n\r\n"),
    raw("set=1\nfwmark=7\n\nset=1\nfwmark=8\n\n"),
    raw("set=1\nfwmark=x\n\nset=1\nfwmark=8\n\n"),
];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Request> {
    [INTERFACE, PEER, PREFIXES, FORM].into_iter().flatten()
}
