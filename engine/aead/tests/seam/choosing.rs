//! The providers pass their own tests here, and for each class of packets one of them is chosen.

use ringfort_aead::{PACKET_SIZES, Provider, Selection, Suite, TRAIN_COUNTS, choose};

#[test]
fn every_provider_passes_its_self_test() {
    for suite in Suite::ALL {
        for provider in Provider::available(suite) {
            assert_eq!(provider.self_test(suite), Ok(()));
        }
    }
}

#[test]
fn the_choice_is_the_fastest_of_what_was_measured() {
    let choice = choose().unwrap();
    assert_eq!(choice.selection, Selection::Auto);
    assert!(choice.failures.is_empty());
    let plan = choice.plan();
    for chosen in &choice.suites {
        assert_eq!(chosen.measurements.len(), Provider::available(chosen.suite).count());
        let shapes: Vec<_> =
            PACKET_SIZES.iter().flat_map(|len| TRAIN_COUNTS.iter().map(move |count| (*len, *count))).collect();
        for measured in &chosen.measurements {
            let figures = measured.figures.iter();
            assert_eq!(figures.map(|figure| (figure.packet_len, figure.train_count)).collect::<Vec<_>>(), shapes);
            assert!(measured.figures.iter().all(|figure| figure.seal_ns > 0.0 && figure.open_ns > 0.0));
        }
        for (class, &(len, count)) in shapes.iter().enumerate() {
            let cost = |provider| {
                let measured = chosen.measurements.iter().find(|measured| measured.provider == provider).unwrap();
                measured.figures[class].seal_ns + measured.figures[class].open_ns
            };
            let fastest = cost(plan.provider(chosen.suite, count, len));
            assert!(chosen.measurements.iter().all(|measured| fastest <= cost(measured.provider)));
        }
        let shown = chosen.to_string();
        assert!(shown.starts_with(&format!("{}: {}, the fastest here", chosen.suite, chosen.summary())), "{shown}");
        assert_eq!(shown.lines().count(), 1 + chosen.measurements.len() * PACKET_SIZES.len(), "{shown}");
    }
}

#[test]
fn a_fixed_provider_is_taken_whatever_its_speed() {
    for suite in Suite::ALL {
        for provider in Provider::available(suite) {
            let choice = Selection::Fixed(provider).resolve().unwrap();
            for len in [0, 64, 1420, 65503] {
                for count in [1, 64] {
                    assert_eq!(choice.plan().provider(suite, count, len), provider);
                }
            }
            assert!(choice.to_string().contains("as configured"));
        }
    }
}
