//! Each pattern against a model that fits on a page: one node, one to three shards, everything delivered before the next
//! step, so that the model needs no choice.

// A test reports what it finds by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use wrs_core::action::{Action, Actions};
use wrs_core::boot::Boot;
use wrs_core::config::Config;
use wrs_core::id::{ConnId, ShardId};
use wrs_core::input::Input;
use wrs_core::pattern::Pattern;
use wrs_core::peer::PeerMessage;
use wrs_core::shard::Shard;
use wrs_core::time::Time;
use wrs_core::wire::deflate::Inflate;
use wrs_tests::node_sim::program::handshake;
use wrs_tests::node_sim::wire::{Piece, Stream, frame};

/// Clients that a run knows.
const CLIENTS: usize = 6;

/// What a client does.
#[derive(Clone, Debug)]
enum Step {
    Join { who: usize, echo: bool, pull: bool },
    Leave { who: usize, politely: bool },
    Say { who: usize, what: What, binary: bool },
}

#[derive(Clone, Debug)]
enum What {
    Plain,
    Request,
    Reply(usize),
    Malformed,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        3 => Just(What::Plain),
        4 => Just(What::Request),
        3 => (0..CLIENTS).prop_map(What::Reply),
        1 => Just(What::Malformed),
    ];
    prop_oneof![
        2 => (0..CLIENTS, any::<bool>(), any::<bool>()).prop_map(|(who, echo, pull)| Step::Join { who, echo, pull }),
        1 => (0..CLIENTS, any::<bool>()).prop_map(|(who, politely)| Step::Leave { who, politely }),
        6 => (0..CLIENTS, what, any::<bool>()).prop_map(|(who, what, binary)| Step::Say { who, what, binary }),
    ]
}

/// What the contract says, by hand.
#[derive(Default)]
struct Model {
    echo: BTreeMap<usize, bool>,
    queue: VecDeque<usize>,
}

/// Who gets something: the message, or an error with this code.
type Gets = Vec<(usize, Result<(), &'static str>)>;

impl Model {
    fn choose(&mut self, from: usize) -> Option<usize> {
        if self.queue.len() > 1 && self.queue.front() == Some(&from) {
            self.queue.rotate_left(1);
        }
        let chosen = self.queue.front().copied();
        self.queue.rotate_left(usize::from(chosen.is_some()));
        chosen
    }

    fn say(&mut self, pattern: Pattern, from: usize, what: &What) -> Gets {
        let others = || self.echo.keys().copied().filter(|who| *who != from);
        let error = |code| vec![(from, Err(code))];
        match (pattern, what) {
            (Pattern::Echo, _) => vec![(from, Ok(()))],
            (Pattern::PubSub, _) => {
                let wants = |(who, echo): (&usize, &bool)| (*who != from || *echo).then_some((*who, Ok(())));
                self.echo.iter().filter_map(wants).collect()
            }
            (Pattern::PushPull, _) => vec![(self.choose(from).unwrap_or(from), Ok(()))],
            (_, What::Plain | What::Malformed) => error("malformed"),
            (_, What::Reply(to)) if self.echo.contains_key(to) => vec![(*to, Ok(()))],
            (_, What::Reply(_)) => error("origin-gone"),
            (Pattern::ReqRepl, What::Request) if others().count() == 0 => error("no-recipient"),
            (Pattern::ReqRepl, What::Request) => others().map(|who| (who, Ok(()))).collect(),
            (Pattern::FanInOut, What::Request) if !self.queue.iter().any(|who| *who != from) => error("no-recipient"),
            (Pattern::FanInOut, What::Request) => self.choose(from).map(|who| (who, Ok(()))).into_iter().collect(),
        }
    }
}

struct Node {
    shards: Vec<Shard>,
    parcels: VecDeque<(usize, ShardId, PeerMessage)>,
    streams: BTreeMap<(usize, u32), Stream>,
}

impl Node {
    fn new(shards: u16) -> Node {
        static BOOTS: std::sync::OnceLock<Vec<Boot>> = std::sync::OnceLock::new();
        let made = |shards| {
            let config = Config { shards, ping_interval: None, ..Config::default() };
            Boot::new(Arc::new(config), [5; 32], 8080, None)
        };
        let boot = &BOOTS.get_or_init(|| (1..=3).map(made).collect())[usize::from(shards) - 1];
        Node {
            shards: (0..shards).map(|here| Shard::new(ShardId(here), boot.clone())).collect(),
            parcels: VecDeque::new(),
            streams: BTreeMap::new(),
        }
    }

    fn tell(&mut self, here: usize, input: Input<'_>) {
        let mut next = Some((here, input));
        while let Some((here, input)) = next {
            let mut actions = Actions::new();
            self.shards[here].handle(Time::from_millis(5), input, &mut actions);
            for action in actions.drain() {
                match action {
                    Action::Send { conn, bytes } => {
                        self.streams.entry((here, conn.index)).or_default().feed(&bytes);
                    }
                    Action::Forward { peer, message } => {
                        self.parcels.push_back((usize::from(peer.0), ShardId(here as u16), message));
                    }
                    _ => {}
                }
            }
            next = self.parcels.pop_front().map(|(here, peer, message)| (here, Input::Peer { peer, message }));
        }
    }

    fn open(&mut self, here: usize, index: u32, mut request: Vec<u8>) {
        let conn = ConnId { index, generation: 0 };
        self.tell(here, Input::Opened { conn, from: IpAddr::from([127, 0, 0, 1]) });
        self.tell(here, Input::Received { conn, bytes: &mut request });
    }

    fn read(&mut self, here: usize, index: u32) -> Vec<Piece> {
        let mut inflate = Inflate::new();
        let stream = self.streams.entry((here, index)).or_default();
        std::iter::from_fn(|| stream.next(&mut inflate).unwrap()).collect()
    }
}

fn run(pattern: Pattern, shards: u16, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut node, mut model) = (Node::new(shards), Model::default());
    let place = |who: usize| who % usize::from(shards);
    let body = format!("{{\"pattern\":\"{}\"}}", pattern.as_str());
    let request = format!("POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    node.open(0, 999, request.into_bytes());
    let Some(Piece::Answer(created)) = node.read(0, 999).pop() else { panic!("no 201") };
    let (id, token) = (created.text("id").unwrap(), created.text("token").unwrap());
    // A client's index on its shard grows with each time it joins.
    let mut index = [0u32; CLIENTS];
    let mut ids: BTreeMap<usize, String> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Join { who, .. } if model.echo.contains_key(who) => {}
            Step::Join { who, echo, pull } => {
                index[*who] += CLIENTS as u32;
                let here = place(*who);
                let query = format!("&echo={echo}&pull={pull}");
                node.open(here, index[*who] + *who as u32, handshake(&id, &query, false, 1, &token).into_bytes());
                let Some(Piece::Answer(answer)) = node.read(here, index[*who] + *who as u32).pop() else {
                    panic!("no 101")
                };
                ids.insert(*who, answer.field("wrs-client-id").unwrap().to_owned());
                model.echo.insert(*who, *echo);
                if *pull {
                    model.queue.push_back(*who);
                }
            }
            Step::Leave { who, politely } => {
                if model.echo.remove(who).is_none() {
                    continue;
                }
                model.queue.retain(|queued| queued != who);
                let conn = ConnId { index: index[*who] + *who as u32, generation: 0 };
                if *politely {
                    let mut close = Vec::new();
                    frame(&mut close, 0x88, &1000u16.to_be_bytes(), [0; 4]);
                    node.tell(place(*who), Input::Received { conn, bytes: &mut close });
                    let closed = node.read(place(*who), conn.index);
                    prop_assert_eq!(closed, vec![Piece::Frame(0x88, 1000u16.to_be_bytes().to_vec())]);
                }
                node.tell(place(*who), Input::Closed { conn });
            }
            Step::Say { who, .. } if !model.echo.contains_key(who) => {}
            Step::Say { who, what, binary } => {
                let gone = "0".repeat(32);
                let (sent, received) = match what {
                    What::Plain => (format!("message {number}"), None),
                    What::Malformed => ("{\"type\":\"request\"".to_owned(), None),
                    What::Reply(to) => (
                        format!(
                            "{{\"type\":\"reply\",\"origin\":\"{}\",\"n\":{number}}}",
                            ids.get(to).unwrap_or(&gone)
                        ),
                        None,
                    ),
                    What::Request => {
                        let sent = format!("{{\"type\":\"request\",\"n\":{number}}}");
                        let own = &ids[who];
                        let with = format!("{{\"origin\":\"{own}\",\"type\":\"request\",\"n\":{number}}}");
                        (sent, matches!(pattern, Pattern::ReqRepl | Pattern::FanInOut).then_some(with))
                    }
                };
                let mut bytes = Vec::new();
                let first = if *binary { 0x82 } else { 0x81 };
                frame(&mut bytes, first, sent.as_bytes(), [7, 8, 9, 10]);
                let conn = ConnId { index: index[*who] + *who as u32, generation: 0 };
                node.tell(place(*who), Input::Received { conn, bytes: &mut bytes });
                let expected: BTreeSet<_> = model.say(pattern, *who, what).into_iter().collect();
                let mut got = BTreeSet::new();
                for client in model.echo.keys() {
                    for piece in node.read(place(*client), index[*client] + *client as u32) {
                        let Piece::Frame(kind, payload) = piece else { panic!("an answer to no request") };
                        let payload = String::from_utf8(payload).unwrap();
                        let code = ["malformed", "no-recipient", "origin-gone"]
                            .into_iter()
                            .find(|code| payload.starts_with(&format!("{{\"type\":\"error\",\"code\":\"{code}\"")));
                        if code.is_none() {
                            prop_assert_eq!(kind, first);
                            prop_assert_eq!(&payload, received.as_ref().unwrap_or(&sent));
                        }
                        prop_assert!(got.insert((*client, code.map_or(Ok(()), Err))), "{} got it twice", client);
                    }
                }
                prop_assert_eq!(got, expected, "{:?} of {} in step {}", what, who, number);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn echo_gives_it_back(shards in 1u16..=3, steps in proptest::collection::vec(step(), 1..40)) {
        run(Pattern::Echo, shards, &steps)?;
    }

    #[test]
    fn pub_sub_gives_it_to_all(shards in 1u16..=3, steps in proptest::collection::vec(step(), 1..40)) {
        run(Pattern::PubSub, shards, &steps)?;
    }

    #[test]
    fn push_pull_gives_it_to_the_next(shards in 1u16..=3, steps in proptest::collection::vec(step(), 1..60)) {
        run(Pattern::PushPull, shards, &steps)?;
    }

    #[test]
    fn req_repl_asks_all_and_answers_one(shards in 1u16..=3, steps in proptest::collection::vec(step(), 1..60)) {
        run(Pattern::ReqRepl, shards, &steps)?;
    }

    #[test]
    fn fan_in_out_asks_the_next_and_answers_one(shards in 1u16..=3, steps in proptest::collection::vec(step(), 1..60)) {
        run(Pattern::FanInOut, shards, &steps)?;
    }
}
