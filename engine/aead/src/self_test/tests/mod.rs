//! The self-test finds what a broken provider could do.

mod wycheproof;

use super::*;
use crate::{BadTag, Message};

const KEY: [u8; KEY_LEN] = [0x42; KEY_LEN];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    CounterStuck,
    TagOfOneSegment,
    AcceptsAll,
    RefusesAll,
    RefusesNeighbour,
    PlaintextOnFailure,
    PaddingKept,
}

/// A good provider with one fault put in.
struct Faulty(Box<dyn BatchCipher>, Fault);

impl BatchCipher for Faulty {
    fn seal(&self, counter: u64, text: &mut [u8], tag: &mut [u8; TAG_LEN]) {
        self.0.seal(counter, text, tag);
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
        let before = text.to_vec();
        let result = self.0.open(counter, text, tag);
        match self.1 {
            Fault::AcceptsAll => Ok(()),
            Fault::RefusesAll => {
                text.copy_from_slice(&before);
                Err(BadTag)
            }
            Fault::PlaintextOnFailure if result.is_err() => {
                // Sealing applies the same keystream.
                text.copy_from_slice(&before);
                self.0.seal(counter, text, &mut [0; TAG_LEN]);
                result
            }
            _ => result,
        }
    }

    fn seal_batch(&self, messages: &mut [Message<'_>]) {
        self.0.seal_batch(messages);
        match self.1 {
            Fault::CounterStuck if messages.len() > 1 => messages[1].text_mut()[0] ^= 1,
            Fault::TagOfOneSegment => flip_last_byte(messages),
            _ => {}
        }
    }

    fn seal_batch_from(&self, sources: &[Source<'_>], messages: &mut [Message<'_>]) {
        self.0.seal_batch_from(sources, messages);
        if self.1 == Fault::PaddingKept {
            flip_last_byte(messages);
        }
    }

    fn open_batch(&self, messages: &mut [Message<'_>]) -> Verdicts {
        let mut verdicts = Verdicts::none_of(messages.len());
        let mut failed = false;
        for (index, message) in messages.iter_mut().enumerate() {
            let (counter, text, tag) = message.parts();
            let opened = self.open(counter, text, tag).is_ok();
            if opened && !(failed && self.1 == Fault::RefusesNeighbour) {
                verdicts.pass(index);
            }
            failed |= !opened;
        }
        verdicts
    }
}

fn flip_last_byte(messages: &mut [Message<'_>]) {
    let last = messages.last_mut().expect("a batch is not empty");
    last.parts().2[TAG_LEN - 1] ^= 1;
}

fn examine(suite: Suite, fault: Fault) -> Result<(), &'static str> {
    let (cipher, oracle) = (Provider::RustCrypto.cipher(suite, &KEY), Provider::AwsLc.cipher(suite, &KEY));
    let geometry = Geometry::new(300, 200, 9).expect("possible");
    check_train(&Faulty(cipher, fault), oracle.as_ref(), geometry, Provider::RustCrypto.on_failure())
}

#[test]
fn faults_are_found() {
    let cases = [
        (Fault::CounterStuck, "a train sealed in place differs from another provider's"),
        (Fault::TagOfOneSegment, "a train sealed in place differs from another provider's"),
        (Fault::PaddingKept, "a train sealed from sources differs from another provider's"),
        (Fault::RefusesAll, "a good segment was refused"),
        (Fault::AcceptsAll, "the verdicts are not those of the segments"),
        (Fault::RefusesNeighbour, "the verdicts are not those of the segments"),
        (Fault::PlaintextOnFailure, "a forged segment was not kept from sight"),
    ];
    for suite in Suite::ALL {
        for (fault, check) in cases {
            assert_eq!(examine(suite, fault), Err(check), "{suite}, {fault:?}");
        }
        assert_eq!(examine(suite, Fault::None), Ok(()));
    }
}

#[test]
fn faults_are_found_in_messages_of_several_lengths() {
    let cases = [
        (Fault::CounterStuck, "messages of several lengths sealed in place differ from another provider's"),
        (Fault::PaddingKept, "messages of several lengths sealed from sources differ from another provider's"),
        (Fault::AcceptsAll, "the verdicts are not those of the messages"),
        (Fault::RefusesNeighbour, "the verdicts are not those of the messages"),
        (
            Fault::PlaintextOnFailure,
            "an opened message is not what was sealed, or a forged one was not kept from sight",
        ),
    ];
    for suite in Suite::ALL {
        let examine = |fault| {
            let (cipher, oracle) = (Provider::RustCrypto.cipher(suite, &KEY), Provider::AwsLc.cipher(suite, &KEY));
            mixed::check(&Faulty(cipher, fault), oracle.as_ref(), Provider::RustCrypto.on_failure())
        };
        for (fault, check) in cases {
            assert_eq!(examine(fault), Err(check), "{suite}, {fault:?}");
        }
        assert_eq!(examine(Fault::None), Ok(()));
    }
}

#[test]
fn known_answers() {
    for suite in Suite::ALL {
        for vector in vectors::of(suite) {
            for provider in [Provider::RustCrypto, Provider::AwsLc] {
                let cipher = provider.one_shot(suite, &vector.key).expect("the libraries take associated data");
                assert_eq!(check_vector(cipher.as_ref(), vector), Ok(()), "{provider}");
                let mut text = vector.ciphertext.to_vec();
                let forged = cipher.open_with(vector.nonce, b"other data", &mut text, &vector.tag);
                assert_eq!(forged, Err(BadTag), "{provider}");
            }
        }
    }
}
