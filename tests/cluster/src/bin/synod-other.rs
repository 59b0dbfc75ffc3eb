//! The program `synod` as another build of it would be: one from before, or one to come. What it claims to know is in its
//! environment. It is for tests of upgrades alone; the real program asks nobody what it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, here too")]

use std::env;
use std::process::ExitCode;

use synod_cluster::other;
use synod_types::{Program, Versions};

fn main() -> ExitCode {
    let versions = |name| env::var(name).ok().map(|text| text.parse::<Versions>().unwrap());
    let this = Program::of_node();
    synod::main_as(Program {
        wire: versions(other::WIRE).unwrap_or(this.wire),
        levels: versions(other::LEVELS).unwrap_or(this.levels),
        version: env::var(other::VERSION).unwrap_or(this.version),
    })
}
