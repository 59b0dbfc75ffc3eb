//! Histories made by hand, one file each, whose name says what it shows: both checks accept the good ones and refuse the
//! bad ones. A line `#! only the search` or `#! only the replay` marks those of which the other check says something else:
//! that it cannot know, of a good one, or that there is an order, where only the stateNdx is wrong.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::fs;
use std::path::{Path, PathBuf};

use synod_history::{History, Verdict};

const STEPS_MAX: u64 = 10_000;
/// How many of each kind both checks decide.
const EACH: usize = 20;

struct Case {
    name: String,
    verdicts: Verdicts,
    only: Option<String>,
}

fn cases(kind: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories").join(kind);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let case = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let history = History::parse(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(
            History::parse(&history.to_string()),
            Ok(history.clone()),
            "{name} is not written as it is read"
        );
        let only = text.lines().find_map(|line| line.strip_prefix("#! only the ")).map(str::to_owned);
        Case { name, verdicts: verdicts(&history), only }
    };
    paths.into_iter().map(case).collect()
}

struct Verdicts {
    search: Verdict,
    replay: Verdict,
}

fn verdicts(history: &History) -> Verdicts {
    Verdicts { search: history.search(STEPS_MAX).verdict, replay: history.replay() }
}

#[test]
fn good_histories_are_linearizable() {
    let mut both = 0;
    for Case { name, verdicts: Verdicts { search, replay }, only } in cases("good") {
        assert_eq!(search, Verdict::Linearizable, "{name}");
        match only.as_deref() {
            None => {
                assert_eq!(replay, Verdict::Linearizable, "{name}");
                both += 1;
            }
            Some("search") => assert!(matches!(replay, Verdict::Undecided(_)), "{name}: {replay:?}"),
            Some(other) => panic!("{name}: a good history that only the {other} accepts"),
        }
    }
    assert!(both >= EACH, "only {both} good histories are for both checks");
}

#[test]
fn bad_histories_are_refused() {
    let mut both = 0;
    for Case { name, verdicts: Verdicts { search, replay }, only } in cases("bad") {
        let Verdict::Violation(why) = &replay else { panic!("{name}: the replay says {replay:?}") };
        println!("{name}\n by the replay: {why}");
        match only.as_deref() {
            None => {
                let Verdict::Violation(why) = &search else { panic!("{name}: the search says {search:?}") };
                println!(" by the search: {why}");
                both += 1;
            }
            Some("replay") => assert_eq!(search, Verdict::Linearizable, "{name}"),
            Some(other) => panic!("{name}: a bad history that only the {other} refuses"),
        }
    }
    assert!(both >= EACH, "only {both} bad histories are for both checks");
}

#[test]
fn a_violation_says_where_every_order_ends() {
    let text = "c1 0..10 put x a -> @1 new\nc1 20..60 put x b -> @2 previous 1\nc2 30..40 get x -> @2 b changed 2\n\
                c3 50..55 get x -> @1 a changed 1\nc3 70..80 get x -> @2 b changed 2";
    let Verdicts { search, replay } = verdicts(&History::parse(text).unwrap());
    let expected = "no order of the operations explains this answer:
  c3 50..55 get x -> @1 a changed 1
before it, in any order, the keys may be:
  x = b changed 2
at the same time:
  c1 20..60 put x b -> @2 previous 1";
    assert_eq!(search, Verdict::Violation(expected.to_owned()));
    let expected =
        "state 2 was known before this began, which says state 1:\n  c3 50..55 get x -> @1 a changed 1";
    assert_eq!(replay, Verdict::Violation(expected.to_owned()));
}

#[test]
fn a_search_that_is_too_long_is_undecided() {
    // Any of these may have taken effect, so the sums are all numbers of ten bits.
    let adds: Vec<String> = (0..10).map(|n| format!("c{n} 0.. add n {} -> unknown\n", 1 << n)).collect();
    let search = |sum, steps_max| {
        let text = format!("{}c10 10..20 get n -> @10 {sum} changed 10", adds.concat());
        History::parse(&text).unwrap().search(steps_max)
    };
    assert_eq!(search(1023, u64::MAX).verdict, Verdict::Linearizable);
    let whole = search(1024, u64::MAX);
    assert!(matches!(whole.verdict, Verdict::Violation(_)), "{whole:?}");
    let cut = search(1024, whole.steps - 1);
    assert!(matches!(cut.verdict, Verdict::Undecided(_)), "{cut:?}");
    assert_eq!(search(1024, whole.steps), whole);
}

#[test]
fn a_line_that_is_no_operation_is_named() {
    for (text, why) in [
        ("c1 0..10 put x a", "the arrow is missing"),
        ("1 0..10 put x a -> @1 new", "the client is no c and a number"),
        ("c1 10..0 put x a -> @1 new", "the answer comes before the invocation"),
        ("c1 0.. put x a -> @1 new", "an answer has a time"),
        ("c1 0..10 put x a -> unknown", "what is unknown has no time of an answer"),
        ("c1 0..10 push x a -> @1 new", "what was asked is none of get, put, delete, cas, add and txn"),
        ("c1 0..10 put x a b -> @1 new", "there are words left over"),
        ("c1 0..10 get x -> @1 new", "that is no answer to what was asked"),
        ("c1 0..10 txn x put x a -> @1 then new", "a condition is KEY@STATE or KEY@none"),
    ] {
        let fault = History::parse(&format!("# title\n{text}\n")).unwrap_err();
        assert_eq!((fault.line, fault.why), (2, why), "{text}");
    }
}
