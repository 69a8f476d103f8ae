//! Frames to messages (RFC 6455 sections 5.4 to 5.6 and 7): fragments, control frames between them, UTF-8, close.
//!
//! One [`Reader`] per connection. It never answers anything and knows no socket; it guards the rules that an idle
//! connection holds no buffer, that memory grows with bytes received and never with bytes claimed, and that a fault is
//! told at the first byte that shows it, within a frame too.

use std::borrow::Cow;
use std::mem;

use super::deflate::{self, Inflate};
use super::frame::{self, CloseCode, Fault, HEADER_BYTES_MAX, Header, OpCode};

/// What kind of data a message holds; a relay keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of a frame that holds a whole message of this kind.
    pub const fn opcode(self) -> OpCode {
        match self {
            Kind::Text => OpCode::Text,
            Kind::Binary => OpCode::Binary,
        }
    }
}

/// What a connection may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest message in bytes, inflated where it was compressed (`WRS_MAX_MESSAGE_SIZE`).
    pub message_bytes_max: u64,
}

/// What a client said, in the order in which it said it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A whole message. A text's payload is valid UTF-8.
    Message {
        /// Text or binary.
        kind: Kind,
        /// The data, borrowed from the input wherever it lies there in one piece.
        payload: Cow<'a, [u8]>,
    },
    /// A ping, whose payload goes back in a pong.
    Ping(Cow<'a, [u8]>),
    /// A pong, asked for or not.
    Pong(Cow<'a, [u8]>),
    /// The client sends nothing after this; it is answered with a close frame of the same code, or of none.
    Close {
        /// A code that may be received, or none.
        code: Option<CloseCode>,
        /// What the client says of why; empty without a code.
        reason: Cow<'a, str>,
    },
}

/// The bytes of one read, taken from the front. They are scratch: payloads are unmasked where they lie.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a mut [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Input { rest: bytes }
    }

    /// Whether all is taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes, or all when there are fewer.
    #[inline]
    fn take(&mut self, count: usize) -> &'a mut [u8] {
        let rest = mem::take(&mut self.rest);
        let (taken, rest) = rest.split_at_mut(count.min(rest.len()));
        self.rest = rest;
        taken
    }
}

/// Reads one connection's messages. Two words while nothing is incomplete.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Between two messages, at a frame's first byte.
    #[default]
    Idle,
    /// Within a frame or between a message's fragments.
    Within(Box<Partial>),
    /// After a close frame or a fault: what follows is not read (RFC 6455 sections 5.5.1 and 7.1.7).
    Ended,
}

impl Reader {
    /// At the first byte of a connection's first frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from `input` up to the end of the next item; `None` once the input is used up. Call it again until
    /// then: the bytes of an incomplete frame are kept here.
    ///
    /// `inflate` is the shard's where compression was negotiated, always or never on one connection.
    ///
    /// # Errors
    /// What the client did wrong and the close code that follows: 1002, 1007 or 1009. After that, and after
    /// [`Item::Close`], all input is taken and nothing comes out.
    #[inline]
    pub fn next<'s, 'a: 's>(
        &mut self,
        input: &mut Input<'a>,
        limits: &Limits,
        inflate: Option<&'s mut Inflate>,
    ) -> Result<Option<Item<'s>>, Fault> {
        let read = match self.state {
            State::Idle => match whole_frame(input, limits, inflate.is_some()) {
                Ok(Some((header, payload))) => item(&header, Cow::Borrowed(payload), false, limits, inflate).map(Some),
                Ok(None) => self.next_in_parts(input, limits, inflate),
                Err(fault) => Err(fault),
            },
            State::Within(_) => self.next_in_parts(input, limits, inflate),
            State::Ended => Ok(None),
        };
        match read {
            Ok(Some(Item::Close { .. })) | Err(_) => self.state = State::Ended,
            Ok(_) => {}
        }
        if matches!(self.state, State::Ended) {
            input.take(usize::MAX);
        }
        read
    }

    /// The way of all that does not lie in the input as one whole frame.
    fn next_in_parts<'s>(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
        inflate: Option<&'s mut Inflate>,
    ) -> Result<Option<Item<'s>>, Fault> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut partial = match mem::take(&mut self.state) {
            State::Within(partial) => partial,
            State::Idle | State::Ended => Box::default(),
        };
        let Some((header, payload)) = partial.next(input, limits, inflate.is_some())? else {
            self.state = State::Within(partial);
            return Ok(None);
        };
        if partial.message.is_some() {
            self.state = State::Within(partial);
        }
        item(&header, Cow::Owned(payload), true, limits, inflate).map(Some)
    }
}

/// The frame at the front of `input`, unmasked, if it is all there and an item of its own.
#[inline]
fn whole_frame<'a>(
    input: &mut Input<'a>,
    limits: &Limits,
    compression: bool,
) -> Result<Option<(Header, &'a [u8])>, Fault> {
    let Some(header) = frame::parse(input.rest, compression)? else { return Ok(None) };
    let there = (input.rest.len() - header.size) as u64;
    if !header.fin || header.opcode == OpCode::Continuation || header.length > there {
        return Ok(None);
    }
    if !header.opcode.is_control() && header.length > wire_bytes_max(limits, header.rsv1) {
        return Err(Fault::TOO_BIG);
    }
    input.take(header.size);
    let payload = input.take(header.length as usize);
    frame::unmask(payload, header.mask, 0);
    Ok(Some((header, payload)))
}

/// What a message may take on the wire, in bytes.
#[inline]
const fn wire_bytes_max(limits: &Limits, compressed: bool) -> u64 {
    if compressed { deflate::deflated_bytes_max(limits.message_bytes_max) } else { limits.message_bytes_max }
}

/// What a whole message or control frame says. `header` is that of its first frame; `checked` is whether a text that is
/// not compressed was checked while it arrived.
#[inline]
fn item<'s>(
    header: &Header,
    payload: Cow<'s, [u8]>,
    checked: bool,
    limits: &Limits,
    inflate: Option<&'s mut Inflate>,
) -> Result<Item<'s>, Fault> {
    let kind = match header.opcode {
        OpCode::Text => Kind::Text,
        OpCode::Binary => Kind::Binary,
        OpCode::Ping => return Ok(Item::Ping(payload)),
        OpCode::Pong => return Ok(Item::Pong(payload)),
        OpCode::Close => return close(&payload),
        OpCode::Continuation => return Err(STRAY_CONTINUATION),
    };
    let payload = match (header.rsv1, inflate) {
        (false, _) => payload,
        (true, Some(inflate)) => Cow::Borrowed(inflate.inflate(&payload, limits.message_bytes_max)?),
        (true, None) => return Err(Fault::protocol("reserved bit set")),
    };
    if kind == Kind::Text && (header.rsv1 || !checked) && std::str::from_utf8(&payload).is_err() {
        return Err(Fault::NOT_UTF8);
    }
    Ok(Item::Message { kind, payload })
}

/// A close frame's payload (RFC 6455 section 5.5.1).
fn close(payload: &[u8]) -> Result<Item<'static>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Item::Close { code: None, reason: Cow::Borrowed("") }),
            _ => Err(Fault::protocol("close code of one byte")),
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_received() {
        return Err(Fault::protocol("close code not allowed"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Fault::invalid_data("close reason is not UTF-8"))?;
    Ok(Item::Close { code: Some(code), reason: Cow::Owned(reason.to_owned()) })
}

const STRAY_CONTINUATION: Fault = Fault::protocol("continuation of no message");

/// What is incomplete.
#[derive(Debug, Default)]
struct Partial {
    /// The first bytes of a header whose rest has not arrived.
    head: [u8; HEADER_BYTES_MAX],
    head_bytes: u8,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The data message whose fragments are arriving.
    message: Option<Message>,
    /// The payload of the control frame that is arriving.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    /// How much of the payload has arrived, in bytes.
    arrived: u64,
}

#[derive(Debug)]
struct Message {
    /// The header of the first frame, which says what the message is.
    first: Header,
    /// What has arrived of the payload, unmasked.
    payload: Vec<u8>,
    /// How many bytes of `payload` are known to be whole characters.
    checked: usize,
}

impl Partial {
    /// The next whole message (with its first header) or control frame; `None` when the input is used up before.
    fn next(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
        compression: bool,
    ) -> Result<Option<(Header, Vec<u8>)>, Fault> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.next_header(input, compression)? {
                    Some(header) => self.begin(header, limits)?,
                    None => return Ok(None),
                },
            };
            self.receive(&mut frame, input, limits)?;
            let Frame { header, arrived } = frame;
            if arrived < header.length {
                self.frame = Some(frame);
                return Ok(None);
            }
            if header.opcode.is_control() {
                return Ok(Some((header, mem::take(&mut self.control))));
            }
            if header.fin {
                return Ok(self.message.take().map(|message| (message.first, message.payload)));
            }
        }
    }

    /// A whole header, from what was kept of it and what has come; takes no byte behind it.
    fn next_header(&mut self, input: &mut Input<'_>, compression: bool) -> Result<Option<Header>, Fault> {
        let kept = usize::from(self.head_bytes);
        let free = self.head.get_mut(kept..).unwrap_or_default();
        let count = free.len().min(input.len());
        for (to, from) in free.iter_mut().zip(input.rest.iter()) {
            *to = *from;
        }
        let known = self.head.get(..kept + count).unwrap_or_default();
        let header = frame::parse(known, compression)?;
        match header {
            Some(header) => {
                input.take(header.size.saturating_sub(kept));
                self.head_bytes = 0;
            }
            None => {
                input.take(count);
                self.head_bytes = known.len() as u8;
            }
        }
        Ok(header)
    }

    /// Checks a frame against the message that it stands in, and opens a new message where it starts one.
    fn begin(&mut self, header: Header, limits: &Limits) -> Result<Frame, Fault> {
        if !header.opcode.is_control() {
            let message = match (self.message.take(), header.opcode) {
                (Some(message), OpCode::Continuation) => message,
                (None, OpCode::Continuation) => return Err(STRAY_CONTINUATION),
                (Some(_), _) => return Err(Fault::protocol("new message within a fragmented one")),
                (None, _) => Message { first: header, payload: Vec::new(), checked: 0 },
            };
            let length = header.length.saturating_add(message.payload.len() as u64);
            if length > wire_bytes_max(limits, message.first.rsv1) {
                return Err(Fault::TOO_BIG);
            }
            self.message = Some(message);
        }
        Ok(Frame { header, arrived: 0 })
    }

    /// Takes what has come of the frame's payload.
    fn receive(&mut self, frame: &mut Frame, input: &mut Input<'_>, limits: &Limits) -> Result<(), Fault> {
        let missing = frame.header.length.saturating_sub(frame.arrived);
        let part = input.take(usize::try_from(missing).unwrap_or(usize::MAX));
        frame::unmask(part, frame.header.mask, (frame.arrived % 4) as usize);
        frame.arrived = frame.arrived.saturating_add(part.len() as u64);
        match &mut self.message {
            Some(message) if !frame.header.opcode.is_control() => {
                // The last frame says how long the message will be; before it only the limit is known.
                let total = match frame.header.fin {
                    true => missing.saturating_add(message.payload.len() as u64),
                    false => wire_bytes_max(limits, message.first.rsv1),
                };
                append(&mut message.payload, part, usize::try_from(total).unwrap_or(usize::MAX));
                message.check(frame.header.fin && frame.arrived == frame.header.length)
            }
            _ => {
                self.control.extend_from_slice(part);
                Ok(())
            }
        }
    }
}

impl Message {
    /// Checks what has arrived of a text, up to a last character that may still be incomplete unless `whole`.
    fn check(&mut self, whole: bool) -> Result<(), Fault> {
        if self.first.opcode != OpCode::Text || self.first.rsv1 {
            return Ok(());
        }
        let new = self.payload.get(self.checked..).unwrap_or_default();
        match std::str::from_utf8(new) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() && !whole => self.checked += error.valid_up_to(),
            Err(_) => return Err(Fault::NOT_UTF8),
        }
        Ok(())
    }
}

/// Appends with room that doubles as bytes arrive, up to `total`, the most that the payload can become.
fn append(payload: &mut Vec<u8>, part: &[u8], total: usize) {
    let needed = payload.len().saturating_add(part.len());
    if needed > payload.capacity() {
        let room = payload.capacity().saturating_mul(2).min(total).max(needed);
        payload.reserve_exact(room - payload.len());
    }
    payload.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;
    use std::io::{self, Read, Write};
    use tungstenite::protocol::frame::Frame as TheirFrame;
    use tungstenite::protocol::frame::coding::{CloseCode as TheirClose, Data, OpCode as TheirCode};
    use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
    use tungstenite::{Message as Theirs, Utf8Bytes};

    const LIMITS: Limits = Limits { message_bytes_max: 1 << 20 };

    /// A client's frame as it stands on the wire, whatever it may breach.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x9a, 0x02, 0xff, 0x41];
        let mut out = BytesMut::new();
        match payload.len() {
            length @ 0..=125 => out.put_slice(&[first, 0x80 | length as u8]),
            length @ 126..=0xffff => {
                out.put_slice(&[first, 0x80 | 126]);
                out.put_u16(length as u16);
            }
            length => {
                out.put_slice(&[first, 0x80 | 127]);
                out.put_u64(length as u64);
            }
        }
        out.put_slice(&mask);
        let mut payload = payload.to_vec();
        frame::unmask(&mut payload, mask, 0);
        out.put_slice(&payload);
        out.to_vec()
    }

    fn owned(item: Item<'_>) -> Item<'static> {
        match item {
            Item::Message { kind, payload } => Item::Message { kind, payload: Cow::Owned(payload.into_owned()) },
            Item::Ping(payload) => Item::Ping(Cow::Owned(payload.into_owned())),
            Item::Pong(payload) => Item::Pong(Cow::Owned(payload.into_owned())),
            Item::Close { code, reason } => Item::Close { code, reason: Cow::Owned(reason.into_owned()) },
        }
    }

    /// Everything that comes out of one read.
    fn read(reader: &mut Reader, bytes: &[u8], limits: &Limits) -> (Vec<Item<'static>>, Option<Fault>) {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut items = Vec::new();
        loop {
            match reader.next(&mut input, limits, None) {
                Ok(Some(item)) => items.push(owned(item)),
                Ok(None) => {
                    assert!(input.is_empty());
                    return (items, None);
                }
                Err(fault) => {
                    assert_eq!(reader.next(&mut input, limits, None), Ok(None));
                    assert!(input.is_empty());
                    return (items, Some(fault));
                }
            }
        }
    }

    /// Everything that comes out of a stream that arrives in reads of these sizes, and then the rest at once.
    fn read_cut(bytes: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Item<'static>>, Option<Fault>) {
        let (mut reader, mut items, mut fault) = (Reader::new(), Vec::new(), None);
        let mut rest = bytes;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            let (more, failed) = read(&mut reader, now, limits);
            assert!(fault.is_none() || (more.is_empty() && failed.is_none()), "something after a fault");
            items.extend(more);
            fault = fault.or(failed);
            rest = later;
        }
        (items, fault)
    }

    fn fault_of(frames: &[Vec<u8>]) -> CloseCode {
        let stream = frames.concat();
        let whole = read_cut(&stream, &[], &LIMITS);
        assert_eq!(read_cut(&stream, &vec![1; stream.len()], &LIMITS), whole);
        whole.1.expect("a fault").code
    }

    fn text(payload: &str) -> Item<'static> {
        Item::Message { kind: Kind::Text, payload: Cow::Owned(payload.as_bytes().to_vec()) }
    }

    #[test]
    fn a_whole_frame_is_borrowed_from_the_input_and_leaves_nothing_behind() {
        let mut bytes = frame(0x81, "Grüße".as_bytes());
        let mut reader = Reader::new();
        let mut input = Input::new(&mut bytes);
        let item = reader.next(&mut input, &LIMITS, None).unwrap().unwrap();
        assert!(matches!(item, Item::Message { kind: Kind::Text, payload: Cow::Borrowed(b"Gr\xc3\xbc\xc3\x9fe") }));
        assert!(matches!(reader.state, State::Idle));
    }

    #[test]
    fn an_idle_reader_is_two_words_and_holds_nothing_once_a_message_is_whole() {
        assert!(size_of::<Reader>() <= 16);
        let stream = [frame(0x01, b"one"), frame(0x89, b"?"), frame(0x80, b" two")].concat();
        let mut reader = Reader::new();
        for byte in &stream {
            read(&mut reader, &[*byte], &LIMITS);
        }
        assert!(matches!(reader.state, State::Idle));
        assert_eq!(read_cut(&stream, &[1, 4, 7], &LIMITS).0, [Item::Ping(Cow::Borrowed(b"?")), text("one two")]);
    }

    #[test]
    fn a_claimed_length_reserves_nothing() {
        let limits = Limits { message_bytes_max: u64::MAX };
        let mut reader = Reader::new();
        let head = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(read(&mut reader, &head, &limits), (vec![], None));
        for _ in 0..100 {
            read(&mut reader, &[7; 1000], &limits);
        }
        let State::Within(partial) = &reader.state else { panic!("the frame is incomplete") };
        let payload = &partial.message.as_ref().unwrap().payload;
        assert_eq!(payload.len(), 100_000);
        assert!(payload.capacity() <= 200_000, "{}", payload.capacity());
    }

    #[test]
    fn a_message_takes_no_more_room_than_its_length() {
        let stream = frame(0x82, &[1; 100_000]);
        let mut reader = Reader::new();
        read(&mut reader, &stream[..70_000], &LIMITS);
        read(&mut reader, &stream[70_000..99_000], &LIMITS);
        let State::Within(partial) = &reader.state else { panic!("the frame is incomplete") };
        assert_eq!(partial.message.as_ref().unwrap().payload.capacity(), 100_000);
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_at_its_header() {
        let limits = Limits { message_bytes_max: 10 };
        let fits = [frame(0x82, &[0; 10]), frame(0x02, &[0; 4]), frame(0x00, &[0; 6]), frame(0x80, &[])].concat();
        assert_eq!(read_cut(&fits, &[], &limits).1, None);
        let header_only = &frame(0x82, &[0; 11])[..6];
        assert_eq!(read_cut(header_only, &[], &limits).1, Some(Fault::TOO_BIG));
        assert_eq!(read_cut(&frame(0x82, &[0; 11]), &[], &limits).1, Some(Fault::TOO_BIG));
        let fragments = [frame(0x02, &[0; 6]), frame(0x80, &[0; 5])].concat();
        assert_eq!(read_cut(&fragments[..18], &[], &limits).1, Some(Fault::TOO_BIG));
        let control_is_not_counted = [frame(0x02, &[0; 10]), frame(0x89, &[0; 125]), frame(0x80, &[])].concat();
        assert_eq!(read_cut(&control_is_not_counted, &[3, 50], &limits).1, None);
    }

    #[test]
    fn text_fails_at_the_first_byte_that_cannot_be_utf8() {
        // Every prefix with the byte of no return as its last one.
        for bad in
            [&b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90"[..], b"a\xed\xa0", b"\xc0", b"\xe2\x82\x20"]
        {
            let mut payload = bad.to_vec();
            payload.extend(b"\x80\x80edited and more");
            let stream = frame(0x81, &payload);
            let upto = 6 + bad.len();
            assert_eq!(read_cut(&stream[..upto - 1], &[], &LIMITS), (vec![], None), "{bad:x?}");
            assert_eq!(read_cut(&stream[..upto], &[], &LIMITS).1, Some(Fault::NOT_UTF8), "{bad:x?}");
            assert_eq!(read_cut(&stream[..upto], &vec![1; upto], &LIMITS).1, Some(Fault::NOT_UTF8), "{bad:x?}");
        }
    }

    #[test]
    fn a_character_may_straddle_fragments_but_not_the_end() {
        let euro = "€".as_bytes();
        let stream = [frame(0x01, &euro[..1]), frame(0x00, &euro[1..2]), frame(0x80, &euro[2..])].concat();
        assert_eq!(read_cut(&stream, &[], &LIMITS), (vec![text("€")], None));
        assert_eq!(fault_of(&[frame(0x01, &euro[..1]), frame(0x80, &euro[1..2])]), CloseCode::INVALID_DATA);
        assert_eq!(fault_of(&[frame(0x81, &euro[..2])]), CloseCode::INVALID_DATA);
        assert_eq!(fault_of(&[frame(0x01, &euro[..2]), frame(0x80, b"")]), CloseCode::INVALID_DATA);
    }

    #[test]
    fn binary_and_pings_are_any_bytes() {
        let stream = [frame(0x82, b"\xff\xfe"), frame(0x89, b"\xc0"), frame(0x8a, b"\xc1")].concat();
        let items = [
            Item::Message { kind: Kind::Binary, payload: Cow::Borrowed(b"\xff\xfe") },
            Item::Ping(Cow::Borrowed(b"\xc0")),
            Item::Pong(Cow::Borrowed(b"\xc1")),
        ];
        assert_eq!(read_cut(&stream, &[], &LIMITS), (items.to_vec(), None));
    }

    #[test]
    fn fragments_out_of_order_break_the_protocol() {
        assert_eq!(fault_of(&[frame(0x80, b"x")]), CloseCode::PROTOCOL);
        assert_eq!(fault_of(&[frame(0x00, b"x")]), CloseCode::PROTOCOL);
        assert_eq!(fault_of(&[frame(0x01, b"x"), frame(0x81, b"y")]), CloseCode::PROTOCOL);
        assert_eq!(fault_of(&[frame(0x01, b"x"), frame(0x02, b"y")]), CloseCode::PROTOCOL);
        assert_eq!(fault_of(&[frame(0x01, b"x"), frame(0x80, b"y"), frame(0x80, b"z")]), CloseCode::PROTOCOL);
    }

    #[test]
    fn a_close_says_its_code_and_ends_the_reading() {
        let close = |code, reason| Item::Close { code, reason: Cow::Borrowed(reason) };
        let rest = frame(0x81, b"unread");
        let stream = |payload: &[u8]| [frame(0x88, payload), rest.clone(), vec![0xff; 9]].concat();
        assert_eq!(read_cut(&stream(b""), &[7], &LIMITS), (vec![close(None, "")], None));
        let bye = (vec![close(Some(CloseCode::NORMAL), "bye")], None);
        assert_eq!(read_cut(&stream(b"\x03\xe8bye"), &[], &LIMITS), bye);
        assert_eq!(read_cut(&stream(b"\x03\xe8bye"), &[1; 30], &LIMITS), bye);
        assert_eq!(fault_of(&[frame(0x88, b"\x03")]), CloseCode::PROTOCOL);
        assert_eq!(fault_of(&[frame(0x88, b"\x03\xed")]), CloseCode::PROTOCOL);
        assert_eq!(fault_of(&[frame(0x88, b"\x03\xe8\xce\xba\xf4\x90")]), CloseCode::INVALID_DATA);
    }

    /// A socket in memory: what tungstenite wrote, and what it will read.
    #[derive(Default)]
    struct Wire {
        written: Vec<u8>,
        to_read: io::Cursor<Vec<u8>>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.to_read.read(buffer)
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Clone, Debug)]
    enum Said {
        Text(Vec<String>),
        Binary(Vec<Vec<u8>>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
    }

    fn said() -> impl Strategy<Value = Said> {
        let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
        prop_oneof![
            prop::collection::vec(".{0,40}", 1..4).prop_map(Said::Text),
            prop::collection::vec(bytes(400), 1..4).prop_map(Said::Binary),
            bytes(70_000).prop_map(|payload| Said::Binary(vec![payload])),
            bytes(125).prop_map(Said::Ping),
            bytes(125).prop_map(Said::Pong),
        ]
    }

    /// What tungstenite's client puts on the wire for all this, and what must come out of it. A message of several
    /// parts is sent in fragments with a ping after each but the last.
    fn by_tungstenite(all: &[Said]) -> (Vec<u8>, Vec<Item<'static>>) {
        let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
        let mut items = Vec::new();
        type Client = WebSocket<Wire>;
        let fragments = |client: &mut Client, parts: Vec<Vec<u8>>, kind: Kind, items: &mut Vec<Item<'static>>| {
            let code = if kind == Kind::Text { Data::Text } else { Data::Binary };
            let last = parts.len() - 1;
            for (i, part) in parts.iter().enumerate() {
                let code = if i == 0 { code } else { Data::Continue };
                let their = TheirFrame::message(part.clone(), TheirCode::Data(code), i == last);
                client.send(Theirs::Frame(their)).unwrap();
                if i < last {
                    client.send(Theirs::Ping(part[..part.len().min(125)].to_vec().into())).unwrap();
                    items.push(Item::Ping(Cow::Owned(part[..part.len().min(125)].to_vec())));
                }
            }
            items.push(Item::Message { kind, payload: Cow::Owned(parts.concat()) });
        };
        for one in all {
            match one.clone() {
                Said::Text(parts) => {
                    let parts = parts.into_iter().map(String::into_bytes).collect();
                    fragments(&mut client, parts, Kind::Text, &mut items);
                }
                Said::Binary(parts) => fragments(&mut client, parts, Kind::Binary, &mut items),
                Said::Ping(payload) => {
                    client.send(Theirs::Ping(payload.clone().into())).unwrap();
                    items.push(Item::Ping(Cow::Owned(payload)));
                }
                Said::Pong(payload) => {
                    client.send(Theirs::Pong(payload.clone().into())).unwrap();
                    items.push(Item::Pong(Cow::Owned(payload)));
                }
            }
        }
        let goodbye = CloseFrame { code: TheirClose::Library(4404), reason: Utf8Bytes::from_static("tschüß") };
        client.close(Some(goodbye)).unwrap();
        items.push(Item::Close { code: Some(CloseCode::CHANNEL_DELETED), reason: Cow::Borrowed("tschüß") });
        (client.get_ref().written.clone(), items)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_tungstenite_sends_comes_out_however_it_is_cut(
            all in prop::collection::vec(said(), 0..6),
            cuts in prop::collection::vec(prop_oneof![1usize..20, 1usize..2000, 1usize..100_000], 0..60),
        ) {
            let (stream, items) = by_tungstenite(&all);
            prop_assert_eq!(read_cut(&stream, &cuts, &LIMITS), (items, None));
        }

        #[test]
        fn what_tungstenite_reads_is_what_we_wrote(
            payloads in prop::collection::vec((any::<bool>(), ".{0,200}", 1usize..600), 0..8), pinged: [u8; 7],
        ) {
            let mut out = BytesMut::new();
            let mut expected = Vec::new();
            for (is_text, payload, times) in payloads {
                let payload = payload.repeat(times);
                let kind = if is_text { Kind::Text } else { Kind::Binary };
                frame::encode(&mut out, kind.opcode(), payload.as_bytes());
                expected.push(match kind {
                    Kind::Text => Theirs::Text(payload.into()),
                    Kind::Binary => Theirs::Binary(payload.into_bytes().into()),
                });
            }
            frame::encode(&mut out, OpCode::Ping, &pinged);
            expected.push(Theirs::Ping(pinged.to_vec().into()));
            frame::encode_close(&mut out, CloseCode::RESTART, "again");
            let goodbye = CloseFrame { code: TheirClose::Restart, reason: Utf8Bytes::from_static("again") };
            expected.push(Theirs::Close(Some(goodbye)));
            let wire = Wire { to_read: io::Cursor::new(out.to_vec()), ..Wire::default() };
            let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
            let mut client = WebSocket::from_raw_socket(wire, Role::Client, Some(config));
            let read: Vec<Theirs> = (0..expected.len()).map(|_| client.read().unwrap()).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn cuts_change_nothing_for_hostile_bytes(
            frames in prop::collection::vec(
                (prop_oneof![Just(0x00u8), Just(0x01), Just(0x02), Just(0x80), Just(0x81), Just(0x82), Just(0x88), Just(0x89), any::<u8>()],
                 prop_oneof![prop::collection::vec(any::<u8>(), 0..10), ".{0,100}".prop_map(String::into_bytes)]), 0..12),
            garbage: Vec<u8>,
            cuts in prop::collection::vec(1usize..30, 0..100),
        ) {
            let mut stream: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
            stream.extend(garbage);
            let limits = Limits { message_bytes_max: 150 };
            prop_assert_eq!(read_cut(&stream, &cuts, &limits), read_cut(&stream, &[], &limits));
        }

        #[test]
        fn garbage_makes_nothing_panic(stream: Vec<u8>, cuts in prop::collection::vec(1usize..9, 0..20)) {
            let (_, fault) = read_cut(&stream, &cuts, &LIMITS);
            prop_assert!(fault.is_none_or(|fault| fault.reason.len() <= frame::REASON_BYTES_MAX));
        }
    }
}
