//! Whether the kernel accepts the headers of super-packets, where none can be sent: asked with a device that is down.

use std::fs::File;
use std::io::Write;

use vnet_packets::sample::KINDS;
use vnet_packets::virtio::VNET_HDR_LEN;
use vnet_packets::{Merge, OuterOffset};

use super::judge::{Sample, merged, tunnels};
use super::{Extent, Feature, SelfTest};
use crate::device::{Offloads, Tun, TunError};

/// Names to try; another process may be testing as well.
const NAMES: usize = 16;

/// No GSO type has this number.
const BAD_GSO_TYPE: u8 = 0x7f;

/// Asks for each kind. The device is never up, and gone on return. `Err`: this kernel does not tell.
pub(super) fn test(wanted: Offloads) -> Result<SelfTest, String> {
    let tun = scratch_device(wanted).map_err(|error| error.to_string())?;
    let offloads = tun.offloads();
    let mut queue = File::from(tun.into_queues().swap_remove(0));
    let mut result =
        SelfTest { offloads, merge: Merge::PLAIN, extent: Extent::HeadersOnly(String::new()), failures: Vec::new() };
    for kind in KINDS {
        let mut bytes = merged(Sample::plain(kind), OuterOffset::Exact, 1);
        if let Answer::Refused = ask(&mut queue, &bytes)? {
            result.fail(Feature::merging(kind), format!("{kind}: the kernel does not accept the header"));
        }
        // The GSO type is the second byte.
        bytes[..VNET_HDR_LEN][1] = BAD_GSO_TYPE;
        if let Answer::Accepted = ask(&mut queue, &bytes)? {
            return Err("the kernel does not look at the headers of a device that is down".to_owned());
        }
    }
    if offloads.tunnels {
        result.merge.tunnels = tunnel_offset(&mut queue)?;
        if result.merge.tunnels.is_none() {
            let why = || "the kernel does not accept the header".to_owned();
            result.fail(Feature::MergeTunnels, why());
            // What was not proven is not trusted.
            result.fail(Feature::ReadTunnels, why());
        }
    }
    Ok(result)
}

/// The way of counting that the kernel accepts of all samples.
fn tunnel_offset(queue: &mut File) -> Result<Option<OuterOffset>, String> {
    for offset in [OuterOffset::Exact, OuterOffset::BehindEthernet] {
        let mut all_accepted = true;
        for sample in tunnels(true) {
            all_accepted &= matches!(ask(queue, &merged(sample, offset, 1))?, Answer::Accepted);
        }
        if all_accepted {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

enum Answer {
    Accepted,
    Refused,
}

fn ask(queue: &mut File, bytes: &[u8]) -> Result<Answer, String> {
    // It would be accepted only if somebody had set the device up.
    let Err(error) = queue.write(bytes) else { return Ok(Answer::Accepted) };
    match error.raw_os_error() {
        Some(libc::EINVAL) => Ok(Answer::Refused),
        // The header was good: the device is down.
        Some(libc::EIO) => Ok(Answer::Accepted),
        _ => Err(format!("the kernel says of a device that is down: {error}")),
    }
}

fn scratch_device(wanted: Offloads) -> Result<Tun, TunError> {
    for n in 0..NAMES {
        match Tun::create(&format!("self-test{n}"), 1, wanted) {
            Err(TunError::Taken(_)) => {}
            result => return result,
        }
    }
    Err(TunError::Taken("self-test".to_owned()))
}
