//! What must be true of a node at rest: what became of every message, whose turn it was, which channels still live.

use std::collections::BTreeMap;

use wrs_core::pattern::Pattern;
use wrs_core::time::Time;

use super::contract::{Client, Contract, Message, Verb};

impl Contract {
    /// Everything has come to rest: whatever was taken in is settled, and nothing is left open.
    pub fn settle(&mut self, now: Time, many_shards: bool) {
        // Word that a client has left takes its time between shards; what was sent to it meanwhile is lost with it.
        let since = if many_shards { Some(self.last_rest) } else { None };
        self.last_rest = self.tick;
        let mut errors: BTreeMap<(usize, &'static str), (u64, u64)> = BTreeMap::new();
        let numbers: Vec<u64> = self.messages.keys().copied().collect();
        for number in numbers {
            let message = &self.messages[&number];
            if message.handed_over && message.taken.is_some() {
                match self.verdict(message, since) {
                    Err(why) => {
                        let (sender, pattern) = (message.sender, self.channels[message.channel].pattern);
                        let what = format!(
                            "message {number} of conn {sender} ({pattern:?} {:?}, there {:?}, got {:?}): {why}",
                            message.verb, message.there, message.got
                        );
                        self.break_off(what);
                    }
                    Ok(Some((code, least, most))) => {
                        let sum = errors.entry((message.sender, code)).or_default();
                        (sum.0, sum.1) = (sum.0 + least, sum.1 + most);
                    }
                    Ok(None) => {}
                }
                self.messages.remove(&number);
            } else if message.handed_over || self.clients[message.sender].gone.is_some() {
                // When it was taken in is not known, or it never will be.
                if self.clients[message.sender].gone.is_some() || !self.rates {
                    self.messages.remove(&number);
                }
            }
        }
        let sure = self.channels.iter().filter(|channel| Self::is_sure(channel, now)).count() as u64;
        if sure > self.channels_max {
            self.break_off(format!("{sure} channels, more than may be"));
        }
        self.check_errors(&errors);
        self.check_turns();
        self.check_times(now);
    }

    fn check_errors(&mut self, expected: &BTreeMap<(usize, &'static str), (u64, u64)>) {
        let mut broken = None;
        for (number, client) in self.clients.iter_mut().enumerate() {
            let got = std::mem::take(&mut client.errors);
            if client.gone.is_some() || self.rates || self.channels.get(client.channel).is_some_and(|c| c.vague) {
                continue;
            }
            for code in ["malformed", "no-recipient", "origin-gone"] {
                let got = got.get(code).copied().unwrap_or_default();
                let (least, most) = expected.get(&(number, code)).copied().unwrap_or_default();
                if got < least || got > most {
                    broken = Some(format!("conn {number} was told {code} {got} times, not {least} to {most}"));
                }
            }
        }
        if let Some(broken) = broken {
            self.break_off(broken);
        }
    }

    /// What became of a message: an error that its sender was told at least and at most so often, or what is wrong.
    fn verdict(&self, message: &Message, since: Option<u64>) -> Result<Option<(&'static str, u64, u64)>, String> {
        let taken = message.taken;
        let leavers = since.or(taken);
        let pattern = self.channels[message.channel].pattern;
        let others: Vec<(usize, &Client)> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(number, client)| {
                // Whoever was on the channel for a part of the time since, joiners and leavers included.
                *number != message.sender
                    && client.channel == message.channel
                    && client.came
                    && client.gone.is_none_or(|gone| Some(gone) >= leavers)
            })
            .collect();
        let stayed = |number: &usize| self.clients[*number].gone.is_none();
        let missed = |by: &dyn Fn(&Client, usize) -> bool| {
            message
                .there
                .iter()
                .filter(|number| stayed(number) && by(&self.clients[**number], **number))
                .find(|number| !message.got.contains(number))
                .copied()
        };
        let got = message.got.len();
        match (pattern, message.verb) {
            (_, Verb::Malformed) => Ok(Some(("malformed", 1, 1))),
            (Pattern::Echo, _) => match stayed(&message.sender) && got == 0 {
                true => Err("lost".to_owned()),
                false => Ok(None),
            },
            (Pattern::PubSub, _) => match missed(&|client, number| number != message.sender || client.echo) {
                Some(missed) => Err(format!("conn {missed} missed it")),
                None => Ok(None),
            },
            (Pattern::PushPull, _) => {
                let somebody_left = self.clients.iter().any(|client| {
                    client.channel == message.channel && client.gone.is_some_and(|gone| Some(gone) >= leavers)
                });
                match got == 0 && !somebody_left {
                    true => Err("lost".to_owned()),
                    false => Ok(None),
                }
            }
            (Pattern::ReqRepl, Verb::Request) => {
                if let Some(missed) = missed(&|_, number| number != message.sender) {
                    return Err(format!("conn {missed} missed it"));
                }
                Ok(Some(match (got, others.is_empty()) {
                    (0, true) => ("no-recipient", 1, 1),
                    (0, false) => ("no-recipient", 0, 1),
                    _ => ("no-recipient", 0, 0),
                }))
            }
            (Pattern::FanInOut, Verb::Request) => {
                let pulling: Vec<&Client> = others.iter().map(|(_, client)| *client).filter(|c| c.pull).collect();
                let steady =
                    |client: &&&Client| client.seated.is_some() && client.seated < taken && client.gone.is_none();
                match (got, pulling.is_empty()) {
                    (0, true) => Ok(Some(("no-recipient", 1, 1))),
                    (0, false) if pulling.iter().filter(steady).count() == pulling.len() => Err("lost".to_owned()),
                    (0, false) => Ok(Some(("no-recipient", 0, 1))),
                    _ => Ok(Some(("no-recipient", 0, 0))),
                }
            }
            (_, Verb::Reply(to)) => {
                let to = to.filter(|to| self.clients[*to].channel == message.channel);
                let there = to.is_some_and(|to| message.there.contains(&to));
                match to {
                    Some(to) if there && stayed(&to) && got == 0 => Err("the reply is lost".to_owned()),
                    _ if !there && got > 0 => Err("a reply to one who had gone".to_owned()),
                    _ => Ok(Some(("origin-gone", 1 - got as u64, 1 - got as u64))),
                }
            }
            (Pattern::ReqRepl | Pattern::FanInOut, Verb::Plain) => Err("no such message".to_owned()),
        }
    }

    /// While the queue's members do not change, each is given as much as every other, or one more.
    fn check_turns(&mut self) {
        let mut broken = None;
        for at in 0..self.channels.len() {
            let queued: Vec<usize> = self.there(at).into_iter().filter(|number| self.clients[*number].pull).collect();
            let channel = &mut self.channels[at];
            let (version, given) = std::mem::take(&mut channel.turns);
            let exact =
                version == channel.version && !channel.mixed && !channel.vague && channel.pattern == Pattern::PushPull;
            if exact && !queued.is_empty() {
                let counts: Vec<u64> = queued.iter().map(|number| given.get(number).copied().unwrap_or(0)).collect();
                let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
                if most.unwrap_or(0) - least.unwrap_or(0) > 1 {
                    broken = Some(format!("channel {}: turns of {queued:?} were {counts:?}", channel.id));
                }
            }
            channel.turns = (channel.version, BTreeMap::new());
            channel.mixed = false;
        }
        if let Some(broken) = broken {
            self.break_off(broken);
        }
    }

    fn check_times(&mut self, now: Time) {
        let mut broken = None;
        for channel in self.channels.iter_mut().filter(|channel| !channel.gone && !channel.doomed) {
            if channel.timeout.is_some() && now >= channel.latest && !channel.vague {
                broken = Some(format!("channel {} should have timed out at {:?}", channel.id, channel.latest));
            }
            if std::mem::take(&mut channel.late) {
                // It lives, so its last message came in time.
                channel.earliest = channel.latest;
            }
        }
        if let Some(broken) = broken {
            self.break_off(broken);
        }
    }
}
