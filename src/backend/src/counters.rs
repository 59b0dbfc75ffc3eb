//! What the back end counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use synod_types::RefusalCode;

/// Every code, in the order in which it is counted.
const CODES: [RefusalCode; 22] = [
    RefusalCode::BadSignature,
    RefusalCode::Malformed,
    RefusalCode::TooLarge,
    RefusalCode::WrongCluster,
    RefusalCode::UnknownApp,
    RefusalCode::UnknownCommander,
    RefusalCode::Revoked,
    RefusalCode::NotPermitted,
    RefusalCode::Expired,
    RefusalCode::StaleSeq,
    RefusalCode::SeqReused,
    RefusalCode::SeqTooFar,
    RefusalCode::StateMismatch,
    RefusalCode::Conflict,
    RefusalCode::QuotaExceeded,
    RefusalCode::Busy,
    RefusalCode::NoLeader,
    RefusalCode::Timeout,
    RefusalCode::Stopping,
    RefusalCode::ContentMissing,
    RefusalCode::NotValidNow,
    RefusalCode::NoSpace,
];

/// The values of the back end's counters at one time. All but the `_open` and `_held` ones only rise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CounterValues {
    /// Commands received, over both transports.
    pub commands: u64,
    /// Commands answered with a receipt.
    pub executed: u64,
    /// Commands and requests about files answered with a refusal, by code; codes that never occurred are left out.
    pub refused: Vec<(RefusalCode, u64)>,
    /// QUIC sessions whose Hello was accepted.
    pub sessions: u64,
    /// QUIC sessions that are open now.
    pub sessions_open: u64,
    /// QUIC connections turned away because there were too many.
    pub sessions_turned_away: u64,
    /// QUIC sessions that were closed because the other side broke a rule, the Hello's signature among them.
    pub sessions_broken: u64,
    /// HTTPS requests received.
    pub http_requests: u64,
    /// HTTPS connections turned away because there were too many.
    pub http_turned_away: u64,
    /// Files offered, over both transports.
    pub files_offered: u64,
    /// Pieces of files that the node took.
    pub pieces_taken: u64,
    /// Bytes of commands and files that wait for their answers now.
    pub bytes_held: usize,
}

impl CounterValues {
    /// How many commands and requests about files were refused with `code`.
    pub fn refused_with(&self, code: RefusalCode) -> u64 {
        self.refused.iter().find(|(counted, _)| *counted == code).map_or(0, |(_, count)| *count)
    }
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commands: AtomicU64,
    pub(crate) executed: AtomicU64,
    refused: [AtomicU64; CODES.len()],
    pub(crate) sessions: AtomicU64,
    pub(crate) sessions_open: AtomicU64,
    pub(crate) sessions_turned_away: AtomicU64,
    pub(crate) sessions_broken: AtomicU64,
    pub(crate) http_requests: AtomicU64,
    pub(crate) http_turned_away: AtomicU64,
    pub(crate) files_offered: AtomicU64,
    pub(crate) pieces_taken: AtomicU64,
    pub(crate) bytes_held: AtomicUsize,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// A command, or what is about a file, was refused.
    pub(crate) fn refuse(&self, code: RefusalCode) {
        if let Some(place) = CODES.iter().position(|known| *known == code) {
            count(&self.refused[place]);
        }
    }

    /// The values now.
    pub(crate) fn values(&self) -> CounterValues {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = CODES.into_iter().zip(self.refused.iter().map(read)).filter(|(_, count)| *count > 0);
        CounterValues {
            commands: read(&self.commands),
            executed: read(&self.executed),
            refused: refused.collect(),
            sessions: read(&self.sessions),
            sessions_open: read(&self.sessions_open),
            sessions_turned_away: read(&self.sessions_turned_away),
            sessions_broken: read(&self.sessions_broken),
            http_requests: read(&self.http_requests),
            http_turned_away: read(&self.http_turned_away),
            files_offered: read(&self.files_offered),
            pieces_taken: read(&self.pieces_taken),
            bytes_held: self.bytes_held.load(Ordering::Relaxed),
        }
    }
}
