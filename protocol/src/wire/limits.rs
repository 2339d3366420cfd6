//! Upper bounds on everything that arrives from the network, in bytes or elements.

/// The payload of an operation or a query.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The result of an operation or a query, and the payload of an event.
pub const MAX_RESULT: usize = 4 << 20;
/// The payload of an announcement, of which a subscriber may send many a second.
pub const MAX_ANNOUNCEMENT: usize = 4 << 10;
/// A topic's name.
pub const MAX_TOPIC: usize = 128;
/// A whole frame on a client link, header, body and MAC.
pub const MAX_CLIENT_FRAME: usize = MAX_RESULT + 1024;
/// A whole frame on a link between replicas.
pub const MAX_PEER_FRAME: usize = 16 << 20;
/// Requests in one batch.
pub const MAX_BATCH_REQUESTS: usize = 1024;
/// The bodies of one batch together; a single larger body is impossible ([`MAX_PAYLOAD`]).
pub const MAX_BATCH_BYTES: usize = 8 << 20;
/// Vouches in one frame.
pub const MAX_VOUCHES: usize = 4096;
/// Bodies asked for in one frame.
pub const MAX_FETCH: usize = MAX_BATCH_REQUESTS;
/// Bodies sent in answer to one request for them, together; the last may go beyond.
pub const MAX_SERVED_BYTES: usize = 4 << 20;
/// Request numbers of one session that may be in flight: a replica vouches directly for numbers
/// up to this far beyond the session's last ordered one (rule A10).
pub const SESSION_WINDOW: u64 = 128;
/// Results of at most this many bytes are sent in full by every replica: a digest would save
/// nothing.
pub const SMALL_RESULT: usize = 64;
/// Epochs in which one replica may have written about one instance, as told in a STOPDATA. A
/// correct replica writes at most once an epoch, and keeps the last ones.
pub const MAX_WRITESET: usize = 4096;
/// A chunk of a snapshot; the last one of a part may be shorter.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Chunks of one snapshot: 64 GiB of state, and a manifest of 2 MiB.
pub const MAX_CHUNKS: usize = 65_536;
