//! The rules as nftables has them, in the ingress hook of network devices.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::{NodeAddresses, Owners};

/// Bits from the UDP header to the top byte of the receiver index, which is the last of its four: it is little-endian.
/// In data and cookie replies the index begins at byte 4 of the message, in responses at byte 8.
const TOP_BYTE_OF_OTHERS: usize = 8 * (UDP_HEADER_LEN + 4 + 3);
const TOP_BYTE_OF_RESPONSE: usize = 8 * (UDP_HEADER_LEN + 8 + 3);
const UDP_HEADER_LEN: usize = 8;

/// Rules that pass on what comes to `port` on `devices` and is of other gateways, which are neighbours on `to`.
pub fn rules(owners: &Owners, devices: &BTreeSet<&str>, to: &str, port: u16) -> String {
    let mut text = String::new();
    write(&mut text, owners, devices, to, port).expect("a string takes everything");
    text
}

fn write(text: &mut String, owners: &Owners, devices: &BTreeSet<&str>, to: &str, port: u16) -> fmt::Result {
    let (own, table) = (owners.own, format!("ringfort_{port}"));
    writeln!(
        text,
        "#!/usr/sbin/nft -f\n\
         # Rules of Ringfort's node {own}: messages for sessions of other nodes are passed on to these.\n\
         # Loading replaces them. To remove them: nft delete table netdev {table}\n\
         \n\
         table netdev {table}\n\
         delete table netdev {table}\n\
         \n\
         table netdev {table} {{"
    )?;
    for (&number, addresses) in &owners.others {
        write_owner(text, number, addresses, to)?;
    }
    let of_index = |text: &mut String, name, at| {
        writeln!(text, "\t# The top {} bits of the receiver index, which is little-endian.", own.bits())?;
        writeln!(text, "\tchain {name} {{\n\t\t@th,{at},8 & {:#04x} vmap {{", owners.mask())?;
        for &number in owners.others.keys() {
            writeln!(text, "\t\t\t{:#04x} : goto node_{number},", owners.bits_of(number))?;
        }
        writeln!(text, "\t\t}}\n\t}}\n")
    };
    of_index(text, "of_index_at_4", TOP_BYTE_OF_OTHERS)?;
    of_index(text, "of_index_at_8", TOP_BYTE_OF_RESPONSE)?;
    text.push_str(
        "\tchain messages {\n\
         \t\t# What goes through this machine is not for the gateway.\n\
         \t\tfib daddr type != local return\n\
         \t\t# Passed on already: never again.\n\
         \t\tip ttl 1 return\n\
         \t\tip6 hoplimit 1 return\n\
         \t\t# Fragments.\n\
         \t\tip frag-off & 0x3fff != 0 return\n\
         \t\texthdr frag exists return\n\
         \t\t# Responses, cookie replies and data, by their type and the reserved bytes. Initiations stay.\n\
         \t\t@th,64,32 vmap {\n\
         \t\t\t0x02000000 : goto of_index_at_8,\n\
         \t\t\t0x03000000 : goto of_index_at_4,\n\
         \t\t\t0x04000000 : goto of_index_at_4,\n\
         \t\t}\n\
         \t}\n",
    );
    for (place, device) in devices.iter().enumerate() {
        writeln!(
            text,
            "\n\tchain clients_{place} {{\n\
             \t\ttype filter hook ingress device \"{device}\" priority filter; policy accept;\n\
             \t\tudp dport {port} jump messages\n\
             \t}}"
        )?;
    }
    text.push_str("}\n");
    Ok(())
}

/// `fwd` takes one from the TTL, so what leaves has 1.
fn write_owner(text: &mut String, number: u8, addresses: &NodeAddresses, to: &str) -> fmt::Result {
    writeln!(text, "\tchain node_{number} {{")?;
    if let Some(address) = addresses.v4 {
        writeln!(text, "\t\tip ttl set 2 counter fwd ip to {address} device \"{to}\"")?;
    }
    if let Some(address) = addresses.v6 {
        writeln!(text, "\t\tip6 hoplimit set 2 counter fwd ip6 to {address} device \"{to}\"")?;
    }
    writeln!(text, "\t}}\n")
}
