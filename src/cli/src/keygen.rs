//! `synod keygen`: makes a key.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;
use synod_auth::{Algorithm, SigningKey};

use crate::exit::Failure;
use crate::output::Output;

/// Make a private key for a commander
///
/// The key is written as unencrypted PKCS#8 in PEM form, mode 0600, and no file is ever overwritten. Ed25519 signs and
/// verifies fastest; RSA is for keys that live in hardware or with tools that know nothing else.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod keygen --type ed25519 --out deploy.pem
  synod keygen --type rsa --bits 3072 --out deploy.pem
  synod commander add deploy --app 1 --key deploy.pem --role writer")]
pub(crate) struct Keygen {
    /// Which kind of key
    #[arg(long, value_enum)]
    r#type: KeyType,
    /// Its size, for RSA [default: 2048]
    #[arg(long, value_parser = ["2048", "3072", "4096"])]
    bits: Option<String>,
    /// The file to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum KeyType {
    Rsa,
    Ed25519,
}

impl Keygen {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let key = SigningKey::generate(self.algorithm()?);
        key.save_new(&self.out)?;
        let (id, algorithm) = (key.id(), key.public().algorithm());
        let file = self.out.display();
        output.print(
            &json!({ "id": id.to_string(), "algorithm": algorithm.to_string(), "file": self.out }),
            format!("{file}: {algorithm} key {}\nid {id}", id.short()),
        )?;
        Ok(ExitCode::SUCCESS)
    }

    fn algorithm(&self) -> anyhow::Result<Algorithm> {
        match (self.r#type, &self.bits) {
            (KeyType::Ed25519, None) => Ok(Algorithm::Ed25519),
            (KeyType::Ed25519, Some(_)) => {
                Err(Failure::Usage("--bits is for RSA: an Ed25519 key has one size".to_owned()).into())
            }
            (KeyType::Rsa, bits) => {
                let bits = bits.as_deref().unwrap_or("2048").parse()?;
                Algorithm::rsa(bits)
                    .ok_or_else(|| Failure::Usage(format!("RSA keys of {bits} bits are not taken")).into())
            }
        }
    }
}
