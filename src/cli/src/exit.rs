//! Exit codes: the one place where errors become numbers.

use std::io;
use std::process::ExitCode;

use synod_client::{AskError, ExecuteError, SubmitError};

use crate::output::Output;

/// What `synod --help` says of them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed, or there is no such key, zone or certificate; of `zone diff`: there are differences
  2  the arguments are wrong
  3  refused: by the cluster, before or when it was executed; by `synod zone`, which asks for --force; by `synod restore`, where nobody
     vouches for a backup; by `synod recover`, where commands may be lost; by `synod certificate verify`, where it is not proved who
     the members are
  4  unknown: it may have been executed, or may still be; submit the same bytes again to find out
  5  no node could be reached: not executed
  6  done, and not live in time at every node that --wait asks for: it will be, without anything more to do
  7  the evidence is broken: of `audit`, a log that is not what it should be; of `receipt verify`, a receipt that it does not prove;
     of `certificate verify`, a certificate that proves nothing; of `backup`, `restore` and `recover`, a log or a backup that is damaged

Environment:
  SYNOD_CLIENT  the client file, where --client is not given (default: client.toml)
  RUST_LOG      what is logged to standard error, as in \"info\" or \"warn,synod_client=debug\"";

/// How a subcommand failed, where that is more than \"failed\".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The arguments do not fit together, or not to the cluster.
    #[error("{0}")]
    Usage(String),
    /// There is nothing to print.
    #[error("{0}")]
    NoSuchKey(String),
    /// A zone is not in order, and it has been said why.
    #[error("{0}")]
    BadZone(String),
    /// The cluster refused.
    #[error("{0}")]
    Refused(String),
    /// Whether the command was executed is not known.
    #[error("{0}")]
    Unknown(String),
    /// No node could be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The command was executed, and nodes that were to be waited for had not come so far in time.
    #[error("{0}")]
    NotLive(String),
    /// A log or a receipt is not what it should be.
    #[error("{0}")]
    Broken(String),
}

/// What an error comes to.
fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => 2,
        Some(Failure::Refused(_)) => 3,
        Some(Failure::Unknown(_)) => 4,
        Some(Failure::Unreachable(_)) => 5,
        Some(Failure::NotLive(_)) => 6,
        Some(Failure::Broken(_)) => 7,
        Some(Failure::NoSuchKey(_) | Failure::BadZone(_)) | None => 1,
    }
}

/// The same error with exit code 2 where it would be 1, for a subcommand whose 1 is an answer.
pub(crate) fn not_1(error: anyhow::Error) -> anyhow::Error {
    if code(&error) == 1 { Failure::Usage(format!("{error:#}")).into() } else { error }
}

/// Says what went wrong, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    if is_broken_pipe(error) {
        // Who read the output has seen enough (`synod kv list | head`).
        return ExitCode::SUCCESS;
    }
    let code = code(error);
    match output {
        Output::Text => eprintln!("error: {error:#}"),
        Output::Json => {
            eprintln!("{}", serde_json::json!({ "error": format!("{error:#}"), "exitCode": code }));
        }
    }
    ExitCode::from(code)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|why| why.kind() == io::ErrorKind::BrokenPipe)
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Failure {
        let text = error.to_string();
        match error {
            SubmitError::Refused(_) => Failure::Refused(text),
            SubmitError::Unreachable { .. } => Failure::Unreachable(text),
            SubmitError::Unknown { .. } => Failure::Unknown(text),
        }
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Failure {
        let text = error.to_string();
        match error {
            ExecuteError::Command(_) => Failure::Usage(text),
            ExecuteError::NextSeq(AskError::Refused(_)) => Failure::Refused(text),
            ExecuteError::NextSeq(AskError::Unreachable { .. }) => Failure::Unreachable(text),
            ExecuteError::Submit(error) => Failure::from(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use synod_types::{Refusal, RefusalCode};

    use super::*;

    #[test]
    fn errors_have_their_codes_wherever_they_are_in_a_chain() {
        let refused = SubmitError::Refused(Refusal::new(RefusalCode::Revoked, "no"));
        let unreachable = SubmitError::Unreachable { why: "gone".to_owned() };
        for (failure, expected) in [(Failure::from(refused), 3), (unreachable.into(), 5)] {
            let error = Err::<(), _>(failure).context("cannot write").context("step 3").unwrap_err();
            assert_eq!(code(&error), expected);
        }
        assert_eq!(code(&anyhow::anyhow!("anything")), 1);
        assert_eq!(code(&not_1(anyhow::anyhow!("anything"))), 2);
        assert_eq!(code(&not_1(Failure::Unreachable("x".to_owned()).into())), 5);
        assert_eq!(code(&Failure::Usage("x".to_owned()).into()), 2);
        assert_eq!(code(&Failure::Unknown("x".to_owned()).into()), 4);
        assert_eq!(code(&Failure::NotLive("x".to_owned()).into()), 6);
        assert_eq!(code(&Failure::Broken("x".to_owned()).into()), 7);
    }
}
