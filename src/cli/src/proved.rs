//! `get --verify`: what a key or zone holds, believed for nothing but the genesis document. Whoever answers may be anybody, a
//! mirror or a cache: he cannot make up a value, nor hide one; only how old the state is that he shows is his choice, within what
//! was signed.

use std::fmt::Display;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use synod_auth::{Genesis, verify_bundle};
use synod_gateway::{BundleForm, Proof, ProofForm};
use synod_types::{AppNdx, ClusterId, Digest, Statement, Threshold};

use crate::exit::Failure;

/// Of whom something is to be proved.
pub(crate) struct Asked<'a> {
    pub(crate) genesis: &'a Genesis,
    pub(crate) cluster: ClusterId,
    pub(crate) app: AppNdx,
    /// No earlier state will do.
    pub(crate) min: Option<u64>,
}

/// What a node answers to `?proof=1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<T> {
    state_ndx: u64,
    #[serde(alias = "entry", alias = "version")]
    held: Option<T>,
    proof: ProofForm,
    certificate: BundleForm,
}

/// What is proved.
#[derive(Debug)]
pub(crate) struct Proved<T> {
    /// Of which state, and who says so.
    pub(crate) statement: Statement,
    /// How many members signed that, of how many.
    pub(crate) signed: (usize, usize),
    /// What the key or zone holds; `None`: there is no such one.
    pub(crate) held: Option<T>,
}

/// Checks an answer from anybody, from the genesis document on: who the members are, what they signed, that the proof leads to
/// that, and that what the answer says is what it shows. `read` takes the JSON of what is held, `shows` tells whether the proof
/// shows that under the root.
///
/// # Errors
/// [`Failure::Broken`], with what does not hold.
pub(crate) fn verify<F: DeserializeOwned, T, E: Display>(
    answer: &[u8],
    asked: &Asked<'_>,
    read: impl FnOnce(&F) -> Result<T, String>,
    shows: impl FnOnce(&Digest, Option<&T>, &Proof) -> Result<(), E>,
) -> Result<Proved<T>, Failure> {
    let answer: Answer<F> = serde_json::from_slice(answer).map_err(broken)?;
    let bundle = answer.certificate.read().map_err(broken)?;
    verify_bundle(&bundle, asked.cluster, &asked.genesis.founding_voters(), Threshold::Majority)
        .map_err(broken)?;
    let statement = bundle.certificate.statement;
    if statement.app != asked.app {
        let (signed, app) = (statement.app, asked.app);
        return Err(broken(format_args!("the certificate is of application {signed}, and not of {app}")));
    }
    let (said, signed) = (answer.state_ndx, statement.state_ndx);
    if signed.0 != said {
        let why = format_args!("the answer says state {said}, and the certificate is of state {signed}");
        return Err(broken(why));
    }
    if asked.min.is_some_and(|min| signed.0 < min) {
        return Err(broken(format_args!("the state is {signed}, and an earlier one than was asked for")));
    }
    let held = answer.held.as_ref().map(read).transpose().map_err(broken)?;
    let proof = answer.proof.read().map_err(broken)?;
    shows(&statement.root, held.as_ref(), &proof).map_err(broken)?;
    let members = &bundle.certificate.members;
    let signed = bundle.certificate.signers().iter().filter(|signer| members.contains(signer)).count();
    Ok(Proved { statement, signed: (signed, members.len()), held })
}

/// The failure of an answer that proves nothing.
pub(crate) fn broken(why: impl Display) -> Failure {
    Failure::Broken(format!("nothing is proved: {why}"))
}

impl<T> Proved<T> {
    /// By whom, for people.
    pub(crate) fn by(&self) -> String {
        let (signed, members) = self.signed;
        format!("{signed} of {members} members signed it")
    }

    /// The same for programs, beside what else is printed.
    pub(crate) fn put_into(&self, json: &mut Map<String, Value>) {
        let (signed, members) = self.signed;
        let facts = [
            ("stateNdx", json!(self.statement.state_ndx)),
            ("proved", json!(true)),
            ("root", json!(self.statement.root.to_string())),
            ("signed", json!(signed)),
            ("members", json!(members)),
        ];
        json.extend(facts.map(|(name, fact)| (name.to_owned(), fact)));
    }
}
