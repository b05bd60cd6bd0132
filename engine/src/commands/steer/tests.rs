use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn output(line: &str) -> Result<Vec<u8>, String> {
    let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    line.args.rules().map_err(|error| error.to_string())
}

fn rules(line: &str) -> Result<String, String> {
    output(line).map(|rules| String::from_utf8(rules).unwrap())
}

#[test]
fn of_each_other_node_there_is_a_chain_and_of_the_top_bits_a_map() {
    let text = rules("steer nft --self 1 --bits 2 --device eth0 --nodes 0=10.0.0.10,1=10.0.0.11,3=10.0.0.13,3=fe80::3")
        .unwrap();
    for line in [
        "table netdev ringfort_51820 {",
        "\t\tip ttl set 2 counter fwd ip to 10.0.0.10 device \"eth0\"",
        "\t\tip6 hoplimit set 2 counter fwd ip6 to fe80::3 device \"eth0\"",
        // Byte 7 and byte 11 of the message, which begins behind the 8 bytes of UDP.
        "\t\t@th,120,8 & 0xc0 vmap {",
        "\t\t@th,152,8 & 0xc0 vmap {",
        "\t\t\t0x00 : goto node_0,",
        "\t\t\t0xc0 : goto node_3,",
        "\t\tudp dport 51820 jump messages",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    assert!(!text.contains("node_1") && !text.contains("10.0.0.11"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 120));
}

#[test]
fn devices_and_port_are_as_asked() {
    let text =
        rules("steer nft --self 0 --bits 8 --device eth0.7 --device eth1 --to mesh-0 --port 1 --nodes 255=fe80::1");
    let text = text.unwrap();
    for part in [
        "chain clients_0 {\n\t\ttype filter hook ingress device \"eth0.7\" ",
        "chain clients_1 {",
        "device \"mesh-0\"\n",
        "table netdev ringfort_1 {",
        "udp dport 1 jump",
        "& 0xff vmap {\n\t\t\t0xff : goto node_255,",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_remedy() {
    let with = |options: &str| rules(&format!("steer nft --device eth0 {options}")).unwrap_err();
    for (options, expected) in [
        ("--self 4 --bits 2 --nodes 1=10.0.0.1", "BITS 2 has room for the numbers 0 to 3, not for 4"),
        ("--self 0 --bits 0 --nodes 1=10.0.0.1", "BITS is a number from 1 to 8"),
        ("--self 0 --bits 1 --nodes 2=10.0.0.1", "BITS 1 has room for the numbers 0 to 1, not for 2"),
        ("--self 0 --bits 2 --nodes 0=10.0.0.1", "no gateway but this one"),
        ("--self 0 --bits 2 --nodes 1=10.0.0.1,1=10.0.0.2", "node 1 has two addresses of one family"),
        ("--self 0 --bits 2 --nodes 1=10.0.0.1,2=10.0.0.1", "10.0.0.1 stands for nodes 1 and 2"),
        ("--self 0 --bits 2 --nodes 1=10.0.0.1,2=::ffff:10.0.0.1", "10.0.0.1 stands for nodes 1 and 2"),
        ("--self 0 --bits 2 --nodes 1", "expected NUMBER=ADDRESS"),
        ("--self 0 --bits 2 --nodes 1=gate.example", "expected NUMBER=ADDRESS"),
        ("--self 0 --bits 2 --nodes 1=0.0.0.0", "0.0.0.0 is not the address of another machine"),
        ("--self 0 --bits 2 --nodes 1=10.0.0.1 --to a\"b", "expected the name of a network device"),
        ("--self 0 --bits 2 --nodes 1=10.0.0.1 --port 0", "0 is not in 1..=65535"),
        ("--self 0 --bits 2", "--nodes <NUMBER=ADDRESS>"),
    ] {
        let error = with(options);
        assert!(error.contains(expected), "{options}: {error}");
    }
    let no_device = rules("steer nft --self 0 --bits 2 --nodes 1=10.0.0.1").unwrap_err();
    assert!(no_device.contains("--device <DEVICE>"), "{no_device}");
}

#[test]
fn a_program_refuses_what_is_not_for_it() {
    for (options, expected) in [
        ("--nodes 0=10.0.0.1", "no gateway but this one"),
        ("--nodes 1=10.0.0.1 --device eth0", "--device is for nft"),
        ("--nodes 1=10.0.0.1,1=fe80::1", "fe80::1 is link-local"),
        ("--nodes 1=10.0.0.1 --to a/b", "expected the name of a network device"),
    ] {
        let error = output(&format!("steer xdp --self 0 --bits 2 {options}")).unwrap_err();
        assert!(error.contains(expected), "{options}: {error}");
    }
}

/// What it does is tested with frames, in tests/namespaces/steer.
#[test]
fn a_program_is_an_elf_file_for_bpf() {
    let file = output("steer xdp --self 0 --bits 2 --nodes 1=10.0.0.1,2=fd00::1").unwrap();
    assert_eq!(file[..6], *b"\x7fELF\x02\x01", "64 bits, little-endian");
    assert_eq!(file[18..20], [247, 0], "EM_BPF");
    for name in ["\0xdp\0", "license\0", "Dual MIT/GPL\0", "ringfort_steer\0"] {
        assert!(file.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name:?}");
    }
}
