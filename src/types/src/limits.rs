//! Every limit of the system, in one place. Reaching one is an answer (`Busy`, `TooLarge`), never a surprise.

/// Nodes in one cluster.
pub const MEMBERS_MAX: usize = 15;
/// Chain values in one message.
pub const CHAIN_VALUES_MAX: usize = 1024;
/// Nodes that were turned away, as the cluster remembers them.
pub const REJECTED_MAX: usize = 64;
/// Nodes that were members, as the cluster remembers them.
pub const REMOVED_MAX: usize = 64;
/// Bytes of an address as `host:port`: those of a DNS name, of a colon, and of a port.
pub const ADDRESS_BYTES_MAX: usize = 253 + 1 + 5;
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

/// Bytes of decrees in one catch-up message (one decree may be larger by itself), and in one page of the log over HTTP.
pub const CATCH_UP_BYTES_MAX: usize = 1 << 20;
/// Decrees in one page of the log over HTTP.
pub const LOG_PAGE_DECREES_MAX: u64 = 4096;
/// Pages of the log that one node reads for the outside at a time: the thread that reads them is the one that writes.
pub const LOG_READS_MAX: usize = 2;
/// Bytes of one frame between nodes or between a node and a commander.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// Bytes of a program's version in a Hello.
pub const PROGRAM_BYTES_MAX: usize = 64;
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
/// Files of which a node waits to hear that a majority holds them.
pub const CONTENT_AWAITED_MAX: usize = 16_384;
/// Words in one message of gossip.
pub const GOSSIP_WORDS_MAX: usize = 64;
/// Bytes of one of the files that a snapshot is cut into.
pub const SNAPSHOT_CHUNK_BYTES: usize = 4 << 20;
/// Files of [`CONTENT_PARTIAL_MAX`] that a node receives from other nodes.
pub const CONTENT_FETCHES_MAX: usize = 160;
/// Files of [`CONTENT_FETCHES_MAX`] that a node went looking for by itself. So many are looked for at a time; others wait.
pub const CONTENT_SOUGHT_MAX: usize = 32;
/// Files that a node offers to another one at a time, and that it takes from another one at a time.
pub const CONTENT_OFFERS_MAX: usize = 16;
/// Files that wait to be offered to another node. Beyond it, all that the node holds are gone through.
pub const CONTENT_OFFERS_LATER_MAX: usize = 16_384;
/// Receipts of other nodes that a node remembers.
pub const CONTENT_RECEIPTS_MAX: usize = 32_768;
/// Pairs of a node and a file of which it sent something else, that a node remembers.
pub const CONTENT_BLAMED_MAX: usize = 4096;
/// Files that a node remembers as collected.
pub const CONTENT_COLLECTED_MAX: usize = 65_536;
/// Pieces that are being read for another node at a time; it asks for at most [`CONTENT_PIECES_ASKED_MAX`], and perhaps
/// again after a while.
pub const CONTENT_PIECES_SERVED_MAX: usize = 2 * CONTENT_PIECES_ASKED_MAX;
/// Answers on what a node holds that another one gets in 100 ms.
pub const CONTENT_ANSWERS_MAX: usize = 512;
/// Messages of one life of a node that are under way in the delivery toolbox, not yet at all to whom they are owed; and
/// numbers behind a watermark that are remembered one by one, as the bits of a word.
pub const TOOLBOX_WINDOW_MAX: u64 = 64;
/// Bytes that one of these messages says; with all that goes along, it fits into a UDP datagram.
pub const TOOLBOX_PAYLOAD_BYTES_MAX: usize = 32 << 10;
/// Lives of one node whose messages are remembered; those of the earliest one are forgotten first.
pub const TOOLBOX_LIVES_MAX: usize = 4;
/// Messages that are sent again, or relayed, to one node in one tick.
pub const TOOLBOX_BURST_MAX: usize = 16;
/// Subscriptions at one node.
pub const TOOLBOX_SUBSCRIPTIONS_MAX: usize = 1024;
/// Bytes that files leave free on their disk, for the log.
pub const CONTENT_DISK_RESERVE_BYTES: u64 = 256 << 20;
/// Damaged files that a node keeps for whoever looks into it.
pub const CONTENT_DAMAGED_MAX: usize = 16;
/// Files to which one operation may refer.
pub const OPERATION_CONTENTS_MAX: usize = 1000;
/// Bytes in flight on one stream of the mesh.
pub const MESH_STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Nodes in one mesh: while members are exchanged there may be more of them than a cluster has.
pub const MESH_NODES_MAX: usize = 2 * MEMBERS_MAX;
/// Sessions that peers may be opening at one node at a time; more are ignored.
pub const MESH_OPENING_MAX: usize = 128;
/// Of them, those from one address that was proved: all nodes may be behind it, and nobody takes all.
pub const MESH_OPENING_PER_ADDRESS_MAX: usize = MESH_NODES_MAX;
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
/// Milliseconds that a peer which is removed gets to take the Error that says so.
pub const MESH_REMOVAL_MS_MAX: u64 = 500;
/// Milliseconds after which a node calls again, at the latest, where it was told that it is no member.
pub const MESH_ADMISSION_WAIT_MS_MAX: u64 = 2_000;
/// Nodes that are no members and would be, as one member remembers them.
pub const APPLICANTS_MAX: usize = 64;
/// Milliseconds after which such a node is forgotten when it calls no more.
pub const APPLICANT_SILENT_MS_MAX: u64 = 600_000;
/// Addresses of one name that are tried in one attempt to reach a peer.
pub const MESH_ADDRESSES_MAX: usize = 4;

/// Width of the window over `seq` in which a commander's receipts are kept, per application.
pub const SESSION_WINDOW: u64 = 4096;
/// Commanders that one application knows.
pub const COMMANDERS_MAX: usize = 10_000;
/// Bytes of a commander's name.
pub const COMMANDER_NAME_BYTES_MAX: usize = 64;
/// Scopes of one commander.
pub const SCOPES_MAX: usize = 64;
/// Bytes of all scopes of one commander together.
pub const SCOPES_BYTES_MAX: usize = 4096;
/// How often in a row a commander changes its key before an administrator has to grant one. Each leaves a commander
/// behind, and nobody can use up [`COMMANDERS_MAX`] alone.
pub const ROTATIONS_MAX: u32 = 100;
/// Changes of who commands that wait for signatures, per application.
pub const CHANGES_PENDING_MAX: usize = 256;
/// Of them, those of one administrator: nobody keeps the others from proposing theirs.
pub const CHANGES_PENDING_BY_ONE_MAX: usize = 8;
/// Milliseconds of decree time after which a change lapses that has not got its signatures: 7 days.
pub const CHANGE_PENDING_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Latest changes of who commands that an application remembers.
pub const AUTHORITY_LOG_MAX: usize = 1000;
/// Bytes of an application's answer to an operation. [`SESSION_WINDOW`] of them are kept per commander.
pub const ANSWER_BYTES_MAX: usize = 2048;
/// Bytes of the text in a refusal.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// Sessions of commanders at one back end.
pub const BACKEND_SESSIONS_MAX: usize = 4096;
/// Of them, those of one client address (of one /64, for IPv6): half, so that nobody takes all.
pub const BACKEND_SESSIONS_PER_ADDRESS_MAX: usize = BACKEND_SESSIONS_MAX / 2;
/// Commands of one commander's session in flight.
pub const BACKEND_SESSION_COMMANDS_MAX: usize = 4096;
/// Bytes of commands of one commander's session in flight.
pub const BACKEND_SESSION_BYTES_MAX: usize = 32 << 20;
/// Bytes of commands in flight at one back end, over all sessions and requests.
pub const BACKEND_BYTES_MAX: usize = 256 << 20;
/// QUIC handshakes at one back end at a time with commanders that may be anywhere, and again with those that have proved
/// their address. Where the former are many, a commander is asked for that proof; where the latter are, it is turned away.
pub const BACKEND_HANDSHAKES_MAX: usize = 256;
/// Of the latter, those of one address.
pub const BACKEND_HANDSHAKES_PER_ADDRESS_MAX: usize = BACKEND_HANDSHAKES_MAX / 4;
/// Microseconds that whoever sends a command with a bad signature waits for each before more of his is read; all who do
/// wait one after the other, so that no more than so many are verified.
pub const BACKEND_BAD_SIGNATURE_US: u64 = 500;
/// Milliseconds that a session may take for its TLS handshake, and again for its Hello.
pub const BACKEND_HELLO_MS_MAX: u64 = 5_000;
/// Milliseconds after which a commander's session without a packet is given up.
pub const BACKEND_IDLE_MS_MAX: u32 = 30_000;
/// Milliseconds that commands in flight get when the back end closes.
pub const BACKEND_CLOSE_MS_MAX: u64 = 5_000;
/// HTTPS connections at one back end.
pub const BACKEND_HTTP_CONNECTIONS_MAX: usize = 1024;
/// Of them, those of one client address (of one /64, for IPv6): half, so that nobody takes all.
pub const BACKEND_HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = BACKEND_HTTP_CONNECTIONS_MAX / 2;
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
/// Conditions of a transaction, and changes in each of its two lists.
pub const KV_TXN_OPS_MAX: usize = 128;
/// Leases that one command keeps alive.
pub const KV_KEEP_ALIVE_MAX: usize = 128;
/// Leases of one key-value application.
pub const KV_LEASES_MAX: usize = 100_000;
/// Milliseconds for which a lease lasts, at least and at most.
pub const KV_LEASE_MS_MIN: u64 = 1_000;
/// See [`KV_LEASE_MS_MIN`].
pub const KV_LEASE_MS_MAX: u64 = 24 * 3_600_000;
/// States whose changes are kept, unless a command sets it otherwise, which it can up to this number.
pub const KV_HISTORY_STATES_MAX: u64 = 1_000_000;
/// Bytes of earlier values that are kept, unless a command sets it otherwise, which it can up to this number.
pub const KV_HISTORY_BYTES_MAX: u64 = 512 << 20;
/// Milliseconds of decree time for which changes are kept, unless a command sets it otherwise.
pub const KV_HISTORY_AGE_MS: u64 = 24 * 3_600_000;
/// Keys that one command removes without naming each: those with a prefix, those of a lease.
pub const KV_DELETE_MANY_MAX: usize = 10_000;
/// Bytes of these keys together.
pub const KV_DELETE_MANY_BYTES_MAX: usize = 4 << 20;
/// Changes of the oldest states that a command drops where history is over its limits, beside two for each change that it
/// makes: what is too much goes bit by bit, and no command takes long over it.
pub const KV_HISTORY_DROPPED_MAX: usize = 64;
/// States that one query for changes looks through.
pub const KV_CHANGES_SCANNED_MAX: usize = 16_384;
/// Keys of a queue. A prefix with more of them is answered as no queue.
pub const KV_QUEUE_KEYS_MAX: usize = 100_000;
/// Entries in one answer to a range query.
pub const KV_RANGE_ENTRIES_MAX: usize = 1000;
/// Bytes of keys and values in one answer to a range query.
pub const KV_RANGE_BYTES_MAX: usize = 4 << 20;

/// Zones of one zones application.
pub const ZONES_MAX: usize = 200_000;
/// Bytes of the files of all zones together, which live in memory, parsed; a file counts for each zone that it serves.
pub const ZONES_BYTES_MAX: u64 = 2 << 30;
/// Earlier versions that are kept of one zone.
pub const ZONE_HISTORY_MAX: usize = 32;
/// Earlier versions that are kept of all zones together.
pub const ZONES_HISTORY_MAX: usize = 600_000;
/// Bytes of the files of all earlier versions together, which live on disk; a file counts for each version.
pub const ZONES_HISTORY_BYTES_MAX: u64 = 16 << 30;
/// Bytes of all files together that one operation sets, counted for each zone: the node where it enters checks them all.
pub const ZONES_CHANGE_BYTES_MAX: u64 = 256 << 20;
/// Zones in one answer to a list query.
pub const ZONES_LIST_ENTRIES_MAX: usize = 1000;

/// Connections at the HTTP front end; more wait in the kernel until one closes.
pub const HTTP_CONNECTIONS_MAX: usize = 4096;
/// Of them, those of one client address (of one /64, for IPv6) unless the configuration says otherwise: half, so that
/// nobody takes all. A proxy in front is one client.
pub const HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = HTTP_CONNECTIONS_MAX / 2;
/// Milliseconds that a client's TLS handshake may take.
pub const HTTP_HANDSHAKE_MS_MAX: u64 = 5_000;
/// Milliseconds from the end of a request's header to the beginning of its answer: the longest wait for a state, and some
/// time to answer from it.
pub const HTTP_REQUEST_MS_MAX: u64 = READ_WAIT_MS_MAX + 10_000;
/// Bytes of an answer from which on it is compressed for clients that take it so; fewer fit into one packet as they are.
pub const HTTP_COMPRESS_BYTES_MIN: u64 = 1024;
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
/// Clients that follow changes at one HTTP front end, over streams and by asking again: half of the connections, so that
/// reads always find one.
pub const HTTP_WATCHERS_MAX: usize = HTTP_CONNECTIONS_MAX / 2;
/// Bytes of changes at which a stream is given no more at a time; the changes of one state may be more by themselves. A
/// stream holds no more than that, however slowly its client reads.
pub const HTTP_WATCH_PAGE_BYTES: usize = 64 << 10;
/// Networks whose answers over UDP are counted apart, by one thread.
pub const DNS_RATE_NETWORKS: usize = 1 << 17;
/// Answers a second to one network that a rate limit can allow.
pub const DNS_RATE_MAX: u32 = 1_000_000;
/// Bytes of the last changes of some keys that are kept for those who follow them, where more than one does; the changes of
/// one state may be more by themselves.
pub const HTTP_WATCH_FEED_BYTES: usize = 128 << 10;
/// Bytes that the changes of one state take there beside their text.
pub const HTTP_WATCH_EVENT_BYTES: usize = 64;
/// Milliseconds that a client may leave changes untaken before its stream is ended.
pub const HTTP_WATCH_SLOW_MS_MAX: u64 = 10_000;
/// Milliseconds without a change after which a stream says how far it is.
pub const HTTP_WATCH_BOOKMARK_MS: u64 = 15_000;
/// States without a change after which a stream says how far it is, so that whoever resumes it does so in the history.
pub const HTTP_WATCH_BOOKMARK_STATES: u64 = 1000;
/// Microseconds from one client's turn to be served changes to the next one's, at least: many clients get many changes at a
/// time, and leave the processors to the writers.
pub const HTTP_WATCH_TURN_US: u64 = 500;
/// How many times as long as a turn took the next one waits.
pub const HTTP_WATCH_TURN_PAUSES: u32 = 10;
/// Clients that are served changes without a wait for their turn, where none were served before.
pub const HTTP_WATCH_TURNS_AT_ONCE: u32 = 32;
/// Bytes that a connection's socket holds and has not sent.
pub const HTTP_UNSENT_BYTES_MAX: u32 = 128 << 10;
/// Mistakes that one HTTP answer lists.
pub const HTTP_MISTAKES_MAX: usize = 16;

/// Streams (TCP, TLS, HTTPS, QUIC together) that are open at a time.
pub const DNS_CONNECTIONS_MAX: usize = 1024;
/// Of them, those of one client address (of one /64, for IPv6).
pub const DNS_CONNECTIONS_PER_CLIENT_MAX: usize = 128;
/// Milliseconds from one answer to the end of the next query; an idle stream is closed then (RFC 7766 section 6.2.3).
pub const DNS_IDLE_MS_MAX: u64 = 10_000;
/// Milliseconds that a client may take to receive what is written at once, 128 KiB at most.
pub const DNS_WRITE_STALL_MS_MAX: u64 = 10_000;
/// Zones that are transferred at a time; further transfers wait.
pub const DNS_TRANSFERS_MAX: usize = 16;
/// Milliseconds that a transfer waits for its turn before it is told to come back later.
pub const DNS_TRANSFER_WAIT_MS_MAX: u64 = 10_000;
/// Milliseconds that a TLS or QUIC handshake may take.
pub const DNS_HANDSHAKE_MS_MAX: u64 = 5_000;
/// QUIC handshakes at a time with clients that may be anywhere, and again with those that have proved their address.
/// Where the former are many, a client is asked for that proof; where the latter are, it is turned away.
pub const DNS_HANDSHAKES_MAX: usize = 256;
/// Queries in progress on one connection over HTTPS or QUIC.
pub const DNS_STREAMS_MAX: u32 = 32;
/// Bytes of the header of a request over HTTPS, the address with the query in it included.
pub const DNS_HTTP_HEAD_BYTES_MAX: u32 = 16 << 10;
/// Milliseconds that answers in progress get when the front end closes.
pub const DNS_CLOSE_MS_MAX: u64 = 5_000;
/// Bytes of a datagram that comes in; a query has no use for more.
pub const DNS_DATAGRAM_BYTES_MAX: usize = 4096;
/// Datagrams that one UDP thread takes, and answers from one state, at a time.
pub const DNS_DATAGRAMS_AT_ONCE: usize = 64;
/// Bytes of answers that are gathered before they are written to a stream.
pub const DNS_WRITE_BYTES: usize = 64 << 10;
/// Bytes at which a message of a zone transfer is sent and the next one begun; one record may be longer by itself.
pub const DNS_TRANSFER_MESSAGE_BYTES: usize = 16 << 10;

/// Bytes of one frame between a node and an application in a process of its own; the commands of a decree fit into one, also as
/// base64, and so do their answers.
pub const LANE_FRAME_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Bytes of a part of a state in one frame.
pub const LANE_PIECE_BYTES: usize = 1 << 20;
/// Bytes of the state of such an application, as a snapshot: the node keeps two of them in memory.
pub const LANE_STATE_BYTES_MAX: usize = 1 << 30;
/// Bytes of its answer to a query.
pub const LANE_ANSWER_BYTES_MAX: usize = 4 << 20;
/// Commands that a node keeps since the last snapshot that it has of such an application's state, to execute them again where
/// the process is a new one. From half of them on, a new snapshot is asked for beside the work.
pub const LANE_TAIL_COMMANDS_MAX: usize = 65_536;
/// Bytes of these commands and their outcomes.
pub const LANE_TAIL_BYTES_MAX: usize = 64 << 20;
/// Commands in one frame where they are executed again, and bytes from which on the next ones go into another.
pub const LANE_AGAIN_COMMANDS_MAX: usize = BATCH_COMMANDS_MAX;
/// See [`LANE_AGAIN_COMMANDS_MAX`].
pub const LANE_AGAIN_BYTES: usize = BATCH_BYTES_MAX;
/// Milliseconds that a process which has connected may take for its Hello.
pub const LANE_HELLO_MS_MAX: u64 = 5_000;
/// Milliseconds that such an application may take for one answer, unless the configuration says otherwise, and at most.
pub const LANE_ANSWER_MS: u64 = 10_000;
/// See [`LANE_ANSWER_MS`].
pub const LANE_ANSWER_MS_MAX: u64 = 600_000;
/// Milliseconds that such an application may take to make a snapshot beside its work: as long it may answer that it is not made yet.
pub const LANE_KEEP_MS_MAX: u64 = 600_000;
/// Milliseconds that a process may take to connect to the tool that has started it.
pub const LANE_START_MS_MAX: u64 = 30_000;
/// Milliseconds after which a node starts a process again that ended, at the first time and at the latest.
pub const LANE_RESTART_MS_MIN: u64 = 50;
/// See [`LANE_RESTART_MS_MIN`].
pub const LANE_RESTART_MS_MAX: u64 = 10_000;
/// Front ends in processes of their own that are connected to a node at a time; further ones wait.
pub const FRONT_CONNECTIONS_MAX: usize = 256;
/// Questions of one of them under way at a time; more are not read.
pub const FRONT_QUESTIONS_MAX: usize = 256;
/// Answers that wait for one of them; more are not made.
pub const FRONT_ANSWERS_MAX: usize = 16;
/// Bytes of a frame from one of them: a query, also as base64.
pub const FRONT_FRAME_BYTES_MAX: usize = 2 << 20;
/// Milliseconds that one of them may take to read an answer.
pub const FRONT_WRITE_MS_MAX: u64 = 10_000;
/// Bytes of a question that is for another node's front ends' door.
pub const ROUTE_QUESTION_BYTES_MAX: usize = 256 << 10;
/// Questions to other nodes that wait for their answers, and such questions of one other node that this one is answering.
pub const ROUTE_QUESTIONS_MAX: usize = 256;
/// Bytes up to which what nodes carry for front ends travels with what makes progress; what is larger, with old decrees.
pub const ROUTE_SMALL_BYTES_MAX: usize = 64 << 10;
/// Bytes of a message from one yard to another, and of its answer: what a message of the toolbox has room for, without the names.
pub const ROUTE_BODY_BYTES_MAX: usize = TOOLBOX_PAYLOAD_BYTES_MAX - 512;
/// Milliseconds that the outcome of such a message is waited for, at most, and unless its sender says otherwise.
pub const ROUTE_PATIENCE_MS_MAX: u32 = 60_000;
/// See [`ROUTE_PATIENCE_MS_MAX`].
pub const ROUTE_PATIENCE_MS: u32 = 5_000;
/// Messages of one node's processes whose outcome is not known yet.
pub const ERRANDS_MAX: usize = 4096;
/// Messages, and outcomes, that wait at a node for room on the way to another one.
pub const LETTERS_WAITING_MAX: usize = 1024;
/// Yards that are open at a node: one a front end.
pub const YARDS_MAX: usize = FRONT_CONNECTIONS_MAX;
/// Queues that a yard names.
pub const YARD_QUEUES_MAX: usize = 64;
/// Messages that wait in one queue of a yard.
pub const YARD_WAITING_MAX: usize = 256;
/// Bytes of all messages that wait in a yard.
pub const YARD_BYTES_MAX: usize = 4 << 20;
/// Messages of a yard that are to be answered.
pub const YARD_REQUESTS_MAX: usize = 1024;
/// Messages that a yard's process takes at once.
pub const YARD_ARRIVALS_MAX: usize = 64;
/// Milliseconds for which a yard's process may leave messages waiting without looking; then its yard is closed.
pub const YARD_IDLE_MS_MAX: u64 = 60_000;
/// Whole states that are made for front ends at a time: each is in memory once more as bytes; others wait.
pub const FRONT_WHOLES_MAX: usize = 1;
/// Milliseconds between two questions of such a front end for how everything is.
pub const FRONT_PICTURE_MS: u64 = 250;
/// Milliseconds that a node may take for the answer before it counts as away.
pub const FRONT_PICTURE_MS_MAX: u64 = 5_000;
/// Milliseconds that a front end waits before it opens its ports, for what its node had when it began.
pub const FRONT_SETTLE_MS_MAX: u64 = 10_000;
/// Milliseconds after which a front end tries again to connect to its node, at the first time and at the latest.
pub const FRONT_RETRY_MS_MIN: u64 = 20;
/// See [`FRONT_RETRY_MS_MIN`].
pub const FRONT_RETRY_MS_MAX: u64 = 1_000;
/// States that such a front end keeps of each application until it has the certificate: of those that are signed, and of the last ones,
/// of which one may be.
pub const FRONT_MARKS_MAX: usize = 16;
/// See [`FRONT_MARKS_MAX`].
pub const FRONT_VIEWS_MAX: usize = 64;
/// Bytes of the path of a Unix socket, as Linux has it (unix(7)), without the zero at its end.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Parsed public keys that a verifier keeps.
pub const KEYS_REMEMBERED_MAX: usize = COMMANDERS_MAX;
/// Commands that a verifier remembers as verified, so that what entered here is not verified again when it comes
/// back in an Accept; 32 bytes each.
pub const VERIFIED_REMEMBERED_MAX: usize = 131_072;
/// Jobs that wait for a verifying thread.
pub const VERIFY_JOBS_MAX: usize = 8192;

/// Bytes of the genesis document.
pub const GENESIS_BYTES_MAX: usize = 256 << 10;
/// Bytes of what a backup says of itself.
pub const BACKUP_MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Administrators that the genesis document names.
pub const ADMINISTRATORS_MAX: usize = 64;
/// Bytes of the name of a cluster, a node, an administrator or an application.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of a file with keys or certificates.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 10;
/// Milliseconds between two looks at whether the files with keys and certificates have changed.
pub const CERTIFICATE_LOOK_MS: u64 = 1_000;
/// Days before its end from which on a certificate is warned of.
pub const CERTIFICATE_WARNING_DAYS: u64 = 30;

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Milliseconds in a configured `retry_delay`; the longest wait is ten times as long.
pub const RETRY_DELAY_MS_MAX: u64 = 60_000;
/// Threads of one kind that a configuration can ask for.
pub const THREADS_MAX: u64 = 1024;

/// Statements of one application that a node collects signatures of at a time; the oldest is given up for a newer one.
pub const COSIGN_ROUNDS_MAX: usize = 8;
/// Of these, and beside them, those that end an epoch.
pub const COSIGN_HANDOVERS_MAX: usize = 4;
/// Statements of states to which this node has not come yet, that are kept of each other node.
pub const COSIGN_EARLY_MAX: usize = 8;
/// A node's own last statements of one application, against which it holds those of the others.
pub const COSIGN_REMEMBERED_MAX: usize = 64;
/// Signatures of one certificate: of the members, and of those before them.
pub const CERTIFICATE_SIGNATURES_MAX: usize = 2 * MEMBERS_MAX;
/// Commands between two states that are signed, unless the configuration says otherwise.
pub const CERTIFICATE_COMMANDS: u64 = 1024;
/// Certificates of one application that a node keeps beside those that prove its members, unless the configuration says otherwise;
/// and at most.
pub const CERTIFICATES_KEPT: u64 = 64;
/// See [`CERTIFICATES_KEPT`].
pub const CERTIFICATES_KEPT_MAX: u64 = 4096;
/// Certificates in one page of a list.
pub const HTTP_CERTIFICATES_MAX: usize = 1000;
/// Bytes of a certificate with everything that proves it.
pub const CERTIFICATE_BUNDLE_BYTES_MAX: usize = 16 << 20;
