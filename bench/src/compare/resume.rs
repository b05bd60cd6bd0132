//! A session that goes on: what it has already is not measured again.

use std::path::Path;

use ringfort_testbed::Result;

use crate::results::Results;
use crate::results::files::is_another;
use crate::results::model::{Contender, Kind};

/// The session in a file, without the runs that failed, ready to go on. `fresh` is the session that this command line
/// would begin: it must be the same one.
///
/// # Errors
/// The file cannot be read, or it is another session; the error says in what.
pub fn resumed(file: &Path, fresh: Results) -> Result<Results> {
    let mut earlier = Results::load(file)?;
    if let Some(difference) = difference(&earlier, &fresh) {
        return Err(is_another("session", file, &difference, &earlier.command));
    }
    earlier.runs.retain(|run| run.error.is_none());
    earlier.finished.clear();
    Ok(earlier)
}

/// Whether a measurement was made.
pub fn has(results: &Results, round: u32, test: &str, contender: &str) -> bool {
    results.runs_of(test, contender).any(|run| run.round == round)
}

/// What is not the same, if anything.
fn difference(earlier: &Results, fresh: &Results) -> Option<String> {
    if earlier.kind != Kind::Compare {
        return Some("it is none of `compare`".to_owned());
    }
    let commit = |results: &Results| (results.stamp.lab.version.clone(), results.stamp.lab.commit.clone());
    if commit(earlier) != commit(fresh) {
        return Some("another build of this program made it".to_owned());
    }
    if let Some(difference) = earlier.stamp.differences(&fresh.stamp).into_iter().next() {
        return Some(difference);
    }
    if earlier.plan != fresh.plan {
        return Some("its rounds, times or reference are others".to_owned());
    }
    if earlier.tests != fresh.tests {
        return Some("its tests, or their rates and connections, are others".to_owned());
    }
    let programs = |results: &Results| results.contenders.iter().map(without_interfaces).collect::<Vec<_>>();
    (programs(earlier) != programs(fresh)).then(|| "its contenders are others, or other builds".to_owned())
}

/// Interfaces are looked at when the first run is made.
fn without_interfaces(contender: &Contender) -> Contender {
    Contender { interfaces: Vec::new(), ..contender.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn the_same_session_goes_on_and_another_does_not() {
        let session = synthetic::results();
        let mut fresh = Results { runs: Vec::new(), ..session.clone() };
        fresh.contenders.iter_mut().for_each(|contender| contender.interfaces.clear());
        assert_eq!(difference(&session, &fresh), None);
        let differs = |change: fn(&mut Results)| {
            let mut other = fresh.clone();
            change(&mut other);
            difference(&session, &other).expect("it is another session")
        };
        assert!(differs(|other| other.plan.rounds += 1).contains("rounds"));
        assert!(differs(|other| other.tests[0].detail.push('!')).contains("tests"));
        assert!(differs(|other| other.contenders[0].sha256 = None).contains("contenders"));
        assert!(differs(|other| other.stamp.kernel.push('1')).contains("kernel"));
        assert!(differs(|other| other.stamp.lab.commit.push('1')).contains("build"));
    }

    #[test]
    fn what_was_measured_is_known_and_what_failed_is_not() {
        let mut session = synthetic::results();
        assert!(has(&session, 1, "latency", "fast"));
        assert!(!has(&session, 6, "latency", "fast"));
        session.runs.iter_mut().filter(|run| run.round == 2).for_each(|run| run.error = Some("no".to_owned()));
        assert!(!has(&session, 2, "latency", "fast"));
    }
}
