//! What this machine could prove, it has to: a provider that is left out by mistake fails here.

use ringfort_aead::{
    Geometry, HEADER_LEN, OpenKey, Provider, SEGMENTS_MAX, SealKey, Selection, Suite, TAG_LEN, choose,
};

use crate::oracle::{KEY, Oracle, Repeatable, ascending};
use crate::subject::Subject;

/// What the kernel across trains is written for, asked of the CPU by this test and not by the crate.
#[cfg(target_arch = "x86_64")]
fn has_what_train_needs() -> bool {
    use std::arch::is_x86_feature_detected;
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi2")
}

#[cfg(target_arch = "x86_64")]
fn has_what_train_avx2_needs() -> bool {
    use std::arch::is_x86_feature_detected;
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_what_train_needs() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_what_train_avx2_needs() -> bool {
    false
}

/// What the kernels for AES-256-GCM are written for, in registers of 256 and of 512 bits.
#[cfg(target_arch = "x86_64")]
fn has_what_vaes_needs() -> [bool; 2] {
    use std::arch::is_x86_feature_detected;
    let aes = is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq");
    let wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    [aes && is_x86_feature_detected!("avx2"), aes && wide]
}

#[cfg(not(target_arch = "x86_64"))]
fn has_what_vaes_needs() -> [bool; 2] {
    [false; 2]
}

#[test]
fn every_provider_that_can_run_is_tested() {
    let names: Vec<String> = Subject::all().iter().map(Subject::to_string).collect();
    let mut expected = vec!["rustcrypto/chacha20poly1305", "aws-lc/chacha20poly1305"];
    if has_what_train_needs() {
        expected.push("train/chacha20poly1305");
    } else {
        println!("this CPU lacks {}: train is tested over arrays only", Provider::Train.missing_features().join(", "));
    }
    if has_what_train_avx2_needs() {
        expected.push("train-avx2/chacha20poly1305");
    } else {
        println!("this CPU lacks {}: train-avx2 is not tested", Provider::TrainAvx2.missing_features().join(", "));
    }
    expected.extend(["train-on-arrays/chacha20poly1305", "rustcrypto/aes256gcm", "aws-lc/aes256gcm"]);
    for (provider, has_all) in [Provider::Vaes, Provider::Vaes512].into_iter().zip(has_what_vaes_needs()) {
        let lacks = provider.missing_features();
        assert_eq!(lacks.is_empty(), has_all, "{provider}");
        if has_all {
            expected.push(if provider == Provider::Vaes { "vaes/aes256gcm" } else { "vaes512/aes256gcm" });
        } else {
            println!("this CPU lacks {}: {provider} is tested over arrays only", lacks.join(", "));
        }
    }
    expected.extend(["vaes-on-arrays/aes256gcm", "vaes512-on-arrays/aes256gcm"]);
    assert_eq!(names, expected);
    assert_eq!(Provider::Train.missing_features().is_empty(), has_what_train_needs());
    assert_eq!(Provider::TrainAvx2.missing_features().is_empty(), has_what_train_avx2_needs());
}

/// The kernels over arrays are test vehicles: nobody can ask for them, and they are never measured.
#[test]
fn what_is_only_for_tests_cannot_be_chosen() {
    let choice = choose().expect("every provider passes its self-test");
    for vehicle in [Provider::TrainOnArrays, Provider::VaesOnArrays, Provider::Vaes512OnArrays] {
        let name = vehicle.name();
        assert!(name.parse::<Provider>().is_err() && name.parse::<Selection>().is_err(), "{name}");
        for chosen in &choice.suites {
            assert!(chosen.measurements.iter().all(|measured| measured.provider != vehicle), "{name}");
        }
        assert!(Provider::ALL.iter().all(|provider| *provider != vehicle), "{name}");
    }
}

#[test]
fn each_of_them_passes_its_self_test() {
    for subject in Subject::all() {
        assert_eq!(subject.provider.self_test(subject.suite), Ok(()), "{subject}");
    }
}

/// What the gateway does: providers mixed by number and length of the packets, whichever are the fastest here.
#[test]
fn the_mix_that_was_chosen_here_agrees_with_the_oracle() {
    let plan = choose().expect("every provider passes its self-test").plan();
    let mut rng = Repeatable(7);
    for suite in Suite::ALL {
        let (seal, open) = (SealKey::new(plan, suite, &KEY), OpenKey::new(plan, suite, &KEY));
        let oracle = Oracle::new(suite, &KEY);
        for count in 1..=SEGMENTS_MAX {
            for len in [0, 64, 100, 192, 193, 576, 904, 905, 1420] {
                let (stride, last) = (len + HEADER_LEN + TAG_LEN, rng.below(len + 1) + HEADER_LEN + TAG_LEN);
                let geometry = Geometry::new(stride, last, count).expect("possible");
                let counters = ascending(rng.next() >> 1, count);
                let mut buf = rng.bytes(geometry.total_len());
                let mut expected = buf.clone();
                oracle.seal_train(&counters, &mut expected, geometry);
                seal.seal_train(counters[0], &mut buf, geometry).expect("it fits");
                assert!(buf == expected, "{suite}, {geometry:?}");
                let verdicts = open.open_train(&counters, &mut buf, geometry).expect("it fits");
                assert!(verdicts.all_passed(), "{suite}, {geometry:?}");
            }
        }
    }
}
