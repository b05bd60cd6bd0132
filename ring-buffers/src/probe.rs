//! What this kernel's `io_uring` can do: asked, never guessed from a version.

use io_uring::{Probe, opcode};

use crate::RingError;
use crate::kernel::Real;

/// An operation that the data path cannot do without.
#[derive(Clone, Copy, Debug)]
struct Needed {
    /// The number in `enum io_uring_op`.
    pub opcode: u8,
    /// The name in the kernel's header.
    pub name: &'static str,
}

const NEEDED: [Needed; 8] = [
    Needed { opcode: opcode::Read::CODE, name: "IORING_OP_READ" },
    Needed { opcode: opcode::Write::CODE, name: "IORING_OP_WRITE" },
    Needed { opcode: opcode::Writev::CODE, name: "IORING_OP_WRITEV" },
    Needed { opcode: opcode::WriteFixed::CODE, name: "IORING_OP_WRITE_FIXED" },
    Needed { opcode: opcode::PollAdd::CODE, name: "IORING_OP_POLL_ADD" },
    Needed { opcode: opcode::AsyncCancel::CODE, name: "IORING_OP_ASYNC_CANCEL" },
    Needed { opcode: opcode::SendMsg::CODE, name: "IORING_OP_SENDMSG" },
    Needed { opcode: opcode::RecvMsg::CODE, name: "IORING_OP_RECVMSG" },
];

/// What may be used where the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `IORING_OP_READ_MULTISHOT` (6.7): lone packets from the TUN at more than twice the rate.
    pub read_multishot: bool,
    /// `IORING_OP_WRITEV_FIXED` (6.15): gathered writes from registered memory.
    pub writev_fixed: bool,
}

/// Asks the kernel, with a small ring of the kind that the data path uses.
///
/// # Errors
/// [`RingError::Disabled`], or [`RingError::Missing`] with the name of what is missing.
pub fn probe() -> Result<Capabilities, RingError> {
    let ring = Real::disabled(crate::RingConfig { submissions: 4, completions: 8, operations: 0 })?;
    let mut probe = Probe::new();
    ring.io_uring()
        .submitter()
        .register_probe(&mut probe)
        .map_err(|e| RingError::setup("probing for operations", e))?;
    capabilities(|code| probe.is_supported(code))
}

/// What comes of a kernel that has these operations.
fn capabilities(has: impl Fn(u8) -> bool) -> Result<Capabilities, RingError> {
    if let Some(missing) = NEEDED.iter().find(|needed| !has(needed.opcode)) {
        return Err(RingError::Missing(missing.name.into()));
    }
    Ok(Capabilities { read_multishot: has(opcode::ReadMulti::CODE), writev_fixed: has(opcode::WritevFixed::CODE) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no kernel that we know is just one of them missing: a filter of the ring's own operations does this.
    #[test]
    fn an_operation_that_is_missing_is_named() {
        for needed in NEEDED {
            let error = capabilities(|code| code != needed.opcode).unwrap_err().to_string();
            assert!(error.contains(needed.name) && error.contains("Linux 6.1"), "{error}");
        }
        let least = capabilities(|code| NEEDED.iter().any(|needed| needed.opcode == code)).unwrap();
        assert_eq!(least, Capabilities { read_multishot: false, writev_fixed: false });
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no io_uring")]
    fn this_kernel_has_what_the_data_path_needs() {
        probe().expect("the tests need io_uring of Linux 6.1 or later");
    }
}
