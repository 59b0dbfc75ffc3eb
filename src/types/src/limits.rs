//! Every limit of the system, in one place. Reaching one is an answer (`Busy`, `TooLarge`), never a surprise.

/// Nodes in one cluster.
pub const MEMBERS_MAX: usize = 15;
/// Applications in one cluster.
pub const APPS_MAX: usize = 64;

/// Bytes of one operation inside a command.
pub const OPERATION_BYTES_MAX: usize = 1 << 20;
/// Bytes of a public key (SubjectPublicKeyInfo, DER); RSA-4096 takes 550.
pub const KEY_DER_BYTES_MAX: usize = 1024;
/// Bytes of a signature; RSA-4096 takes 512.
pub const SIGNATURE_BYTES_MAX: usize = 512;
/// Bytes of a whole signed command in wire form.
pub const COMMAND_BYTES_MAX: usize =
    crate::command::BODY_HEADER_BYTES + OPERATION_BYTES_MAX + KEY_DER_BYTES_MAX + SIGNATURE_BYTES_MAX + 16;

/// Commands in one decree.
pub const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes after which no further command joins a decree. One command may be larger than this by itself.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// Slots that a leader keeps open (proposed, not chosen) at a time.
pub const PIPELINE_SLOTS_MAX: usize = 16;
/// Bytes of decrees in open slots after which a leader opens no further one.
pub const PIPELINE_BYTES_MAX: usize = 4 << 20;
/// Slots behind the last chosen one in which an acceptor accepts.
pub const ACCEPTED_SLOTS_MAX: u64 = 4096;
/// Bytes of decrees behind the last chosen one after which an acceptor accepts in the very next slot only. All of
/// them and one more decree fit into one frame, since a promise reports them.
pub const ACCEPTED_BYTES_MAX: usize = 6 << 20;
/// Commands that wait at a leader for a slot, per application.
pub const PROPOSAL_QUEUE_COMMANDS_MAX: usize = 16_384;
/// Bytes of commands that wait at a leader for a slot, per application.
pub const PROPOSAL_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Reads that wait for a read index at a time, per application.
pub const READS_PENDING_MAX: usize = 16_384;
/// Commands that a node holds for its clients until they are executed.
pub const INTAKE_COMMANDS_MAX: usize = 65_536;

/// Bytes of decrees in one catch-up message (one decree may be larger by itself).
pub const CATCH_UP_BYTES_MAX: usize = 1 << 20;
/// Bytes of one frame between nodes or between a node and a commander.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// Bytes of a frame before the Hello was accepted.
pub const HELLO_FRAME_BYTES_MAX: usize = 4 << 10;
/// Bytes that wait to be sent to one peer, per priority.
pub const PEER_QUEUE_BYTES_MAX: usize = 32 << 20;

/// Width of the window over `seq` in which a commander's receipts are kept, per application.
pub const SESSION_WINDOW: u64 = 4096;
/// Commanders that one application knows.
pub const COMMANDERS_MAX: usize = 10_000;
/// Bytes of the text in a refusal.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// Sessions of commanders at one back end.
pub const BACKEND_SESSIONS_MAX: usize = 4096;
/// Commands of one commander's session in flight.
pub const BACKEND_SESSION_COMMANDS_MAX: usize = 4096;
/// Milliseconds that a command may wait for its execution before its client gets `Timeout`.
pub const COMMAND_WAIT_MS_MAX: u64 = 30_000;
/// Milliseconds that a read may wait for its state.
pub const READ_WAIT_MS_MAX: u64 = 30_000;

/// Bytes of a key in the key-value application.
pub const KV_KEY_BYTES_MAX: usize = 4096;
/// Bytes of a value in the key-value application.
pub const KV_VALUE_BYTES_MAX: usize = OPERATION_BYTES_MAX - KV_KEY_BYTES_MAX - 64;
/// Entries in one answer to a range query.
pub const KV_RANGE_ENTRIES_MAX: usize = 1000;
/// Bytes of keys and values in one answer to a range query.
pub const KV_RANGE_BYTES_MAX: usize = 4 << 20;
