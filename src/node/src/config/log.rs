//! What a node logs: a level, and levels of their own for modules.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The level for all that is not named, and levels of modules and what is below them: `info,synod_mesh=debug`.
#[derive(Clone, PartialEq, Debug)]
pub struct LogFilter(Targets);

/// A text that is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a level is \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"; modules may have their own, as in \
     \"info,synod_mesh=debug\""
)]
pub struct NotALogFilter;

impl LogFilter {
    /// As tracing wants it.
    pub fn targets(&self) -> Targets {
        self.0.clone()
    }
}

impl Default for LogFilter {
    fn default() -> LogFilter {
        LogFilter(Targets::new().with_default(LevelFilter::INFO))
    }
}

impl FromStr for LogFilter {
    type Err = NotALogFilter;

    fn from_str(text: &str) -> Result<LogFilter, NotALogFilter> {
        let mut targets = Targets::new();
        for part in text.split(',').map(str::trim) {
            targets = match part.split_once('=') {
                // `Targets` would take a level that is misspelt for a module.
                None => targets.with_default(level(part)?),
                Some((module, _)) if !is_module(module) => return Err(NotALogFilter),
                Some((module, at)) => targets.with_target(module, level(at)?),
            };
        }
        Ok(LogFilter(targets))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn level(text: &str) -> Result<LevelFilter, NotALogFilter> {
    // Numbers are levels for tracing, and mean nothing to people.
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_word { text.parse().map_err(|_| NotALogFilter) } else { Err(NotALogFilter) }
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_all_and_of_modules_are_read() {
        let filter: LogFilter = "warn, synod_mesh=debug,synod_node::driver=trace".parse().unwrap();
        let targets = filter.targets();
        assert!(targets.would_enable("synod_mesh::dialer", &tracing::Level::DEBUG));
        assert!(targets.would_enable("synod_node::driver", &tracing::Level::TRACE));
        assert!(!targets.would_enable("synod_node::intake", &tracing::Level::INFO));
        assert!(targets.would_enable("synod_node::intake", &tracing::Level::WARN));
        assert_eq!("info".parse(), Ok(LogFilter::default()));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in
            ["", "loud", "3", "synod_mesh", "synod_mesh=", "=debug", "info,,warn", "a b=info", "info;warn"]
        {
            assert_eq!(text.parse::<LogFilter>(), Err(NotALogFilter), "{text:?}");
        }
    }
}
