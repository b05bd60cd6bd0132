//! `soak` as people run it: figures for each turn, written as it goes, and gone on with.

use ringfort_testbed::janitor;

use crate::{printed, refusal, results_in};

#[test]
fn each_turn_has_its_figures_and_a_soak_goes_on() {
    let file = janitor::directory().join("soak.json");
    let path = file.to_str().unwrap();
    let line = ["soak", "--seconds", "2", "--every", "1", "--streams", "1", "--rate", "200"];
    let shown = printed(&[&line[..], &["--json", path]].concat());
    assert!(shown.contains("UDP lost") && shown.contains("Too short to see a drift"), "{shown}");
    let whole = results_in(&file);
    assert_eq!(whole["schema"], "ringfort-soak");
    let turns = whole["turns"].as_array().unwrap();
    assert_eq!(turns.len(), 2);
    for turn in turns {
        assert_eq!(turn["part"], 1);
        assert!(turn["error"].is_null() && turn["udp_sent"].as_u64().unwrap() > 0, "{turn:#}");
        assert!((0..2).all(|way| turn["tcp_megabits_per_s"][way].as_f64().unwrap() >= 0.0), "{turn:#}");
        assert!((0..2).all(|side| turn["memory_kib"][side].as_u64().unwrap() > 1_000), "{turn:#}");
        assert!((0..2).all(|side| turn["cpu_percent"][side].as_f64().unwrap() > 0.0), "{turn:#}");
    }

    let mut cut = whole.clone();
    cut["turns"].as_array_mut().unwrap().pop();
    std::fs::write(&file, cut.to_string()).unwrap();
    let resume = [&line[..], &["--resume", path]].concat();
    let other: Vec<&str> = resume.iter().map(|word| if *word == "200" { "300" } else { word }).collect();
    assert!(refusal(&other).contains("is another soak: its times, rates"));
    printed(&resume);
    let again = results_in(&file);
    assert_eq!(again["turns"][0], whole["turns"][0]);
    assert_eq!(again["turns"].as_array().map(Vec::len), Some(2));
    assert_eq!(again["turns"][1]["part"], 2);
    assert!(printed(&["report", path]).contains("median turn"));
}
