//! The body of a request: how long it is, and its bytes without the chunks' dressing.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, HttpFault, Limits, TRAILER_BYTES_MAX, is_token_byte,
    is_value_byte,
};

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyKind {
    /// There is none. No length given means this too.
    None,
    /// So many bytes, never 0.
    Length(u64),
    /// Chunks, then one of size 0.
    Chunked,
}

/// A body that is being read. It holds what has arrived, never more than the limit, and reserves nothing for bytes that
/// are only announced.
pub struct Body {
    state: State,
    bytes: BytesMut,
    bytes_max: usize,
    /// Bytes of chunk extensions, then of trailer fields.
    dressing: usize,
}

impl fmt::Debug for Body {
    /// Shows no byte: a token may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} body bytes, then {:?}", self.bytes.len(), self.state)
    }
}

/// What the next byte has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A byte of a body of known length; so many are to come.
    Plain(u64),
    /// A digit of a chunk's size, or what ends it; the size so far, and of how many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// A byte of a chunk's extension.
    Extension(u64),
    /// The line feed behind a chunk's size.
    SizeEnd(u64),
    /// A byte of a chunk; so many are to come.
    Data(u64),
    /// The carriage return behind a chunk.
    DataReturn,
    /// The line feed behind a chunk.
    DataEnd,
    /// The first byte of a trailer field, or the carriage return of the last line.
    Trailer,
    /// A byte of a trailer's name, or the colon.
    TrailerName,
    /// A byte of a trailer's value, or its carriage return.
    TrailerValue,
    /// The line feed behind a trailer field.
    TrailerEnd,
    /// The last line feed.
    LastEnd,
    Done,
}

impl Body {
    /// Starts to read a body. A length beyond the limit is a fault at once: before anybody is told to continue.
    pub fn new(kind: BodyKind, limits: &Limits) -> Result<Body, HttpFault> {
        let state = match kind {
            BodyKind::None | BodyKind::Length(0) => State::Done,
            BodyKind::Length(length) if length > limits.body_bytes_max as u64 => return Err(HttpFault::BodyTooLong),
            BodyKind::Length(length) => State::Plain(length),
            BodyKind::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(Body { state, bytes: BytesMut::new(), bytes_max: limits.body_bytes_max, dressing: 0 })
    }

    /// Takes what belongs to the body from the front of `input`: how many bytes, and whether the body is complete. All
    /// of `input` is taken unless it is; the rest is the next request. After a fault the connection has to end.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, bool), HttpFault> {
        let mut rest = input;
        while self.state != State::Done {
            if let State::Plain(left) | State::Data(left) = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (data, behind) = rest.split_at_checked(here).unwrap_or((rest, &[]));
                self.bytes.extend_from_slice(data);
                rest = behind;
                let left = left - here as u64;
                self.state = match self.state {
                    State::Plain(_) if left == 0 => State::Done,
                    State::Plain(_) => State::Plain(left),
                    _ if left == 0 => State::DataReturn,
                    _ => State::Data(left),
                };
                if left > 0 {
                    break;
                }
                continue;
            }
            let Some((&byte, behind)) = rest.split_first() else { break };
            rest = behind;
            self.state = self.after(byte)?;
        }
        Ok((input.len() - rest.len(), self.state == State::Done))
    }

    /// The state behind one byte that is not data.
    fn after(&mut self, byte: u8) -> Result<State, HttpFault> {
        match (self.state, byte) {
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeEnd(size)),
            (State::Size { size, digits: 1.. }, b';') => self.dress(State::Extension(size)),
            (State::Size { size, digits }, digit) => self.grow(size, digits, digit),
            (State::Extension(size), b'\r') => Ok(State::SizeEnd(size)),
            (State::Extension(_), byte) if is_value_byte(byte) => self.dress(self.state),
            (State::SizeEnd(0), b'\n') => {
                self.dressing = 0;
                Ok(State::Trailer)
            }
            (State::SizeEnd(size), b'\n') => Ok(State::Data(size)),
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::Trailer, b'\r') => Ok(State::LastEnd),
            (State::Trailer, byte) if is_token_byte(byte) => self.dress_trailer(State::TrailerName),
            (State::TrailerName, b':') => self.dress_trailer(State::TrailerValue),
            (State::TrailerName, byte) if is_token_byte(byte) => self.dress_trailer(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerValue, byte) if is_value_byte(byte) => self.dress_trailer(State::TrailerValue),
            (State::TrailerEnd, b'\n') => Ok(State::Trailer),
            (State::LastEnd, b'\n') => Ok(State::Done),
            _ => Err(HttpFault::Chunk),
        }
    }

    /// One more digit of a chunk's size. No space is tolerated around it (RFC 9112 §7.1 has none), and the size of the
    /// whole is checked before a byte of the chunk is read.
    fn grow(&self, size: u64, digits: u8, digit: u8) -> Result<State, HttpFault> {
        let digit = char::from(digit).to_digit(16).ok_or(HttpFault::Chunk)?;
        if digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(HttpFault::Chunk);
        }
        let size = size.checked_mul(16).ok_or(HttpFault::BodyTooLong)? + u64::from(digit);
        let room = self.bytes_max.saturating_sub(self.bytes.len());
        if size > room as u64 { Err(HttpFault::BodyTooLong) } else { Ok(State::Size { size, digits: digits + 1 }) }
    }

    fn dress(&mut self, state: State) -> Result<State, HttpFault> {
        self.dressing += 1;
        if self.dressing > CHUNK_EXTENSION_BYTES_MAX { Err(HttpFault::ExtensionsTooLong) } else { Ok(state) }
    }

    fn dress_trailer(&mut self, state: State) -> Result<State, HttpFault> {
        self.dressing += 1;
        if self.dressing > TRAILER_BYTES_MAX { Err(HttpFault::TrailersTooLong) } else { Ok(state) }
    }

    /// What has been read so far: all of it once [`Body::read`] has said so.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body, once [`Body::read`] has said that it is complete.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { header_bytes_max: 512, body_bytes_max: 64 };

    /// Reads one body; the cuts are taken round and round. How many bytes it took, and what it is if complete.
    fn read_cut(kind: BodyKind, input: &[u8], cuts: &[usize]) -> Result<(usize, Option<Bytes>), HttpFault> {
        let mut body = Body::new(kind, &LIMITS)?;
        let mut given = 0;
        let mut taken = 0;
        for cut in std::iter::once(&0).chain(cuts.iter().cycle()) {
            given = (given + cut).min(input.len());
            let (used, done) = body.read(&input[taken..given])?;
            taken += used;
            if done {
                return Ok((taken, Some(body.into_bytes())));
            }
            assert_eq!(taken, given, "all is taken until the body is complete");
            if given == input.len() {
                break;
            }
        }
        Ok((taken, None))
    }

    fn read(kind: BodyKind, input: &[u8]) -> Result<(usize, Option<Bytes>), HttpFault> {
        read_cut(kind, input, &[usize::MAX / 2])
    }

    fn chunked(input: &str) -> Result<String, HttpFault> {
        let (_, body) = read(BodyKind::Chunked, input.as_bytes())?;
        Ok(String::from_utf8(body.expect("a whole body").to_vec()).unwrap())
    }

    #[test]
    fn a_body_ends_where_it_says() {
        assert_eq!(read(BodyKind::None, b"GET"), Ok((0, Some(Bytes::new()))));
        assert_eq!(read(BodyKind::Length(3), b"abcGET"), Ok((3, Some(Bytes::from("abc")))));
        assert_eq!(read(BodyKind::Length(3), b"ab"), Ok((2, None)));
        let input = b"3\r\nabc\r\n0\r\n\r\nGET";
        assert_eq!(read(BodyKind::Chunked, input), Ok((input.len() - 3, Some(Bytes::from("abc")))));
    }

    #[test]
    fn chunks_lose_their_dressing() {
        assert_eq!(chunked("3\r\nabc\r\n00A;x=\"y z\"\r\n0123456789\r\n0\r\n\r\n").unwrap(), "abc0123456789");
        assert_eq!(chunked("1\r\n\n\r\n0;last\r\nA: b\r\nC:\r\n\r\n").unwrap(), "\n");
        assert_eq!(chunked("0\r\n\r\n").unwrap(), "");
    }

    #[test]
    fn doubtful_chunks_are_refused() {
        for bad in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1 ;a\r\n",
            "1\n",
            "1\rX",
            "1;a\n",
            "1;\0\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "00000000000000001\r\n",
            "0\r\n\n",
            "0\r\n a\r\n",
            "0\r\na\r\n",
            "0\r\na : b\r\n",
            "0\r\na: \0\r\n",
            "0\r\na: b\n",
            "0\r\n\rX",
        ] {
            assert_eq!(read(BodyKind::Chunked, bad.as_bytes()), Err(HttpFault::Chunk), "{bad:?}");
        }
    }

    #[test]
    fn a_body_that_will_be_too_long_is_refused_before_it_comes() {
        assert_eq!(Body::new(BodyKind::Length(65), &LIMITS).err(), Some(HttpFault::BodyTooLong));
        assert_eq!(Body::new(BodyKind::Length(u64::MAX), &LIMITS).err(), Some(HttpFault::BodyTooLong));
        assert!(Body::new(BodyKind::Length(64), &LIMITS).is_ok());
        assert_eq!(read(BodyKind::Chunked, b"41"), Err(HttpFault::BodyTooLong));
        assert_eq!(read(BodyKind::Chunked, b"1\r\na\r\n40"), Err(HttpFault::BodyTooLong));
        assert_eq!(read(BodyKind::Chunked, b"ffffffffffffffff"), Err(HttpFault::BodyTooLong));
        assert_eq!(HttpFault::BodyTooLong.status().as_u16(), 413);
    }

    #[test]
    fn what_is_thrown_away_is_bounded_too() {
        let extension = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5);
        assert_eq!(read(BodyKind::Chunked, extension.as_bytes()), Err(HttpFault::ExtensionsTooLong));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(1100));
        assert_eq!(read(BodyKind::Chunked, trailers.as_bytes()), Err(HttpFault::TrailersTooLong));
    }

    proptest! {
        #[test]
        fn a_body_reads_the_same_however_it_is_cut(
            pieces in proptest::collection::vec("(1\r\na\r\n|5;e\r\nhello\r\n|0\r\n|A: b\r\n|\r\n|.)", 0..8),
            cuts in proptest::collection::vec(1usize..5, 1..20),
            length in 0u64..70,
        ) {
            let input = pieces.concat().into_bytes();
            for kind in [BodyKind::Chunked, BodyKind::Length(length)] {
                prop_assert_eq!(read_cut(kind, &input, &cuts), read(kind, &input));
            }
        }

        #[test]
        fn chunks_join_to_what_was_cut(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 0..8),
            cuts in proptest::collection::vec(1usize..5, 1..20),
        ) {
            let mut input = Vec::new();
            for piece in &pieces {
                input.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                input.extend_from_slice(piece);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(
                read_cut(BodyKind::Chunked, &input, &cuts),
                Ok((input.len(), Some(Bytes::from(pieces.concat()))))
            );
        }
    }
}
