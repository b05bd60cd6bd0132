//! Every input of the corpus, and a fixed number of mutations of each corpus, through its target.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::{fs, io};

use ringfort_fuzz::mutate::Mutator;
use ringfort_fuzz::{TARGETS, Target};

/// Per target; the corpora reach nearly all that these do. All targets together take 11 s of CPU time in a debug build.
const MUTATIONS: usize = 500;
const SEED: u64 = 20_240_229;

/// Longest file that may lie in a corpus, in bytes: it is part of the repository.
const FILE_LEN_MAX: usize = 8192;

/// The files of a corpus, in an order that does not depend on the file system.
fn corpus(target: &Target) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(target.corpus())? {
        let path = entry?.path();
        files.push((path.clone(), fs::read(path)?));
    }
    files.sort();
    Ok(files)
}

fn replay(name: &str) {
    let target = Target::named(name).expect("a target of that name");
    let files = corpus(target).unwrap_or_else(|error| panic!("{name} has no corpus: {error}"));
    assert!(!files.is_empty(), "the corpus of {name} is empty");
    for (path, input) in &files {
        assert!(input.len() <= FILE_LEN_MAX, "{} is too large to keep", path.display());
        attempt(target, input, &path.display().to_string());
    }
}

fn mutations(name: &str) {
    let target = Target::named(name).expect("a target of that name");
    let files = corpus(target).unwrap_or_else(|error| panic!("{name} has no corpus: {error}"));
    let inputs: Vec<Vec<u8>> = files.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(&inputs, target.len_max, SEED);
    for count in 0..MUTATIONS {
        attempt(target, &mutator.next_input(), &format!("mutation {count}"));
    }
}

/// Runs a target; an input that it does not survive is kept for `--example replay`.
fn attempt(target: &Target, input: &[u8], which: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-failed", target.name));
        fs::write(&kept, input).expect("room for one input");
        panic!("{} failed on {which}; the input is in {}", target.name, kept.display());
    }
}

macro_rules! tests {
    ($($target:ident),+ $(,)?) => {
        $(mod $target {
            #[test]
            fn corpus() {
                super::replay(stringify!($target));
            }

            #[test]
            fn mutations() {
                super::mutations(stringify!($target));
            }
        })+

        #[test]
        fn every_target_is_tested() {
            let tested = HashSet::from([$(stringify!($target)),+]);
            let targets: HashSet<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(tested, targets);
        }
    };
}

tests! {
    allowed_ips,
    batch,
    coalesce,
    config,
    control_messages,
    cookie,
    handover,
    handshake,
    open_train,
    packet,
    path,
    replay,
    seal_train,
    uapi,
    views,
    virtio,
    wire,
}

#[test]
fn the_seeds_are_those_of_the_generator() {
    for target in TARGETS {
        let made: HashSet<_> = (target.seeds)().into_iter().map(|seed| (seed.file_name(), seed.bytes)).collect();
        let files = corpus(target).unwrap_or_else(|error| panic!("{} has no corpus: {error}", target.name));
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = files.iter().map(|(path, input)| (name(path), input.clone()));
        let kept: HashSet<_> = kept.filter(|(name, _)| name.starts_with("seed-")).collect();
        assert!(kept == made, "{}: run `cargo run -p ringfort-fuzz --example seeds`", target.name);
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let directory = TARGETS[0].corpus();
    let directory = directory.parent().expect("a corpus lies in the directory of all");
    for entry in fs::read_dir(directory).expect("the corpus") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(Target::named(&name).is_some(), "{name} is the corpus of no target");
    }
}
