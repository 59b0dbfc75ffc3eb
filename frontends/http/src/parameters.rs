//! Query parameters: each is taken by its name; what is left, given twice or out of bounds is a mistake, and all
//! mistakes are reported at once.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;
use synod_gateway::{Consistency, Read};
use synod_types::StateNdx;
use synod_types::limits::HTTP_MISTAKES_MAX;
use utoipa::{IntoParams, ToSchema};

use crate::percent::decode_query;

/// One thing that is wrong with the query.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// The parameter.
    pub(crate) name: String,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// How to read; see [`Parameters::read`].
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters::read` takes")]
pub(crate) struct ReadParameters {
    /// Answer from this stateNdx or a later one, and wait for it: the stateNdx of a receipt, at any node.
    #[param(nullable = false)]
    min: Option<u64>,
    /// `local`: this node's state, at once. `linearizable`: a state with everything that was executed anywhere before
    /// the read began; needs a leader.
    #[param(inline, nullable = false)]
    consistency: Option<ConsistencyLevel>,
    /// Seconds to wait for the state, fractions allowed.
    #[param(minimum = 0, maximum = 30, default = 5, nullable = false)]
    wait: Option<f64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "local")]
#[expect(dead_code, reason = "it describes what `Parameters::read` takes")]
enum ConsistencyLevel {
    Local,
    Linearizable,
}

/// A name and its value, decoded.
type Parameter<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The parameters of one request that were not taken yet, and the mistakes so far.
pub(crate) struct Parameters<'a> {
    left: Vec<Parameter<'a>>,
    /// The first [`HTTP_MISTAKES_MAX`].
    mistakes: Vec<Mistake>,
    mistakes_count: usize,
}

impl<'a> Parameters<'a> {
    /// Splits a query (what follows the `?`).
    pub(crate) fn of(query: Option<&'a str>) -> Parameters<'a> {
        let mut parameters = Parameters { left: Vec::new(), mistakes: Vec::new(), mistakes_count: 0 };
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode_query(name), decode_query(value)) {
                (Ok(name), Ok(value)) => parameters.left.push((name, value)),
                (Err(why), _) | (_, Err(why)) => parameters.mistake(name.as_bytes(), why.to_string()),
            }
        }
        parameters
    }

    /// The value of `name`, as bytes.
    pub(crate) fn bytes(&mut self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut given = self.left.extract_if(.., |(left, _)| **left == *name.as_bytes());
        let first = given.next().map(|(_, value)| value);
        if given.count() > 0 {
            self.mistake(name.as_bytes(), "is given more than once".to_owned());
        }
        first
    }

    /// The value of `name`, a whole number within bounds.
    pub(crate) fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = self.bytes(name)?;
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let reason = format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
            self.mistake(name.as_bytes(), reason);
        }
        number
    }

    /// `consistency`, `min` and `wait`: how to read.
    pub(crate) fn read(&mut self) -> Read {
        let default = Read::default();
        let consistency = match self.bytes("consistency").as_deref() {
            None => default.consistency,
            Some(b"local") => Consistency::Local,
            Some(b"linearizable") => Consistency::Linearizable,
            Some(_) => {
                self.mistake(b"consistency", "must be \"local\" or \"linearizable\"".to_owned());
                default.consistency
            }
        };
        let min = self.state_ndx("min");
        let wait = self.seconds("wait", Read::WAIT_MAX).unwrap_or(default.wait);
        Read { consistency, min, wait }
    }

    /// `limit`: entries in a page, at most `max`.
    pub(crate) fn limit(&mut self, max: usize) -> Option<u32> {
        let max = u64::try_from(max).expect("a small number");
        self.number("limit", 1..=max).and_then(|limit| u32::try_from(limit).ok())
    }

    /// The value of `name`, a stateNdx.
    pub(crate) fn state_ndx(&mut self, name: &str) -> Option<StateNdx> {
        self.number(name, 0..=u64::MAX).map(StateNdx)
    }

    /// The value of `name`, as `value` reads it.
    pub(crate) fn value<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        value: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let bytes = self.bytes(name)?;
        match value(&String::from_utf8_lossy(&bytes)) {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistake(name.as_bytes(), format!("does not fit: {why}"));
                None
            }
        }
    }

    /// Nothing is wrong and nothing is left.
    ///
    /// # Errors
    /// Every mistake, the first [`HTTP_MISTAKES_MAX`] of them with their reasons, and how many there are.
    pub(crate) fn finish(mut self) -> Result<(), (Vec<Mistake>, usize)> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.mistake(&name, "is unknown here".to_owned());
        }
        match self.mistakes_count {
            0 => Ok(()),
            count => Err((self.mistakes, count)),
        }
    }

    /// The value of `name`, seconds up to `max`; `30s` is `30`.
    pub(crate) fn seconds(&mut self, name: &str, max: Duration) -> Option<Duration> {
        let value = self.bytes(name)?;
        let text = std::str::from_utf8(&value).ok().map(|text| text.strip_suffix('s').unwrap_or(text));
        let seconds = text.and_then(|text| text.parse().ok());
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seconds = seconds.filter(|seconds| *seconds <= max);
        if seconds.is_none() {
            self.mistake(name.as_bytes(), format!("must be seconds from 0 to {}", max.as_secs()));
        }
        seconds
    }

    /// One more thing is wrong.
    pub(crate) fn mistake(&mut self, name: &[u8], reason: String) {
        self.mistakes_count += 1;
        if self.mistakes.len() < HTTP_MISTAKES_MAX {
            self.mistakes.push(Mistake { name: String::from_utf8_lossy(name).into_owned(), reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        let mut parameters = Parameters::of(Some(query));
        parameters.read();
        let mistakes = parameters.finish().err().map(|(mistakes, _)| mistakes).unwrap_or_default();
        mistakes.into_iter().map(|mistake| mistake.name).collect()
    }

    #[test]
    fn what_is_given_is_read() {
        let mut parameters = Parameters::of(Some("min=7&consistency=linearizable&wait=0.25&prefix=a%2F+%ff"));
        let read = parameters.read();
        assert_eq!(read.consistency, Consistency::Linearizable);
        assert_eq!((read.min, read.wait), (Some(StateNdx(7)), Duration::from_millis(250)));
        assert_eq!(parameters.bytes("prefix").as_deref(), Some(&b"a/ \xff"[..]));
        assert_eq!(parameters.finish(), Ok(()));
        assert_eq!(Parameters::of(None).finish(), Ok(()));
    }

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(
            names("min=-1&consistency=fast&wait=soon&who=me&min=2"),
            ["consistency", "min", "min", "wait", "who"]
        );
        assert_eq!(names("wait=30.001"), ["wait"]);
        assert_eq!(names("wait=NaN"), ["wait"]);
        assert_eq!(names("wait=1ss"), ["wait"]);
        assert_eq!(names("wait=s"), ["wait"]);
        assert_eq!(names("min=18446744073709551616"), ["min"]);
        assert_eq!(names("min=%zz"), ["min"]);
        assert!(names("wait=30s&min=0").is_empty());
        assert!(names("wait=30&min=18446744073709551615&&").is_empty());
    }

    #[test]
    fn the_list_of_mistakes_has_a_limit() {
        let query: Vec<String> = (0..100).map(|n| format!("x{n}")).collect();
        let (mistakes, count) = Parameters::of(Some(&query.join("&"))).finish().unwrap_err();
        assert_eq!((mistakes.len(), count), (HTTP_MISTAKES_MAX, 100));
    }
}
