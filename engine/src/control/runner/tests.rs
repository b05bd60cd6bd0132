use std::fs;
use std::path::PathBuf;
use std::thread;

use super::*;
use crate::control::file::{Running, save::save};

/// A gateway's file with these lines in its section of the interface.
struct File(PathBuf);

impl File {
    fn new(name: &str, lines: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("ringfort-runner-{name}-{}.conf", std::process::id())));
        file.write(lines);
        file
    }

    fn write(&self, lines: &str) {
        let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        fs::write(&self.0, format!("[Interface]\nPrivateKey = {key}\n{lines}\n")).unwrap();
    }

    /// A runner for it, on a thread.
    fn runner(&self) -> Runner {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let path = self.0.clone();
        let hooks = load(&path, &disk(), KeyFiles::Needed).unwrap().config.interface.hooks;
        thread::spawn(move || serve(&theirs, &path, hooks));
        Runner::new(ours, None, None)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_the_file_says_is_run_and_nothing_else() {
    let file = File::new("says", "PostUp = test %i = wg7\nPostDown = exit 3");
    let runner = file.runner();
    assert!(runner.hook("test %i = wg7", "wg7", || false).unwrap().success());
    assert_eq!(runner.hook("exit 3", "wg7", || false).unwrap().code(), Some(3));
    let refused = runner.hook("exit 4", "wg7", || false).unwrap_err().to_string();
    assert!(refused.contains("does not say so") && !refused.contains("exit 4"), "{refused}");
    let refused = runner.hook("exit 3", "x;id", || false).unwrap_err().to_string();
    assert!(refused.contains("no name"), "{refused}");
}

#[test]
fn a_changed_file_is_read_again_and_what_it_said_before_can_be_undone() {
    let file = File::new("changed", "PostDown = exit 3");
    let runner = file.runner();
    // The daemon has read it meanwhile, and may be faster than it tells us.
    assert_eq!(runner.hook("exit 3", "wg7", || false).unwrap().code(), Some(3));
    file.write("PostDown = exit 5");
    assert_eq!(runner.hook("exit 5", "wg7", || false).unwrap().code(), Some(5));
    file.write("PostDown = exit 6");
    let hooks = |status: u8| Hooks { post_down: vec![format!("exit {status}")], ..Hooks::default() };
    runner.learn(&hooks(6)).unwrap();
    // What the daemon has read is not there any more.
    let refused = runner.learn(&hooks(7)).unwrap_err().to_string();
    assert!(refused.contains("reload it again") && !refused.contains("exit"), "{refused}");
    fs::remove_file(&file.0).unwrap();
    assert!(runner.learn(&hooks(8)).is_err());
    runner.learn(&hooks(5)).unwrap();
    for status in [3, 5, 6] {
        assert_eq!(runner.hook(&format!("exit {status}"), "wg7", || false).unwrap().code(), Some(status));
    }
}

#[test]
fn a_hook_is_stopped_and_the_next_one_runs() {
    let file = File::new("stopped", "PreUp = sleep 600\nPostUp = true");
    let runner = file.runner();
    let stop = || true;
    assert!(!runner.hook("sleep 600", "wg7", stop).unwrap().success());
    // It may have ended before it was stopped.
    for _ in 0..10 {
        runner.hook("true", "wg7", stop).unwrap();
    }
    assert!(runner.hook("true", "wg7", || false).unwrap().success());
}

/// As at an end for which a hook that takes down had no time left.
#[test]
fn nobody_waits_for_a_hook_that_does_not_end() {
    let begun = std::env::temp_dir().join(format!("ringfort-runner-begun-{}", std::process::id()));
    let endless = format!("touch {}; sleep 600; true", begun.display());
    let file = File::new("endless", &format!("PreDown = {endless}\nPostDown = true"));
    let runner = file.runner();
    thread::scope(|scope| {
        let hook = scope.spawn(|| runner.hook(&endless, "wg7", || false));
        while !begun.exists() {
            thread::yield_now();
        }
        let refused = runner.hook("true", "wg7", || false).unwrap_err().to_string();
        assert!(refused.contains("has not ended"), "{refused}");
        runner.end();
        assert!(!hook.join().unwrap().unwrap().success(), "it was ended");
    });
    fs::remove_file(begun).unwrap();
    assert!(runner.hook("true", "wg7", || false).is_err(), "there is no runner any more");
}

#[test]
fn programs_are_those_of_network_setup() {
    let runner = File::new("programs", "").runner();
    let invocation = |program: &str, arguments: &[&str]| Invocation {
        program: program.to_owned(),
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        input: "".into(),
    };
    let refused = runner.program(&invocation("sh", &["-c", "id"])).unwrap_err().to_string();
    assert!(refused.contains("sh is not run like this"), "{refused}");
    let file = std::env::temp_dir().join(format!("ringfort-runner-included-{}", std::process::id()));
    fs::write(&file, "a secret of root\n").unwrap();
    for script in [format!("include\"{}\"", file.display()), "flush ruleset".to_owned(), "list ruleset".to_owned()] {
        let invocation = Invocation { input: script.as_str().into(), ..invocation("nft", &["-f", "-"]) };
        let refused = runner.program(&invocation).unwrap_err().to_string();
        assert!(refused.contains("nft is not run like this") && !refused.contains("secret"), "{refused}");
    }
    fs::remove_file(file).unwrap();
    let nothing = Invocation { input: Vec::new().into(), ..invocation("nft", &["-f", "-"]) };
    let ended = runner.program(&nothing).unwrap();
    assert!(ended.status.unwrap().success(), "{}", ended.errors);
}

#[test]
fn a_long_answer_is_cut_and_one_that_is_too_long_is_refused() {
    assert_eq!(cut("short".to_owned()), "short");
    assert_eq!(cut(format!("{}ü", "x".repeat(OUTPUT_LEN_MAX - 1))).len(), OUTPUT_LEN_MAX - 1);
    let of = |output: String| Answer::Ended { status: Some(0), output: cut(output), errors: String::new() };
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        // The longest in JSON.
        tell(&theirs, &of("\u{1}".repeat(2 * OUTPUT_LEN_MAX))).unwrap();
        tell(&theirs, &Answer::Refused("x".repeat(17 << 20))).unwrap();
    });
    let Answer::Ended { output, .. } = receive(&ours).unwrap() else { panic!("another answer") };
    assert_eq!(output.len(), OUTPUT_LEN_MAX);
    let Answer::Refused(why) = receive(&ours).unwrap() else { panic!("another answer") };
    assert_eq!(why, "the answer is too long");
}

#[test]
fn whoever_has_no_runner_any_more_is_told() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let runner = Runner::new(ours, None, None);
    assert!(runner.hook("true", "wg7", || false).is_err());
}

/// A configuration of another owner is replaced by one of the same owner (`SaveConfig`). No other file changes hands.
#[test]
fn a_file_that_is_rewritten_keeps_its_owner() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    for (uid, gid, mode) in [(0, 4713, 0o640), (4712, 0, 0o600), (4712, 4713, 0o660)] {
        let file = File::new(&format!("rewritten-{uid}-{gid}"), "ListenPort = 1\nSaveConfig = true");
        let runner = file.runner();
        fs::set_permissions(&file.0, fs::Permissions::from_mode(mode)).unwrap();
        chown(&file.0, Some(uid), Some(gid)).expect("this test needs root");
        let running = Running { listen_port: 7, ..Running::default() };
        save(&file.0, running.state(), |new, old| runner.give(new, old)).unwrap();
        let meta = fs::metadata(&file.0).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (uid, gid, mode));
        assert!(fs::read_to_string(&file.0).unwrap().contains("ListenPort = 7"));

        let other = file.0.with_extension("other");
        fs::write(&other, "a file of root's").unwrap();
        let link = file.0.with_file_name(format!("{}link", name_of_new(&file.0)));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let refused = [runner.give(&other, &file.0), runner.give(&link, &file.0), runner.give(&other, &other)];
        let owner = fs::metadata(&other).unwrap().uid();
        fs::remove_file(&link).unwrap();
        fs::remove_file(&other).unwrap();
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert_eq!(owner, 0);
    }
}
