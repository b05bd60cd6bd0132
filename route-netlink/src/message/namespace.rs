//! Messages about the ids of network namespaces (`include/uapi/linux/net_namespace.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Message, Request};

/// `struct rtgenmsg`, padded.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct GenericMessage {
    family: u8,
    pad: [u8; 3],
}

/// The id of a namespace, and a descriptor of it.
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// `NETNSA_NSID_NOT_ASSIGNED`. In a request: any that is free.
const NSID_NONE: i32 = -1;

/// Asks for the id of the namespace that a descriptor is of: `RTM_GETNSID`.
pub(crate) fn get(namespace: i32) -> Vec<u8> {
    let request = Request::new(libc::RTM_GETNSID, &GenericMessage::default());
    request.with(NETNSA_FD, &namespace.to_ne_bytes()).into_bytes()
}

/// Gives it one. There is no other answer than the acknowledgement.
pub(crate) fn assign(namespace: i32) -> Vec<u8> {
    let request = Request::new(libc::RTM_NEWNSID, &GenericMessage::default()).with_flags(libc::NLM_F_ACK);
    let request = request.with(NETNSA_FD, &namespace.to_ne_bytes());
    request.with(NETNSA_NSID, &NSID_NONE.to_ne_bytes()).into_bytes()
}

/// The answer to [`get`], or the error number of a refusal: `Ok(None)` if it has no id yet. `None` for anything else.
pub(crate) fn answer(message: Message<'_>) -> Option<Result<Option<i32>, i32>> {
    if let Some(errno) = message.errno() {
        return Some(Err(errno));
    }
    if message.kind != libc::RTM_NEWNSID {
        return None;
    }
    let (_, attributes) = message.parts::<GenericMessage>()?;
    let id = attributes.u32(NETNSA_NSID)?.cast_signed();
    Some(Ok((id >= 0).then_some(id)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::attributes;
    use super::*;

    #[test]
    fn the_id_of_a_namespace() {
        let answer_of = |id: i32| {
            let body = [vec![0; 4], attributes(&[(NETNSA_NSID, &id.to_ne_bytes())])].concat();
            answer(Message { kind: libc::RTM_NEWNSID, body: &body })
        };
        assert_eq!(answer_of(3), Some(Ok(Some(3))));
        assert_eq!(answer_of(NSID_NONE), Some(Ok(None)));
        let refused = Message { kind: libc::NLMSG_ERROR as u16, body: &(-libc::EPERM).to_ne_bytes() };
        assert_eq!(answer(refused), Some(Err(libc::EPERM)));
    }
}
