//! How long a command waits and how much it keeps.

use std::time::Duration;

/// From dialling to a connection that works: name, TCP, TLS, WebSocket handshake. Also from a close frame to its answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to the end of its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a change of the cluster, which a node answers when it is a member: it sets limits of its own.
pub const CLUSTER_CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one message, in either direction, and of one line of standard input.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of the head of an HTTP answer.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header fields of an HTTP answer.
pub const HEAD_FIELDS_MAX: usize = 64;
/// Bytes of the body of an HTTP answer, chunk sizes included.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes on their way to standard output; beyond it the socket waits.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Requests that `reply --pipe` keeps while the pipe answers an earlier one; beyond it the socket waits.
pub const REQUESTS_WAITING_MAX: usize = 1024;
