//! Pages that show commands and what they print: each is run, and what is shown below it is looked for in what it prints.

/// What stands for anything.
const ANYTHING: &str = "…";

/// One command, and lines that it prints.
pub struct Step {
    /// For bash.
    pub command: String,
    shown: Vec<String>,
}

/// Commands begin with a dollar sign, and what they print follows. A command goes on in the next line where it ends in a backslash.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        // Others show files, or what a program says by itself.
        if !block.lines().nth(1).is_some_and(|line| line.starts_with("$ ")) {
            continue;
        }
        let mut goes_on = false;
        for line in block.lines().skip(1) {
            let command = line.strip_prefix("$ ");
            match (command, steps.last_mut()) {
                (None, Some(step)) if goes_on => step.command += &format!("\n{line}"),
                (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) if line != ANYTHING => step.shown.push(line.trim_end().to_owned()),
                (None, _) => {}
            }
            goes_on = (goes_on || command.is_some()) && line.ends_with('\\');
        }
    }
    steps
}

impl Step {
    /// Looks for every line that is shown, in order, in what the command printed.
    ///
    /// # Panics
    /// If one is not there.
    pub fn check(&self, printed: &str) {
        let mut rest = printed.lines();
        for line in &self.shown {
            let is_there = rest.any(|printed| matches(line, printed.trim_end()));
            assert!(is_there, "{:?} was to print {line:?}, and printed\n{printed}", self.command);
        }
    }
}

/// Whether a line is the one that is shown; ids, times and widths differ from run to run.
fn matches(shown: &str, printed: &str) -> bool {
    let mut rest = printed;
    for (n, part) in shown.split(ANYTHING).enumerate() {
        let Some(at) = rest.find(part).filter(|at| n > 0 || *at == 0) else { return false };
        rest = &rest[at + part.len()..];
    }
    shown.ends_with(ANYTHING) || rest.is_empty()
}

#[test]
fn what_is_shown_is_told_from_what_is_not() {
    assert!(matches(
        "stateNdx 1  chain …  done: the key is new",
        "stateNdx 1  chain c3ed270454cc  done: the key is new"
    ));
    assert!(!matches("stateNdx 1  chain …  done", "stateNdx 1  chain c3ed  done: the key is new"));
    assert!(!matches("stateNdx 1", "a stateNdx 1"));
    assert!(matches("live at node1, node2, node3 after …", "live at node1, node2, node3 after 6 ms"));
    assert!(matches("hello", "hello") && !matches("hello", "hello you"));
}
