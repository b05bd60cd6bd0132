//! The self-test finds what a broken provider could do.

use super::*;
use crate::{BadTag, Verdicts};

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
struct Faulty(Box<dyn TrainCipher>, Fault);

impl TrainCipher for Faulty {
    fn seal(&self, counter: u64, plaintext: &mut [u8], tag: &mut [u8; TAG_LEN]) {
        self.0.seal(counter, plaintext, tag);
    }

    fn open(&self, counter: u64, ciphertext: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
        let before = ciphertext.to_vec();
        let result = self.0.open(counter, ciphertext, tag);
        match self.1 {
            Fault::AcceptsAll => Ok(()),
            Fault::RefusesAll => {
                ciphertext.copy_from_slice(&before);
                Err(BadTag)
            }
            Fault::PlaintextOnFailure if result.is_err() => {
                // Sealing applies the same keystream.
                ciphertext.copy_from_slice(&before);
                self.0.seal(counter, ciphertext, &mut [0; TAG_LEN]);
                result
            }
            _ => result,
        }
    }

    fn seal_train(&self, first_counter: u64, train: &mut [u8], geometry: Geometry) {
        self.0.seal_train(first_counter, train, geometry);
        match self.1 {
            Fault::CounterStuck if geometry.count() > 1 => train[geometry.stride() + HEADER_LEN] ^= 1,
            Fault::TagOfOneSegment => *train.last_mut().expect("a train is not empty") ^= 1,
            _ => {}
        }
    }

    fn seal_train_from(&self, first_counter: u64, sources: &[Source<'_>], train: &mut [u8], geometry: Geometry) {
        self.0.seal_train_from(first_counter, sources, train, geometry);
        if self.1 == Fault::PaddingKept {
            *train.last_mut().expect("a train is not empty") ^= 1;
        }
    }

    fn open_train(&self, counters: &[u64], train: &mut [u8], geometry: Geometry) -> Verdicts {
        let mut verdicts = Verdicts::none_of(geometry.count());
        let mut failed = false;
        let segments = train.chunks_mut(geometry.stride()).zip(counters);
        for (index, (segment, counter)) in segments.enumerate() {
            let (ciphertext, tag) = segment[HEADER_LEN..].split_last_chunk_mut().expect("a segment has a tag");
            let opened = self.open(*counter, ciphertext, tag).is_ok();
            if opened && !(failed && self.1 == Fault::RefusesNeighbour) {
                verdicts.pass(index);
            }
            failed |= !opened;
        }
        verdicts
    }
}

fn examine(fault: Fault) -> Result<(), &'static str> {
    let (cipher, oracle) = (Provider::RustCrypto.cipher(&KEY), Provider::AwsLc.cipher(&KEY));
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
    for (fault, check) in cases {
        assert_eq!(examine(fault), Err(check), "{fault:?}");
    }
    assert_eq!(examine(Fault::None), Ok(()));
}

#[test]
fn vectors_of_the_rfc() {
    for &provider in Provider::ALL {
        for vector in vectors::ALL {
            let cipher = provider.one_shot(&vector.key).expect("the library providers take associated data");
            assert_eq!(check_vector(cipher.as_ref(), vector), Ok(()), "{provider}");
            let mut text = vector.ciphertext.to_vec();
            let forged = cipher.open_with(vector.nonce, b"other data", &mut text, &vector.tag);
            assert_eq!(forged, Err(BadTag), "{provider}");
        }
    }
}
