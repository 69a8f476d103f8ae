//! The outgoing queue of one connection, with TLS under it if it has any: what is to be written, in which pieces.
//!
//! An adapter owns one line per socket. It pushes what a shard sends, asks for the next piece, writes it and says how much
//! was taken. Pieces of a turn leave in one write: a single chunk as it is, several small ones copied together, a large
//! one alone. Chunks are shared between all receivers of a message only as long as they are not held up: once the socket
//! takes no more, small ones are copied, so that a slow reader keeps alive nothing but its own bytes.
//!
//! The line knows where the frame in flight ends, so that everything behind it can be dropped (close code 1013). It
//! bounds nothing by itself: the shard is told what is unsent and decides.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use rustls::{ClientConfig, ServerConfig};

use crate::wire::frame;
use crate::wire::tls::{Tls, TlsError, TlsFault};

/// Chunks from this size on are written alone and shared even while they wait, in bytes.
const LARGE: usize = 16 << 10;
/// The most that one piece gathers from small chunks, in bytes.
const PIECE: usize = 64 << 10;

#[derive(Debug)]
enum Chunk {
    Shared(Bytes),
    Owned(BytesMut),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Shared(bytes) => bytes,
            Chunk::Owned(bytes) => bytes,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Chunk::Shared(bytes) => bytes.advance(count),
            Chunk::Owned(bytes) => bytes.advance(count),
        }
    }
}

#[derive(Debug)]
struct Encrypted {
    tls: Tls,
    /// Ciphertext that waits for the socket.
    cipher: Vec<u8>,
    /// How much of it has been written.
    written: usize,
}

impl Encrypted {
    fn waiting(&self) -> &[u8] {
        self.cipher.get(self.written..).unwrap_or_default()
    }
}

/// What the other end's bytes came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// Plaintext may have come out; go on.
    Open,
    /// The other end has said that it sends no more.
    Ended,
    /// It does not speak TLS, for this reason: write what is queued (an alert) and end the socket.
    Broken(String),
}

/// One connection's outgoing side, and its TLS in both directions.
#[derive(Debug, Default)]
pub struct Line {
    first: Option<Chunk>,
    rest: VecDeque<Chunk>,
    /// Plain bytes in the queue.
    plain: usize,
    /// From the queue's front to the next frame boundary; whole frames stand behind it.
    to_boundary: usize,
    /// The socket did not take everything at the last try.
    held_up: bool,
    finish: bool,
    encrypted: Option<Box<Encrypted>>,
}

impl Line {
    /// A line without TLS.
    pub fn plain() -> Self {
        Self::default()
    }

    /// The server's end of a TLS line.
    pub fn encrypted(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Line::over(Tls::server(config)?))
    }

    /// The client's end of a TLS line to `host`. It has something to write at once.
    pub fn encrypted_client(config: Arc<ClientConfig>, host: &str) -> Result<Self, TlsError> {
        Ok(Line::over(Tls::client(config, host)?))
    }

    fn over(tls: Tls) -> Self {
        Line { encrypted: Some(Box::new(Encrypted { tls, cipher: Vec::new(), written: 0 })), ..Self::default() }
    }

    /// Whether bytes from the socket must go through [`Line::received`] first.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted.is_some()
    }

    /// Takes ciphertext and adds the plaintext to `plain`.
    pub fn received(&mut self, cipher: &[u8], plain: &mut Vec<u8>) -> Incoming {
        let Some(encrypted) = &mut self.encrypted else {
            plain.extend_from_slice(cipher);
            return Incoming::Open;
        };
        let incoming = match encrypted.tls.received(cipher, plain) {
            Ok(false) => Incoming::Open,
            Ok(true) => Incoming::Ended,
            Err(TlsFault(why)) => Incoming::Broken(why.to_string()),
        };
        encrypted.tls.take(&mut encrypted.cipher);
        incoming
    }

    /// Queues bytes: whole frames, or anything that is not a frame.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.plain += bytes.len();
        if self.held_up && bytes.len() < LARGE {
            self.copy(&bytes);
        } else if self.first.is_none() {
            self.first = Some(Chunk::Shared(bytes));
        } else {
            self.rest.push_back(Chunk::Shared(bytes));
        }
    }

    /// Copies small bytes to the end of the queue.
    fn copy(&mut self, bytes: &[u8]) {
        let last = if self.rest.is_empty() { self.first.as_mut() } else { self.rest.back_mut() };
        match last {
            Some(Chunk::Owned(tail)) if tail.len() + bytes.len() <= PIECE => tail.extend_from_slice(bytes),
            Some(_) => self.rest.push_back(Chunk::Owned(BytesMut::from(bytes))),
            None => self.first = Some(Chunk::Owned(BytesMut::from(bytes))),
        }
    }

    /// Drops everything behind the frame in flight.
    pub fn truncate(&mut self) {
        let mut keep = self.to_boundary;
        self.plain = keep;
        for chunk in self.first.iter_mut().chain(self.rest.iter_mut()) {
            let kept = keep.min(chunk.bytes().len());
            match chunk {
                Chunk::Shared(bytes) => bytes.truncate(kept),
                Chunk::Owned(bytes) => bytes.truncate(kept),
            }
            keep -= kept;
        }
        self.rest.retain(|chunk| !chunk.bytes().is_empty());
        if self.first.as_ref().is_some_and(|chunk| chunk.bytes().is_empty()) {
            self.first = self.rest.pop_front();
        }
    }

    /// Once all is written, the sending side is to end.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// Whether all is written and the sending side is to end now.
    pub fn is_finished(&self) -> bool {
        self.finish && self.unsent() == 0
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.plain + self.encrypted.as_ref().map_or(0, |encrypted| encrypted.waiting().len())
    }

    /// The next piece to write, empty when there is none. `scratch` is working memory, shared by all lines of a shard.
    pub fn piece<'a>(&'a mut self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.encrypted.is_some() { self.encrypt(scratch) } else { self.gather(scratch) }
    }

    fn gather<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(first) = &self.first else { return &[] };
        if self.rest.is_empty() || first.bytes().len() >= LARGE {
            return first.bytes();
        }
        scratch.clear();
        for chunk in self.first.iter().chain(&self.rest) {
            if chunk.bytes().len() >= LARGE || scratch.len() + chunk.bytes().len() > PIECE {
                break;
            }
            scratch.extend_from_slice(chunk.bytes());
        }
        scratch
    }

    fn encrypt(&mut self, scratch: &mut Vec<u8>) -> &[u8] {
        let waits = self.encrypted.as_ref().is_some_and(|encrypted| !encrypted.waiting().is_empty());
        // Only as much as can soon be written: what is encrypted can no longer be dropped.
        if !waits
            && self.plain > 0
            && let Some(mut encrypted) = self.encrypted.take_if(|encrypted| !encrypted.tls.is_handshaking())
        {
            let piece = self.gather(scratch);
            let taken = piece.len().min(PIECE);
            encrypted.tls.encrypt(piece.get(..taken).unwrap_or_default());
            self.encrypted = Some(encrypted);
            self.consume(taken);
        }
        let last = self.finish && self.plain == 0;
        let Some(encrypted) = &mut self.encrypted else { return &[] };
        if last {
            encrypted.tls.close();
        }
        encrypted.tls.take(&mut encrypted.cipher);
        encrypted.waiting()
    }

    /// The socket took `count` bytes of the last piece.
    pub fn wrote(&mut self, count: usize) {
        match &mut self.encrypted {
            None => self.consume(count),
            Some(encrypted) => {
                encrypted.written += count;
                if encrypted.written >= encrypted.cipher.len() {
                    encrypted.cipher = Vec::new();
                    encrypted.written = 0;
                }
            }
        }
        if self.unsent() == 0 {
            self.held_up = false;
        }
    }

    /// The socket took less than it was offered: small chunks are copied from now on.
    pub fn hold_up(&mut self) {
        if self.held_up {
            return;
        }
        self.held_up = true;
        let chunks = self.first.take().into_iter().chain(std::mem::take(&mut self.rest));
        for chunk in chunks.collect::<Vec<_>>() {
            if chunk.bytes().len() < LARGE {
                self.copy(chunk.bytes());
            } else if self.first.is_none() {
                self.first = Some(chunk);
            } else {
                self.rest.push_back(chunk);
            }
        }
    }

    /// Takes bytes off the front of the queue and finds the end of the frame that they cut.
    fn consume(&mut self, mut count: usize) {
        count = count.min(self.plain);
        self.plain -= count;
        while let Some(first) = &mut self.first {
            let size = first.bytes().len();
            if count < size {
                if count > 0 {
                    let whole = first.bytes().get(self.to_boundary..).unwrap_or_default();
                    self.to_boundary = match count.checked_sub(self.to_boundary) {
                        None => self.to_boundary - count,
                        Some(inside) => end_of_frame(whole, inside).saturating_sub(inside),
                    };
                    first.advance(count);
                }
                return;
            }
            count -= size;
            self.to_boundary = self.to_boundary.saturating_sub(size);
            self.first = self.rest.pop_front();
        }
        self.to_boundary = 0;
        if self.rest.capacity() > 64 {
            self.rest = VecDeque::new();
        }
    }
}

/// Where the frame that holds `position` ends, in bytes that start with a frame. What is no frame (an HTTP answer: its
/// first byte has no FIN bit) goes as a whole.
fn end_of_frame(bytes: &[u8], position: usize) -> usize {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => frame::boundary_after(bytes, position),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::OpCode;

    fn frame(payload: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        frame::encode(&mut out, OpCode::Binary, payload);
        out.freeze()
    }

    fn write(line: &mut Line, most: usize) -> Vec<u8> {
        let mut scratch = Vec::new();
        let piece = line.piece(&mut scratch);
        let taken = piece[..most.min(piece.len())].to_vec();
        let short = taken.len() < piece.len();
        line.wrote(taken.len());
        if short {
            line.hold_up();
        }
        taken
    }

    #[test]
    fn small_chunks_of_a_turn_leave_in_one_piece_and_a_large_one_alone() {
        let mut line = Line::plain();
        line.push(frame(b"a"));
        line.push(frame(b"b"));
        line.push(frame(&[7; LARGE]));
        assert_eq!(write(&mut line, usize::MAX), [frame(b"a"), frame(b"b")].concat());
        assert_eq!(write(&mut line, usize::MAX), frame(&[7; LARGE]));
        assert_eq!(line.unsent(), 0);
    }

    #[test]
    fn what_is_behind_the_frame_in_flight_can_be_dropped() {
        let mut line = Line::plain();
        line.push([frame(b"first"), frame(b"second"), frame(b"third")].concat().into());
        line.push(frame(b"fourth"));
        assert_eq!(write(&mut line, 9), [&frame(b"first")[..], &frame(b"second")[..2]].concat());
        line.truncate();
        line.push(frame(b"bye"));
        assert_eq!(write(&mut line, usize::MAX), [&frame(b"second")[2..], &frame(b"bye")[..]].concat());
    }

    #[test]
    fn nothing_in_flight_means_that_all_is_dropped() {
        let mut line = Line::plain();
        line.push(frame(b"first"));
        line.truncate();
        assert_eq!(line.unsent(), 0);
        line.push(frame(b"bye"));
        assert_eq!(write(&mut line, usize::MAX), frame(b"bye"));
    }

    #[test]
    fn a_held_up_line_shares_no_small_chunk() {
        let mut line = Line::plain();
        let shared = frame(b"shared");
        line.push(shared.clone());
        assert_eq!(write(&mut line, 1).len(), 1);
        assert!(shared.is_unique());
        line.push(shared.clone());
        assert!(shared.is_unique());
    }

    proptest! {
        /// Whatever the socket takes, and whenever the rest is dropped, the receiver sees whole frames in order.
        #[test]
        fn the_receiver_sees_a_prefix_of_whole_frames(
            sizes in proptest::collection::vec(0usize..300, 1..30),
            takes in proptest::collection::vec(0usize..500, 0..30),
            grouped in 1usize..4,
        ) {
            let frames: Vec<Bytes> = sizes.iter().map(|n| frame(&vec![*n as u8; *n])).collect();
            let mut line = Line::plain();
            let mut seen = Vec::new();
            let mut takes = takes.into_iter();
            for group in frames.chunks(grouped) {
                line.push(group.concat().into());
                if let Some(most) = takes.next() { seen.extend(write(&mut line, most)); }
            }
            for most in takes { seen.extend(write(&mut line, most)); }
            let sent = seen.len();
            line.truncate();
            loop {
                let more = write(&mut line, 1_000);
                if more.is_empty() { break; }
                seen.extend(more);
            }
            let all = frames.concat();
            prop_assert_eq!(&seen[..], &all[..seen.len()]);
            let mut end = 0;
            let boundaries: Vec<usize> = std::iter::once(0).chain(frames.iter().map(|f| { end += f.len(); end })).collect();
            let expected = *boundaries.iter().find(|b| **b >= sent).unwrap();
            prop_assert_eq!(seen.len(), expected, "the frame in flight was finished and nothing more");
        }
    }
}
