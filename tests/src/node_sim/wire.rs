//! The client's side of the wire, by its own hand: what a program sends and how it reads what comes back.
//!
//! It shares no code with the core but the decompressor, so that an error of ours does not cancel itself out.

use wrs_core::wire::deflate::Inflate;

/// Appends one masked frame.
pub fn frame(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: [u8; 4]) {
    out.push(first);
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// Status line and fields, as they came.
    pub head: String,
    /// Its body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The string that follows `"name":"` in the body.
    pub fn text(&self, name: &str) -> Option<String> {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let (_, rest) = body.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }

    /// The number that follows `"name":` in the body.
    pub fn number(&self, name: &str) -> Option<i64> {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let (_, rest) = body.split_once(&format!("\"{name}\":"))?;
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    }
}

/// What a node sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// An answer.
    Answer(Response),
    /// A frame: its first byte without RSV1, and its payload, inflated.
    Frame(u8, Vec<u8>),
}

/// Reads what a node sends, answers first and frames after a 101.
#[derive(Debug, Default)]
pub struct Stream {
    bytes: Vec<u8>,
    frames: bool,
}

impl Stream {
    /// Adds what has come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether something incomplete is left.
    pub fn is_cut(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next whole piece, or what is wrong.
    pub fn next(&mut self, inflate: &mut Inflate) -> Result<Option<Piece>, String> {
        let read = if self.frames { self.next_frame(inflate)? } else { self.next_answer()? };
        let Some((piece, used)) = read else { return Ok(None) };
        self.bytes.drain(..used);
        if let Piece::Answer(response) = &piece {
            self.frames |= response.status == 101;
        }
        Ok(Some(piece))
    }

    fn next_frame(&self, inflate: &mut Inflate) -> Result<Option<(Piece, usize)>, String> {
        let [first, second, rest @ ..] = &self.bytes[..] else { return Ok(None) };
        if first & 0x80 == 0 || first & 0x30 != 0 || second & 0x80 != 0 {
            return Err(format!("a frame begins with {first:#x} {second:#x}"));
        }
        let (length, at) = match second {
            126 if rest.len() >= 2 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), 4),
            127 if rest.len() >= 8 => (u64::from_be_bytes(rest[..8].try_into().expect("eight bytes")), 10),
            126 | 127 => return Ok(None),
            n => (u64::from(*n), 2),
        };
        let end = at + usize::try_from(length).map_err(|_| "a frame of more than memory".to_owned())?;
        let Some(payload) = self.bytes.get(at..end) else { return Ok(None) };
        let payload = match first & 0x40 {
            0 => payload.to_vec(),
            _ => inflate.inflate(payload, 1 << 30).map_err(|fault| fault.reason.to_owned())?.to_vec(),
        };
        Ok(Some((Piece::Frame(first & !0x40, payload), end)))
    }

    fn next_answer(&self) -> Result<Option<(Piece, usize)>, String> {
        let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8(self.bytes[..end].to_vec()).map_err(|_| "a head that is no text")?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no status line: {head}"))?;
        let mut response = Response { status, head, body: Vec::new() };
        let mut at = end + 4;
        if response.field("transfer-encoding").is_some() {
            loop {
                let rest = &self.bytes[at..];
                let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
                let size =
                    std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
                let size = size.ok_or("no size of a chunk")?;
                let Some(chunk) = rest.get(line + 2..line + 2 + size + 2) else { return Ok(None) };
                if !chunk.ends_with(b"\r\n") {
                    return Err("a chunk without its end".to_owned());
                }
                response.body.extend_from_slice(&chunk[..size]);
                at += line + 2 + size + 2;
                if size == 0 {
                    break;
                }
            }
        } else if status >= 200 && status != 204 && status != 304 {
            let length = response.field("content-length").and_then(|length| length.parse::<usize>().ok());
            let length = length.ok_or_else(|| format!("no length: {}", response.head))?;
            let Some(body) = self.bytes.get(at..at + length) else { return Ok(None) };
            response.body = body.to_vec();
            at += length;
        }
        Ok(Some((Piece::Answer(response), at)))
    }
}
