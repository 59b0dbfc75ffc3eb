//! One request, asked of one node after another until there is an answer that counts or no time is left.
//!
//! The same bytes may go to many nodes, since a command is executed once at most. What has to be kept in mind is
//! whether any attempt was left without a certain answer: only then is "refused" not the last word.

use std::time::Duration;

use synod_types::request::{Reply, Request};
use synod_types::{Refusal, RefusalCode};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use crate::config::Timeouts;
use crate::roster::Roster;

/// The pause after every node was asked once, and the longest one; it doubles from round to round.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What an attempt that is not the first needs: with less time left there would be doubt where there was a refusal.
const ATTEMPT_MIN: Duration = Duration::from_millis(100);

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Refused, and no attempt is in doubt.
    Refused(Refusal),
    /// Nothing was sent that is not answered.
    Unreachable(String),
    /// Something was sent that is not answered.
    Unknown(String),
}

/// What one attempt met.
enum Attempt {
    /// The node does not answer at all.
    Failed(String),
    /// It asks us to try again, here or elsewhere.
    Again(Refusal),
}

/// What is known so far.
#[derive(Default)]
struct Known {
    /// Attempts that were sent and have no certain answer.
    in_doubt: u32,
    last: Option<Attempt>,
}

impl Known {
    fn at_the_end(self, in_time: Duration) -> CallError {
        let why = match &self.last {
            Some(Attempt::Failed(why)) => why.clone(),
            Some(Attempt::Again(refusal)) => refusal.to_string(),
            None => format!("there was no answer within {in_time:?}"),
        };
        match self.last {
            _ if self.in_doubt > 0 => CallError::Unknown(why),
            Some(Attempt::Again(refusal)) => CallError::Refused(refusal),
            Some(Attempt::Failed(_)) | None => CallError::Unreachable(why),
        }
    }
}

/// Asks; `bytes` is the size of the command in the request, if it has one. The reply is [`Reply::Executed`] or
/// [`Reply::NextSeq`].
pub(crate) async fn call(
    roster: &Roster,
    request: Request,
    bytes: usize,
    timeouts: &Timeouts,
) -> Result<Reply, CallError> {
    let deadline = Instant::now() + timeouts.total;
    // Where there is no other node, asking again over a session that lives would only add to what is slow.
    let attempt = if roster.len() > 1 { timeouts.attempt } else { timeouts.total };
    let mut known = Known::default();
    let mut seat = roster.preferred();
    let mut attempts = 0;
    loop {
        let asked = ask(roster, seat, &request, bytes, attempt, deadline, &mut known).await;
        let attempt = match asked {
            Ok(Reply::Refused { refusal, .. }) if refusal.code.is_transient() => Attempt::Again(refusal),
            Ok(Reply::Refused { refusal, .. }) if known.in_doubt > 0 && !is_last_word(refusal.code) => {
                return Err(CallError::Unknown(format!(
                    "an earlier attempt is in doubt, and now: {refusal}"
                )));
            }
            Ok(Reply::Refused { refusal, .. }) => return Err(CallError::Refused(refusal)),
            Ok(reply) => {
                roster.prefer(seat);
                return Ok(reply);
            }
            Err(why) => {
                roster.avoid(seat);
                Attempt::Failed(format!("{}: {why}", roster.address(seat)))
            }
        };
        match &attempt {
            Attempt::Failed(why) => debug!(why, "a node did not answer; the next one is asked"),
            Attempt::Again(refusal) => debug!(%refusal, "a node asks to try again; the next one is asked"),
        }
        known.last = Some(attempt);
        attempts += 1;
        seat = roster.after(seat);
        let resume = Instant::now() + pause(attempts, roster.len());
        if resume + ATTEMPT_MIN > deadline {
            return Err(known.at_the_end(timeouts.total));
        }
        sleep_until(resume).await;
    }
}

/// One attempt at one node. An error says why there is no reply.
async fn ask(
    roster: &Roster,
    seat: usize,
    request: &Request,
    bytes: usize,
    limit: Duration,
    deadline: Instant,
    known: &mut Known,
) -> Result<Reply, String> {
    let session = roster.session(seat, deadline).await.map_err(|why| why.to_string())?;
    let deadline = deadline.min(Instant::now() + limit);
    let room = timeout_at(deadline, session.room(bytes)).await;
    let room = room.map_err(|_| "too much is in flight")?.map_err(|lost| lost.to_string())?;
    let answer = session.send(request.clone(), room).map_err(|lost| lost.to_string())?;
    known.in_doubt += 1;
    match timeout_at(deadline, answer).await {
        Ok(Ok(reply)) => {
            let in_doubt = matches!(
                &reply,
                Reply::Refused { refusal, .. }
                    if matches!(refusal.code, RefusalCode::Timeout | RefusalCode::Stopping)
            );
            if !in_doubt {
                known.in_doubt -= 1;
            }
            Ok(reply)
        }
        Ok(Err(_)) => Err(session.why().to_string()),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

/// Whether a refusal proves that no other attempt executed the same bytes: it follows from the bytes alone, or their
/// seq is known to belong to another command.
pub(crate) fn is_last_word(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::BadSignature
            | RefusalCode::Malformed
            | RefusalCode::TooLarge
            | RefusalCode::WrongCluster
            | RefusalCode::SeqReused
    )
}

/// The pause after so many attempts: hardly any before each node was asked once, then doubling, and never the same for
/// two callers.
pub(crate) fn pause(attempts: u32, nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).expect("a roster has at most MEMBERS_MAX seats");
    let round = attempts / nodes;
    if round == 0 {
        return Duration::ZERO;
    }
    let longest = PAUSE_MIN.saturating_mul(1 << round.min(16)).min(PAUSE_MAX);
    rand::random_range(longest / 2..=longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        assert_eq!(pause(2, 3), Duration::ZERO);
        for attempts in 3..100_000 {
            let pause = pause(attempts, 3);
            assert!(pause >= PAUSE_MIN && pause <= PAUSE_MAX, "{pause:?} after {attempts}");
        }
        assert!(pause(90, 3) >= PAUSE_MAX / 2);
    }

    #[test]
    fn a_refusal_is_the_end_only_without_doubt() {
        let refusal = Refusal::new(RefusalCode::Busy, "full");
        let known = |in_doubt| Known { in_doubt, last: Some(Attempt::Again(refusal.clone())) };
        assert!(matches!(known(0).at_the_end(PAUSE_MAX), CallError::Refused(_)));
        assert!(matches!(known(1).at_the_end(PAUSE_MAX), CallError::Unknown(_)));
        let failed = Known { in_doubt: 0, last: Some(Attempt::Failed("gone".to_owned())) };
        assert!(matches!(failed.at_the_end(PAUSE_MAX), CallError::Unreachable(_)));
    }
}
