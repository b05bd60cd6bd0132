//! The vectors of Wycheproof for both suites, all those with nonces of 96 bits and keys of 256, associated data
//! included. They reach the providers that take such data; what a data message can be, the tests of the seam try with
//! every provider.

use wycheproof::TestResult;
use wycheproof::aead::{Test, TestFlag, TestName, TestSet};

use crate::{NONCE_LEN, Provider, Suite, TAG_LEN};

/// The vectors whose key, nonce and tag have the suite's lengths.
fn vectors(suite: Suite) -> Vec<Test> {
    let name = match suite {
        Suite::ChaCha20Poly1305 => TestName::ChaCha20Poly1305,
        Suite::Aes256Gcm => TestName::AesGcm,
    };
    let groups = TestSet::load(name).expect("the vectors of the crate").test_groups;
    let tests = groups.into_iter().flat_map(|group| group.tests);
    tests.filter(|test| (test.key.len(), test.nonce.len(), test.tag.len()) == (32, NONCE_LEN, TAG_LEN)).collect()
}

fn check(provider: Provider, suite: Suite, test: &Test) {
    let context = format!("{provider}/{suite}: test {}, {}", test.tc_id, test.comment);
    let key = test.key[..].try_into().expect("it was filtered");
    let nonce: [u8; NONCE_LEN] = test.nonce[..].try_into().expect("it was filtered");
    let tag: [u8; TAG_LEN] = test.tag[..].try_into().expect("it was filtered");
    let cipher = provider.one_shot(suite, &key).expect("the libraries take associated data");

    let mut text = test.pt.to_vec();
    let made = cipher.seal_with(nonce, &test.aad, &mut text);
    let mut offered = test.ct.to_vec();
    let opened = cipher.open_with(nonce, &test.aad, &mut offered, &tag);
    match test.result {
        TestResult::Valid | TestResult::Acceptable => {
            assert!(text == test.ct[..] && made == tag, "{context}: sealed");
            assert!(opened.is_ok() && offered == test.pt[..], "{context}: opened");
        }
        TestResult::Invalid => {
            assert!(opened.is_err(), "{context}: a forgery was opened");
            assert!(offered == test.ct[..] || offered.iter().all(|byte| *byte == 0), "{context}: it was shown");
        }
    }
}

#[test]
fn every_vector() {
    for suite in Suite::ALL {
        let vectors = vectors(suite);
        let invalid = vectors.iter().filter(|test| test.result == TestResult::Invalid).count();
        println!("{suite}: {} vectors of Wycheproof, {invalid} of them forgeries", vectors.len());
        // Version 0.7 of the crate has 316 and 66; more are welcome.
        assert!(vectors.len() > 60 && invalid > 10, "{} and {invalid} are too few", vectors.len());
        for provider in [Provider::RustCrypto, Provider::AwsLc] {
            vectors.iter().for_each(|test| check(provider, suite, test));
        }
    }
}

/// Those that steer the accumulator and the key of Poly1305 to their edges are among them.
#[test]
fn the_edge_cases_of_poly1305() {
    let vectors = vectors(Suite::ChaCha20Poly1305);
    for flag in [TestFlag::EdgeCasePoly1305, TestFlag::EdgeCasePolyKey, TestFlag::EdgeCaseTag] {
        let count = vectors.iter().filter(|test| test.flags.contains(&flag)).count();
        println!("{count} of {flag:?}");
        assert!(count > 0, "{flag:?}");
    }
}
