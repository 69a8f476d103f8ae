//! Bytes to values and back: HTTP/1.1, the WebSocket handshake, frames and messages, compression, TLS and the
//! outgoing queue of one connection. Nothing here knows a channel.

pub mod compact;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod line;
pub mod message;
pub mod peer;
pub mod tls;
