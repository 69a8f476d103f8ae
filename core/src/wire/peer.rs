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
use crate::peer::{AskId, Handed, Ledger, Leg, PeerMessage, Seat, Tally, Ticket, Undelivered, Verdict, Wishes};
use crate::time::Time;
use crate::wire::compact::{Reader, put_channel, put_client, put_life, put_number, put_optional};

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
const DELIVER: u8 = 11;
const GIVEN: u8 = 12;
const STAMPED: u8 = 13;
const REFUSED: u8 = 14;
const REPORTED: u8 = 15;
const CREDIT: u8 = 16;
const HELD: u8 = 17;

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
        PeerMessage::Given(..) => (GIVEN, 1),
        PeerMessage::Stamped { .. } => (STAMPED, 1),
        PeerMessage::Refused(..) => (REFUSED, 1),
        PeerMessage::Reported { .. } => (REPORTED, 1),
        PeerMessage::Credit(..) => (CREDIT, 1),
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
        | PeerMessage::Measure(_)
        | PeerMessage::Measured(..) => return None,
    })
}

/// Appends a message but for its payload, which is returned and follows as it is (empty where there is none). `None`, and
/// nothing appended: the message never crosses nodes, is unknown to `version`, or has a list longer than [`LIST_MAX`].
pub fn encode(message: &PeerMessage, now: Time, version: u8, out: &mut BytesMut) -> Option<Bytes> {
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
        PeerMessage::Given(_, numbers) => numbers.len() <= LIST_MAX,
        PeerMessage::Ask { wishes: Wishes::Replies(origins), .. } => origins.len() <= LIST_MAX,
        PeerMessage::Deliver { handed, .. } => (1..=LIST_MAX).contains(&handed.len()),
        PeerMessage::Reported { ledger, .. } => {
            let Ledger { seats, given, decided, interests } = &**ledger;
            [seats.len(), given.len(), decided.len(), interests.len()].iter().all(|length| *length <= LIST_MAX)
        }
        _ => true,
    }
}

/// Appends the parts; the payload is returned.
fn put_body(message: &PeerMessage, now: Time, out: &mut BytesMut) -> Bytes {
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
        PeerMessage::Given(asker, numbers) => {
            put_place(out, *asker);
            put_number(out, numbers.len() as u64);
            numbers.iter().for_each(|number| put_number(out, *number));
        }
        PeerMessage::Stamped { client, epoch, stamp } => {
            put_client(out, *client);
            put_number(out, *epoch);
            put_number(out, *stamp);
        }
        PeerMessage::Refused(client, why) => {
            put_client(out, *client);
            out.put_u8(undelivered_code(*why));
        }
        PeerMessage::Reported { epoch, ledger, more } => {
            put_number(out, *epoch);
            put_ledger(out, ledger);
            out.put_u8(u8::from(*more));
        }
        PeerMessage::Credit(leg, bytes) => {
            out.put_u8(leg_code(*leg));
            put_number(out, *bytes as u64);
        }
        PeerMessage::Held(life, epoch) => {
            put_life(out, *life);
            put_number(out, *epoch);
        }
        _ => return put_data(message, out),
    }
    Bytes::new()
}

/// The messages with clients' data.
fn put_data(message: &PeerMessage, out: &mut BytesMut) -> Bytes {
    match message {
        PeerMessage::Publish { channel, frames, from, back } => {
            put_channel(out, *channel);
            put_client(out, *from);
            out.put_u8(u8::from(*back));
            frames.clone()
        }
        PeerMessage::Ask { channel, frames, from, wishes, number, epoch } => {
            put_channel(out, *channel);
            put_client(out, *from);
            put_wishes(out, wishes);
            put_number(out, *number);
            put_number(out, *epoch);
            frames.clone()
        }
        PeerMessage::Deliver { channel, frames, from, to, epoch, handed, tell } => {
            put_channel(out, *channel);
            put_client(out, *from);
            put_place(out, *to);
            out.put_u8(u8::from(*tell));
            put_optional(out, *epoch);
            put_number(out, handed.len() as u64);
            for Handed { serial, number, stamp } in handed {
                put_number(out, *serial);
                if epoch.is_some() {
                    put_number(out, *number);
                    put_optional(out, *stamp);
                }
            }
            frames.clone()
        }
        _ => Bytes::new(),
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
        ASK => {
            let (channel, from) = (reader.channel()?, reader.client()?);
            let (wishes, number, epoch) = (read_wishes(reader)?, reader.number()?, reader.number()?);
            PeerMessage::Ask { channel, from, wishes, number, epoch, frames: reader.rest() }
        }
        DELIVER => {
            let (channel, from, to, tell) = (reader.channel()?, reader.client()?, read_place(reader)?, reader.flag()?);
            let epoch = reader.optional()?;
            let handed = list(reader, 1, |reader| {
                let serial = reader.number()?;
                Some(match epoch {
                    Some(_) => Handed { serial, number: reader.number()?, stamp: reader.optional()? },
                    None => Handed { serial, number: 0, stamp: None },
                })
            })?;
            let frames = reader.rest();
            if handed.is_empty() {
                return None;
            }
            PeerMessage::Deliver { channel, from, to, epoch, handed, tell, frames }
        }
        GIVEN => {
            let asker = read_place(reader)?;
            PeerMessage::Given(asker, list(reader, 1, Reader::number)?)
        }
        STAMPED => PeerMessage::Stamped { client: reader.client()?, epoch: reader.number()?, stamp: reader.number()? },
        REFUSED => PeerMessage::Refused(reader.client()?, read_undelivered(reader)?),
        REPORTED => {
            let (epoch, ledger) = (reader.number()?, read_ledger(reader)?);
            PeerMessage::Reported { epoch, ledger: Box::new(ledger), more: reader.flag()? }
        }
        CREDIT => PeerMessage::Credit(read_leg(reader)?, reader.size()?),
        HELD => PeerMessage::Held(reader.life()?, reader.number()?),
        _ => return None,
    })
}

/// The least bytes that a client's name takes: life, shard, serial.
const CLIENT_BYTES_MIN: usize = 8 + 1 + 1;
/// The least bytes that an ask's name takes.
const ASK_BYTES_MIN: usize = CLIENT_BYTES_MIN;

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

fn put_ask(out: &mut BytesMut, ask: AskId) {
    put_place(out, (ask.life, ask.shard));
    put_number(out, ask.number);
}

fn read_ask(reader: &mut Reader) -> Option<AskId> {
    let (life, shard) = read_place(reader)?;
    Some(AskId { life, shard, number: reader.number()? })
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

fn put_wishes(out: &mut BytesMut, wishes: &Wishes) {
    match wishes {
        Wishes::Pull => out.put_u8(0),
        Wishes::Request => out.put_u8(1),
        Wishes::Replies(origins) => {
            out.put_u8(2);
            put_number(out, origins.len() as u64);
            origins.iter().for_each(|origin| put_client(out, *origin));
        }
    }
}

fn read_wishes(reader: &mut Reader) -> Option<Wishes> {
    Some(match reader.byte()? {
        0 => Wishes::Pull,
        1 => Wishes::Request,
        2 => Wishes::Replies(list(reader, CLIENT_BYTES_MIN, Reader::client)?),
        _ => return None,
    })
}

fn put_ledger(out: &mut BytesMut, ledger: &Ledger) {
    let Ledger { seats, given, decided, interests } = ledger;
    put_number(out, seats.len() as u64);
    for Seat { client, channel, stamp } in seats {
        put_client(out, *client);
        put_channel(out, *channel);
        put_optional(out, *stamp);
    }
    put_number(out, given.len() as u64);
    for ask in given {
        put_ask(out, *ask);
    }
    put_number(out, decided.len() as u64);
    for (ask, life) in decided {
        put_ask(out, *ask);
        put_life(out, *life);
    }
    put_channels(out, interests);
}

fn read_ledger(reader: &mut Reader) -> Option<Ledger> {
    fn seat(reader: &mut Reader) -> Option<Seat> {
        Some(Seat { client: reader.client()?, channel: reader.channel()?, stamp: reader.optional()? })
    }
    let seats = list(reader, CLIENT_BYTES_MIN + 2, seat)?;
    let given = list(reader, ASK_BYTES_MIN, read_ask)?;
    let decided = list(reader, ASK_BYTES_MIN + 8, |reader| Some((read_ask(reader)?, reader.life()?)))?;
    Some(Ledger { seats, given, decided, interests: read_channels(reader)? })
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

fn undelivered_code(why: Undelivered) -> u8 {
    match why {
        Undelivered::NoRecipient => 0,
        Undelivered::OriginGone => 1,
    }
}

fn read_undelivered(reader: &mut Reader) -> Option<Undelivered> {
    Some(match reader.byte()? {
        0 => Undelivered::NoRecipient,
        1 => Undelivered::OriginGone,
        _ => return None,
    })
}

fn leg_code(leg: Leg) -> u8 {
    match leg {
        Leg::Ask => 0,
        Leg::Land => 1,
    }
}

fn read_leg(reader: &mut Reader) -> Option<Leg> {
    Some(match reader.byte()? {
        0 => Leg::Ask,
        1 => Leg::Land,
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

    fn ask() -> impl Strategy<Value = AskId> {
        (any::<u64>(), any::<u16>(), number()).prop_map(|(life, shard, number)| AskId {
            life: Life(life),
            shard: ShardId(shard),
            number,
        })
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
        let decided = (ask(), any::<u64>()).prop_map(|(ask, life)| (ask, Life(life)));
        (vec(seat, 0..4), vec(ask(), 0..4), vec(decided, 0..4), vec(channel(), 0..4))
            .prop_map(|(seats, given, decided, interests)| Ledger { seats, given, decided, interests })
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        use Verdict::{Absent, AddressFull, ChannelFull, NodeFull, Seated, Undecided};
        prop::sample::select(vec![Seated, NodeFull, ChannelFull, AddressFull, Absent, Undecided])
    }

    fn wishes() -> impl Strategy<Value = Wishes> {
        let replies = prop::collection::vec(client(), 0..4).prop_map(Wishes::Replies);
        prop_oneof![Just(Wishes::Pull), Just(Wishes::Request), replies]
    }

    fn handed() -> impl Strategy<Value = Handed> {
        let parts = (number(), number(), prop::option::of(number()));
        parts.prop_map(|(serial, number, stamp)| Handed { serial, number, stamp })
    }

    fn deliver() -> impl Strategy<Value = PeerMessage> {
        let handed = prop::collection::vec(handed(), 1..4);
        let parts = (channel(), payload(), client(), client(), prop::option::of(number()), any::<bool>(), handed);
        parts.prop_map(|(channel, frames, from, to, epoch, tell, mut handed)| {
            if epoch.is_none() {
                handed.iter_mut().for_each(|handed| *handed = Handed { number: 0, stamp: None, ..*handed });
            }
            PeerMessage::Deliver { channel, frames, from, to: (to.life, to.shard), epoch, handed, tell }
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
            (channel(), payload(), client(), wishes(), number(), number()).prop_map(
                |(channel, frames, from, wishes, number, epoch)| {
                    PeerMessage::Ask { channel, frames, from, wishes, number, epoch }
                }
            ),
            deliver(),
            (client(), prop::collection::vec(number(), 0..5))
                .prop_map(|(asker, numbers)| PeerMessage::Given((asker.life, asker.shard), numbers)),
            (client(), number(), number()).prop_map(|(client, epoch, stamp)| PeerMessage::Stamped {
                client,
                epoch,
                stamp
            }),
            (client(), prop::sample::select(vec![Undelivered::NoRecipient, Undelivered::OriginGone]))
                .prop_map(|(client, why)| PeerMessage::Refused(client, why)),
            (prop::sample::select(vec![Leg::Ask, Leg::Land]), any::<u32>())
                .prop_map(|(leg, bytes)| PeerMessage::Credit(leg, bytes as usize)),
            (1..=u64::MAX, number()).prop_map(|(life, epoch)| PeerMessage::Held(Life(life), epoch)),
        ]
    }

    fn bytes(message: &PeerMessage) -> Option<Bytes> {
        let mut out = BytesMut::new();
        let payload = encode(message, NOW, 1, &mut out)?;
        out.put_slice(&payload);
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
                out.put_slice(&payload);
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
        let payload = encode(&message, NOW, 1, &mut out).unwrap();
        assert!(std::ptr::eq(payload.as_ptr(), frames.as_ptr()));
        assert!(out.len() < 20, "{} bytes beside the payload", out.len());
        let arrived = bytes(&message).unwrap();
        let Some(PeerMessage::Publish { frames, .. }) = decode(arrived.clone(), NOW, 1) else { panic!() };
        assert!(arrived.as_ptr_range().contains(&frames.as_ptr()));
    }

    #[test]
    fn what_never_crosses_nodes_has_no_bytes() {
        let here = [
            PeerMessage::Applied(1),
            PeerMessage::Lease(Time::ZERO),
            PeerMessage::Out(1),
            PeerMessage::Measure(Ticket(1)),
            PeerMessage::HeldAbroad(Life(1), 1),
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
