//! A gateway goes on in a new process, as `ringfort restart` has it, and is taken down by that.

use super::*;

fn restart(setting: &Setting) -> String {
    setting.run("restart")
}

#[test]
fn all_that_was_set_up_stays_and_goes_in_the_end() {
    let setting = Setting::new();
    let notes = setting.directory.join("notes");
    let hooks: String = ["PreUp", "PostUp", "PreDown", "PostDown"]
        .map(|what| format!("{what} = echo {what} >>{}\n", notes.display()))
        .concat();
    let section = setting.peer_section("").replace(BEHIND, "0.0.0.0/0, ::/0");
    setting.write(&(setting.interface_section(&hooks) + &section));
    let before = setting.state();
    setting.run("up");
    setting.is_answered();
    let up = setting.state();
    let pings = Background::start(setting.here(), THEIRS.parse().unwrap(), Duration::from_millis(5), PATIENCE).unwrap();
    for _ in 0..2 {
        let said = restart(&setting);
        assert!(said.contains("serves in the place of"), "{said}");
        assert_eq!(setting.state(), up);
        assert_eq!(setting.run("reload"), "nothing has changed\n");
    }
    let tally = pings.finish();
    assert!(tally.sent > 0 && tally.lost.is_empty(), "{tally:?}");
    setting.run("down");
    setting.assert_nothing_is_left(&before);
    assert_eq!(std::fs::read_to_string(notes).unwrap(), "PreUp\nPostUp\nPreDown\nPostDown\n");
}

/// What is in the file by now would not be what was handed over.
#[test]
fn a_file_that_has_changed_is_read_again_first() {
    let setting = Setting::new();
    setting.write(&(setting.interface_section("") + &setting.peer_section("")));
    setting.run("up");
    setting.write(&(setting.interface_section("") + &setting.peer_section("PersistentKeepalive = 25")));
    let (status, text) = setting.fails("restart");
    assert!(status == 2 && text.contains("goes on as it is"), "{text}");
    setting.is_answered();
    setting.run("reload");
    restart(&setting);
    setting.is_answered();
    setting.run("down");
}
