//! What one node's shards say to another's, as bytes.
//!
//! A message is its kind and its parts in order; a payload stands last and fills what is left, so that it is never copied:
//! neither when it is read (a slice of what arrived) nor, where it is large, when it is written. Of the messages that
//! shards exchange only those that cross nodes have bytes; the others are refused in both directions. Every message has one
//! encoding, and what decodes, encodes to the same bytes. Counts are checked against a limit and against the bytes that are
//! there before memory is taken.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{ChannelId, Life, ShardId};
use crate::peer::{Handed, Ledger, PeerMessage, Seat, Step, Taken, Tally, Ticket, Turns, Verdict, Wish};
use crate::time::Time;
use crate::wire::compact::{Reader, put_channel, put_client, put_life, put_number, put_optional};
use crate::wire::frame;

/// Entries of one list in a message, at most: channels of a survey, seats or asks of a ledger's part. Whoever has more sends
/// several messages.
pub const LIST_MAX: usize = 16_384;

const SEAT: u8 = 1;
const SEATED: u8 = 2;
const LEAVE: u8 = 3;
const INTEREST: u8 = 4;
const INTEREST_NOTED: u8 = 5;
const DISINTEREST: u8 = 6;
const SURVEY: u8 = 7;
const SURVEYED: u8 = 8;
const PUBLISH: u8 = 9;
const ASK: u8 = 10;
const TURNS: u8 = 11;
const DELIVER: u8 = 12;
const ORIGIN_GONE: u8 = 13;
const REPORTED: u8 = 14;
const CREDIT: u8 = 15;
const HELD: u8 = 16;

/// The kind of a message that crosses nodes, and the version of the links since which there is that kind.
fn kind(message: &PeerMessage) -> Option<(u8, u8)> {
    Some(match message {
        PeerMessage::Seat { .. } => (SEAT, 1),
        PeerMessage::Seated { .. } => (SEATED, 1),
        PeerMessage::Leave(..) => (LEAVE, 1),
        PeerMessage::Interest(_) => (INTEREST, 1),
        PeerMessage::InterestNoted(_) => (INTEREST_NOTED, 1),
        PeerMessage::Disinterest(..) => (DISINTEREST, 1),
        PeerMessage::Survey(..) => (SURVEY, 1),
        PeerMessage::Surveyed(..) => (SURVEYED, 1),
        PeerMessage::Publish { .. } => (PUBLISH, 1),
        PeerMessage::Ask { .. } => (ASK, 1),
        PeerMessage::Deliver { .. } => (DELIVER, 1),
        PeerMessage::Turns { .. } => (TURNS, 1),
        PeerMessage::OriginGone(_) => (ORIGIN_GONE, 1),
        PeerMessage::Reported { .. } => (REPORTED, 1),
        PeerMessage::Credit(_) => (CREDIT, 1),
        PeerMessage::Held(..) => (HELD, 1),
        PeerMessage::Propose(..)
        | PeerMessage::Apply(..)
        | PeerMessage::Applied(_)
        | PeerMessage::Settled(..)
        | PeerMessage::Join { .. }
        | PeerMessage::Uncount(_)
        | PeerMessage::Abroad(..)
        | PeerMessage::AbroadNoted(_)
        | PeerMessage::Lease(_)
        | PeerMessage::Out(_)
        | PeerMessage::Life(_)
        | PeerMessage::Members(..)
        | PeerMessage::Fail
        | PeerMessage::Drained
        | PeerMessage::Operate(..)
        | PeerMessage::Operated(..)
        | PeerMessage::HeldAbroad(..)
        | PeerMessage::Sealed(..)
        | PeerMessage::Opened(..)
        | PeerMessage::Serves
        | PeerMessage::Measure(_)
        | PeerMessage::Measured(..) => return None,
    })
}

/// What stands last in a message, and is not copied to be written.
#[derive(Debug)]
pub enum Payload<'a> {
    /// In one piece; empty where a message has none.
    Whole(Bytes),
    /// Frames of a run.
    Parts(&'a Bytes, &'a [Handed]),
}

impl Payload<'_> {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        match self {
            Payload::Whole(bytes) => bytes.len(),
            Payload::Parts(..) => self.pieces().map(<[u8]>::len).sum(),
        }
    }

    /// Its pieces, one after another.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (whole, parts): (&[u8], _) = match self {
            Payload::Whole(bytes) => (bytes, None),
            Payload::Parts(run, handed) => (&[], Some((run, handed))),
        };
        let parts = parts
            .into_iter()
            .flat_map(|(run, handed)| handed.iter().map(|part| run.get(part.start..part.end).unwrap_or_default()));
        std::iter::once(whole).chain(parts)
    }
}

/// Appends a message but for its payload, which is returned and follows. `None`, and nothing appended: the message never
/// crosses nodes, is unknown to `version`, or has a list longer than [`LIST_MAX`].
pub fn encode<'a>(message: &'a PeerMessage, now: Time, version: u8, out: &mut BytesMut) -> Option<Payload<'a>> {
    let (kind, since) = kind(message)?;
    if since > version || !lists_fit(message) {
        return None;
    }
    out.put_u8(kind);
    Some(put_body(message, now, out))
}

fn lists_fit(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Survey(_, channels) => channels.len() <= LIST_MAX,
        PeerMessage::Surveyed(_, tallies) => tallies.len() <= LIST_MAX,
        PeerMessage::Ask { count, .. } => (1..=LIST_MAX).contains(count),
        PeerMessage::Turns { turns: Turns::Taken(taken), .. } => taken.turns().len() <= LIST_MAX,
        PeerMessage::Deliver { handed, .. } => (1..=LIST_MAX).contains(&handed.len()),
        PeerMessage::Reported { ledger, .. } => {
            let Ledger { seats, interests } = &**ledger;
            seats.len().max(interests.len()) <= LIST_MAX
        }
        _ => true,
    }
}

/// Appends the parts; the payload is returned.
fn put_body<'a>(message: &'a PeerMessage, now: Time, out: &mut BytesMut) -> Payload<'a> {
    match message {
        PeerMessage::Seat { client, channel, pull, epoch } => {
            put_client(out, *client);
            put_channel(out, *channel);
            out.put_u8(u8::from(*pull));
            put_number(out, *epoch);
        }
        PeerMessage::Seated { client, verdict, epoch, stamp } => {
            put_client(out, *client);
            out.put_u8(verdict_code(*verdict));
            put_number(out, *epoch);
            put_optional(out, *stamp);
        }
        PeerMessage::Leave(client, channel) => {
            put_client(out, *client);
            put_channel(out, *channel);
        }
        PeerMessage::Interest(channel) | PeerMessage::InterestNoted(channel) => put_channel(out, *channel),
        PeerMessage::Disinterest(channel, active) => {
            put_channel(out, *channel);
            put_age(out, now, *active);
        }
        PeerMessage::Survey(ticket, channels) => put_survey(out, *ticket, channels),
        PeerMessage::Surveyed(ticket, tallies) => put_surveyed(out, now, *ticket, tallies),
        PeerMessage::Ask { channel, from, wish, count, number, epoch } => {
            put_channel(out, *channel);
            put_client(out, *from);
            out.put_u8(wish_code(*wish));
            put_number(out, *count as u64);
            put_number(out, *number);
            put_number(out, *epoch);
        }
        PeerMessage::Turns { to, number, epoch, turns } => {
            put_place(out, *to);
            put_number(out, *number);
            put_number(out, *epoch);
            put_turns(out, turns);
        }
        PeerMessage::OriginGone(client) => put_client(out, *client),
        PeerMessage::Reported { epoch, ledger, more } => {
            put_number(out, *epoch);
            put_ledger(out, ledger);
            out.put_u8(u8::from(*more));
        }
        PeerMessage::Credit(bytes) => put_number(out, *bytes as u64),
        PeerMessage::Held(step, life, epoch) => {
            out.put_u8(step_code(*step));
            put_life(out, *life);
            put_number(out, *epoch);
        }
        _ => return put_data(message, out),
    }
    Payload::Whole(Bytes::new())
}

/// The messages with clients' data.
fn put_data<'a>(message: &'a PeerMessage, out: &mut BytesMut) -> Payload<'a> {
    match message {
        PeerMessage::Publish { channel, frames, from, back } => {
            put_channel(out, *channel);
            put_client(out, *from);
            out.put_u8(u8::from(*back));
            Payload::Whole(frames.clone())
        }
        PeerMessage::Deliver { channel, frames, from, to, epoch, handed } => {
            put_channel(out, *channel);
            put_client(out, *from);
            put_place(out, *to);
            put_optional(out, *epoch);
            put_number(out, handed.len() as u64);
            let mut before = 0;
            for Handed { serial, stamp, .. } in handed {
                put_number(out, *serial);
                if epoch.is_some() {
                    put_more(out, &mut before, *stamp);
                }
            }
            match handed.as_slice() {
                [one] => Payload::Whole(one.frame(frames)),
                handed => Payload::Parts(frames, handed),
            }
        }
        _ => Payload::Whole(Bytes::new()),
    }
}

/// The message that `bytes` are, of a link with this version. Payloads are slices of `bytes`. `None`: they are none.
pub fn decode(bytes: Bytes, now: Time, version: u8) -> Option<PeerMessage> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    let message = read_body(kind, now, &mut reader)?;
    self::kind(&message).filter(|(_, since)| *since <= version)?;
    reader.end(message)
}

fn read_body(kind: u8, now: Time, reader: &mut Reader) -> Option<PeerMessage> {
    Some(match kind {
        SEAT => PeerMessage::Seat {
            client: reader.client()?,
            channel: reader.channel()?,
            pull: reader.flag()?,
            epoch: reader.number()?,
        },
        SEATED => PeerMessage::Seated {
            client: reader.client()?,
            verdict: read_verdict(reader)?,
            epoch: reader.number()?,
            stamp: reader.optional()?,
        },
        LEAVE => PeerMessage::Leave(reader.client()?, reader.channel()?),
        INTEREST => PeerMessage::Interest(reader.channel()?),
        INTEREST_NOTED => PeerMessage::InterestNoted(reader.channel()?),
        DISINTEREST => PeerMessage::Disinterest(reader.channel()?, read_age(reader, now)?),
        SURVEY => read_survey(reader)?,
        SURVEYED => read_surveyed(reader, now)?,
        PUBLISH => {
            let (channel, from, back) = (reader.channel()?, reader.client()?, reader.flag()?);
            PeerMessage::Publish { channel, from, back, frames: reader.rest() }
        }
        ASK => PeerMessage::Ask {
            channel: reader.channel()?,
            from: reader.client()?,
            wish: read_wish(reader)?,
            count: reader.size().filter(|count| (1..=LIST_MAX).contains(count))?,
            number: reader.number()?,
            epoch: reader.number()?,
        },
        TURNS => PeerMessage::Turns {
            to: read_place(reader)?,
            number: reader.number()?,
            epoch: reader.number()?,
            turns: read_turns(reader)?,
        },
        DELIVER => read_deliver(reader)?,
        ORIGIN_GONE => PeerMessage::OriginGone(reader.client()?),
        REPORTED => {
            let (epoch, ledger) = (reader.number()?, read_ledger(reader)?);
            PeerMessage::Reported { epoch, ledger: Box::new(ledger), more: reader.flag()? }
        }
        CREDIT => PeerMessage::Credit(reader.size()?),
        HELD => PeerMessage::Held(read_step(reader)?, reader.life()?, reader.number()?),
        _ => return None,
    })
}

/// The least bytes that a client's name takes: life, shard, serial.
const CLIENT_BYTES_MIN: usize = 8 + 1 + 1;
/// The least bytes that a shard's name takes: life, shard.
const PLACE_BYTES_MIN: usize = 8 + 1;

/// A list of things that take at least `bytes_min` each.
fn list<T>(reader: &mut Reader, bytes_min: usize, mut one: impl FnMut(&mut Reader) -> Option<T>) -> Option<Vec<T>> {
    let count = reader.count(bytes_min, LIST_MAX)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(one(reader)?);
    }
    Some(list)
}

/// A point in time, as how long ago it is, in nanoseconds: nodes have no common time. How long the message travels is not
/// seen.
fn put_age(out: &mut BytesMut, now: Time, then: Time) {
    put_number(out, now.as_nanos().saturating_sub(then.as_nanos()));
}

fn read_age(reader: &mut Reader, now: Time) -> Option<Time> {
    reader.number().map(|age| now - Duration::from_nanos(age))
}

/// A shard of a node.
fn put_place(out: &mut BytesMut, (life, shard): (Life, ShardId)) {
    put_life(out, life);
    put_number(out, shard.0.into());
}

fn read_place(reader: &mut Reader) -> Option<(Life, ShardId)> {
    Some((reader.life()?, reader.shard()?))
}

/// A number that is most often a little more than the one before it.
fn put_more(out: &mut BytesMut, before: &mut u64, number: u64) {
    put_number(out, number.wrapping_sub(*before));
    *before = number;
}

fn read_more(reader: &mut Reader, before: &mut u64) -> Option<u64> {
    *before = before.wrapping_add(reader.number()?);
    Some(*before)
}

fn put_turns(out: &mut BytesMut, turns: &Turns) {
    match turns {
        Turns::Taken(taken) => {
            out.put_u8(0);
            put_number(out, taken.shards().len() as u64);
            taken.shards().iter().for_each(|place| put_place(out, *place));
            put_optional(out, taken.passed);
            put_number(out, taken.turns().len() as u64);
            let mut before = 0;
            for (at, serial, stamp) in taken.turns() {
                put_number(out, *at as u64);
                put_number(out, *serial);
                put_more(out, &mut before, *stamp);
            }
        }
        Turns::Back => out.put_u8(1),
        Turns::Nobody => out.put_u8(2),
        Turns::Gone => out.put_u8(3),
    }
}

fn read_turns(reader: &mut Reader) -> Option<Turns> {
    Some(match reader.byte()? {
        0 => {
            let shards = list(reader, PLACE_BYTES_MIN, read_place)?;
            let (passed, mut before) = (reader.optional()?, 0);
            let turn = |reader: &mut Reader| Some((reader.size()?, reader.number()?, read_more(reader, &mut before)?));
            Turns::Taken(Taken::read(shards, list(reader, 3, turn)?, passed)?)
        }
        1 => Turns::Back,
        2 => Turns::Nobody,
        3 => Turns::Gone,
        _ => return None,
    })
}

fn read_deliver(reader: &mut Reader) -> Option<PeerMessage> {
    let (channel, from, to, epoch) = (reader.channel()?, reader.client()?, read_place(reader)?, reader.optional()?);
    let mut before = 0;
    let mut handed = list(reader, 1, |reader| {
        let serial = reader.number()?;
        let stamp = if epoch.is_some() { read_more(reader, &mut before)? } else { 0 };
        Some(Handed { serial, stamp, start: 0, end: 0 })
    })?;
    let frames = reader.rest();
    let mut ranges = frame::ranges(&frames);
    for part in &mut handed {
        let range = ranges.next()?;
        (part.start, part.end) = (range.start, range.end);
    }
    // A frame for each, and nothing behind the last.
    let is_whole = handed.last().is_some_and(|last| last.end == frames.len());
    drop(ranges);
    is_whole.then_some(PeerMessage::Deliver { channel, from, to, epoch, handed, frames })
}

fn put_survey(out: &mut BytesMut, ticket: Ticket, channels: &[ChannelId]) {
    put_number(out, ticket.0);
    put_channels(out, channels);
}

fn put_channels(out: &mut BytesMut, channels: &[ChannelId]) {
    put_number(out, channels.len() as u64);
    for channel in channels {
        put_channel(out, *channel);
    }
}

fn read_channels(reader: &mut Reader) -> Option<Vec<ChannelId>> {
    list(reader, 1, Reader::channel)
}

fn read_survey(reader: &mut Reader) -> Option<PeerMessage> {
    Some(PeerMessage::Survey(Ticket(reader.number()?), read_channels(reader)?))
}

fn put_surveyed(out: &mut BytesMut, now: Time, ticket: Ticket, tallies: &[Tally]) {
    put_number(out, ticket.0);
    put_number(out, tallies.len() as u64);
    for tally in tallies {
        put_number(out, tally.clients);
        put_age(out, now, tally.active);
    }
}

fn read_surveyed(reader: &mut Reader, now: Time) -> Option<PeerMessage> {
    let ticket = Ticket(reader.number()?);
    let tally = |reader: &mut Reader| Some(Tally { clients: reader.number()?, active: read_age(reader, now)? });
    Some(PeerMessage::Surveyed(ticket, list(reader, 2, tally)?))
}

fn step_code(step: Step) -> u8 {
    match step {
        Step::Decide => 0,
        Step::Send => 1,
    }
}

fn read_step(reader: &mut Reader) -> Option<Step> {
    Some(match reader.byte()? {
        0 => Step::Decide,
        1 => Step::Send,
        _ => return None,
    })
}

fn wish_code(wish: Wish) -> u8 {
    match wish {
        Wish::Pull => 0,
        Wish::Request => 1,
    }
}

fn read_wish(reader: &mut Reader) -> Option<Wish> {
    Some(match reader.byte()? {
        0 => Wish::Pull,
        1 => Wish::Request,
        _ => return None,
    })
}

fn put_ledger(out: &mut BytesMut, ledger: &Ledger) {
    let Ledger { seats, interests } = ledger;
    put_number(out, seats.len() as u64);
    for Seat { client, channel, stamp } in seats {
        put_client(out, *client);
        put_channel(out, *channel);
        put_optional(out, *stamp);
    }
    put_channels(out, interests);
}

fn read_ledger(reader: &mut Reader) -> Option<Ledger> {
    fn seat(reader: &mut Reader) -> Option<Seat> {
        Some(Seat { client: reader.client()?, channel: reader.channel()?, stamp: reader.optional()? })
    }
    let seats = list(reader, CLIENT_BYTES_MIN + 2, seat)?;
    Some(Ledger { seats, interests: read_channels(reader)? })
}

fn verdict_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Seated => 0,
        Verdict::NodeFull => 1,
        Verdict::ChannelFull => 2,
        Verdict::AddressFull => 3,
        Verdict::Absent => 4,
        Verdict::Undecided => 5,
    }
}

fn read_verdict(reader: &mut Reader) -> Option<Verdict> {
    Some(match reader.byte()? {
        0 => Verdict::Seated,
        1 => Verdict::NodeFull,
        2 => Verdict::ChannelFull,
        3 => Verdict::AddressFull,
        4 => Verdict::Absent,
        5 => Verdict::Undecided,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{ClientId, Life, ShardId};

    const NOW: Time = Time::from_millis(1_000_000);

    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0u32..64).prop_map(|(number, shift)| number >> shift)
    }

    fn client() -> impl Strategy<Value = ClientId> {
        (any::<u64>(), any::<u16>(), 0u64..1 << 48).prop_map(|(life, shard, serial)| ClientId {
            life: Life(life),
            shard: ShardId(shard),
            serial,
        })
    }

    fn channel() -> impl Strategy<Value = ChannelId> {
        (any::<u128>(), 1usize..=16).prop_map(|(bits, group)| ChannelId::from_bits(bits, group))
    }

    fn past() -> impl Strategy<Value = Time> {
        (0..=NOW.as_nanos()).prop_map(Time::from_nanos)
    }

    fn payload() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
    }

    fn ledger() -> impl Strategy<Value = Ledger> {
        use prop::collection::vec;
        let seat = (client(), channel(), prop::option::of(number()));
        let seat = seat.prop_map(|(client, channel, stamp)| Seat { client, channel, stamp });
        (vec(seat, 0..4), vec(channel(), 0..4)).prop_map(|(seats, interests)| Ledger { seats, interests })
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        use Verdict::{Absent, AddressFull, ChannelFull, NodeFull, Seated, Undecided};
        prop::sample::select(vec![Seated, NodeFull, ChannelFull, AddressFull, Absent, Undecided])
    }

    fn wish() -> impl Strategy<Value = Wish> {
        prop::sample::select(vec![Wish::Pull, Wish::Request])
    }

    fn turns() -> impl Strategy<Value = Turns> {
        use prop::collection::vec;
        let shards = vec(client().prop_map(|client| (client.life, client.shard)), 1..4);
        let turns = vec((any::<prop::sample::Index>(), number(), number()), 0..5);
        let taken = (shards, turns, prop::option::of(number())).prop_map(|(shards, turns, passed)| {
            let turns = turns.into_iter().map(|(at, serial, stamp)| (at.index(shards.len()), serial, stamp));
            Turns::Taken(Taken::read(shards.clone(), turns.collect(), passed).unwrap())
        });
        prop_oneof![taken, prop::sample::select(vec![Turns::Back, Turns::Nobody, Turns::Gone])]
    }

    fn deliver() -> impl Strategy<Value = PeerMessage> {
        let handed = prop::collection::vec((number(), number(), payload()), 1..4);
        let parts = (channel(), client(), client(), prop::option::of(number()), handed);
        parts.prop_map(|(channel, from, to, epoch, parts)| {
            let (mut frames, mut handed) = (BytesMut::new(), Vec::new());
            for (serial, stamp, payload) in parts {
                let start = frames.len();
                frame::encode(&mut frames, frame::OpCode::Text, &payload);
                let stamp = if epoch.is_some() { stamp } else { 0 };
                handed.push(Handed { serial, stamp, start, end: frames.len() });
            }
            PeerMessage::Deliver { channel, frames: frames.freeze(), from, to: (to.life, to.shard), epoch, handed }
        })
    }

    fn seating() -> impl Strategy<Value = PeerMessage> {
        use prop::option::of;
        prop_oneof![
            (client(), channel(), any::<bool>(), number())
                .prop_map(|(client, channel, pull, epoch)| PeerMessage::Seat { client, channel, pull, epoch }),
            (client(), verdict(), number(), of(number()))
                .prop_map(|(client, verdict, epoch, stamp)| { PeerMessage::Seated { client, verdict, epoch, stamp } }),
            (client(), channel()).prop_map(|(client, channel)| PeerMessage::Leave(client, channel)),
            channel().prop_map(PeerMessage::Interest),
            channel().prop_map(PeerMessage::InterestNoted),
            (channel(), past()).prop_map(|(channel, active)| PeerMessage::Disinterest(channel, active)),
            (number(), prop::collection::vec(channel(), 0..5))
                .prop_map(|(ticket, channels)| PeerMessage::Survey(Ticket(ticket), channels)),
            (number(), prop::collection::vec((number(), past()), 0..5)).prop_map(|(ticket, tallies)| {
                let tallies = tallies.into_iter().map(|(clients, active)| Tally { clients, active }).collect();
                PeerMessage::Surveyed(Ticket(ticket), tallies)
            }),
            (number(), ledger(), any::<bool>())
                .prop_map(|(epoch, ledger, more)| { PeerMessage::Reported { epoch, ledger: Box::new(ledger), more } }),
        ]
    }

    fn data() -> impl Strategy<Value = PeerMessage> {
        prop_oneof![
            (channel(), payload(), client(), any::<bool>())
                .prop_map(|(channel, frames, from, back)| PeerMessage::Publish { channel, frames, from, back }),
            (channel(), client(), wish(), 1..=LIST_MAX, number(), number()).prop_map(
                |(channel, from, wish, count, number, epoch)| {
                    PeerMessage::Ask { channel, from, wish, count, number, epoch }
                }
            ),
            (client(), number(), number(), turns()).prop_map(|(to, number, epoch, turns)| {
                PeerMessage::Turns { to: (to.life, to.shard), number, epoch, turns }
            }),
            deliver(),
            client().prop_map(PeerMessage::OriginGone),
            any::<u32>().prop_map(|bytes| PeerMessage::Credit(bytes as usize)),
            (prop::sample::select(vec![Step::Decide, Step::Send]), 1..=u64::MAX, number())
                .prop_map(|(step, life, epoch)| PeerMessage::Held(step, Life(life), epoch)),
        ]
    }

    fn bytes(message: &PeerMessage) -> Option<Bytes> {
        let mut out = BytesMut::new();
        let payload = encode(message, NOW, 1, &mut out)?;
        assert_eq!(payload.bytes(), payload.pieces().map(<[u8]>::len).sum::<usize>());
        payload.pieces().for_each(|piece| out.put_slice(piece));
        Some(out.freeze())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(message in prop_oneof![seating(), data()], cut in any::<prop::sample::Index>()) {
            let written = bytes(&message).unwrap();
            let read = decode(written.clone(), NOW, 1).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{message:?}"));
            prop_assert_eq!(decode(written.clone(), NOW, 0).map(drop), None, "no version had it then");
            // Cut short it is none, or one with a shorter payload.
            let short = written.slice(..cut.index(written.len()));
            if let Some(less) = decode(short.clone(), NOW, 1) {
                prop_assert!(message.data().is_some() && less.data().is_some());
                prop_assert_eq!(bytes(&less), Some(short));
            }
        }

        #[test]
        fn what_is_read_is_written_so(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0u8..20) {
            let mut read = vec![kind];
            read.extend_from_slice(&bytes);
            // An age beyond the origin of time has more than one encoding.
            if let Some(message) = decode(Bytes::from(read.clone()), Time::MAX, 1) {
                let mut out = BytesMut::new();
                let payload = encode(&message, Time::MAX, 1, &mut out).unwrap();
                payload.pieces().for_each(|piece| out.put_slice(piece));
                prop_assert_eq!(&out[..], &read[..]);
            }
        }
    }

    #[test]
    fn a_payload_is_a_slice_of_what_arrived_and_is_not_copied_when_written() {
        let client = ClientId { life: Life(1), shard: ShardId(2), serial: 3 };
        let frames = Bytes::from(vec![7; 100]);
        let channel = ChannelId::from_bits(9, 4);
        let message = PeerMessage::Publish { channel, frames: frames.clone(), from: client, back: true };
        let mut out = BytesMut::new();
        let Some(Payload::Whole(payload)) = encode(&message, NOW, 1, &mut out) else { panic!() };
        assert!(std::ptr::eq(payload.as_ptr(), frames.as_ptr()));
        assert!(out.len() < 20, "{} bytes beside the payload", out.len());
        let arrived = bytes(&message).unwrap();
        let Some(PeerMessage::Publish { frames, .. }) = decode(arrived.clone(), NOW, 1) else { panic!() };
        assert!(arrived.as_ptr_range().contains(&frames.as_ptr()));
    }

    #[test]
    fn of_a_run_only_what_goes_there_is_written() {
        let client = ClientId { life: Life(1), shard: ShardId(2), serial: 3 };
        let (mut frames, mut ends) = (BytesMut::new(), vec![0]);
        for payload in [b"a", b"b", b"c"] {
            frame::encode(&mut frames, frame::OpCode::Text, payload);
            ends.push(frames.len());
        }
        let part = |at: usize| Handed { serial: at as u64, stamp: 7, start: ends[at], end: ends[at + 1] };
        let message = PeerMessage::Deliver {
            channel: ChannelId::from_bits(9, 4),
            frames: frames.freeze(),
            from: client,
            to: (Life(1), ShardId(0)),
            epoch: Some(1),
            handed: vec![part(0), part(2)],
        };
        let Some(PeerMessage::Deliver { frames, handed, .. }) = decode(bytes(&message).unwrap(), NOW, 1) else {
            panic!()
        };
        let got: Vec<_> = handed.iter().map(|part| (part.serial, part.frame(&frames)[2])).collect();
        assert_eq!((got, frames.len()), (vec![(0, b'a'), (2, b'c')], 6));
    }

    #[test]
    fn what_never_crosses_nodes_has_no_bytes() {
        let here = [
            PeerMessage::Applied(1),
            PeerMessage::Lease(Time::ZERO),
            PeerMessage::Out(1),
            PeerMessage::Measure(Ticket(1)),
            PeerMessage::HeldAbroad(Step::Send, Life(1), 1),
            PeerMessage::Sealed(1, Box::default()),
            PeerMessage::Opened(1, Box::default()),
        ];
        let mut out = BytesMut::new();
        for message in here {
            assert!(encode(&message, NOW, u8::MAX, &mut out).is_none() && out.is_empty(), "{message:?}");
        }
    }

    #[test]
    fn a_list_beyond_its_limit_is_neither_written_nor_read() {
        let ids = |count| vec![ChannelId::from_bits(1, 4); count];
        assert!(bytes(&PeerMessage::Survey(Ticket(1), ids(LIST_MAX))).is_some());
        assert!(bytes(&PeerMessage::Survey(Ticket(1), ids(LIST_MAX + 1))).is_none());
        let mut long = BytesMut::new();
        long.put_u8(SURVEY);
        put_number(&mut long, 1);
        put_number(&mut long, LIST_MAX as u64 + 1);
        long.put_bytes(1, LIST_MAX + 1);
        assert!(decode(long.freeze(), NOW, 1).is_none());
    }

    #[test]
    fn time_between_nodes_is_an_age() {
        let written = bytes(&PeerMessage::Disinterest(ChannelId::from_bits(1, 4), Time::from_millis(999_000))).unwrap();
        let there = Time::from_millis(5_000);
        let read = decode(written.clone(), there, 1);
        assert!(matches!(read, Some(PeerMessage::Disinterest(_, at)) if at == Time::from_millis(4_000)));
        // A node that has not run as long ago knows no earlier time than its beginning.
        let read = decode(written, Time::ZERO, 1);
        assert!(matches!(read, Some(PeerMessage::Disinterest(_, Time::ZERO))));
    }
}
