//! Membership, pure: configurations and the changes from one to the next.
//!
//! A change is simple (at most one voter differs, Raft thesis section 4.1) or goes through a joint configuration (section
//! 4.3). A configuration never depends on anything but the one before and the change, so that every node that applies the
//! same log has the same one. Semantics and vectors: etcd `confchange/`.

use core::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Incarnation, Index, NUMBER_MAX, NodeId};

/// The most single changes that one [`ConfChange`] may carry; a larger one does not decode.
pub const CHANGES_MAX: usize = 256;
/// The most bytes of [`ConfChange::context`]; a longer one does not decode.
pub const CONTEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a single change takes.
const CHANGE_BYTES: usize = 1 + 8 + 8;

/// What a single change does to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Makes the node a voter: adds it, or promotes a learner.
    AddVoter,
    /// Makes the node a learner, which replicates and does not count: adds it, or demotes a voter.
    AddLearner,
    /// Removes the node.
    Remove,
    /// Changes nothing; for applications that keep something about a node, such as its address, in the context.
    Update,
}

/// One change to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// What happens to the node.
    pub kind: ChangeKind,
    /// The node. Zero is ignored.
    pub node: NodeId,
    /// The life of the node's disk, as the operator was told by the node itself. From then on nothing that another life of it
    /// promises counts, on any node and over restarts (study id R5). Zero is "not told": then each leader takes the first one
    /// that it hears in the node's present stay. A member whose incarnation is not told gets it by any change but a removal; one
    /// whose incarnation is told keeps it until it is removed.
    pub incarnation: Incarnation,
}

impl Change {
    /// A change to `node` that does not tell its incarnation.
    #[must_use]
    pub const fn new(kind: ChangeKind, node: NodeId) -> Change {
        Change { kind, node, incarnation: Incarnation(0) }
    }

    /// The same change, telling the node's incarnation.
    #[must_use]
    pub const fn named(self, incarnation: Incarnation) -> Change {
        Change { incarnation, ..self }
    }
}

/// How a change goes from the old configuration to the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Simple where the change is a single one, else joint, left automatically.
    #[default]
    Auto,
    /// Joint, left automatically once it is applied.
    JointImplicit,
    /// Joint, left when the caller proposes [`ConfChange::leave_joint`].
    JointExplicit,
}

/// A membership change, as proposed and as carried in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfChange {
    /// How to get there.
    pub transition: Transition,
    /// What changes. None at all, with [`Transition::Auto`], leaves a joint configuration.
    pub changes: Vec<Change>,
    /// Bytes for the application, opaque to the machine. At most [`CONTEXT_BYTES_MAX`].
    pub context: Bytes,
}

impl ConfChange {
    /// The change of one node, without joint consensus.
    #[must_use]
    pub fn single(kind: ChangeKind, node: NodeId) -> ConfChange {
        ConfChange::of(Change::new(kind, node))
    }

    /// The change of one node, without joint consensus.
    #[must_use]
    pub fn of(change: Change) -> ConfChange {
        ConfChange { transition: Transition::Auto, changes: vec![change], context: Bytes::new() }
    }

    /// The change that leaves a joint configuration.
    #[must_use]
    pub fn leave_joint() -> ConfChange {
        ConfChange::default()
    }

    /// Whether this is the change that leaves a joint configuration.
    #[must_use]
    pub fn leaves_joint(&self) -> bool {
        self.transition == Transition::Auto && self.changes.is_empty()
    }

    /// `Some(auto_leave)` if this change enters a joint configuration.
    #[must_use]
    pub fn enters_joint(&self) -> Option<bool> {
        match self.transition {
            Transition::Auto => (self.changes.len() > 1).then_some(true),
            Transition::JointImplicit => Some(true),
            Transition::JointExplicit => Some(false),
        }
    }

    /// The bytes that the log carries. A change that leaves a joint configuration without context is empty, so that no
    /// limit on sizes can refuse it (study id M3).
    ///
    /// Layout, little-endian: transition u8, count u16, then per change kind u8, node u64 and incarnation u64, then the context to
    /// the end.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        if self.leaves_joint() && self.context.is_empty() {
            return Bytes::new();
        }
        let mut out = BytesMut::with_capacity(3 + CHANGE_BYTES * self.changes.len() + self.context.len());
        out.put_u8(match self.transition {
            Transition::Auto => 0,
            Transition::JointImplicit => 1,
            Transition::JointExplicit => 2,
        });
        out.put_u16_le(u16::try_from(self.changes.len()).unwrap_or(u16::MAX));
        for change in &self.changes {
            out.put_u8(match change.kind {
                ChangeKind::AddVoter => 0,
                ChangeKind::Remove => 1,
                ChangeKind::Update => 2,
                ChangeKind::AddLearner => 3,
            });
            out.put_u64_le(change.node.0);
            out.put_u64_le(change.incarnation.0);
        }
        out.put_slice(&self.context);
        out.freeze()
    }

    /// The change that `bytes` holds, or `None` where they are not one.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<ConfChange> {
        if bytes.is_empty() {
            return Some(ConfChange::leave_joint());
        }
        let mut rest = bytes.clone();
        let transition = match rest.try_get_u8().ok()? {
            0 => Transition::Auto,
            1 => Transition::JointImplicit,
            2 => Transition::JointExplicit,
            _ => return None,
        };
        let count = usize::from(rest.try_get_u16_le().ok()?);
        if count > CHANGES_MAX {
            return None;
        }
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = match rest.try_get_u8().ok()? {
                0 => ChangeKind::AddVoter,
                1 => ChangeKind::Remove,
                2 => ChangeKind::Update,
                3 => ChangeKind::AddLearner,
                _ => return None,
            };
            let node = NodeId(rest.try_get_u64_le().ok()?);
            changes.push(Change { kind, node, incarnation: Incarnation(rest.try_get_u64_le().ok()?) });
        }
        (rest.len() <= CONTEXT_BYTES_MAX).then_some(ConfChange { transition, changes, context: rest })
    }
}

/// A member's present stay in the group: what tells it from one that had its name before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stay {
    /// The member.
    pub node: NodeId,
    /// The index of the change that added it; 0 for a founder. Answers echo it (study id R4).
    pub since: Index,
    /// The life of its disk; 0 is "not told" (study id R5).
    pub incarnation: Incarnation,
}

/// Who belongs to the group. Every list is sorted and free of duplicates.
///
/// Voters and learners never overlap. A voter of the outgoing half that becomes a learner waits in `learners_next` until the
/// joint configuration is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conf {
    /// The voters; the incoming half while joint.
    pub voters: Vec<NodeId>,
    /// The outgoing half while joint, else empty.
    pub outgoing: Vec<NodeId>,
    /// Nodes that replicate and do not count.
    pub learners: Vec<NodeId>,
    /// Outgoing voters that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
    /// Whether the leader leaves the joint configuration by itself once it is applied.
    pub auto_leave: bool,
    /// The stays of members, ascending by node. Founders whose incarnation is not told are left out: see [`Conf::stay`].
    pub stays: Vec<Stay>,
}

/// A configuration, and the nodes that it tracks afresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The new configuration.
    pub conf: Conf,
    /// Nodes that were not tracked at some point of the change: their replication state starts anew.
    pub created: Vec<NodeId>,
}

/// Why a membership change does not apply to a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfError {
    /// A joint configuration must be left before another is entered.
    AlreadyJoint,
    /// An empty configuration has no majority to be joint with.
    NoVoters,
    /// There is no joint configuration to leave.
    NotJoint,
    /// A simple change needs a configuration that is not joint.
    SimpleInJoint,
    /// More than one voter differs: that needs a joint configuration.
    ManyVoters,
    /// No voter would remain.
    RemovedAllVoters,
    /// The configuration contradicts itself (lists overlap, or the change names node 0 only).
    Inconsistent,
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfError::AlreadyJoint => "config is already joint",
            ConfError::NoVoters => "can't make a zero-voter config joint",
            ConfError::NotJoint => "can't leave a non-joint config",
            ConfError::SimpleInJoint => "can't apply simple config change in joint config",
            ConfError::ManyVoters => "more than one voter changed without entering joint config",
            ConfError::RemovedAllVoters => "removed all voters",
            ConfError::Inconsistent => "the configuration contradicts itself",
        })
    }
}

impl core::error::Error for ConfError {}

fn insert(set: &mut Vec<NodeId>, node: NodeId) {
    if let Err(at) = set.binary_search(&node) {
        set.insert(at, node);
    }
}

fn remove(set: &mut Vec<NodeId>, node: NodeId) {
    if let Ok(at) = set.binary_search(&node) {
        set.remove(at);
    }
}

fn has(set: &[NodeId], node: NodeId) -> bool {
    set.binary_search(&node).is_ok()
}

impl Conf {
    /// A configuration of voters only.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Conf {
        let mut conf = Conf::default();
        for node in voters {
            insert(&mut conf.voters, node);
        }
        conf
    }

    /// Whether two majorities must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `node` votes in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        has(&self.voters, node) || has(&self.outgoing, node)
    }

    /// Whether `node` is a learner.
    #[must_use]
    pub fn is_learner(&self, node: NodeId) -> bool {
        has(&self.learners, node)
    }

    /// Whether `node` belongs to the group at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.is_learner(node)
    }

    /// The present stay of `node`, if it is a member.
    #[must_use]
    pub fn stay(&self, node: NodeId) -> Option<Stay> {
        match self.stays.binary_search_by_key(&node, |stay| stay.node) {
            Ok(at) => self.stays.get(at).copied(),
            Err(_) => self.contains(node).then_some(Stay { node, ..Stay::default() }),
        }
    }

    /// Forgets the stays of nodes that are no members, and those that tell nothing.
    fn tidy_stays(&mut self) {
        let mut stays = core::mem::take(&mut self.stays);
        stays.retain(|stay| self.contains(stay.node) && (stay.since, stay.incarnation.0) != (0, 0));
        self.stays = stays;
    }

    /// The voters of both halves, ascending, each once.
    pub fn all_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        merged(&self.voters, &self.outgoing)
    }

    /// Every member, ascending, each once.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = self.all_voters().chain(self.learners.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The configuration after `change`, which stands at `index` in the log, by the way that the change itself names.
    ///
    /// # Errors
    /// The change does not fit this configuration.
    pub fn after(&self, change: &ConfChange, index: Index) -> Result<Changed, ConfError> {
        if change.leaves_joint() {
            self.leave_joint()
        } else if let Some(auto_leave) = change.enters_joint() {
            if mutant!(JumpsWithoutJoint) {
                return Changer::new(self, index).apply(&change.changes);
            }
            self.enter_joint(auto_leave, &change.changes, index)
        } else {
            self.simple(&change.changes, index)
        }
    }

    /// Applies changes at `index` of which at most one may touch a voter (thesis section 4.1).
    ///
    /// # Errors
    /// This configuration is joint, more than one voter differs, or no voter remains.
    pub fn simple(&self, changes: &[Change], index: Index) -> Result<Changed, ConfError> {
        self.check()?;
        if self.is_joint() {
            return Err(ConfError::SimpleInJoint);
        }
        let next = Changer::new(self, index).apply(changes)?;
        let lost = self.voters.iter().filter(|node| !has(&next.conf.voters, **node)).count();
        let gained = next.conf.voters.iter().filter(|node| !has(&self.voters, **node)).count();
        if lost + gained > 1 {
            return Err(ConfError::ManyVoters);
        }
        next.conf.check()?;
        Ok(next)
    }

    /// Makes the present voters the outgoing half and applies `changes` at `index` to the incoming one (thesis section 4.3).
    ///
    /// # Errors
    /// This configuration is joint already or has no voters, or no incoming voter remains.
    pub fn enter_joint(&self, auto_leave: bool, changes: &[Change], index: Index) -> Result<Changed, ConfError> {
        self.check()?;
        if self.is_joint() {
            return Err(ConfError::AlreadyJoint);
        }
        if self.voters.is_empty() {
            return Err(ConfError::NoVoters);
        }
        let mut changer = Changer::new(self, index);
        changer.conf.outgoing.clone_from(&self.voters);
        let mut next = changer.apply(changes)?;
        next.conf.auto_leave = auto_leave;
        next.conf.check()?;
        Ok(next)
    }

    /// Drops the outgoing half.
    ///
    /// # Errors
    /// This configuration is not joint.
    pub fn leave_joint(&self) -> Result<Changed, ConfError> {
        self.check()?;
        if !self.is_joint() {
            return Err(ConfError::NotJoint);
        }
        let mut conf = self.clone();
        for node in core::mem::take(&mut conf.learners_next) {
            insert(&mut conf.learners, node);
        }
        conf.outgoing.clear();
        conf.auto_leave = false;
        conf.tidy_stays();
        conf.check()?;
        Ok(Changed { conf, created: Vec::new() })
    }

    /// Whether the lists agree with each other: what a snapshot from a peer must pass before it is believed.
    ///
    /// # Errors
    /// [`ConfError::Inconsistent`].
    pub fn check(&self) -> Result<(), ConfError> {
        let sorted = |set: &[NodeId]| set.iter().zip(set.iter().skip(1)).all(|(a, b)| a < b);
        let sets = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        let ordered = sets.iter().all(|set| sorted(set) && set.first() != Some(&NodeId(0)));
        let learners = self.learners.iter().all(|node| !self.is_voter(*node));
        let staged = self.learners_next.iter().all(|node| has(&self.outgoing, *node) && !has(&self.learners, *node));
        let plain = self.is_joint() || (self.learners_next.is_empty() && !self.auto_leave);
        let known = |stay: &Stay| {
            self.contains(stay.node) && stay.since < NUMBER_MAX && (stay.since, stay.incarnation.0) != (0, 0)
        };
        let stays = self.stays.iter().zip(self.stays.iter().skip(1)).all(|(a, b)| a.node < b.node);
        let stays = stays && self.stays.iter().all(known);
        if ordered && learners && staged && plain && stays { Ok(()) } else { Err(ConfError::Inconsistent) }
    }
}

/// `a` and `b`, both ascending, as one ascending sequence without duplicates.
fn merged<'a>(a: &'a [NodeId], b: &'a [NodeId]) -> impl Iterator<Item = NodeId> + 'a {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    core::iter::from_fn(move || match (a.peek().copied(), b.peek().copied()) {
        (Some(x), Some(y)) if x == y => {
            b.next();
            a.next()
        }
        (Some(x), Some(y)) if x > y => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

/// A configuration under change, with the set of nodes that have replication state.
struct Changer {
    conf: Conf,
    index: Index,
    tracked: Vec<NodeId>,
    created: Vec<NodeId>,
}

impl Changer {
    fn new(conf: &Conf, index: Index) -> Changer {
        Changer { tracked: conf.members(), conf: conf.clone(), index, created: Vec::new() }
    }

    fn apply(mut self, changes: &[Change]) -> Result<Changed, ConfError> {
        for change in changes.iter().filter(|change| change.node != NodeId(0)) {
            match change.kind {
                ChangeKind::AddVoter => self.make_voter(change.node),
                ChangeKind::AddLearner => self.make_learner(change.node),
                ChangeKind::Remove => self.remove(change.node),
                ChangeKind::Update => {}
            }
            self.name(change);
        }
        if self.conf.voters.is_empty() {
            return Err(ConfError::RemovedAllVoters);
        }
        let Changer { mut conf, mut created, .. } = self;
        conf.tidy_stays();
        created.retain(|node| conf.contains(*node));
        Ok(Changed { conf, created })
    }

    fn create(&mut self, node: NodeId) {
        insert(&mut self.tracked, node);
        insert(&mut self.created, node);
        let stay = Stay { node, since: self.index, incarnation: Incarnation(0) };
        match self.conf.stays.binary_search_by_key(&node, |stay| stay.node) {
            Ok(at) => self.conf.stays.iter_mut().skip(at).take(1).for_each(|known| *known = stay),
            Err(at) => self.conf.stays.insert(at, stay),
        }
    }

    /// Gives a member the incarnation that `change` tells, if it has none.
    fn name(&mut self, change: &Change) {
        let Change { kind, node, incarnation } = *change;
        if kind == ChangeKind::Remove || incarnation == Incarnation(0) || !self.conf.contains(node) {
            return;
        }
        match self.conf.stays.binary_search_by_key(&node, |stay| stay.node) {
            Ok(at) => {
                let unnamed = self.conf.stays.get_mut(at).filter(|stay| stay.incarnation == Incarnation(0));
                if let Some(stay) = unnamed {
                    stay.incarnation = incarnation;
                }
            }
            Err(at) => self.conf.stays.insert(at, Stay { node, since: 0, incarnation }),
        }
    }

    fn make_voter(&mut self, node: NodeId) {
        if !has(&self.tracked, node) {
            self.create(node);
        }
        remove(&mut self.conf.learners, node);
        remove(&mut self.conf.learners_next, node);
        insert(&mut self.conf.voters, node);
    }

    fn make_learner(&mut self, node: NodeId) {
        if !has(&self.tracked, node) {
            self.create(node);
            insert(&mut self.conf.learners, node);
        } else if !has(&self.conf.learners, node) {
            remove(&mut self.conf.voters, node);
            if has(&self.conf.outgoing, node) {
                insert(&mut self.conf.learners_next, node);
            } else {
                insert(&mut self.conf.learners, node);
            }
        }
    }

    fn remove(&mut self, node: NodeId) {
        if !has(&self.tracked, node) {
            return;
        }
        remove(&mut self.conf.voters, node);
        remove(&mut self.conf.learners, node);
        remove(&mut self.conf.learners_next, node);
        if !has(&self.conf.outgoing, node) {
            remove(&mut self.tracked, node);
        }
    }
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, set: &[NodeId]| {
            f.write_str("(")?;
            for (at, node) in set.iter().enumerate() {
                if at > 0 {
                    f.write_str(" ")?;
                }
                node.fmt(f)?;
            }
            f.write_str(")")
        };
        f.write_str("voters=")?;
        list(f, &self.voters)?;
        if self.is_joint() {
            f.write_str("&&")?;
            list(f, &self.outgoing)?;
        }
        if !self.learners.is_empty() {
            f.write_str(" learners=")?;
            list(f, &self.learners)?;
        }
        if !self.learners_next.is_empty() {
            f.write_str(" learners_next=")?;
            list(f, &self.learners_next)?;
        }
        if self.auto_leave { f.write_str(" autoleave") } else { Ok(()) }
    }
}
