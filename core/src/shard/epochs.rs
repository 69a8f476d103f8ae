//! From one set of live nodes to the next.
//!
//! Each change of the lives begins an epoch with a clean slate. Every shard of every live node *holds*: its homes decide
//! nothing more, and what its clients send waits for turns of the new epoch. Once all hold, all turns of the old one have come and
//! were used; each says that too, and once all have, each *seals* the old epoch: it tells its gate which clients are seated, and
//! where in their queues. Gates *report* to each other what concerns the other. A gate that has heard from all lives *opens* the
//! epoch on its shards: homes begin anew from what was reported, and what still waits is asked again. So no place in a queue is
//! lost, and no message with a home. Echo and pub-sub go on all the while.

use std::collections::{BTreeMap, BTreeSet};

use super::barrier::Stay;
use super::{Shard, Wake};
use crate::action::Actions;
use crate::home::{Home, home_of, is_asked_for_seats};
use crate::id::{ChannelId, GATE, Life, ShardId};
use crate::members::Members;
use crate::peer::{Ledger, PeerId, PeerMessage, Seat, Step, Verdict};
use crate::roster::Roster;
use crate::time::Time;
use crate::wire::frame::CloseCode;

/// Items of each kind in one report; what is more follows in another.
const REPORT_ITEMS: usize = 1024;

/// Who has told what about which epoch; on the gate, but for what a shard knows of itself.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// What the shards of this node knew at the end of the last epoch.
    sealed: BTreeMap<ShardId, (u64, Ledger)>,
    /// What others have reported, by epoch: some may be ahead of this node.
    reports: BTreeMap<u64, Reports>,
    /// The lives that know all channels that this node has clients on.
    introduced: BTreeSet<Life>,
    /// The epoch that this shard had open when it let its clients go for want of a lease; 0: it has not.
    closed: u64,
    /// Lives that have ended, until all that is known of them is forgotten.
    ended: BTreeSet<Life>,
    /// The shards that have said that they serve; on each, whether it has.
    serving: BTreeSet<ShardId>,
}

#[derive(Debug, Default)]
struct Reports {
    sum: Ledger,
    complete: BTreeSet<Life>,
}

impl Epochs {
    /// Those of a node that serves from the start, as it is alone, or of one that has to find others first.
    pub(super) fn at_start(serves: bool, shards: u16) -> Self {
        let serving = (0..shards.max(1)).map(ShardId).filter(|_| serves).collect();
        Epochs { serving, ..Epochs::default() }
    }

    /// The lives that are told when this node's interest in a channel changes.
    pub(super) fn introduced(&self) -> &BTreeSet<Life> {
        &self.introduced
    }

    /// Takes out the lives that have ended.
    pub(super) fn take_ended(&mut self) -> BTreeSet<Life> {
        self.introduced.retain(|life| !self.ended.contains(life));
        std::mem::take(&mut self.ended)
    }
}

/// How often the node was counted out. Its shards do not hear of it at the same moment, and what one says that has not heard
/// of it yet counts for nothing at one that has.
#[derive(Debug, Default)]
pub(super) struct Falls {
    here: u64,
    siblings: BTreeMap<ShardId, u64>,
}

impl Falls {
    /// How often, as this shard knows.
    pub(super) fn here(&self) -> u64 {
        self.here
    }

    /// Whether all shards have heard of all that this one has.
    fn everywhere(&self, shards: u16) -> bool {
        (0..shards.max(1)).all(|shard| self.siblings.get(&ShardId(shard)).is_some_and(|count| *count >= self.here))
    }

    /// Whether a peer is a sibling that still speaks for an earlier life.
    pub(super) fn is_behind(&self, peer: PeerId) -> bool {
        match peer {
            PeerId::Shard(shard) => self.siblings.get(&shard).copied().unwrap_or_default() < self.here,
            PeerId::Node(_) => false,
        }
    }
}

impl Ledger {
    fn append(&mut self, mut other: Ledger) {
        self.seats.append(&mut other.seats);
        self.interests.append(&mut other.interests);
    }

    /// Takes out a part that fits in one message.
    fn part(&mut self) -> Ledger {
        fn some<T>(from: &mut Vec<T>) -> Vec<T> {
            from.split_off(from.len().saturating_sub(REPORT_ITEMS))
        }
        Ledger { seats: some(&mut self.seats), interests: some(&mut self.interests) }
    }

    /// By the lives that it concerns.
    fn by_life(self, members: &Members) -> BTreeMap<Life, Ledger> {
        let mut parts: BTreeMap<Life, Ledger> = BTreeMap::new();
        for seat in self.seats {
            if let Some(home) = members.home(seat.channel) {
                parts.entry(home).or_default().seats.push(seat);
            }
        }
        parts
    }

    /// By the shards of this node that it concerns.
    fn by_shard(self, shards: u16) -> BTreeMap<ShardId, Ledger> {
        let mut parts: BTreeMap<ShardId, Ledger> = BTreeMap::new();
        for seat in self.seats {
            parts.entry(home_of(seat.channel, shards)).or_default().seats.push(seat);
        }
        parts
    }
}

impl Shard {
    /// The lives have changed: this shard decides nothing more in the old epoch.
    fn hold(&mut self, now: Time, out: &mut Actions) {
        self.router.asks.hold(true);
        self.move_homes(now);
        // What was asked in the old epoch is over; whoever asked asks again.
        self.go_through_waiting(now, out);
        self.forget_dead(now, out);
        let (life, epoch) = self.stay();
        self.say_to_all(|| PeerMessage::Held(Step::Decide, life, epoch), out);
    }

    fn stay(&self) -> Stay {
        (self.router.life, self.router.members.epoch())
    }

    /// A shard of this node, or another node as a whole, has ended something as of an epoch.
    pub(super) fn held(&mut self, peer: PeerId, step: Step, (life, epoch): Stay, out: &mut Actions) {
        let (stay, shards) = (self.stay(), self.config.shards);
        let (barrier, members) = (self.barriers.of(step), &self.router.members);
        match peer {
            PeerId::Shard(shard) => barrier.shard_held(shard, (life, epoch)),
            PeerId::Node(life) => barrier.node_held(life, epoch, members),
        }
        if self.router.is_gate() {
            if barrier.shall_tell_nodes(stay, shards) {
                let others: Vec<Life> = members.lives().filter(|life| *life != stay.0).collect();
                for other in others {
                    self.router.forward(PeerId::Node(other), PeerMessage::Held(step, stay.0, stay.1), None, out);
                }
            }
            if barrier.shall_tell_shards(stay, &self.router.members) {
                self.say_to_all(|| PeerMessage::HeldAbroad(step, stay.0, stay.1), out);
            }
        }
        self.pass_barriers(out);
    }

    /// Every other node has ended something, says the gate.
    pub(super) fn held_abroad(&mut self, step: Step, stay: Stay, out: &mut Actions) {
        self.barriers.of(step).others_held(stay);
        self.pass_barriers(out);
    }

    fn pass_barriers(&mut self, out: &mut Actions) {
        let (stay, shards) = (self.stay(), self.config.shards);
        let mut passes = |step| self.barriers.of(step).is_passed(stay, shards) || mutant!(SealsAtOnce);
        let (decided, sent) = (passes(Step::Decide), passes(Step::Send));
        if decided && self.router.spent < stay.1 {
            // Whatever turns were given by who lives have come, and were used.
            self.router.spent = stay.1;
            self.say_to_all(|| PeerMessage::Held(Step::Send, stay.0, stay.1), out);
        }
        if decided && sent && self.router.sealed < stay.1 {
            self.seal(out);
        }
    }

    /// Every message of the old epoch that can come has come: who is seated, and where in the queue, is told.
    fn seal(&mut self, out: &mut Actions) {
        let router = &mut self.router;
        router.sealed = router.members.epoch();
        let mut ledger = Ledger::default();
        for local in router.roster.locals() {
            for (serial, member) in local.members.iter().filter(|(_, member)| member.seated) {
                let client = crate::id::ClientId { life: router.life, shard: self.here, serial: *serial };
                let stamp = member.stamp.filter(|_| !mutant!(ForgetsStamps));
                if !mutant!(ForgetsSeats) {
                    ledger.seats.push(Seat { client, channel: local.id, stamp });
                }
            }
        }
        let epoch = router.members.epoch();
        self.say(GATE, PeerMessage::Sealed(epoch, Box::new(ledger)), out);
    }

    /// Homes are where the new epoch puts them, empty until it is open.
    fn move_homes(&mut self, now: Time) {
        for (id, mut home) in std::mem::take(&mut self.router.homes) {
            self.timers.set(&mut home.timer, Wake::Channel(id), None);
        }
        let here: Vec<ChannelId> =
            self.catalogue.range(None).map(|(id, _)| id).filter(|id| self.router.is_home(*id)).collect();
        for id in here {
            self.router.homes.insert(id, Home::default());
            if !mutant!(NeverExpires) {
                self.start_countdown(now, id);
            }
        }
    }

    /// Whatever waited for a life that has ended waits no longer.
    fn forget_dead(&mut self, now: Time, out: &mut Actions) {
        let dead: Vec<Life> =
            self.router.links.nodes().filter(|life| self.router.members.node_of(*life).is_none()).collect();
        for life in dead {
            let (resumed, credits) = self.router.links.remove_node(life);
            self.resume_all(resumed, out);
            self.give_credit(credits, out);
        }
        if self.router.is_gate() {
            self.forget_dead_nodes(out);
        }
        // An answer that is given now may be followed by the next question of the same connection: by then nobody who is
        // dead may be asked.
        self.forget_dead_surveyed(now, out);
    }

    /// On the gate: a shard has sealed an epoch.
    pub(super) fn sealed(&mut self, shard: ShardId, epoch: u64, ledger: Ledger, out: &mut Actions) {
        if epoch != self.router.members.epoch() {
            // A newer one has begun; the shard will seal that, too.
            return;
        }
        // What a shard said before this node fell out, or of an epoch that another followed at once, is none of this one.
        self.epochs.sealed.retain(|_, (of, _)| *of == epoch);
        self.epochs.sealed.insert(shard, (epoch, ledger));
        if self.epochs.sealed.len() < usize::from(self.config.shards.max(1)) {
            return;
        }
        let mut all = Ledger::default();
        for (_, ledger) in std::mem::take(&mut self.epochs.sealed).into_values() {
            all.append(ledger);
        }
        let mut parts = all.by_life(&self.router.members);
        let own = self.router.life;
        let lives: Vec<Life> = self.router.members.lives().collect();
        for life in &lives {
            let mut part = parts.remove(life).unwrap_or_default();
            if *life == own {
                let reports = self.epochs.reports.entry(epoch).or_default();
                reports.sum.append(part);
                reports.complete.insert(own);
                continue;
            }
            if self.epochs.introduced.insert(*life) && !mutant!(HidesInterestFromNewcomers) {
                part.interests = self.introduce_interests();
            }
            loop {
                let ledger = Box::new(part.part());
                let more = !part.is_empty();
                let message = PeerMessage::Reported { epoch, ledger, more };
                self.router.forward(PeerId::Node(*life), message, None, out);
                if !more {
                    break;
                }
            }
        }
        self.open_when_complete(out);
    }

    /// On the gate: a node has told what it knew.
    pub(super) fn reported(&mut self, life: Life, epoch: u64, mut ledger: Ledger, more: bool, out: &mut Actions) {
        for channel in std::mem::take(&mut ledger.interests) {
            // The other may take no clients before this is known here, so it waits for no answer.
            self.note_node(life, channel, out);
        }
        if epoch < self.router.members.epoch() {
            return;
        }
        let reports = self.epochs.reports.entry(epoch).or_default();
        reports.sum.append(ledger);
        if !more {
            reports.complete.insert(life);
        }
        self.open_when_complete(out);
    }

    /// On the gate: once all lives have reported, the homes of this node may decide.
    fn open_when_complete(&mut self, out: &mut Actions) {
        let epoch = self.router.members.epoch();
        self.epochs.reports.retain(|of, _| *of >= epoch);
        let Some(reports) = self.epochs.reports.get(&epoch) else { return };
        let early = mutant!(OpensEarly) && reports.complete.len() > 1;
        if !early && !self.router.members.lives().all(|life| reports.complete.contains(&life)) {
            return;
        }
        let Some(Reports { sum, .. }) = self.epochs.reports.remove(&epoch) else { return };
        let mut parts = sum.by_shard(self.config.shards.max(1));
        for shard in (0..self.config.shards.max(1)).map(ShardId) {
            let ledger = Box::new(parts.remove(&shard).unwrap_or_default());
            self.say(shard, PeerMessage::Opened(epoch, ledger), out);
        }
    }

    /// An epoch is open: homes begin from what is known, and what is open is asked again.
    pub(super) fn open(&mut self, now: Time, epoch: u64, ledger: Ledger, out: &mut Actions) {
        if epoch != self.router.members.epoch() {
            return;
        }
        let mut by_channel: BTreeMap<ChannelId, Vec<Seat>> = BTreeMap::new();
        for seat in ledger.seats {
            by_channel.entry(seat.channel).or_default().push(seat);
        }
        for (channel, seats) in by_channel {
            if let Some(home) = self.router.homes.get_mut(&channel) {
                home.restore(&seats);
            }
        }
        (self.router.opened, self.epochs.closed) = (epoch, 0);
        self.ask_for_seats_again(now, out);
        self.go_through_waiting(now, out);
        self.router.ask_again(out);
        self.say_that_it_serves(now, out);
    }

    /// The node may decide until then.
    pub(super) fn lease(&mut self, now: Time, until: Time, out: &mut Actions) {
        self.router.lease = until;
        if now < until && !mutant!(StaysClosed) {
            // The life goes on after all: the lease has come just when this shard's patience had ended.
            let closed = std::mem::take(&mut self.epochs.closed);
            if closed > 0 && closed == self.router.members.epoch() {
                self.router.opened = closed;
            }
        }
        if self.router.may_decide(now) && !self.waiting.is_empty() {
            self.go_through_waiting(now, out);
        }
        self.say_that_it_serves(now, out);
    }

    /// Once in each life of the node.
    fn say_that_it_serves(&mut self, now: Time, out: &mut Actions) {
        if self.is_serving(now) && self.epochs.serving.insert(self.here) {
            self.say(GATE, PeerMessage::Serves, out);
        }
    }

    /// On shard 0: a shard serves, and so may the node.
    pub(super) fn shard_serves(&mut self, peer: PeerId) {
        if let PeerId::Shard(shard) = peer {
            self.epochs.serving.insert(shard);
        }
    }

    /// On shard 0: whether clients are served whichever shard they come to.
    pub(super) fn is_serving_everywhere(&self, now: Time) -> bool {
        let all = self.epochs.serving.len() >= usize::from(self.config.shards.max(1)) || mutant!(ReadyEarly);
        self.is_serving(now) && all
    }

    /// After a long time without a lease this node may have been counted out, and its clients' seats given to others. The
    /// control plane says so; after a pause of the process its word may come later than what sockets say.
    pub(super) fn check_out(&mut self, now: Time, out: &mut Actions) {
        let lease = self.router.lease;
        // An epoch may open before the first lease has come.
        let has_had = lease > Time::ZERO && lease < Time::MAX;
        if has_had && self.router.opened > 0 && now >= lease + self.config.out_after() {
            self.epochs.closed = std::mem::take(&mut self.router.opened);
            self.let_all_clients_go(now, out);
        }
    }

    /// Whether reads and connects are answered: the node is in a cluster, and its lease lasts.
    pub(super) fn is_serving(&self, now: Time) -> bool {
        self.router.opened > 0 && !self.left && (now < self.router.lease || mutant!(ServesWithoutLease))
    }

    /// The node was counted out, says the gate, or a sibling that has heard it sooner: what that one says next is of the next
    /// life, so this one must not come behind it.
    pub(super) fn counted_out(&mut self, now: Time, peer: PeerId, count: u64, out: &mut Actions) {
        if let PeerId::Shard(shard) = peer {
            self.falls.siblings.insert(shard, count);
        }
        if count > self.falls.here {
            self.falls.here = count;
            self.falls.siblings.insert(self.here, count);
            self.fall_out(now, out);
            self.say_to_others(|| PeerMessage::Out(count), out);
        }
        let everywhere = self.falls.everywhere(self.config.shards);
        if let Some(control) = self.control.as_mut().filter(|_| everywhere) {
            control.stirred = true;
            control.cluster.fallen(now, self.falls.here);
        }
    }

    /// Its clients go, and nothing of the node's life counts any more.
    fn fall_out(&mut self, now: Time, out: &mut Actions) {
        let joining: Vec<_> = self.joining.values().map(|joining| (joining.client(), joining.has_asked())).collect();
        for (client, counted) in joining {
            self.seated(now, client, Verdict::Undecided, None, counted, out);
        }
        self.let_all_clients_go(now, out);
        let waiting = std::mem::take(&mut self.waiting);
        for (peer, message) in waiting {
            // Nobody waits for it any more, but its window does.
            if let Some(bytes) = message.data().filter(|_| peer != self.me()) {
                let credit = self.router.links.dealt(peer, bytes);
                self.give_credit(credit, out);
            }
        }
        let paused = self.router.asks.clear();
        self.resume_all(paused, out);
        let lives: Vec<Life> = self.router.links.nodes().collect();
        for life in lives {
            let (resumed, credits) = self.router.links.remove_node(life);
            self.resume_all(resumed, out);
            self.give_credit(credits, out);
        }
        self.router.roster = Roster::new();
        self.router.opened = 0;
        (self.router.sealed, self.router.spent) = (0, 0);
        self.router.lease = Time::ZERO;
        self.epochs = Epochs::default();
        // What was still to be said to other nodes is nothing that the next life has to say.
        self.router.outbox.clear();
        self.move_homes(now);
        // What was asked of other nodes is lost with this life.
        self.forget_surveyed(now, |_| true, out);
    }

    /// The members as a snapshot has them, or as another cluster has them: then nobody has ended who was live in the one that
    /// this node has `left`.
    pub(super) fn set_members(&mut self, now: Time, members: Members, left: bool, out: &mut Actions) {
        let epoch = self.router.members.epoch();
        let before: Vec<Life> = self.router.members.lives().collect();
        self.router.members = members;
        // Another cluster's epochs have the same numbers.
        if self.router.members.epoch() != epoch || !self.router.members.lives().eq(before.iter().copied()) {
            self.lives_changed(now, if left { &[] } else { &before }, out);
        }
    }

    /// Other nodes are live than before.
    pub(super) fn lives_changed(&mut self, now: Time, before: &[Life], out: &mut Actions) {
        let members = &self.router.members;
        let own = self.router.life;
        let is_over = |life: &Life| *life != own && members.node_of(*life).is_none();
        let ended: Vec<Life> = before.iter().copied().filter(is_over).collect();
        for life in ended {
            if self.router.is_gate() {
                self.epochs.ended.insert(life);
            }
            self.forget_life(now, life, out);
        }
        if self.router.members.epoch() <= self.router.sealed {
            // Another cluster counts its epochs anew.
            (self.router.sealed, self.router.spent) = (0, 0);
        }
        self.hold(now, out);
    }

    /// Every client of this shard is closed with 1012, and whoever waits for a seat is told to come again.
    pub(super) fn let_all_clients_go(&mut self, now: Time, out: &mut Actions) {
        if mutant!(KeepsClientsWhenOut) {
            return;
        }
        let joining: Vec<u64> = self.joining.keys().copied().collect();
        for serial in joining {
            self.wait_is_over(now, serial, out);
        }
        for conn in self.sessions.conns() {
            let Some(mut session) = self.sessions.take(conn) else { continue };
            self.close_client(now, &mut session, CloseCode::RESTART, "this node left its cluster", out);
            self.put_back(session);
        }
    }

    /// Those who wait for a seat ask for it in the new epoch.
    fn ask_for_seats_again(&mut self, now: Time, out: &mut Actions) {
        let epoch = self.router.members.epoch();
        let asking: Vec<_> =
            self.joining.values_mut().filter_map(|joining| joining.asks_anew(epoch).then(|| joining.seat())).collect();
        for (client, channel, pull) in asking {
            match self.catalogue.get(channel) {
                Some(entry) if is_asked_for_seats(&entry.channel, pull) => {
                    self.send_on(PeerMessage::Seat { client, channel, pull, epoch }, out);
                }
                // That nothing is to be decided is said by the gate, whatever the epoch.
                Some(_) => {}
                None => self.seated(now, client, Verdict::Absent, None, true, out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sibling_that_has_not_heard_of_the_fall_is_behind() {
        let sibling = PeerId::Shard(ShardId(1));
        let mut falls = Falls::default();
        assert!(!falls.is_behind(sibling));
        falls.here = 1;
        assert!(falls.is_behind(sibling));
        assert!(!falls.is_behind(PeerId::Node(Life(7))), "its mail is dropped with the link");
        falls.siblings.insert(ShardId(0), 1);
        assert!(!falls.everywhere(2), "its clients may still be there");
        falls.siblings.insert(ShardId(1), 1);
        assert!(!falls.is_behind(sibling));
        assert!(falls.everywhere(2) && !falls.everywhere(3));
    }
}
