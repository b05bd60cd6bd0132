//! The search against simulated devices.

use proptest::prelude::*;

use super::*;

/// Loses everything above its capacity.
fn ideal(capacity_pps: f64) -> impl Fn(u64) -> Trial {
    move |rate_pps| {
        let offered_pps = rate_pps as f64;
        let delivered_pps = offered_pps.min(capacity_pps);
        let loss_ratio = 1.0 - delivered_pps / offered_pps;
        Trial { rate_pps, offered_pps, delivered_pps, loss_ratio, generator_limited: false }
    }
}

fn search(plan: &SearchPlan, device: impl Fn(u64) -> Trial) -> SearchOutcome {
    ndr_pdr(plan, |rate_pps| Ok(device(rate_pps))).unwrap()
}

/// xorshift64*: noise that is the same in each run.
fn noise(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn an_ideal_device_is_bracketed() {
    let plan = SearchPlan { resolution: 0.01, repeats: 1, ..SearchPlan::default() };
    let outcome = search(&plan, ideal(123_456.0));
    let (ndr, pdr) = (outcome.ndr, outcome.pdr);
    assert!(ndr.rate_pps.unwrap() <= 123_456 && ndr.failed_at_pps.unwrap() > 123_456, "{ndr:?}");
    // 0.5 % of what is offered may be lost, so a little more may be offered.
    let allowed = (123_456.0 / 0.995) as u64;
    assert!(pdr.rate_pps.unwrap() <= allowed && pdr.failed_at_pps.unwrap() > allowed, "{pdr:?}");
    for found in [ndr, pdr] {
        let (passed, failed) = (found.rate_pps.unwrap() as f64, found.failed_at_pps.unwrap() as f64);
        assert!(failed - passed <= passed * 0.01 && !found.generator_limited);
    }
    assert!(outcome.trials.len() < 25, "{} trials", outcome.trials.len());
}

#[test]
fn a_device_faster_than_the_plan_passes_everything() {
    let outcome = search(&SearchPlan::default(), ideal(1e12));
    assert_eq!((outcome.ndr.rate_pps, outcome.ndr.failed_at_pps), (Some(1_000_000), None));
    assert_eq!(outcome.pdr.rate_pps, Some(1_000_000));
    assert_eq!(outcome.trials.len(), 2, "a majority of three, and the no-drop rate from the same trials");
}

#[test]
fn a_device_slower_than_the_plan_passes_nothing() {
    let outcome = search(&SearchPlan::default(), ideal(10.0));
    assert_eq!((outcome.ndr.rate_pps, outcome.ndr.failed_at_pps), (None, Some(1_000)));
    assert_eq!(outcome.pdr.rate_pps, None);
}

#[test]
fn one_rate_only_can_be_asked() {
    let plan = SearchPlan { rate_pps_min: 500, rate_pps_max: 500, ..SearchPlan::default() };
    assert_eq!(search(&plan, ideal(500.0)).ndr.rate_pps, Some(500));
    assert_eq!(search(&plan, ideal(499.0)).ndr.rate_pps, None);
}

#[test]
fn a_generator_that_is_the_limit_is_named() {
    let outcome = search(&SearchPlan::default(), |rate_pps| {
        let generator_limited = rate_pps > 300_000;
        Trial { generator_limited, ..ideal(1e12)(rate_pps) }
    });
    let rate = outcome.ndr.rate_pps.unwrap();
    assert!(rate <= 300_000 && rate as f64 > 300_000.0 / 1.03 && outcome.ndr.generator_limited, "{:?}", outcome.ndr);
}

#[test]
fn a_little_loss_everywhere_leaves_only_a_partial_drop_rate() {
    let outcome = search(&SearchPlan::default(), |rate_pps| {
        let trial = ideal(200_000.0)(rate_pps);
        Trial { loss_ratio: trial.loss_ratio.max(0.001), ..trial }
    });
    assert_eq!(outcome.ndr.rate_pps, None);
    assert!(outcome.pdr.rate_pps.unwrap().abs_diff(200_000) < 6_000, "{:?}", outcome.pdr);
}

#[test]
fn a_rate_below_which_something_failed_has_not_passed() {
    // Fails between 40,000 and 60,000 only: what is above does not count.
    let plan = SearchPlan { rate_pps_min: 50_000, rate_pps_max: 100_000, repeats: 1, ..SearchPlan::default() };
    let outcome = search(&plan, |rate_pps| {
        let lossy = (40_000..60_000).contains(&rate_pps) || rate_pps > 80_000;
        Trial { loss_ratio: if lossy { 0.1 } else { 0.0 }, ..ideal(1e12)(rate_pps) }
    });
    assert!(outcome.ndr.rate_pps.is_none_or(|rate| rate <= 80_000));
}

#[test]
fn noise_now_and_then_does_not_mislead_a_majority() {
    let mut state = 42;
    let mut trials = 0;
    let plan = SearchPlan { repeats: 5, resolution: 0.02, ..SearchPlan::default() };
    let outcome = ndr_pdr(&plan, |rate_pps| {
        trials += 1;
        let trial = ideal(250_000.0)(rate_pps);
        // One trial in ten loses 2 % for reasons of its own.
        let loss_ratio = if noise(&mut state) < 0.1 { trial.loss_ratio.max(0.02) } else { trial.loss_ratio };
        Ok(Trial { loss_ratio, ..trial })
    });
    let outcome = outcome.unwrap();
    assert_eq!(trials, outcome.trials.len());
    for rate in [outcome.ndr.rate_pps, outcome.pdr.rate_pps] {
        assert!(rate.unwrap().abs_diff(250_000) <= 7_000, "{outcome:?}");
    }
}

#[test]
fn the_first_error_ends_the_search() {
    let mut trials = 0;
    let outcome = ndr_pdr(&SearchPlan::default(), |rate_pps| {
        trials += 1;
        if trials == 4 { Err(Error::new("the device is on fire")) } else { Ok(ideal(5_000.0)(rate_pps)) }
    });
    assert_eq!(outcome.unwrap_err().to_string(), "the device is on fire");
    assert_eq!(trials, 4);
}

#[test]
fn plans_out_of_bounds_are_refused_with_the_bound() {
    let refused = |plan: SearchPlan| plan.check().unwrap_err().to_string();
    let plan = SearchPlan::default;
    assert!(refused(SearchPlan { rate_pps_min: 0, ..plan() }).contains("1 packet per second at least"));
    assert!(refused(SearchPlan { rate_pps_min: 9, rate_pps_max: 8, ..plan() }).contains("above the highest"));
    assert!(refused(SearchPlan { resolution: 0.9, ..plan() }).contains("0.0001 to 0.5"));
    assert!(refused(SearchPlan { repeats: 2, ..plan() }).contains("odd"));
    assert!(refused(SearchPlan { pdr_loss_ratio: 1.0, ..plan() }).contains("below 1"));
    assert!(refused(SearchPlan { pdr_loss_ratio: f64::NAN, ..plan() }).contains("below 1"));
}

/// Searches a device of pure noise, and checks what holds of any: the search ends, and its answers fit together.
fn of_noise(seed: u64, repeats: u32) {
    let mut state = seed | 1;
    let plan = SearchPlan { repeats: 2 * repeats + 1, ..SearchPlan::default() };
    let outcome = ndr_pdr(&plan, |rate_pps| {
        let loss_ratio = if noise(&mut state) < 0.5 { 0.0 } else { noise(&mut state) };
        Ok(Trial { loss_ratio, ..ideal(1e12)(rate_pps) })
    });
    let outcome = outcome.unwrap();
    assert!(outcome.trials.len() < 1_000);
    assert!(outcome.ndr.rate_pps <= outcome.pdr.rate_pps, "{outcome:?}");
    let failed = |found: Found| found.failed_at_pps.unwrap_or(u64::MAX);
    assert!(failed(outcome.ndr) <= failed(outcome.pdr), "{outcome:?}");
}

/// The no-drop rate was found above the partial-drop rate: the second search passed a rate that the first never tried.
#[test]
fn what_the_second_search_finds_counts_for_the_first() {
    of_noise(3_211_140_462_696_097_770, 2);
    (0..2_000).for_each(|seed| of_noise(seed << 8, 2));
}

proptest! {
    #[test]
    fn any_capacity_is_bracketed_as_closely_as_asked(
        capacity in 1_000.0_f64..1e6, resolution in 0.001_f64..0.2, repeats in 0_u32..3,
    ) {
        let plan = SearchPlan { resolution, repeats: 2 * repeats + 1, ..SearchPlan::default() };
        let outcome = search(&plan, ideal(capacity));
        let ndr = outcome.ndr;
        let passed = ndr.rate_pps.unwrap();
        prop_assert!(passed as f64 <= capacity);
        if let Some(failed) = ndr.failed_at_pps {
            prop_assert!(failed as f64 > capacity);
            prop_assert!(failed - passed <= 1 || (failed - passed) as f64 <= passed as f64 * resolution);
        }
        prop_assert!(outcome.pdr.rate_pps.unwrap() >= passed);
    }

    #[test]
    fn any_device_comes_to_an_end(seed: u64, repeats in 0_u32..3) {
        of_noise(seed, repeats);
    }
}
