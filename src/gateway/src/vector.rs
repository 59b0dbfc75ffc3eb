//! How far a client has seen all applications, as a token that it carries from node to node: who has seen one application at some
//! state then never sees another one from before, wherever it asks next.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use synod_types::{AppNdx, StateNdx};

/// A state of each application, or of some: `1=7, 2=5`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StateVector(BTreeMap<AppNdx, StateNdx>);

/// Why a text is no [`StateVector`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a list of appNdx and stateNdx is expected, as in \"1=7, 2=5\", each application once")]
pub struct BadVector;

impl StateVector {
    /// The state of each application in it, in the order of appNdx.
    pub fn iter(&self) -> impl Iterator<Item = (AppNdx, StateNdx)> + '_ {
        self.0.iter().map(|(&app, &state_ndx)| (app, state_ndx))
    }

    /// Takes the later state of each application.
    pub fn join(&mut self, other: &StateVector) {
        for (app, state_ndx) in other.iter() {
            let known = self.0.entry(app).or_default();
            *known = state_ndx.max(*known);
        }
    }
}

impl FromIterator<(AppNdx, StateNdx)> for StateVector {
    fn from_iter<I: IntoIterator<Item = (AppNdx, StateNdx)>>(states: I) -> StateVector {
        StateVector(states.into_iter().collect())
    }
}

impl fmt::Display for StateVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (app, state_ndx)) in self.iter().enumerate() {
            let separator = if nth == 0 { "" } else { ", " };
            write!(f, "{separator}{app}={state_ndx}")?;
        }
        Ok(())
    }
}

impl FromStr for StateVector {
    type Err = BadVector;

    /// An empty text is the vector of who has seen nothing.
    fn from_str(text: &str) -> Result<StateVector, BadVector> {
        let mut states = BTreeMap::new();
        for entry in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let (app, state_ndx) = entry.split_once('=').ok_or(BadVector)?;
            let app = app.parse().map(AppNdx).map_err(|_| BadVector)?;
            if states.insert(app, state_ndx.parse().map_err(|_| BadVector)?).is_some() {
                return Err(BadVector);
            }
        }
        Ok(StateVector(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["", "1=7", "1=7, 2=5", "4294967295=18446744073709551615"] {
            assert_eq!(text.parse::<StateVector>().unwrap().to_string(), text);
        }
        assert_eq!(" 2=5,1=7 ".parse::<StateVector>().unwrap().to_string(), "1=7, 2=5");
        for text in ["1", "1=", "=7", "1=7,", "1=7, 1=8", "a=7", "1=-7", "1=18446744073709551616", "*"] {
            assert_eq!(text.parse::<StateVector>(), Err(BadVector), "{text}");
        }
    }

    #[test]
    fn the_later_states_count() {
        let mut vector: StateVector = "1=7, 2=5".parse().unwrap();
        vector.join(&"2=6, 1=6, 3=1".parse().unwrap());
        assert_eq!(vector.to_string(), "1=7, 2=6, 3=1");
    }
}
