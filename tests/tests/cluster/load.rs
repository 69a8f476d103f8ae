//! Traffic that goes on while a scenario does harm, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrs_tests::real::{Answer, Channel, Got, Server, Ws, attempt};

/// The times that a node has by default, which clusters of these tests make shorter: for scenarios that wait for no election, and
/// in which no node is to be starved of its lease by a busy machine.
pub const DEFAULT_TIMES: [&str; 3] =
    ["WRS_NODE_HEARTBEAT=300", "WRS_NODE_MIN_ELECTION_TIMEOUT=2000", "WRS_NODE_MAX_ELECTION_TIMEOUT=3000"];
/// Between two messages of a sender.
const PACE: Duration = Duration::from_millis(2);
/// After how long without an answer none is waited for any more.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);
/// After how long without a message no more is expected.
const QUIET: Duration = Duration::from_secs(1);

/// What a sender did.
pub struct Sent {
    /// How many messages it wrote: `0..count` with its name before each.
    pub count: u64,
    /// How its connection ended, if not because it was told to stop.
    pub closed: Option<Got>,
}

/// What a receiver saw.
pub struct Heard {
    /// The numbers by sender, in the order they came.
    pub messages: BTreeMap<String, Vec<u64>>,
    /// What else it was told.
    pub told: Vec<String>,
    /// The code its connection was closed with; `None` if it ended without.
    pub code: Option<u16>,
    /// The longest time between two messages.
    pub gap: Duration,
}

impl Heard {
    /// All messages as text.
    pub fn all(&self) -> impl Iterator<Item = (String, u64)> {
        self.messages.iter().flat_map(|(name, numbers)| numbers.iter().map(|number| (name.clone(), *number)))
    }

    /// Checks that nothing came twice or out of order.
    #[track_caller]
    pub fn in_order(&self) {
        for (name, numbers) in &self.messages {
            assert!(numbers.is_sorted_by(|a, b| a < b), "from {name}: {numbers:?}");
        }
    }

    /// Checks that all of a sender's messages came.
    #[track_caller]
    pub fn whole(&self, name: &str, count: u64) {
        let numbers = self.messages.get(name).cloned().unwrap_or_default();
        let missing: Vec<u64> = (0..count).filter(|number| numbers.binary_search(number).is_err()).collect();
        assert!(missing.is_empty(), "of {count} from {name} miss {missing:?}");
    }
}

/// What became of a client that asks.
pub struct Asked {
    /// How many requests it wrote: `0..count` with its name in each.
    pub count: u64,
    /// The numbers of those that were answered, in the order the answers came.
    pub answered: Vec<u64>,
    /// What else it was told.
    pub told: Vec<String>,
    /// How its connection ended, if not because it was told to stop.
    pub closed: Option<Got>,
}

/// Senders and receivers at work.
#[derive(Default)]
pub struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<(String, JoinHandle<Sent>)>,
    askers: Vec<(String, JoinHandle<Asked>)>,
    receivers: Vec<JoinHandle<Heard>>,
    /// How many messages each receiver has heard; all that there could be, once its connection has ended.
    heard: Vec<Arc<AtomicU64>>,
}

impl Load {
    /// Lets a client send until the load stops. It must not be one that gets messages.
    pub fn sender(&mut self, name: &str, mut ws: Ws) {
        let (stop, own) = (self.stop.clone(), name.to_owned());
        let work = move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                if ws.socket.send(tungstenite::Message::text(format!("{own}:{count}"))).is_err() {
                    return Sent { count, closed: Some(last_word(&mut ws)) };
                }
                count += 1;
                thread::sleep(PACE);
            }
            // What it was told shows whether what it sent counts; an answer to its close comes behind all that it sent.
            let frame = tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
            let asked = ws.socket.close(Some(frame)).is_ok();
            let last = last_word(&mut ws);
            let ended_well = asked && last == Got::Closed(1000, String::new());
            Sent { count, closed: (!ended_well).then_some(last) }
        };
        self.senders.push((name.to_owned(), thread::spawn(work)));
    }

    /// Lets a client listen until its connection ends.
    pub fn receiver(&mut self, ws: Ws) {
        self.listen(ws, |_, text| {
            let (name, number) = text.split_once(':').unwrap();
            Some((name.to_owned(), number.parse().unwrap()))
        });
    }

    /// Lets a client answer requests until its connection ends. What it heard are the requests.
    pub fn answerer(&mut self, ws: Ws) {
        self.listen(ws, |ws, text| {
            let mut message: Value = serde_json::from_str(text).unwrap();
            let asked = (message["name"].as_str()?.to_owned(), message["number"].as_u64()?);
            message["type"] = "reply".into();
            // Its connection may have ended meanwhile, which it hears next.
            let _ = ws.socket.send(tungstenite::Message::text(message.to_string()));
            Some(asked)
        });
    }

    /// `read` says who sent a message and which it is; `None`: it is word of the node.
    fn listen(&mut self, mut ws: Ws, read: impl Fn(&mut Ws, &str) -> Option<(String, u64)> + Send + 'static) {
        let count = Arc::new(AtomicU64::new(0));
        self.heard.push(count.clone());
        let work = move || {
            let mut heard = Heard { messages: BTreeMap::new(), told: Vec::new(), code: None, gap: Duration::ZERO };
            let mut last: Option<Instant> = None;
            loop {
                let got = ws.recv();
                let text = matches!(got, Got::Text(_));
                count.fetch_add(if text { 1 } else { u64::MAX / 2 }, Ordering::Relaxed);
                match got {
                    Got::Text(text) => {
                        let now = Instant::now();
                        heard.gap = heard.gap.max(last.map_or(Duration::ZERO, |last| now.duration_since(last)));
                        last = Some(now);
                        match read(&mut ws, &text) {
                            Some((name, number)) => heard.messages.entry(name).or_default().push(number),
                            None => heard.told.push(text),
                        }
                    }
                    Got::Binary(_) => {}
                    Got::Closed(code, _) => {
                        heard.code = Some(code);
                        return heard;
                    }
                    Got::Lost => return heard,
                }
            }
        };
        self.receivers.push(thread::spawn(work));
    }

    /// Lets a client ask until the load stops, and hear the answers.
    pub fn asker(&mut self, name: &str, mut ws: Ws) {
        let (stop, own) = (self.stop.clone(), name.to_owned());
        let work = move || {
            let mut asked = Asked { count: 0, answered: Vec::new(), told: Vec::new(), closed: None };
            ws.socket.get_ref().socket().set_read_timeout(Some(PACE)).unwrap();
            while asked.closed.is_none() && !stop.load(Ordering::Relaxed) {
                let request = json!({"type": "request", "name": own, "number": asked.count}).to_string();
                if ws.socket.send(tungstenite::Message::text(request)).is_err() {
                    break;
                }
                asked.count += 1;
                asked.hear(&mut ws, PACE, 1);
            }
            let missing = (asked.count as usize).saturating_sub(asked.answered.len());
            asked.hear(&mut ws, ANSWERS_WITHIN, missing);
            ws.socket.get_ref().socket().set_read_timeout(Some(wrs_tests::real::PATIENCE)).unwrap();
            let frame = tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
            if asked.closed.is_none() {
                let _ = ws.socket.close(Some(frame));
                let last = last_word(&mut ws);
                asked.closed = (last != Got::Closed(1000, String::new())).then_some(last);
            }
            asked
        };
        self.askers.push((name.to_owned(), thread::spawn(work)));
    }

    /// Tells all who send or ask to stop.
    pub fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until no receiver has heard anything for a while: for loads of which some may be lost.
    pub fn quiet(&self) {
        let (mut last, mut since) = (self.counts(), Instant::now());
        wrs_tests::real::until("nothing more comes", || {
            let now = self.counts();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() >= QUIET).then_some(())
        });
    }

    /// Stops those who ask, once nothing more is answered, and says what became of each.
    pub fn stop_asking(&mut self) -> BTreeMap<String, Asked> {
        self.halt();
        self.askers.drain(..).map(|(name, asker)| (name, asker.join().unwrap())).collect()
    }

    /// Stops the senders and says what each did.
    pub fn stop(&mut self) -> BTreeMap<String, Sent> {
        self.halt();
        self.senders.drain(..).map(|(name, sender)| (name, sender.join().unwrap())).collect()
    }

    /// Waits until each receiver has heard all that was sent to all, or has ended: the word that deletes a channel takes another way
    /// than messages, and would come before those that are still under way to another node.
    pub fn all_heard(&self, sent: &BTreeMap<String, Sent>) {
        self.until_heard(sent, |heard, all| heard.iter().all(|count| *count >= all));
    }

    /// Likewise, where each message goes to one receiver.
    pub fn all_taken(&self, sent: &BTreeMap<String, Sent>) {
        self.until_heard(sent, |heard, all| heard.iter().copied().fold(0, u64::saturating_add) >= all);
    }

    /// `enough` says, of what each receiver has heard, whether it may be all that those sent who were not closed. Messages of
    /// those who were count there as well, so nothing more must come, either, if there are any.
    fn until_heard(&self, sent: &BTreeMap<String, Sent>, enough: impl Fn(&[u64], u64) -> bool) {
        let all = sent.values().filter(|sent| sent.closed.is_none()).map(|sent| sent.count).sum();
        wrs_tests::real::until("all is heard", || enough(&self.counts(), all).then_some(()));
        if sent.values().any(|sent| sent.closed.is_some()) {
            self.quiet();
        }
    }

    /// How many messages each receiver has heard.
    fn counts(&self) -> Vec<u64> {
        self.heard.iter().map(|heard| heard.load(Ordering::Relaxed)).collect()
    }

    /// Ends the channel by its deletion, which may overtake messages, and says what each receiver saw.
    pub fn end(&mut self, server: &Server, channel: &Channel) -> Vec<Heard> {
        assert_eq!(server.delete(&channel.resource()).status, 200);
        self.ended()
    }

    /// What each receiver saw, once its connection has ended.
    pub fn ended(&mut self) -> Vec<Heard> {
        self.receivers.drain(..).map(|receiver| receiver.join().unwrap()).collect()
    }
}

impl Asked {
    /// Hears so many answers, or those that come before none has come for so long.
    fn hear(&mut self, ws: &mut Ws, patience: Duration, count: usize) {
        let (mut last, wanted) = (Instant::now(), self.answered.len() + count);
        while self.closed.is_none() && self.answered.len() < wanted && last.elapsed() < patience {
            match ws.socket.read() {
                Ok(tungstenite::Message::Text(text)) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    match message["number"].as_u64().filter(|_| message["type"] == "reply") {
                        Some(number) => self.answered.push(number),
                        None => self.told.push(text.to_string()),
                    }
                    last = Instant::now();
                }
                Ok(tungstenite::Message::Close(frame)) => {
                    let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    let (code, reason) = frame.unwrap_or((1005, String::new()));
                    self.closed = Some(Got::Closed(code, reason));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(_) => self.closed = Some(Got::Lost),
            }
        }
    }
}

/// What a connection ended with.
fn last_word(ws: &mut Ws) -> Got {
    loop {
        match ws.recv() {
            Got::Text(_) | Got::Binary(_) => {}
            end => return end,
        }
    }
}

/// Someone who creates channels on a node one after the other, and counts.
pub struct Creator {
    stop: Arc<AtomicBool>,
    work: JoinHandle<Created>,
}

/// What a creator was told.
#[derive(Default)]
pub struct Created {
    /// The ids of the channels that were acknowledged.
    pub ids: BTreeSet<String>,
    /// The longest time between two acknowledgements.
    pub gap: Duration,
    /// How many times it was told anything else, by status; 0 for no answer.
    pub refused: BTreeMap<u16, u64>,
}

impl Creator {
    /// Begins.
    pub fn start(server: &Server) -> Creator {
        let (stop, port) = (Arc::new(AtomicBool::new(false)), server.port);
        let told = stop.clone();
        let work = move || {
            let mut created = Created::default();
            let mut last = Instant::now();
            while !told.load(Ordering::Relaxed) {
                match attempt(port, "POST", "/channels", r#"{"pattern":"echo"}"#) {
                    Some(answer @ Answer { status: 201, .. }) => {
                        created.ids.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
                        created.gap = created.gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    other => *created.refused.entry(other.map_or(0, |answer| answer.status)).or_default() += 1,
                }
                thread::sleep(Duration::from_millis(5));
            }
            created
        };
        Creator { stop, work: thread::spawn(work) }
    }

    /// Ends; what it was told.
    pub fn end(self) -> Created {
        self.stop.store(true, Ordering::Relaxed);
        self.work.join().unwrap()
    }
}

/// The ids of all channels that a node knows.
pub fn ids(server: &Server) -> BTreeSet<String> {
    let list = wrs_tests::real::until("channels are listed", || {
        // A node that a busy machine has kept from its lease says so, and has it again soon.
        Some(server.get("/channels")).filter(|list| list.status != 503)
    });
    assert_eq!(list.status, 200, "{}", list.text());
    list.json()["data"].as_array().unwrap().iter().map(|channel| channel["id"].as_str().unwrap().to_owned()).collect()
}
