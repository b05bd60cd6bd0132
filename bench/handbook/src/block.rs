//! A block of code in a page, and how it is tested.

/// A machine of the example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The one that the book is about.
    Gateway,
    /// Its peer.
    Laptop,
}

/// How a block is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It runs.
    Run {
        /// Where.
        on: Machine,
        /// What must be done before, which readers do not see.
        before: Vec<String>,
        /// What its commands may end with; nothing is 0.
        statuses: Vec<i32>,
    },
    /// A script of the repository has its commands.
    In(String),
    /// It does not run, for this reason.
    NotRun(String),
}

/// A block between fences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of the first line behind the fence, from 1.
    pub line: usize,
    /// What stands behind the fence.
    pub language: String,
    /// Without the fences.
    pub text: String,
    /// How it is tested.
    pub how: How,
    /// Behind the end of the scene that other pages begin with.
    pub is_after_scene: bool,
}

/// A command, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// From 1.
    pub line: usize,
    /// As it is typed.
    pub command: String,
    /// What the page says that comes of it; `None`: nothing is said.
    pub output: Option<String>,
}

impl Block {
    /// Whether it has commands.
    #[must_use]
    pub fn is_commands(&self) -> bool {
        ["sh", "console"].contains(&self.language.as_str())
    }

    /// Its commands one by one, continued lines joined. Comments and blank lines are none.
    #[must_use]
    pub fn commands(&self) -> Vec<Exchange> {
        if self.language == "console" {
            return self.dialogue();
        }
        let mut commands: Vec<Exchange> = Vec::new();
        let mut is_continued = false;
        for (at, text) in self.text.lines().enumerate() {
            let (part, continues) = match text.strip_suffix('\\') {
                Some(part) => (part, true),
                None => (text, false),
            };
            if is_continued && let Some(last) = commands.last_mut() {
                last.command = format!("{} {}", last.command.trim_end(), part.trim_start());
            } else if !text.trim().is_empty() && !text.trim_start().starts_with('#') {
                commands.push(Exchange { line: self.line + at, command: part.to_owned(), output: None });
            }
            is_continued = continues;
        }
        for one in &mut commands {
            one.command = without_comment(&one.command).to_owned();
        }
        commands
    }

    fn dialogue(&self) -> Vec<Exchange> {
        let mut exchanges: Vec<Exchange> = Vec::new();
        for (at, text) in self.text.lines().enumerate() {
            if let Some(command) = text.strip_prefix("# ") {
                let command = command.to_owned();
                exchanges.push(Exchange { line: self.line + at, command, output: Some(String::new()) });
            } else if let Some(output) = exchanges.last_mut().and_then(|last| last.output.as_mut()) {
                output.push_str(text);
                output.push('\n');
            }
        }
        exchanges
    }
}

/// A comment begins with a `#` behind blanks.
fn without_comment(command: &str) -> &str {
    command.find(" #").map_or(command, |at| &command[..at]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(language: &str, text: &str) -> Block {
        let how = How::NotRun(String::new());
        Block { line: 10, language: language.to_owned(), text: text.to_owned(), how, is_after_scene: false }
    }

    fn commands(block: &Block) -> Vec<(usize, &str)> {
        // The test is about a few short ones.
        let leaked: &'static [Exchange] = block.commands().leak();
        leaked.iter().map(|one| (one.line, one.command.as_str())).collect()
    }

    #[test]
    fn commands_are_joined_and_comments_left_out() {
        let block = block("sh", "# first\na --b \\\n    c   # what\n\nd '#' e\n");
        assert_eq!(commands(&block), [(11, "a --b c"), (14, "d '#' e")]);
    }

    #[test]
    fn a_dialogue_has_output() {
        let exchanges = block("console", "# a b\nx\n…\n# c\n").commands();
        assert_eq!(exchanges[0].output.as_deref(), Some("x\n…\n"));
        assert_eq!((exchanges[1].command.as_str(), exchanges[1].line), ("c", 13));
    }
}
