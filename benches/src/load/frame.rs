//! Frames as a load generator sees them (RFC 6455 section 5): a client's, made from a template, and a server's,
//! counted by their heads. Never checks what a client library would (UTF-8, close codes): it has to be faster than
//! the server it measures.

use std::io;

/// Opcode of a Close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a Ping frame.
pub const PING: u8 = 9;
/// Opcode of a Pong frame.
pub const PONG: u8 = 10;
/// Bytes of the sequence number that each payload starts with: the smallest payload.
pub const SIZE_MIN: usize = 8;

/// A constant key does: masking is to protect proxies from scripts (section 10.3), and there is neither here.
const KEY: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];
const KEY_WORD: [u8; 8] = [0x5A, 0xC3, 0x3C, 0xA5, 0x5A, 0xC3, 0x3C, 0xA5];

/// A client's binary message of one size, masked already but for its sequence number.
pub struct Template {
    head: Vec<u8>,
    filler: Vec<u8>,
}

impl Template {
    /// A message of `size` bytes of payload, at least [`SIZE_MIN`].
    pub fn new(size: usize) -> Self {
        let size = size.max(SIZE_MIN);
        let masked: Vec<u8> = KEY.iter().cycle().map(|key| key ^ b'x').take(size - SIZE_MIN).collect();
        Self { head: head(2, size), filler: masked }
    }

    /// Appends the message with this number.
    pub fn encode(&self, sequence: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&(sequence ^ u64::from_le_bytes(KEY_WORD)).to_le_bytes());
        out.extend_from_slice(&self.filler);
    }
}

/// Appends a client's frame with a short payload: a pong or a close.
pub fn control(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&head(opcode, payload.len()));
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Appends a text message.
pub fn text(payload: &[u8], out: &mut Vec<u8>) {
    control(1, payload, out);
}

fn head(opcode: u8, size: usize) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match size {
        0..=125 => head.push(0x80 | u8::try_from(size).unwrap_or_default()),
        126..=0xFFFF => {
            head.push(0x80 | 126);
            head.extend_from_slice(&u16::try_from(size).unwrap_or_default().to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&u64::try_from(size).unwrap_or_default().to_be_bytes());
        }
    }
    head.extend_from_slice(&KEY);
    head
}

/// The number that a payload starts with; `u64::MAX`, which no message has, if it is too short.
pub fn sequence(payload: &[u8]) -> u64 {
    payload.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// Calls `each(opcode, payload)` for every whole frame at the start of `bytes`; says how many bytes those were.
///
/// # Errors
/// A frame that is masked, fragmented or has an extension bit: no server under measurement sends one.
pub fn scan(bytes: &[u8], mut each: impl FnMut(u8, &[u8])) -> io::Result<usize> {
    let mut rest = bytes;
    while let [first, second, tail @ ..] = rest {
        if first & 0xF0 != 0x80 || second & 0x80 != 0 {
            return Err(io::Error::other(format!("unexpected frame head {first:02x} {second:02x}")));
        }
        let body = match second {
            126 => tail.split_first_chunk::<2>().map(|(size, body)| (u64::from(u16::from_be_bytes(*size)), body)),
            127 => tail.split_first_chunk::<8>().map(|(size, body)| (u64::from_be_bytes(*size), body)),
            size => Some((u64::from(*size), tail)),
        };
        let Some((size, body)) = body else { break };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some((payload, next)) = body.split_at_checked(size) else { break };
        each(first & 0x0F, payload);
        rest = next;
    }
    Ok(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's answer to a client's frame: unmasked.
    fn served(client: &[u8], head: usize, payload: usize) -> Vec<u8> {
        let mut frame = client[..head].to_vec();
        frame[1] &= 0x7F;
        frame.extend(client[head + 4..head + 4 + payload].iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn a_template_carries_its_number_at_every_length_form() {
        for (size, head) in [(8, 2), (64, 2), (125, 2), (126, 4), (1024, 4), (65535, 4), (65536, 10)] {
            let mut sent = Vec::new();
            Template::new(size).encode(77, &mut sent);
            assert_eq!(sent.len(), head + 4 + size);
            let mut seen = Vec::new();
            let frame = served(&sent, head, size);
            let taken = scan(&frame, |opcode, payload| seen.push((opcode, payload.len(), sequence(payload)))).unwrap();
            assert_eq!((taken, seen), (frame.len(), vec![(2, size, 77)]));
        }
    }

    #[test]
    fn a_frame_is_left_until_it_is_whole() {
        let mut sent = Vec::new();
        Template::new(200).encode(1, &mut sent);
        let frame = served(&sent, 4, 200);
        for cut in 0..frame.len() {
            assert_eq!(scan(&frame[..cut], |_, _| panic!("not whole")).unwrap(), 0);
        }
    }

    #[test]
    fn a_masked_frame_from_a_server_is_an_error() {
        assert!(scan(&[0x82, 0x81, 0, 0, 0, 0, 0], |_, _| ()).is_err());
    }
}
