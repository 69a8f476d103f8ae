//! Frames of RFC 6455 section 5, whole ones only: the head of a client's, and the same message as a server's.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// Bytes of one message.
const PAYLOAD_MAX: u64 = 16 * 1024 * 1024;

pub struct Head {
    pub opcode: u8,
    pub key: [u8; 4],
    /// Bytes of the head, the key included.
    pub size: usize,
    /// Bytes behind it.
    pub payload: usize,
}

/// The head at the start of `bytes`: `Some(None)` if it is not whole yet, `None` if the client is to go.
pub fn head(bytes: &[u8]) -> Option<Option<Head>> {
    let &[first, second, ref rest @ ..] = bytes else { return Some(None) };
    if first & 0xF0 != 0x80 || second & 0x80 == 0 {
        return None;
    }
    let (length, rest) = match (second & 0x7F, rest) {
        (126, &[a, b, ref rest @ ..]) => (u64::from(u16::from_be_bytes([a, b])), rest),
        (127, rest) => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Some(None),
        },
        (126, _) => return Some(None),
        (length, rest) => (u64::from(length), rest),
    };
    if length > PAYLOAD_MAX {
        return None;
    }
    let Some((&key, rest)) = rest.split_first_chunk::<4>() else { return Some(None) };
    Some(Some(Head { opcode: first & 0x0F, key, size: bytes.len() - rest.len(), payload: length as usize }))
}

/// Appends the server's frame of a client's masked payload.
pub fn relay(out: &mut Vec<u8>, opcode: u8, masked: &[u8], key: [u8; 4]) {
    out.push(0x80 | opcode);
    match masked.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let start = out.len();
    out.extend_from_slice(masked);
    let key8 = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut words = out[start..].chunks_exact_mut(8);
    for word in &mut words {
        let word: &mut [u8; 8] = word.try_into().expect("chunks are of 8 bytes");
        *word = (u64::from_ne_bytes(*word) ^ key8).to_ne_bytes();
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}
