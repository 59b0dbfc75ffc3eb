//! How the proof of a single value is written as JSON. All digests are lower-case hex.

use serde::{Deserialize, Serialize};
use synod_merkle::{Leaf, Path, Proof, STEPS_MAX};
use synod_types::Digest;
use utoipa::ToSchema;

use crate::certificates::{FormError, digest};

/// What shows what a key or a zone holds, or that it is not there, to who has the root that a certificate names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Proof)]
pub struct ProofForm {
    /// For each step from the root the digests of the three parts that the key is not in; null: there is nothing in it.
    steps: Vec<Vec<Option<String>>>,
    /// What is there: the key's own leaf, or another key's, which shows that this one is not there. Null: nothing, which shows it
    /// as well.
    leaf: Option<LeafForm>,
}

/// A key by its hash, and the digest of what it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Leaf)]
pub struct LeafForm {
    /// SHA3-256 of the key.
    path: String,
    /// SHA3-256 of what it holds; docs/PROTOCOL.md says of which bytes.
    value: String,
}

/// What stands for a part without keys.
const NOTHING: Digest = Digest([0; 32]);

impl ProofForm {
    /// As JSON.
    pub fn of(proof: &Proof) -> ProofForm {
        let part = |part: &Digest| (*part != NOTHING).then(|| part.to_string());
        ProofForm {
            steps: proof.steps.iter().map(|step| step.iter().map(part).collect()).collect(),
            leaf: proof
                .leaf
                .map(|leaf| LeafForm { path: leaf.path.0.to_string(), value: leaf.value.to_string() }),
        }
    }

    /// What it says; whether that proves anything is another question.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn read(&self) -> Result<Proof, FormError> {
        if self.steps.len() > STEPS_MAX {
            return Err(FormError::Steps(self.steps.len()));
        }
        // Only as this program writes it, so that nothing can be changed without being noticed.
        let part = |part: &Option<String>| match part {
            None => Ok(NOTHING),
            Some(text) => match digest("a step of a proof", text)? {
                NOTHING => Err(FormError::Zeros),
                part => Ok(part),
            },
        };
        let step = |step: &Vec<Option<String>>| {
            let parts = step.iter().map(part).collect::<Result<Vec<_>, _>>()?;
            <[Digest; 3]>::try_from(parts).map_err(|parts| FormError::Parts(parts.len()))
        };
        let leaf = |leaf: &LeafForm| {
            let path = Path(digest("a leaf's path", &leaf.path)?);
            Ok(Leaf { path, value: digest("a leaf's value", &leaf.value)? })
        };
        Ok(Proof {
            steps: self.steps.iter().map(step).collect::<Result<_, _>>()?,
            leaf: self.leaf.as_ref().map(leaf).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use synod_merkle::Tree;

    use super::*;

    #[test]
    fn a_proof_reads_back() {
        let keys: Vec<Path> = (0..40_u8).map(|n| Path::of(&[n])).collect();
        let tree = Tree::new().with(keys.iter().map(|path| (*path, Some(path.0))).collect());
        for n in 0..60_u8 {
            let proof = tree.prove(&Path::of(&[n]));
            let json = serde_json::to_string(&ProofForm::of(&proof)).unwrap();
            let form: ProofForm = serde_json::from_str(&json).unwrap();
            assert_eq!(form.read(), Ok(proof));
        }
    }

    #[test]
    fn what_is_no_proof_says_why() {
        let form = |json: &str| serde_json::from_str::<ProofForm>(json).map(|form| form.read());
        assert!(form(r#"{"steps":[],"leaf":null}"#).unwrap().is_ok());
        assert!(form(r#"{"steps":[],"leaf":null,"root":""}"#).is_err());
        assert_eq!(form(r#"{"steps":[[null,null]],"leaf":null}"#).unwrap(), Err(FormError::Parts(2)));
        let long = format!(r#"{{"steps":[{}],"leaf":null}}"#, vec!["[null,null,null]"; 129].join(","));
        assert_eq!(form(&long).unwrap(), Err(FormError::Steps(129)));
        let upper = format!(r#"{{"steps":[[null,null,"{}"]],"leaf":null}}"#, "AB".repeat(32));
        assert!(matches!(form(&upper).unwrap(), Err(FormError::Hex { .. })));
        let zeros = format!(r#"{{"steps":[[null,null,"{NOTHING}"]],"leaf":null}}"#);
        assert_eq!(form(&zeros).unwrap(), Err(FormError::Zeros));
        let short = r#"{"steps":[],"leaf":{"path":"00","value":"00"}}"#;
        assert!(matches!(form(short).unwrap(), Err(FormError::Hex { .. })));
    }
}
