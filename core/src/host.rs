//! The other side of the seam: what an adapter must be able to do.
//!
//! No method waits. [`perform`] is the one exhaustive match over [`Action`], so that both adapters do the same.

use bytes::Bytes;

use crate::action::{Action, Actions, Over, Store};
use crate::config::NodeAddress;
use crate::event::Event;
use crate::id::{ConnId, DialId, ShardId};
use crate::input::Input;
use crate::peer::PeerMessage;
use crate::shard::Shard;
use crate::time::Time;

/// What an adapter offers one shard. Calls about a socket that is gone are ignored.
pub trait Host {
    /// Queues bytes on a socket.
    fn send(&mut self, conn: ConnId, bytes: Bytes);
    /// Drops what is queued behind the frame in flight.
    fn truncate(&mut self, conn: ConnId);
    /// Ends the sending side once what is queued is written.
    fn finish(&mut self, conn: ConnId);
    /// Ends the socket now.
    fn close(&mut self, conn: ConnId);
    /// Reads a socket, or not.
    fn read(&mut self, conn: ConnId, wanted: bool);
    /// Hands a message to a sibling shard.
    fn forward(&mut self, peer: ShardId, message: PeerMessage);
    /// Reaches out to another node or to the API of this service.
    fn dial(&mut self, dial: DialId, address: NodeAddress, over: Over);
    /// Looks up a name.
    fn resolve(&mut self, host: String);
    /// Keeps something in the data directory, after what was given before.
    fn store(&mut self, store: Store);
    /// The process is to end with status 1 and this message, once every shard has drained.
    fn fail(&mut self, why: String);
    /// Tells the operator.
    fn report(&mut self, event: Event);
    /// Accepts no further client.
    fn stop_listening(&mut self);
    /// This shard has drained.
    fn stop(&mut self);
}

/// What an adapter's loop drives: a [`Shard`], or what stands in for one in a test of the loop.
pub trait Machine {
    /// Takes one fact and adds what is to be done to `out`.
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Actions);
    /// When [`Input::Timeout`] is due.
    fn deadline(&self) -> Option<Time>;
}

impl Machine for Shard {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Actions) {
        Shard::handle(self, now, input, out);
    }

    fn deadline(&self) -> Option<Time> {
        Shard::deadline(self)
    }
}

/// Performs all actions in order and leaves the list empty.
pub fn perform(actions: &mut Actions, host: &mut impl Host) {
    for action in actions.drain() {
        match action {
            Action::Send { conn, bytes } => host.send(conn, bytes),
            Action::Truncate { conn } => host.truncate(conn),
            Action::Finish { conn } => host.finish(conn),
            Action::Close { conn } => host.close(conn),
            Action::Pause { conn } => host.read(conn, false),
            Action::Resume { conn } => host.read(conn, true),
            Action::Forward { peer, message } => host.forward(peer, message),
            Action::Dial { dial, address, over } => host.dial(dial, address, over),
            Action::Resolve { host: name } => host.resolve(name),
            Action::Store(store) => host.store(store),
            Action::Fail { why } => host.fail(why),
            Action::Report(event) => host.report(event),
            Action::StopListening => host.stop_listening(),
            Action::Stop => host.stop(),
        }
    }
}
