//! Two gates and the wire between them, cut wherever it hurts.

mod rig;

use proptest::prelude::*;

use super::*;
use rig::{Rig, address, gate, introduction, life};

/// Two nodes that expect each other, linked.
fn pair(seed: u64) -> Rig {
    let mut rig = Rig::new(2, seed);
    rig.expect(1, &[2]);
    rig.expect(2, &[1]);
    rig.run_until(500);
    assert_eq!((rig.ups(1), rig.ups(2)), (vec![(true, life(2))], vec![(true, life(1))]));
    rig
}

fn posts(rig: &Rig, n: usize) -> Vec<Bytes> {
    let post = |heard: &Heard| match heard {
        Heard::Post(_, bytes) => Some(bytes.clone()),
        _ => None,
    };
    rig.heard[n - 1].iter().filter_map(post).collect()
}

#[test]
fn two_that_expect_each_other_make_one_link_and_the_lower_life_dials() {
    let rig = pair(1);
    assert_eq!(rig.sent.keys().filter(|(_, end)| *end == 0).count(), 1, "one connection");
    for gate in &rig.gates {
        let view: Vec<_> = gate.views().collect();
        assert!(view.len() == 1 && view[0].up.as_ref().is_some_and(|up| up.version == VERSION), "{view:?}");
    }
    assert!(rig.events.iter().all(|event| matches!(event, Event::LinkUp { .. })), "{:?}", rig.events);
}

#[test]
fn words_and_mail_arrive_and_are_acknowledged() {
    let mut rig = pair(1);
    assert!(rig.at(1, |gate, _, _| gate.post(life(2), &Bytes::from_static(b"once"))));
    for number in 0..100 {
        rig.write(1, 2, number);
    }
    assert!(rig.gates[0].unacknowledged(life(2)) > 0);
    rig.run_until(600);
    assert_eq!(posts(&rig, 2), [&b"once"[..]]);
    assert_eq!(rig.numbers(1, 2), (0..100).collect::<Vec<_>>());
    assert_eq!(rig.gates[0].unacknowledged(life(2)), 0);
    let view = rig.gates[0].views().next().unwrap().up.unwrap();
    assert!(view.round_trip.is_some_and(|time| time <= Duration::from_millis(6)), "{view:?}");
    assert_eq!(view.messages_out, 101);
}

#[test]
fn what_is_posted_while_the_link_is_down_is_dropped_and_mail_waits() {
    let mut rig = Rig::new(2, 1);
    assert!(!rig.at(1, |gate, _, _| gate.post(life(2), &Bytes::from_static(b"lost"))));
    rig.write(1, 2, 7);
    rig.expect(1, &[2]);
    rig.run_until(500);
    assert!(posts(&rig, 2).is_empty());
    assert_eq!(rig.numbers(1, 2), [7]);
}

#[test]
fn a_link_that_is_lost_is_made_again() {
    let mut rig = pair(1);
    for at in [1_000, 5_000] {
        rig.run_until(at);
        let wire = rig.open_wires()[0];
        rig.cut(wire, false);
        rig.run_until(at + 3_000);
        assert_eq!(rig.open_wires().len(), 1);
    }
    let (up, down) = ((true, life(2)), (false, life(2)));
    assert_eq!(rig.ups(1), [up, down, up, down, up]);
}

#[test]
fn a_link_that_falls_silent_is_closed_and_made_again() {
    let mut rig = pair(1);
    let wire = rig.open_wires()[0];
    rig.cut(wire, true);
    rig.run_until(500 + 2_000 - 300);
    assert_eq!(rig.ups(1).len(), 1, "not yet");
    rig.run_until(500 + 2_000 + 1_000);
    assert_eq!(rig.ups(1), [(true, life(2)), (false, life(2)), (true, life(2))]);
    assert!(rig.events.iter().any(|event| matches!(event, Event::LinkDown { why, .. } if why.contains("nothing"))));
}

#[test]
fn a_node_that_slept_does_not_blame_the_others() {
    let mut rig = pair(1);
    let gate = &mut rig.gates[0];
    let (mut now, mut out) = (Time::from_millis(60_000), Actions::new());
    gate.timeout(now, &mut out);
    gate.flush(now, &mut out);
    assert!(gate.is_up(life(2)));
    while gate.is_up(life(2)) {
        now = gate.deadline().unwrap();
        gate.timeout(now, &mut out);
        gate.flush(now, &mut out);
    }
    assert_eq!(now, Time::from_millis(62_000), "from there on it listens as long as ever");
}

#[test]
fn an_idle_link_stays_up() {
    let mut rig = pair(1);
    rig.run_until(60_000);
    assert_eq!((rig.ups(1).len(), rig.ups(2).len()), (1, 1));
    let said: usize = rig.sent.values().map(Vec::len).sum();
    assert!(said < 16_000, "{said} bytes in a minute");
}

#[test]
fn a_new_connection_takes_the_place_of_one_that_only_the_other_end_thinks_alive() {
    for loser in [1, 2] {
        let mut rig = pair(1);
        rig.run_until(2_000);
        let (wire, end) = (rig.open_wires()[0], loser - 1);
        rig.cut(wire, true);
        // One end notices at once and dials; the other has heard nothing of it.
        let conn = ConnId { index: wire, generation: end as u32 };
        assert!(rig.gates[end].has(conn));
        rig.at(loser, |gate, now, out| gate.broken(now, conn, "reset".to_owned(), out));
        rig.forget_socket(wire, end);
        rig.run_until(3_900);
        for n in [1, 2] {
            assert_eq!(rig.ups(n), [true, false, true].map(|up| (up, life(3 - n))), "node {n}");
        }
    }
}

#[test]
fn nodes_that_meet_at_once_have_one_link_each() {
    for seed in 0..50 {
        let mut rig = Rig::new(4, seed);
        for n in 1..=4 {
            for other in (1..=4).filter(|other| *other != n) {
                rig.at(n, |gate, _, _| gate.meet(address(other)));
            }
        }
        rig.run_until(1_500);
        assert_eq!(rig.open_wires().len(), 6, "one wire for each two of four");
        for n in 1..=4 {
            let met = rig.heard[n - 1].iter().filter(|heard| matches!(heard, Heard::Met { .. })).count();
            assert_eq!(met, 3, "{:?}", rig.heard[n - 1]);
            assert_eq!(rig.ups(n).len(), 3, "nobody's link flaps: {:?}", rig.ups(n));
        }
    }
}

#[test]
fn meeting_a_node_that_is_linked_leaves_the_link_as_it_is() {
    for n in [1, 2] {
        let mut rig = pair(1);
        rig.run_until(3_000);
        let dial = rig.at(n, |gate, _, _| gate.meet(address(3 - n)));
        rig.run_until(5_000);
        let met = |heard: &Heard| matches!(heard, Heard::Met { dial: of, life: met, .. } if *of == dial && *met == life(3 - n));
        assert!(rig.heard[n - 1].iter().any(met), "{:?}", rig.heard[n - 1]);
        assert_eq!((rig.ups(1).len(), rig.ups(2).len(), rig.open_wires().len()), (1, 1, 1));
        assert!(rig.events.iter().all(|event| matches!(event, Event::LinkUp { .. })), "{:?}", rig.events);
    }
}

#[test]
fn a_node_that_cannot_be_reached_is_dialed_less_and_less_until_nobody_expects_it() {
    let mut rig = Rig::new(1, 1);
    rig.at(1, |gate, now, _| gate.expect(now, vec![(Life(900), address(9))]));
    rig.run_until(1_000);
    let early = rig.gates[0].last_dial;
    rig.run_until(60_000);
    let late = rig.gates[0].last_dial - early;
    assert!((3..=6).contains(&early) && (20..=50).contains(&late), "{early}, then {late}");
    rig.expect(1, &[]);
    rig.run_until(120_000);
    assert_eq!(rig.gates[0].last_dial, early + late);
    assert!(rig.gates[0].deadline().is_none() && rig.gates[0].peers.is_empty());
}

#[test]
fn who_cannot_be_met_is_said_with_a_reason() {
    let mut rig = Rig::with(vec![gate(1, "secret"), gate(2, "another")], 1);
    let dials: Vec<DialId> = [1, 2, 9].map(|n| rig.at(1, |gate, _, _| gate.meet(address(n)))).into();
    rig.run_until(2_000);
    let unmet = |dial: DialId| {
        rig.heard[0].iter().find_map(|heard| match heard {
            Heard::Unmet { dial: of, why } if *of == dial => Some(why.clone()),
            _ => None,
        })
    };
    assert_eq!(unmet(dials[0]), None, "it is this node itself");
    assert_eq!(unmet(dials[1]), Some(LinkEnd::Refused(LinkFault::Secret)));
    assert_eq!(unmet(dials[2]), Some(LinkEnd::Unreachable("nobody is there".to_owned())));
    assert!(rig.heard[1].is_empty(), "{:?}", rig.heard[1]);
    assert!(rig.open_wires().is_empty());
}

#[test]
fn a_copy_of_a_node_is_named_and_meeting_oneself_is_no_fault() {
    let mut rig = Rig::new(2, 1);
    rig.at(1, |gate, _, _| gate.meet(address(1)));
    rig.run_until(2_000);
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    let oneself = |heard: &Heard| matches!(heard, Heard::Met { introduction: own, .. } if *own == introduction(1));
    assert!(rig.heard[0].len() == 1 && oneself(&rig.heard[0][0]), "{:?}", rig.heard[0]);
    assert!(rig.gates[0].conns.is_empty() && rig.gates[0].peers.is_empty());
    rig.at(2, |gate, now, out| gate.set_introduction(now, Introduction { node: NodeId(1), ..introduction(2) }, out));
    rig.at(1, |gate, _, _| gate.meet(address(2)));
    rig.run_until(4_000);
    let fault = LinkEnd::Fault(LinkFault::Double);
    assert!(matches!(&rig.heard[0][..], [_, Heard::Unmet { why, .. }] if *why == fault), "{:?}", rig.heard[0]);
    assert_eq!(rig.events.len(), 2, "{:?}", rig.events);
}

#[test]
fn versions_and_id_lengths_must_fit() {
    let mut other = gate(2, "secret");
    other.versions = Versions { oldest: 2, newest: 3 };
    let mut rig = Rig::with(vec![gate(1, "secret"), other], 1);
    rig.at(1, |gate, _, _| gate.meet(address(2)));
    rig.run_until(2_000);
    let fault = LinkEnd::Fault(LinkFault::Version { oldest: 2, newest: 3 });
    assert!(matches!(&rig.heard[0][..], [Heard::Unmet { why, .. }] if *why == fault), "{:?}", rig.heard[0]);

    let mut rig = Rig::new(2, 1);
    rig.at(2, |gate, now, out| gate.set_introduction(now, Introduction { id_length: 8, ..introduction(2) }, out));
    rig.at(1, |gate, _, _| gate.meet(address(2)));
    rig.run_until(2_000);
    let fault = LinkEnd::Fault(LinkFault::IdLength { theirs: 8 });
    assert!(matches!(&rig.heard[0][..], [Heard::Unmet { why, .. }] if *why == fault), "{:?}", rig.heard[0]);
}

#[test]
fn the_newest_version_that_both_speak_is_spoken() {
    let mut other = gate(2, "secret");
    other.versions = Versions { oldest: 1, newest: 7 };
    let mut rig = Rig::with(vec![gate(1, "secret"), other], 1);
    rig.expect(1, &[2]);
    rig.run_until(500);
    assert!(rig.gates.iter().all(|gate| gate.views().next().unwrap().up.unwrap().version == 1));
}

#[test]
fn no_byte_of_hello_or_proof_can_be_changed_on_the_way() {
    let rig = pair(1);
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    assert!(rig.sent.values().all(|sent| sent.len() > 100));
    use super::hello::{Handshake, Role};
    let shake = |flip: Option<(usize, usize)>| -> bool {
        let (mut to_acceptor, mut to_dialer) = (BytesMut::new(), BytesMut::new());
        let mut dialer = Handshake::new(Role::Dialer, Versions::OURS, introduction(1), 1, [1; 32], &mut to_acceptor);
        let mut acceptor = Handshake::new(Role::Acceptor, Versions::OURS, introduction(2), 1, [2; 32], &mut to_dialer);
        let mut frames = [frame::Frames::default(), frame::Frames::default()];
        let mut seen = [0, 0];
        let mut proven = [false, false];
        for _ in 0..4 {
            for (way, handshake) in [(0, &mut acceptor), (1, &mut dialer)] {
                let bytes = if way == 0 { &mut to_acceptor } else { &mut to_dialer };
                let mut bytes = bytes.split();
                if let Some((flipped, at)) = flip
                    && flipped == way
                    && (seen[way]..seen[way] + bytes.len()).contains(&at)
                {
                    bytes[at - seen[way]] ^= 1;
                }
                seen[way] += bytes.len();
                frames[way].push(&bytes);
                let answer = if way == 0 { &mut to_dialer } else { &mut to_acceptor };
                loop {
                    match frames[way].next(hello::FRAME_BYTES_MAX) {
                        Ok(Some((kind, body))) => match handshake.heard(kind, body, &secret, answer) {
                            Ok(now) => proven[way] |= now,
                            Err(_) => return false,
                        },
                        Ok(None) => break,
                        Err(_) => return false,
                    }
                }
            }
        }
        assert!(flip.is_some_and(|(way, at)| at >= seen[way]) || flip.is_none() || proven != [true; 2]);
        proven == [true; 2]
    };
    assert!(shake(None));
    for way in 0..2 {
        for at in 0..110 {
            assert!(!shake(Some((way, at))), "byte {at} of way {way}");
        }
    }
}

#[test]
fn a_stranger_hears_a_hello_and_no_proof() {
    let mut gate = gate(1, "secret");
    let (conn, mut out) = (ConnId { index: 0, generation: 0 }, Actions::new());
    let from = SocketAddr::from(([192, 0, 2, 9], 9));
    gate.linked(Time::ZERO, conn, from, None, &mut out);
    // Its own hello, back to it but for another node's names.
    let mut hello = BytesMut::new();
    let _ = hello::Handshake::new(hello::Role::Dialer, Versions::OURS, introduction(2), 1, [3; 32], &mut hello);
    gate.received(Time::ZERO, conn, &hello, &mut out);
    let said: usize =
        out.drain().map(|action| if let Action::Send { bytes, .. } = action { bytes.len() } else { 0 }).sum();
    assert!(said < 100, "{said}");
    // A proof without the secret.
    let mut proof = BytesMut::new();
    frame::put(&mut proof, frame::PROOF, &[0; 32]);
    gate.received(Time::ZERO, conn, &proof, &mut out);
    let actions: Vec<Action> = out.drain().collect();
    assert!(
        matches!(&actions[..], [
            Action::Send { .. },
            Action::Finish { .. },
            Action::Report(Event::LinkRefused { why, .. })
        ] if why == "it has another WRS_CLUSTER_SECRET"),
        "{actions:?}"
    );
    assert!(gate.next_heard().is_none());
    // It may read that for a while.
    gate.timeout(Time::from_millis(1_000), &mut out);
    assert!(matches!(out.drain().next(), Some(Action::Close { .. })) && !gate.has(conn));
}

#[test]
fn who_only_says_again_what_it_hears_is_not_taken_for_the_node_itself() {
    let (mut gate, mut out) = (gate(1, "secret"), Actions::new());
    let (conn, from) = (ConnId { index: 0, generation: 0 }, SocketAddr::from(([192, 0, 2, 9], 9)));
    let dial = gate.meet(address(9));
    gate.linked(Time::ZERO, conn, from, Some(dial), &mut out);
    for _ in 0..3 {
        let said: Vec<Bytes> = out
            .drain()
            .filter_map(|action| if let Action::Send { bytes, .. } = action { Some(bytes) } else { None })
            .collect();
        gate.received(Time::ZERO, conn, &said.concat(), &mut out);
    }
    let heard = gate.next_heard();
    assert!(matches!(heard, Some(Heard::Unmet { why: LinkEnd::Fault(LinkFault::Secret), .. })), "{heard:?}");
}

#[test]
fn strangers_are_few_and_have_little_time() {
    let (mut gate, mut out) = (gate(1, "secret"), Actions::new());
    let max = gate.config.unproven_links_max as u32;
    for index in 0..max + 3 {
        let conn = ConnId { index, generation: 0 };
        gate.linked(Time::from_millis(index.into()), conn, SocketAddr::from(([192, 0, 2, 9], 9)), None, &mut out);
        gate.received(Time::from_millis(index.into()), conn, b"wrs-l", &mut out);
    }
    assert_eq!(gate.conns.len() as u32, max);
    assert!(!gate.has(ConnId { index: 2, generation: 0 }) && gate.has(ConnId { index: 3, generation: 0 }));
    let lines = out.drain().filter(|action| matches!(action, Action::Report(_))).count();
    assert_eq!(lines, 3);
    gate.timeout(Time::from_millis(11_000), &mut out);
    let lines = out.drain().filter(|action| matches!(action, Action::Report(_))).count();
    assert_eq!(lines as u32, REFUSAL_LINES, "the log is not filled");
    gate.timeout(Time::from_millis(20_000), &mut out);
    assert!(gate.conns.is_empty() && gate.deadline().is_none());
}

#[test]
fn a_life_that_has_ended_gets_and_gives_no_mail_but_can_be_told() {
    let mut rig = pair(1);
    rig.write(1, 2, 1);
    rig.write(2, 1, 1);
    rig.run_until(600);
    rig.at(1, |gate, now, out| gate.forget(now, life(2), out));
    assert!(!rig.at(1, |gate, now, _| gate.mail(
        now,
        life(2),
        &PeerMessage::Interest(crate::id::ChannelId::from_bits(1, 4))
    )));
    rig.write(2, 1, 2);
    rig.run_until(5_000);
    assert!(rig.gates.iter().enumerate().all(|(n, gate)| gate.is_up(life(2 - n))), "it dials again");
    assert_eq!((rig.numbers(1, 2), rig.numbers(2, 1)), (vec![1], vec![1]));
    assert!(rig.at(1, |gate, _, _| gate.post(life(2), &Bytes::from_static(b"you are out"))));
    rig.run_until(5_100);
    assert_eq!(posts(&rig, 2), [&b"you are out"[..]]);
}

#[test]
fn a_new_life_begins_with_new_links_and_without_the_old_mail() {
    let mut rig = pair(1);
    rig.write(1, 2, 1);
    rig.run_until(600);
    let new = Introduction { life: Life(500), ..introduction(1) };
    rig.at(1, |gate, now, out| gate.set_introduction(now, new, out));
    rig.run_until(3_000);
    assert!(rig.gates[0].is_up(life(2)) && rig.gates[1].is_up(Life(500)) && !rig.gates[1].is_up(life(1)));
    let interest = PeerMessage::Interest(crate::id::ChannelId::from_bits(1, 4));
    assert!(rig.at(1, |gate, now, _| gate.mail(now, life(2), &interest)));
    rig.run_until(3_100);
    assert_eq!(rig.mail[&(2, Life(500))].len(), 1);
    // Who dials the old life finds the new one.
    let succeeded =
        rig.heard[1].iter().any(|heard| matches!(heard, Heard::Succeeded { life: old, .. } if *old == life(1)));
    assert!(succeeded, "{:?}", rig.heard[1]);
}

#[test]
fn what_a_node_newly_says_of_itself_is_told_over_the_links() {
    let mut rig = pair(1);
    let new = Introduction { cluster: Some(9), channels: true, ..introduction(1) };
    rig.at(1, |gate, now, out| gate.set_introduction(now, new.clone(), out));
    rig.run_until(600);
    let told = rig.heard[1].iter().find_map(|heard| match heard {
        Heard::Told { life, introduction } => Some((*life, introduction.clone())),
        _ => None,
    });
    assert_eq!(told, Some((life(1), new)));
    assert_eq!(rig.ups(2).len(), 1, "the link stays");
}

#[test]
fn hanging_up_lets_the_last_word_arrive() {
    let mut rig = Rig::new(2, 1);
    rig.at(1, |gate, _, _| gate.meet(address(2)));
    rig.run_until(500);
    rig.at(2, |gate, now, out| {
        assert!(gate.post(life(1), &Bytes::from_static(b"no")));
        gate.hang_up(now, life(1), out);
    });
    rig.run_until(5_000);
    assert_eq!(posts(&rig, 1), [&b"no"[..]]);
    assert_eq!(rig.ups(1), [(true, life(2)), (false, life(2))]);
    assert!(rig.gates.iter().all(|gate| gate.conns.is_empty() && gate.peers.is_empty() && gate.deadline().is_none()));
}

#[test]
fn nobody_who_does_not_read_makes_a_link_hold_more_than_it_may() {
    let mut rig = pair(1);
    rig.unsent_max = u64::MAX - 1;
    rig.random = Random::from_key([1; 32]);
    let conn = ConnId { index: 0, generation: 0 };
    rig.at(1, |gate, now, out| {
        let large = Bytes::from(vec![0; 3 << 20]);
        let posted = (0..10).filter(|_| gate.post(life(2), &large)).count();
        assert_eq!(posted, 6, "words that are sent once are dropped");
        gate.flush(now, out);
        assert!(!gate.flushed(conn, 18 << 20));
        let mut before = 0;
        for turn in 0..1_000 {
            gate.frame(now, life(2), PING, Bytes::from_static(&[5])).unwrap();
            gate.flush(now, out);
            let sent: usize = out.drain().filter(|action| matches!(action, Action::Send { .. })).count();
            before += if turn == 0 { 0usize } else { sent };
        }
        assert_eq!(before, 0, "questions are not answered while answers cannot be sent");
        assert!(gate.flushed(conn, 0), "now the last one is");
        assert!(!gate.flushed(conn, 0));
    });
}

/// Sends mail in both directions while wires are cut, fall silent and are dialed twice, and nothing is lost, doubled or out of
/// order.
fn chaos(seed: u64) {
    let mut rig = Rig::new(2, seed);
    rig.delay_ms_max = [1, 5, 40][seed as usize % 3];
    rig.pieces = seed.is_multiple_of(2);
    rig.unsent_max = [0, 2 << 20][(seed / 2) as usize % 2];
    rig.expect(1, &[2]);
    rig.expect(2, &[1]);
    let mut written = [0u64; 2];
    let mut at = 1;
    while at < 8_000 {
        at += 1 + rig.random.below(60);
        rig.run_until(at);
        match rig.random.below(24) {
            0..2 => {
                if let Some(wire) = rig.open_wires().first().copied() {
                    let dark = rig.random.below(4) == 0;
                    rig.cut(wire, dark);
                }
            }
            2 => drop(rig.at(1, |gate, _, _| gate.meet(address(2)))),
            3 => drop(rig.at(2, |gate, _, _| gate.meet(address(1)))),
            4 => rig.at(2, |gate, now, out| gate.hang_up(now, life(1), out)),
            _ => {
                let from = 1 + rig.random.below(2) as usize;
                for _ in 0..rig.random.below(30) {
                    rig.write(from, 3 - from, written[from - 1]);
                    written[from - 1] += 1;
                }
            }
        }
    }
    rig.unsent_max = 0;
    rig.run_until(at + 15_000);
    for from in [1, 2] {
        assert_eq!(rig.numbers(from, 3 - from), (0..written[from - 1]).collect::<Vec<_>>(), "from {from}");
        assert_eq!(rig.gates[from - 1].unacknowledged(life(3 - from)), 0);
        let ups = rig.ups(from);
        assert!(ups.chunks(2).all(|pair| pair[0].0 && pair.get(1).is_none_or(|down| !down.0)), "up and down in turn");
        assert!(rig.gates[from - 1].is_up(life(3 - from)));
    }
    assert_eq!(rig.open_wires().len(), 1);
    let fault = |event: &&Event| matches!(event, Event::LinkRefused { why, .. } if !why.contains("in time"));
    let refused = rig.events.iter().find(fault);
    assert!(refused.is_none(), "{refused:?}");
}

/// Nodes whose lives end and begin anew, while they write to each other and wires are cut: mail between two lives is never
/// mixed with that of others, never has a gap, and between those that last it is whole.
fn rebirths(seed: u64) {
    const NODES: usize = 3;
    let mut rig = Rig::new(NODES, seed);
    rig.pieces = true;
    let others = |n: usize| (1..=NODES).filter(|other| *other != n).collect::<Vec<_>>();
    let mut written: BTreeMap<(Life, Life), (usize, u64)> = BTreeMap::new();
    let mut next_life = 1_000;
    for n in 1..=NODES {
        rig.expect(n, &others(n));
    }
    let mut at = 1;
    while at < 6_000 {
        at += 1 + rig.random.below(60);
        rig.run_until(at);
        let n = 1 + rig.random.below(NODES as u64) as usize;
        match rig.random.below(40) {
            0 => {
                let wires = rig.open_wires();
                if let Some(wire) = wires.get(rig.random.below(wires.len() as u64) as usize) {
                    rig.cut(*wire, false);
                }
            }
            1 => {
                // Above or below the others' lives.
                next_life += 1;
                let new = if rig.random.below(2) == 0 { Life(next_life) } else { Life(1_000_000 - next_life) };
                let old = std::mem::replace(&mut rig.lives[n - 1], new);
                let introduction = Introduction { life: new, ..introduction(n as u64) };
                rig.at(n, |gate, now, out| gate.set_introduction(now, introduction, out));
                for other in others(n) {
                    rig.at(other, |gate, now, out| gate.forget(now, old, out));
                    rig.expect(other, &others(other));
                }
            }
            _ => {
                let others = others(n);
                let to = others[rig.random.below(others.len() as u64) as usize];
                let (_, count) = written.entry((rig.lives[n - 1], rig.lives[to - 1])).or_insert((to, 0));
                let (from, number) = (*count, rig.random.below(20));
                *count += number;
                for serial in from..from + number {
                    rig.write(n, to, serial);
                }
            }
        }
    }
    rig.run_until(at + 15_000);
    for ((from, to), (node, count)) in written {
        let said = rig.said(from, to, node);
        assert_eq!(said, (0..said.len() as u64).collect::<Vec<_>>(), "from {from} to {to}");
        let last = rig.lives.contains(&from) && rig.lives.contains(&to);
        assert!(if last { said.len() as u64 == count } else { said.len() as u64 <= count }, "from {from} to {to}");
    }
    for n in 1..=NODES {
        let views: Vec<LinkView> = rig.gates[n - 1].views().collect();
        assert!(views.len() == NODES - 1 && views.iter().all(|view| view.up.is_some()), "{views:?}");
    }
    assert_eq!(rig.open_wires().len(), NODES * (NODES - 1) / 2);
}

#[test]
fn a_frame_that_is_too_long_ends_the_link_and_both_say_why() {
    let mut rig = pair(1);
    let conn = ConnId { index: 0, generation: 1 };
    let mut claim = BytesMut::new();
    crate::wire::compact::put_number(&mut claim, FRAME_BYTES_MIN as u64 + 6);
    rig.at(2, |gate, now, out| gate.received(now, conn, &claim, out));
    rig.run_until(530);
    let why = |n: usize| {
        rig.events.iter().find_map(|event| match event {
            Event::LinkDown { life: of, why, .. } if *of == life(n) => Some(why.as_str()),
            _ => None,
        })
    };
    assert_eq!(why(1), Some("it sent a frame that is too long"));
    assert_eq!(why(2), Some("the other node refuses this one: it sent a frame that is too long"));
    let mut metrics = crate::metrics::Metrics::default();
    rig.gates[1].count(&mut metrics);
    assert_eq!(metrics.counter(crate::metrics::Counter::LinkFaults), 1);
    assert_eq!(metrics.gauge(crate::metrics::Gauge::Links), 0);
    assert!(metrics.counter(crate::metrics::Counter::LinkBytesIn) > 100);
}

#[test]
fn no_more_nodes_are_known_than_may_be() {
    let mut rig = Rig::new(2, 1);
    for n in 0..NODES_MAX as u64 {
        rig.gates[0].peers.insert(Life(1_000 + n), Peer::default());
    }
    let interest = PeerMessage::Interest(crate::id::ChannelId::from_bits(1, 4));
    assert!(!rig.at(1, |gate, now, _| gate.mail(now, life(2), &interest)));
    rig.at(2, |gate, _, _| gate.meet(address(1)));
    rig.run_until(500);
    assert!(rig.ups(1).is_empty() && !rig.gates[1].is_up(life(1)));
    let full = rig
        .events
        .iter()
        .any(|event| matches!(event, Event::LinkRefused { why, .. } if why == "too many nodes are known"));
    assert!(full, "{:?}", rig.events);
    let mut ended = Ended::default();
    for n in 0..=ENDED_MAX as u64 {
        ended.add(Life(n));
        ended.add(Life(n));
    }
    assert!(!ended.holds(Life(0)) && ended.holds(Life(1)) && ended.lives.len() == ENDED_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn all_mail_arrives_once_and_in_order_whatever_the_cuts(seed in any::<u64>()) {
        chaos(seed);
    }

    #[test]
    fn what_was_written_between_two_lives_is_theirs_alone(seed in any::<u64>()) {
        rebirths(seed);
    }

    #[test]
    fn another_secret_never_gets_past(seed in any::<u64>(), secret in "[a-z]{0,8}") {
        prop_assume!(secret != "secret");
        let mut rig = Rig::with(vec![gate(1, "secret"), gate(2, &secret)], seed);
        rig.pieces = true;
        rig.expect(1, &[2]);
        rig.expect(2, &[1]);
        rig.write(1, 2, 1);
        rig.run_until(5_000);
        prop_assert!(rig.heard.iter().all(Vec::is_empty));
        prop_assert!(rig.mail.is_empty());
    }
}
