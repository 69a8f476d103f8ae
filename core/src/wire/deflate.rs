//! permessage-deflate (RFC 7692) without context takeover: one message in, one message out, nothing remembered.
//!
//! A shard holds one [`Inflate`] and one [`Deflate`] for all its connections; because no message needs the one before,
//! a broadcast is compressed once per negotiated window and shared. Guards the rule that a message never inflates
//! beyond the configured size, however small it was on the wire.

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{self, Fault, HEADER_BYTES_MAX, OpCode};

/// What a reusable buffer may keep between messages, in bytes; beyond it is given back.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// How an output buffer starts, in bytes.
const INFLATED_BYTES_MIN: usize = 4 * 1024;

/// What a flush ends with and a message leaves out: an empty block that is stored (RFC 7692 section 7.2.1).
const FLUSH: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// [`FLUSH`], then an empty block that says it is the last: reached only where a message ends between two blocks.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// The base-2 logarithm of a compressor's window in bytes, 9 to 15 (RFC 7692 section 7.1.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Window(u8);

impl Window {
    /// The smallest window that the compressor has: 512 bytes. RFC 7692 also knows 8, which zlib cannot make.
    pub const MIN: Window = Window(9);
    /// The largest window, 32 KiB, which holds where none was negotiated.
    pub const MAX: Window = Window(15);

    /// The window of 2^`bits` bytes; `None` unless 9 to 15.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 { Some(Window(bits)) } else { None }
    }

    /// The logarithm, 9 to 15.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// What a compressed message of `inflated` bytes may take on the wire.
///
/// A poor compressor (only literals with the fixed code, 9 bits each) makes data longer by an eighth.
pub const fn deflated_bytes_max(inflated: u64) -> u64 {
    inflated.saturating_add(inflated / 8).saturating_add(64)
}

/// A shard's compressors, each made when first used and kept: about 2^(window + 2) + 192 KiB, at most seven of them.
pub struct Deflate {
    level: Compression,
    compressors: [Option<Box<Compress>>; (Window::MAX.0 - Window::MIN.0 + 1) as usize],
    scratch: Vec<u8>,
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

impl Deflate {
    /// No compressor yet. They will run at zlib's level 1: a relay's messages are short and its processor is shared.
    pub fn new() -> Self {
        Deflate { level: Compression::fast(), compressors: Default::default(), scratch: Vec::new() }
    }

    /// Appends `payload` as one whole data frame, compressed for `window`; or as it is where that is no longer.
    ///
    /// A message without RSV1 is legal at any time (RFC 7692 section 6).
    pub fn encode(&mut self, out: &mut BytesMut, opcode: OpCode, window: Window, payload: &[u8]) {
        match self.compress(window, payload) {
            Some(compressed) => {
                out.reserve(HEADER_BYTES_MAX + compressed.len());
                frame::encode_header(out, opcode, true, compressed.len());
                out.put_slice(compressed);
            }
            None => frame::encode(out, opcode, payload),
        }
        if self.scratch.capacity() > KEPT_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    /// `payload` compressed, without the flush's end; `None` where that would not be shorter.
    fn compress(&mut self, window: Window, payload: &[u8]) -> Option<&[u8]> {
        let slot = self.compressors.get_mut(usize::from(window.0.checked_sub(Window::MIN.0)?))?;
        let level = self.level;
        let compress = slot.get_or_insert_with(|| Box::new(Compress::new_with_window_bits(level, false, window.0)));
        compress.reset();
        // Room for what is worth sending and its end, and a byte that stays free: a full buffer is a flush cut short.
        self.scratch.clear();
        self.scratch.reserve_exact(payload.len() + FLUSH.len());
        let room = self.scratch.capacity();
        let flushed = compress.compress_vec(payload, &mut self.scratch, FlushCompress::Sync);
        let whole = compress.total_in() == payload.len() as u64 && self.scratch.len() < room;
        if flushed.is_err() || !whole {
            return None;
        }
        self.scratch.strip_suffix(&FLUSH).filter(|compressed| compressed.len() < payload.len())
    }
}

/// A shard's decompressor, made when first used: 32 KiB of window, about 50 KiB in all, and the last message's buffer.
#[derive(Default)]
pub struct Inflate {
    decompress: Option<Box<Decompress>>,
    inflated: Vec<u8>,
}

impl Inflate {
    /// No decompressor yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message that `payload` holds (RFC 7692 section 7.2.2), at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 1009 beyond `bytes_max`. 1007 for what does not inflate or ends within a block: its frames keep the protocol,
    /// but the data is not what RSV1 says it is, which is what RFC 6455 section 7.4.1 has that code for.
    pub fn inflate(&mut self, payload: &[u8], bytes_max: u64) -> Result<&[u8], Fault> {
        if self.inflated.capacity() > KEPT_BYTES_MAX {
            self.inflated = Vec::new();
        }
        self.inflated.clear();
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let decompress = self.decompress.get_or_insert_with(|| Box::new(Decompress::new(false)));
        decompress.reset(false);
        if !inflate_part(decompress, payload, &mut self.inflated, bytes_max)? {
            let ended = inflate_part(decompress, &END, &mut self.inflated, bytes_max)?;
            if !ended {
                return Err(NOT_DEFLATED);
            }
        }
        Ok(&self.inflated)
    }
}

const NOT_DEFLATED: Fault = Fault::invalid_data("message does not inflate");

/// Inflates all of `part` behind what is in `out`; says whether its last byte ended a stream.
///
/// A client may end a stream within a message (RFC 7692 section 7.2.3.4): what follows is a new one.
fn inflate_part(
    decompress: &mut Decompress,
    mut part: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, Fault> {
    loop {
        if out.len() == out.capacity() {
            let more =
                out.capacity().max(INFLATED_BYTES_MIN).min(bytes_max.saturating_add(1).saturating_sub(out.len()));
            out.reserve_exact(more);
        }
        let (taken, given) = (decompress.total_in(), out.len());
        let status = decompress.decompress_vec(part, out, FlushDecompress::None).map_err(|_| NOT_DEFLATED)?;
        let taken = decompress.total_in().saturating_sub(taken) as usize;
        part = part.get(taken..).unwrap_or_default();
        if out.len() > bytes_max {
            return Err(Fault::TOO_BIG);
        }
        let full = out.len() == out.capacity();
        match status {
            Status::StreamEnd if part.is_empty() => return Ok(true),
            Status::StreamEnd => decompress.reset(false),
            // With room left the decompressor has given all it has.
            Status::Ok | Status::BufError if part.is_empty() && !full => return Ok(false),
            Status::Ok | Status::BufError if taken == 0 && out.len() == given && !full => return Err(NOT_DEFLATED),
            Status::Ok | Status::BufError => {}
        }
    }
}
