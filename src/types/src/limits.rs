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

/// Bytes of records that wait for the disk, of all applications. Beyond it the journal holds up who appends, until the
/// disk has caught up: a slow disk slows its node, and no record is lost.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Reads that wait for the journal's writer at a time.
pub const JOURNAL_READS_MAX: usize = 256;

/// Bytes of decrees in one catch-up message (one decree may be larger by itself).
pub const CATCH_UP_BYTES_MAX: usize = 1 << 20;
/// Bytes of one frame between nodes or between a node and a commander.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// Bytes of a frame before the Hello was accepted.
pub const HELLO_FRAME_BYTES_MAX: usize = 4 << 10;
/// Bytes that wait to be sent to one peer, per priority.
pub const PEER_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes of small frames that the mesh writes to a peer in one piece.
pub const MESH_WRITE_BYTES: usize = 256 << 10;
/// Bytes of a file that commands refer to.
pub const CONTENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a piece in which such a file travels.
pub const CONTENT_PIECE_BYTES: usize = 256 << 10;
/// Files that a node keeps.
pub const CONTENT_FILES_MAX: usize = 1_000_000;
/// Files that a node is receiving at a time, from commanders and from other nodes.
pub const CONTENT_PARTIAL_MAX: usize = 256;
/// Pieces that a node has asked another one for and not got yet.
pub const CONTENT_PIECES_ASKED_MAX: usize = 8;
/// Milliseconds that a file stays which nothing refers to: the time to submit the command for it.
pub const CONTENT_UNREFERRED_MS_MAX: u64 = 3_600_000;
/// Files to which one operation may refer.
pub const OPERATION_CONTENTS_MAX: usize = 1000;
/// Bytes in flight on one stream of the mesh.
pub const MESH_STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Sessions that peers may be opening at one node at a time; more are ignored.
pub const MESH_OPENING_MAX: usize = 64;
/// Milliseconds that opening a session may take: TLS handshake and Hello.
pub const MESH_OPENING_MS_MAX: u64 = 5_000;
/// Milliseconds without a message after which a KeepAlive is sent.
pub const MESH_KEEP_ALIVE_MS: u64 = 1_000;
/// KeepAlives without an answer after which a session is dead.
pub const MESH_KEEP_ALIVES_MISSED_MAX: usize = 3;
/// Milliseconds without a single packet after which a connection is dead.
pub const MESH_IDLE_MS_MAX: u32 = 4_000;
/// Milliseconds that a closing session waits for its peer.
pub const MESH_PARTING_MS_MAX: u64 = 1_000;
/// Addresses of one name that are tried in one attempt to reach a peer.
pub const MESH_ADDRESSES_MAX: usize = 4;

/// Width of the window over `seq` in which a commander's receipts are kept, per application.
pub const SESSION_WINDOW: u64 = 4096;
/// Commanders that one application knows.
pub const COMMANDERS_MAX: usize = 10_000;
/// Bytes of a commander's name.
pub const COMMANDER_NAME_BYTES_MAX: usize = 64;
/// Bytes of an application's answer to an operation. [`SESSION_WINDOW`] of them are kept per commander.
pub const ANSWER_BYTES_MAX: usize = 1024;
/// Bytes of the text in a refusal.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// Sessions of commanders at one back end.
pub const BACKEND_SESSIONS_MAX: usize = 4096;
/// Commands of one commander's session in flight.
pub const BACKEND_SESSION_COMMANDS_MAX: usize = 4096;
/// Bytes of commands of one commander's session in flight.
pub const BACKEND_SESSION_BYTES_MAX: usize = 32 << 20;
/// Bytes of commands in flight at one back end, over all sessions and requests.
pub const BACKEND_BYTES_MAX: usize = 256 << 20;
/// Sessions at one back end that have not got through their Hello; more have to prove their address first.
pub const BACKEND_HANDSHAKES_MAX: usize = 256;
/// Milliseconds that a session may take for its TLS handshake, and again for its Hello.
pub const BACKEND_HELLO_MS_MAX: u64 = 5_000;
/// Milliseconds after which a commander's session without a packet is given up.
pub const BACKEND_IDLE_MS_MAX: u32 = 30_000;
/// Milliseconds that commands in flight get when the back end closes.
pub const BACKEND_CLOSE_MS_MAX: u64 = 5_000;
/// HTTPS connections at one back end.
pub const BACKEND_HTTP_CONNECTIONS_MAX: usize = 1024;
/// HTTPS requests that one back end works on at a time; each may hold a command of the largest size.
pub const BACKEND_HTTP_REQUESTS_MAX: usize = 512;
/// Milliseconds that an HTTPS client may take for the header of a request, and again for its body.
pub const BACKEND_HTTP_READ_MS_MAX: u64 = 10_000;
/// Milliseconds that a command may wait for its execution before its client gets `Timeout`.
pub const COMMAND_WAIT_MS_MAX: u64 = 30_000;
/// Milliseconds that a read may wait for its state.
pub const READ_WAIT_MS_MAX: u64 = 30_000;

/// Bytes of a key in the key-value application.
pub const KV_KEY_BYTES_MAX: usize = 4096;
/// Bytes of a value in the key-value application.
pub const KV_VALUE_BYTES_MAX: usize = OPERATION_BYTES_MAX - KV_KEY_BYTES_MAX - 64;
/// Bytes that a key counts for beside itself and its value: what keeping it costs.
pub const KV_ENTRY_BYTES: u64 = 128;
/// Bytes of all keys and values of one key-value application, which live in memory.
pub const KV_STATE_BYTES_MAX: u64 = 2 << 30;
/// Entries in one answer to a range query.
pub const KV_RANGE_ENTRIES_MAX: usize = 1000;
/// Bytes of keys and values in one answer to a range query.
pub const KV_RANGE_BYTES_MAX: usize = 4 << 20;

/// Connections at the HTTP front end; more wait in the kernel until one closes.
pub const HTTP_CONNECTIONS_MAX: usize = 4096;
/// Bytes of a request's address: the longest key with every byte escaped fits, as do a range's prefix and start.
pub const HTTP_URI_BYTES_MAX: usize = 32 << 10;
/// Bytes of a request's first line and header together.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 << 10;
/// Milliseconds from one answer to the end of the next request's header; an idle connection is closed then.
pub const HTTP_HEAD_WAIT_MS_MAX: u64 = 30_000;
/// Milliseconds that a client may leave sent bytes unacknowledged or its receive window closed.
pub const HTTP_WRITE_STALL_MS_MAX: u64 = 30_000;
/// Milliseconds that answers in progress get when the HTTP front end closes.
pub const HTTP_CLOSE_MS_MAX: u64 = 5_000;
/// Mistakes that one HTTP answer lists.
pub const HTTP_MISTAKES_MAX: usize = 16;

/// Parsed public keys that a verifier keeps.
pub const KEYS_REMEMBERED_MAX: usize = COMMANDERS_MAX;
/// Commands that a verifier remembers as verified, so that what entered here is not verified again when it comes
/// back in an Accept; 32 bytes each.
pub const VERIFIED_REMEMBERED_MAX: usize = 131_072;
/// Jobs that wait for a verifying thread.
pub const VERIFY_JOBS_MAX: usize = 8192;

/// Bytes of the genesis document.
pub const GENESIS_BYTES_MAX: usize = 256 << 10;
/// Administrators that the genesis document names.
pub const ADMINISTRATORS_MAX: usize = 64;
/// Bytes of the name of a cluster, a node, an administrator or an application.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of a file with keys or certificates.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 10;

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Milliseconds in a configured `retry_delay`; the longest wait is ten times as long.
pub const RETRY_DELAY_MS_MAX: u64 = 60_000;
/// Threads of one kind that a configuration can ask for.
pub const THREADS_MAX: u64 = 1024;
