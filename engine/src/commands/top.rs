//! `ringfort top NAME`: what a gateway does, as it does it.

use std::process::ExitCode;
use std::time::Duration;

use crate::app::exit;
use crate::top;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
    /// How often to look, in seconds: from 0.25 to 60
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
}

/// Shows until somebody has seen enough.
pub fn run(args: &Args) -> ExitCode {
    exit(top::run(&args.name, args.interval))
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.25..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.25 to 60".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_long_enough_to_see_something() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0.1", "61", "-1", "NaN", "soon"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
