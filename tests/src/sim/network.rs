//! Directed links between places, each with its own faults.
//!
//! The network decides *whether and when* something arrives; it never looks inside and never schedules: [`Network::carry`]
//! tells each arrival to its caller, who puts it on the agenda. So it carries single messages (loss, doubling, reordering)
//! as well as streams ([`LinkFaults::ordered`]: nothing overtakes, nothing is lost but with the whole connection).

use super::Random;

/// What a directed link does to what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFaults {
    /// Lost, in parts per million.
    pub loss_ppm: u32,
    /// Delivered twice, in parts per million.
    pub duplicate_ppm: u32,
    /// The shortest delay, nanoseconds.
    pub delay_min: u64,
    /// The mean of what comes on top, exponentially distributed, nanoseconds.
    pub delay_mean: u64,
    /// Delivered far too late, in parts per million: after up to `late_max`.
    pub late_ppm: u32,
    /// The longest of those delays, nanoseconds.
    pub late_max: u64,
    /// Whether nothing overtakes: a stream. What is carried then waits for what was carried before.
    pub ordered: bool,
}

impl LinkFaults {
    /// No fault: everything arrives once, in order, after `delay` nanoseconds.
    #[must_use]
    pub fn none(delay: u64) -> LinkFaults {
        LinkFaults {
            loss_ppm: 0,
            duplicate_ppm: 0,
            delay_min: delay,
            delay_mean: 0,
            late_ppm: 0,
            late_max: 0,
            ordered: true,
        }
    }
}

/// A shape of broken links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Two sides that do not hear each other; `true` is one side.
    Split(Vec<bool>),
    /// One place hears and is heard by no one.
    Isolate(usize),
    /// One place is heard by no one.
    Mute(usize),
    /// One place hears no one.
    Deafen(usize),
    /// Two sides that hear each other only through one place, which hears both.
    Bridge {
        /// The sides.
        sides: Vec<bool>,
        /// The place between them.
        through: usize,
    },
    /// Each place hears only its neighbours in a circle.
    Ring,
    /// A single directed link.
    Link {
        /// From here,
        from: usize,
        /// nothing arrives there.
        to: usize,
    },
}

impl Partition {
    /// Whether the partition breaks the link.
    #[must_use]
    pub fn breaks(&self, from: usize, to: usize, places: usize) -> bool {
        let side = |sides: &[bool], place: usize| sides.get(place).copied().unwrap_or(false);
        match self {
            Partition::Split(sides) => side(sides, from) != side(sides, to),
            Partition::Isolate(place) => from == *place || to == *place,
            Partition::Mute(place) => from == *place,
            Partition::Deafen(place) => to == *place,
            Partition::Bridge { sides, through } => {
                from != *through && to != *through && side(sides, from) != side(sides, to)
            }
            Partition::Ring => {
                let gap = from.abs_diff(to);
                gap != 1 && gap + 1 != places
            }
            Partition::Link { from: a, to: b } => from == *a && to == *b,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Link {
    broken: bool,
    clogged_until: u64,
    newest_arrival: u64,
}

/// Every directed link between `places` places.
#[derive(Clone, Debug)]
pub struct Network {
    places: usize,
    /// The faults of every link; may be changed at any time.
    pub faults: LinkFaults,
    links: Vec<Link>,
    random: Random,
}

impl Network {
    /// Links between all of `places` places.
    #[must_use]
    pub fn new(places: usize, faults: LinkFaults, random: Random) -> Network {
        Network { places, faults, links: vec![Link::default(); places * places], random }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.places + to]
    }

    /// Whether the link is broken now.
    #[must_use]
    pub fn is_broken(&self, from: usize, to: usize) -> bool {
        self.links[from * self.places + to].broken
    }

    /// Breaks the links of `partition`, on top of what is broken.
    pub fn partition(&mut self, partition: &Partition) {
        for from in 0..self.places {
            for to in 0..self.places {
                if from != to && partition.breaks(from, to, self.places) {
                    self.link(from, to).broken = true;
                }
            }
        }
    }

    /// Mends every link.
    pub fn mend(&mut self) {
        for link in &mut self.links {
            link.broken = false;
            link.clogged_until = 0;
        }
    }

    /// Mends the links among `core` and breaks all others.
    pub fn mend_core(&mut self, core: &[bool]) {
        self.mend();
        for from in 0..self.places {
            for to in 0..self.places {
                let inside = core.get(from) == Some(&true) && core.get(to) == Some(&true);
                self.link(from, to).broken = !inside;
            }
        }
    }

    /// Breaks or mends one link.
    pub fn set_broken(&mut self, from: usize, to: usize, broken: bool) {
        self.link(from, to).broken = broken;
    }

    /// Holds everything on a link until `until`.
    pub fn clog(&mut self, from: usize, to: usize, until: u64) {
        self.link(from, to).clogged_until = until;
    }

    /// When all that is under way has arrived: on a stream nothing that is carried now arrives sooner.
    #[must_use]
    pub fn newest_arrival(&self) -> u64 {
        self.links.iter().map(|link| link.newest_arrival).max().unwrap_or(0)
    }

    /// Decides what becomes of something sent at `now`: calls `arrives` with the instant of each arrival, none, one or two
    /// times. Returns whether it arrives at all.
    pub fn carry(&mut self, now: u64, from: usize, to: usize, mut arrives: impl FnMut(u64)) -> bool {
        let faults = &self.faults;
        let link = &mut self.links[from * self.places + to];
        if link.broken || self.random.chance(faults.loss_ppm) {
            return false;
        }
        let copies = 1 + u32::from(self.random.chance(faults.duplicate_ppm));
        for _ in 0..copies {
            let mut delay = faults.delay_min;
            if faults.delay_mean > 0 {
                delay += self.random.exponential(faults.delay_mean);
            }
            if self.random.chance(faults.late_ppm) {
                delay += self.random.below(faults.late_max);
            }
            let mut at = now.saturating_add(delay).max(link.clogged_until);
            if faults.ordered {
                at = at.max(link.newest_arrival);
                link.newest_arrival = at;
            }
            arrives(at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(network: &mut Network, now: u64, from: usize, to: usize) -> Vec<u64> {
        let mut all = Vec::new();
        network.carry(now, from, to, |at| all.push(at));
        all
    }

    #[test]
    fn rates_are_kept() {
        let faults = LinkFaults { loss_ppm: 300_000, duplicate_ppm: 500_000, ..LinkFaults::none(5) };
        let mut network = Network::new(2, faults, Random::new(1));
        let counts: Vec<usize> = (0..10_000).map(|_| arrivals(&mut network, 0, 0, 1).len()).collect();
        let lost = counts.iter().filter(|count| **count == 0).count();
        let doubled = counts.iter().filter(|count| **count == 2).count();
        assert!((2_800..3_200).contains(&lost), "{lost}");
        assert!((3_300..3_700).contains(&doubled), "{doubled}");
    }

    #[test]
    fn a_stream_is_never_overtaken() {
        let faults = LinkFaults { delay_mean: 1_000, late_ppm: 100_000, late_max: 50_000, ..LinkFaults::none(5) };
        let mut network = Network::new(2, faults, Random::new(2));
        let mut last = 0;
        for now in 0..1_000 {
            let at = arrivals(&mut network, now, 0, 1)[0];
            assert!(at >= last);
            last = at;
        }
    }

    #[test]
    fn a_bridge_connects_both_sides_only_through_itself() {
        let mut network = Network::new(5, LinkFaults::none(1), Random::new(3));
        network.partition(&Partition::Bridge { sides: vec![true, true, false, false, false], through: 2 });
        assert!(network.is_broken(0, 3) && network.is_broken(4, 1));
        assert!(!network.is_broken(0, 2) && !network.is_broken(2, 4) && !network.is_broken(3, 4));
        network.mend_core(&[true, false, false, true, false]);
        assert!(!network.is_broken(0, 3) && network.is_broken(0, 1) && network.is_broken(3, 4));
    }

    #[test]
    fn one_way_faults_break_one_way() {
        let mut network = Network::new(3, LinkFaults::none(1), Random::new(4));
        network.partition(&Partition::Mute(0));
        assert!(network.is_broken(0, 1) && !network.is_broken(1, 0));
        network.mend();
        network.clog(1, 0, 500);
        assert_eq!(arrivals(&mut network, 10, 1, 0), [500]);
        network.mend();
        assert_eq!((arrivals(&mut network, 20, 1, 0), network.newest_arrival()), (vec![500], 500), "behind that one");
    }
}
