//! How two nodes get to know each other on a fresh connection.
//!
//! Both say hello: which versions they speak, who they are, and 32 bytes that were drawn for this connection alone. Then
//! both prove that they know the cluster's secret, the one that dialed first, so that a stranger at the port gets nothing
//! to try secrets on: HMAC-SHA256 (RFC 2104) over a label, the prover's role and both hellos. So a proof is worth nothing on
//! another connection or in the other direction, and nothing in either hello can be changed on the way. Nothing about the
//! other members is said here, and nothing at all but this to one who has not proven itself.
//!
//! It says who is at the other end, not that nobody reads or changes what follows: against that there is TLS below.

use bytes::{BufMut, Bytes, BytesMut};
use ring::hmac;

use super::fault::LinkFault;
use super::frame::{self, HELLO, PREFACE, PROOF};
use crate::config::NodeAddress;
pub use crate::config::{PROTOCOL as VERSION, PROTOCOL_MIN as VERSION_MIN};
use crate::id::{Life, NodeId};
use crate::wire::compact::{Reader, put_life, put_number, put_optional};

/// The longest frame of one who has not proven itself, in bytes: a hello with the longest host name, and room for what a
/// later version adds.
pub(super) const FRAME_BYTES_MAX: usize = 1024;
const NONCE_BYTES: usize = 32;
const LABEL: &[u8] = b"wrs link proof";

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// Who it is.
    pub node: NodeId,
    /// Its present life.
    pub life: Life,
    /// Which run of its process.
    pub incarnation: u64,
    /// The cluster that it is a member of.
    pub cluster: Option<u64>,
    /// `WRS_ID_LENGTH`: the same on all nodes of a cluster.
    pub id_length: u8,
    /// How many shards it has, 1 to 1,024.
    pub shards: u16,
    /// Where it wants to be dialed; `None`: where its connections come from, at `port`.
    pub address: Option<NodeAddress>,
    /// Its cluster port.
    pub port: u16,
    /// Whether it holds any channel.
    pub channels: bool,
}

impl Introduction {
    /// Where to dial the node whose connection comes from `from`.
    pub fn address_seen(&self, from: std::net::IpAddr) -> NodeAddress {
        match &self.address {
            Some(address) => NodeAddress { host: address.host.clone(), port: address.port.or(Some(self.port)) },
            None => NodeAddress { host: from.to_canonical().to_string(), port: Some(self.port) },
        }
    }

    /// Appends the introduction.
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.node.0);
        put_life(out, self.life);
        out.put_u64_le(self.incarnation);
        put_optional(out, self.cluster);
        out.put_u8(self.id_length);
        put_number(out, self.shards.into());
        let address = self.address.as_ref().map(NodeAddress::to_string).unwrap_or_default();
        put_number(out, address.len() as u64);
        out.put_slice(address.as_bytes());
        put_number(out, self.port.into());
        out.put_u8(u8::from(self.channels));
    }

    /// Reads what [`Introduction::put`] wrote. What a later version has added behind it is left.
    pub(super) fn read(reader: &mut Reader) -> Option<Introduction> {
        let (node, life, incarnation) = (NodeId(reader.fixed()?), reader.life()?, reader.fixed()?);
        let (cluster, id_length) = (reader.optional()?, reader.byte()?);
        let shards = u16::try_from(reader.number()?).ok().filter(|shards| (1..=1024).contains(shards))?;
        let length = reader.size()?;
        let address = match std::str::from_utf8(&reader.bytes(length)?).ok()? {
            "" => None,
            text => Some(NodeAddress::parse(text)?),
        };
        let port = u16::try_from(reader.number()?).ok()?;
        let channels = reader.flag()?;
        let introduction =
            Introduction { node, life, incarnation, cluster, id_length, shards, address, port, channels };
        (node.0 != 0 && life.0 != 0).then_some(introduction)
    }
}

/// Who dialed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// This end.
    Dialer,
    /// The other end.
    Acceptor,
}

impl Role {
    fn other(self) -> Role {
        match self {
            Role::Dialer => Role::Acceptor,
            Role::Acceptor => Role::Dialer,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Role::Dialer => 0,
            Role::Acceptor => 1,
        }
    }
}

/// Which versions an end speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Versions {
    pub(super) oldest: u8,
    pub(super) newest: u8,
}

impl Versions {
    /// What this code speaks.
    pub(super) const OURS: Versions = Versions { oldest: VERSION_MIN, newest: VERSION };

    /// The newest that both speak.
    fn common(self, other: Versions) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// The other end, as it says.
#[derive(Clone, Debug)]
pub(super) struct Theirs {
    pub(super) introduction: Introduction,
    /// The newest version that both speak.
    pub(super) version: u8,
    /// The longest frame that it sends.
    pub(super) frame_bytes_max: u64,
    hello: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Hello,
    Proof,
    Proven,
}

/// One end of a handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    role: Role,
    versions: Versions,
    ours: Introduction,
    hello: Bytes,
    theirs: Option<Theirs>,
    stage: Stage,
}

impl Handshake {
    /// Begins: `out` gets this end's hello.
    pub(super) fn new(
        role: Role,
        versions: Versions,
        ours: Introduction,
        frame_bytes_max: u64,
        nonce: [u8; NONCE_BYTES],
        out: &mut BytesMut,
    ) -> Self {
        let mut hello = BytesMut::new();
        hello.put_u8(versions.oldest);
        hello.put_u8(versions.newest);
        hello.put_slice(&nonce);
        put_number(&mut hello, frame_bytes_max);
        ours.put(&mut hello);
        let hello = hello.freeze();
        out.put_slice(&PREFACE);
        frame::put(out, HELLO, &hello);
        Handshake { role, versions, ours, hello, theirs: None, stage: Stage::Hello }
    }

    /// Takes a frame of the other end; answers go to `out`. True: it has proven itself just now.
    ///
    /// # Errors
    /// The connection is to end.
    pub(super) fn heard(
        &mut self,
        kind: u8,
        body: Bytes,
        secret: &hmac::Key,
        out: &mut BytesMut,
    ) -> Result<bool, LinkFault> {
        match (self.stage, kind) {
            (Stage::Hello, HELLO) => {
                self.theirs = Some(self.met(body)?);
                self.stage = Stage::Proof;
                if self.role == Role::Dialer {
                    self.prove(secret, out);
                }
                Ok(false)
            }
            (Stage::Proof, PROOF) => {
                // Compared in constant time.
                hmac::verify(secret, &self.claim(self.role.other()), &body).map_err(|_| LinkFault::Secret)?;
                self.stage = Stage::Proven;
                if self.role == Role::Acceptor {
                    self.prove(secret, out);
                }
                Ok(true)
            }
            _ => Err(LinkFault::OutOfTurn),
        }
    }

    /// The other end, once it has proven itself.
    pub(super) fn proven(&self) -> Option<&Theirs> {
        self.theirs.as_ref().filter(|_| self.stage == Stage::Proven)
    }

    /// Who this end said that it is.
    pub(super) fn ours(&self) -> &Introduction {
        &self.ours
    }

    /// Reads the other end's hello, and whether the two fit.
    fn met(&self, hello: Bytes) -> Result<Theirs, LinkFault> {
        let mut reader = Reader::new(hello.clone());
        let (Some(oldest), Some(newest)) = (reader.byte(), reader.byte()) else { return Err(LinkFault::Malformed) };
        // Before the rest is read: that is all which every version has in common.
        let common = self.versions.common(Versions { oldest, newest });
        let version = common.ok_or(LinkFault::Version { oldest, newest })?;
        let rest = reader.bytes(NONCE_BYTES).and_then(|_| Some((reader.number()?, Introduction::read(&mut reader)?)));
        let (frame_bytes_max, introduction) = rest.ok_or(LinkFault::Malformed)?;
        // A life is drawn by chance: two processes never have the same one, whatever their disks say. If both are this node's
        // it is this node, once it has proven that it does not only say again what it heard.
        if (introduction.node == self.ours.node) != (introduction.life == self.ours.life) {
            return Err(LinkFault::Double);
        }
        if introduction.id_length != self.ours.id_length {
            return Err(LinkFault::IdLength { theirs: introduction.id_length });
        }
        Ok(Theirs { introduction, version, frame_bytes_max, hello })
    }

    /// What a proof of the end with this role is made over. Each hello has its length in front, so that no two pairs of
    /// hellos read alike.
    fn claim(&self, prover: Role) -> Vec<u8> {
        let theirs = self.theirs.as_ref().map(|theirs| &theirs.hello[..]).unwrap_or_default();
        let (dialer, acceptor) = match self.role {
            Role::Dialer => (&self.hello[..], theirs),
            Role::Acceptor => (theirs, &self.hello[..]),
        };
        let mut claim = LABEL.to_vec();
        claim.push(prover.byte());
        for hello in [dialer, acceptor] {
            claim.extend_from_slice(&(hello.len() as u64).to_le_bytes());
            claim.extend_from_slice(hello);
        }
        claim
    }

    fn prove(&self, secret: &hmac::Key, out: &mut BytesMut) {
        frame::put(out, PROOF, hmac::sign(secret, &self.claim(self.role)).as_ref());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn introduction() -> impl Strategy<Value = Introduction> {
        let names = (1u64.., 1u64.., any::<u64>(), any::<Option<u64>>());
        let address = prop::option::of(prop::sample::select(vec!["a.b:1", "10.0.0.1", "[::1]:65535", "[2001:db8::1]"]));
        (names, 0u8..17, 1u16..=1024, address, any::<u16>(), any::<bool>()).prop_map(
            |((node, life, incarnation, cluster), id_length, shards, address, port, channels)| Introduction {
                node: NodeId(node),
                life: Life(life),
                incarnation,
                cluster,
                id_length,
                shards,
                address: address.and_then(NodeAddress::parse),
                port,
                channels,
            },
        )
    }

    proptest! {
        #[test]
        fn an_introduction_reads_what_it_writes(introduction in introduction(), more in any::<Vec<u8>>()) {
            let mut out = BytesMut::new();
            introduction.put(&mut out);
            for cut in 0..out.len() {
                let short = Bytes::copy_from_slice(&out[..cut]);
                prop_assert_eq!(Introduction::read(&mut Reader::new(short)), None);
            }
            out.put_slice(&more);
            prop_assert_eq!(Introduction::read(&mut Reader::new(out.freeze())), Some(introduction));
        }
    }

    #[test]
    fn the_longest_hello_fits_its_frame() {
        let longest = Introduction {
            node: NodeId(u64::MAX),
            life: Life(u64::MAX),
            incarnation: u64::MAX,
            cluster: Some(u64::MAX),
            id_length: 16,
            shards: 1024,
            address: Some(NodeAddress { host: "a".repeat(253), port: Some(u16::MAX) }),
            port: u16::MAX,
            channels: true,
        };
        let mut out = BytesMut::new();
        let _ = Handshake::new(Role::Dialer, Versions::OURS, longest, u64::MAX, [0; NONCE_BYTES], &mut out);
        assert!(out.len() < FRAME_BYTES_MAX / 2, "{}", out.len());
    }

    #[test]
    fn the_newest_common_version_is_spoken_if_there_is_one() {
        let versions = |oldest, newest| Versions { oldest, newest };
        for (ours, theirs, common) in [
            (versions(1, 1), versions(1, 1), Some(1)),
            (versions(1, 2), versions(2, 3), Some(2)),
            (versions(1, 1), versions(2, 3), None),
            (versions(4, 5), versions(2, 3), None),
            (versions(1, 9), versions(3, 2), None),
        ] {
            assert_eq!((ours.common(theirs), theirs.common(ours)), (common, common), "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn a_node_is_dialed_where_it_says_or_where_it_is_seen() {
        let from = "::ffff:10.0.0.7".parse().unwrap();
        let plain = Introduction {
            node: NodeId(1),
            life: Life(1),
            incarnation: 1,
            cluster: None,
            id_length: 4,
            shards: 1,
            address: None,
            port: 4001,
            channels: false,
        };
        assert_eq!(plain.address_seen(from).to_string(), "10.0.0.7:4001");
        let named = Introduction { address: NodeAddress::parse("node-1"), ..plain.clone() };
        assert_eq!(named.address_seen(from).to_string(), "node-1:4001");
        let whole = Introduction { address: NodeAddress::parse("node-1:5"), ..plain };
        assert_eq!(whole.address_seen(from).to_string(), "node-1:5");
    }
}
