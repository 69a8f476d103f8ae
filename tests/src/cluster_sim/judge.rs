//! What became of every message, told when everything has come to rest: who must have got it, once, or been told.

use wrs_core::pattern::Pattern;

use super::model::{Client, Message, Model, Verb, Why};

/// How long word that a client has left may take to reach its channel's home while things go wrong, in nanoseconds.
const NEWS: u64 = 30_000_000_000;

impl Model {
    /// Judges all messages.
    pub fn judge(&mut self) {
        let mut least = vec![[0u64; 3]; self.clients.len()];
        let mut most = vec![[0u64; 3]; self.clients.len()];
        for (number, message) in self.messages.iter().enumerate() {
            let Some(taken) = message.taken else {
                if self.clients[message.sender].lasts() && self.broken.is_none() {
                    self.broken = Some(format!("message {number} of conn {} was never taken in", message.sender));
                    return;
                }
                continue;
            };
            match self.verdict(message, taken.tick, taken.time) {
                Err(why) => {
                    let (sender, channel) = (&self.clients[message.sender], &self.channels[message.channel]);
                    let what = format!(
                        "message {number} ({} of conn {} at node {}, {:?} {:?}, channel {} {}, taken {:.3}, got {:?}): {why}",
                        message.serial,
                        message.sender,
                        sender.slot,
                        channel.pattern,
                        message.verb,
                        message.channel,
                        channel.id,
                        taken.time as f64 / 1e9,
                        message
                            .got
                            .iter()
                            .map(|(n, at)| (*n, self.clients[*n].slot, at.time / 1_000_000))
                            .collect::<Vec<_>>(),
                    );
                    self.broken.get_or_insert(what);
                    return;
                }
                Ok(Some((error, sure))) => {
                    most[message.sender][error] += 1;
                    least[message.sender][error] += u64::from(sure);
                }
                Ok(None) => {}
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            for error in 0..3 {
                let told = client.errors[error];
                let lasts = client.lasts();
                if told > most[number][error] || (lasts && told < least[number][error]) {
                    let what = format!(
                        "conn {number} was told error {error} {told} times, not {} to {}",
                        least[number][error], most[number][error]
                    );
                    self.broken.get_or_insert(what);
                    return;
                }
            }
        }
    }

    /// What became of a message: an error (0 malformed, 1 no-recipient, 2 origin-gone) that its sender may, or must, have been
    /// told; or what is wrong.
    fn verdict(&self, message: &Message, tick: u64, time: u64) -> Result<Option<(usize, bool)>, String> {
        let sender = &self.clients[message.sender];
        let channel = &self.channels[message.channel];
        let got = |number: usize| message.got.iter().any(|(receiver, _)| *receiver == number);
        let was_there = |client: &Client| client.seated.is_some_and(|at| at.tick < tick);
        let others = || channel.clients.iter().copied().filter(|number| *number != message.sender);
        // A client that was there all the while, and must have it if anybody must.
        let missed = |number: usize| {
            let client = &self.clients[number];
            client.lasts() && was_there(client) && !got(number)
        };
        let lasts = sender.lasts();
        match (channel.pattern, message.verb) {
            (_, Verb::Malformed) => Ok(Some((0, true))),
            (Pattern::Echo, _) => match lasts && !got(message.sender) {
                true => Err("lost".to_owned()),
                false => Ok(None),
            },
            (Pattern::PubSub, _) => {
                if !lasts {
                    return Ok(None);
                }
                if sender.echo && missed(message.sender) {
                    return Err("its sender missed it".to_owned());
                }
                match others().find(|number| missed(*number)) {
                    Some(number) => Err(format!("conn {number} at node {} missed it", self.clients[number].slot)),
                    None => Ok(None),
                }
            }
            (Pattern::ReqRepl, Verb::Request) => {
                if let Some(number) = others().find(|number| lasts && missed(*number)) {
                    return Err(format!("conn {number} at node {} missed it", self.clients[number].slot));
                }
                let nobody = message.got.is_empty();
                Ok(nobody.then_some((1, self.was_alone(message, time))))
            }
            (Pattern::PushPull, _) => {
                self.at_most_once(message)?;
                let own = got(message.sender);
                if own && let Some(other) = self.stood_there(message, tick) {
                    return Err(format!("its sender got it back though conn {other} was queued"));
                }
                match lasts && message.got.is_empty() && !self.somebody_left(message, time) {
                    true => Err("lost".to_owned()),
                    false => Ok(None),
                }
            }
            (Pattern::FanInOut, Verb::Request) => {
                self.at_most_once(message)?;
                if !message.got.is_empty() {
                    return Ok(None);
                }
                if lasts
                    && !self.somebody_left(message, time)
                    && let Some(other) = self.stood_there(message, tick)
                {
                    return Err(format!("lost, though conn {other} was queued"));
                }
                Ok(Some((1, self.was_alone(message, time))))
            }
            (_, Verb::Reply(to)) => {
                self.at_most_once(message)?;
                let origin =
                    to.filter(|to| self.clients[*to].channel == Some(message.channel)).map(|to| &self.clients[to]);
                match (message.got.is_empty(), origin) {
                    (true, Some(origin)) if lasts && origin.lasts() && was_there(origin) => {
                        Err("the reply is lost".to_owned())
                    }
                    // Nobody knows what became of a reply whose receiver's node died.
                    (true, _) => Ok(Some((2, to.is_none_or(|to| !self.lost_its_node(to))))),
                    (false, _) => Ok(None),
                }
            }
            (Pattern::ReqRepl | Pattern::FanInOut, Verb::Plain) => Err("no such message".to_owned()),
        }
    }

    /// Whether a client's connection ended with its node's life, or its node's life after it.
    fn lost_its_node(&self, number: usize) -> bool {
        let client = &self.clients[number];
        let died = matches!(client.ended, Some((_, Why::Died | Why::Closed(1012 | 1001))));
        let over = client.id.get(..16).is_some_and(|life| self.lives_over.contains(life));
        died || over || self.runs_over.contains(&(client.slot, client.run))
    }

    /// Nobody gets what another got, whatever has become of that other.
    fn at_most_once(&self, message: &Message) -> Result<(), String> {
        if message.got.len() > 1 { Err("given to several".to_owned()) } else { Ok(()) }
    }

    /// Another client that was queued before the message was taken in, and until it was given at least.
    fn stood_there(&self, message: &Message, tick: u64) -> Option<usize> {
        let until = message.got.iter().map(|(_, at)| at.tick).max().unwrap_or(u64::MAX);
        self.channels[message.channel].clients.iter().copied().find(|number| {
            let client = &self.clients[*number];
            let stays = client.ended.is_none_or(|(at, why)| at.tick > until && why == Why::Left);
            *number != message.sender
                && client.pull
                && client.seated.is_some_and(|at| at.tick < tick)
                && stays
                && !self.lost_its_node(*number)
        })
    }

    /// Whether a client that may have been chosen has left since, or so shortly before that its home could not know.
    fn somebody_left(&self, message: &Message, time: u64) -> bool {
        // Who was about to be told its 101 stood in the queue already.
        self.clients.iter().enumerate().any(|(number, client)| {
            client.channel == Some(message.channel)
                && client.came.is_some()
                && (client.pull || number == message.sender)
                && client.ended.is_some_and(|(at, _)| self.may_meet(at.time, time))
        })
    }

    /// Whether a message that was taken in at `time` may have been decided for a client that ended at `ended`.
    fn may_meet(&self, ended: u64, time: u64) -> bool {
        let (first, last) = (ended.min(time), ended.max(time));
        let settled = self.settled.iter().any(|at| (first..last).contains(at));
        !settled && ended + NEWS > time
    }

    /// Whether the sender was certainly the only one who could have got it.
    fn was_alone(&self, message: &Message, time: u64) -> bool {
        let queue = self.channels[message.channel].pattern == Pattern::FanInOut;
        let mut others = self.clients.iter().enumerate().filter(|(number, client)| {
            *number != message.sender && client.channel == Some(message.channel) && (client.pull || !queue)
        });
        others.all(|(_, client)| {
            let left = client.ended.is_some_and(|(at, _)| at.time + NEWS < time);
            let never = client.seated.is_none() && client.ended.is_some() && client.came.is_none();
            left || never
        })
    }
}
