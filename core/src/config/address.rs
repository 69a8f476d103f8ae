//! Addresses and origins as an operator writes them.
//!
//! Names are never resolved here: that is the adapter's part. What these types accept is safe to write into a page, a
//! header or a log line as it stands.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest host name that DNS can carry, in bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// A block of addresses, `10.0.0.0/8`, or a single one, `10.0.0.1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressBlock {
    network: IpAddr,
    prefix_bits: u8,
}

impl AddressBlock {
    /// Reads `address` or `address/bits`; `None` for any other shape. Bits beyond the prefix are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let network = address.parse::<IpAddr>().ok()?;
        let widest = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse::<u8>().ok()?,
            Some(_) => return None,
            None => widest,
        };
        (prefix_bits <= widest).then_some(AddressBlock { network, prefix_bits })
    }

    /// Whether `address` lies in the block. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`, as a dual-stack
    /// listener reports it) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                // A block that was itself written as IPv6 has 96 more bits in front.
                let bits = if self.network.is_ipv4() { self.prefix_bits } else { self.prefix_bits.saturating_sub(96) };
                let shift = 32 - u32::from(bits.min(32));
                let cut = |ip: Ipv4Addr| u32::from(ip).checked_shr(shift).unwrap_or(0);
                cut(network) == cut(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix_bits.min(128));
                let cut = |ip: Ipv6Addr| u128::from(ip).checked_shr(shift).unwrap_or(0);
                cut(network) == cut(address)
            }
            _ => false,
        }
    }
}

/// Where a node's cluster port is: `host:port`, `host`, `[v6]:port`, `[v6]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeAddress {
    /// A host name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// The cluster port; `None` where it was left out, which means the port of this node (`WRS_NODE_PORT`).
    pub port: Option<u16>,
}

impl NodeAddress {
    /// Reads an address; `None` for any other shape. A port is 1 to 65535.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let (host, rest) = inner.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, rest)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (is_host_name(host).then_some(host)?, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse::<u16>().ok().filter(|&p| p != 0)?)
            }
            None if rest.is_empty() => None,
            _ => return None,
        };
        Some(NodeAddress { host: host.to_owned(), port })
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Whether `text` is a host name or an IPv4 address: letters, digits, `.`, `-` and `_`, not empty.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= HOST_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && !text.starts_with(['-', '.'])
}

/// Which web origins (RFC 6454) are let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// Every origin (`*`).
    Any,
    /// These alone; an empty list lets no origin in.
    List(Vec<Origin>),
}

impl Origins {
    /// Whether the value of a request's `Origin` header is let in. `null`, and what is not an origin at all, only
    /// passes [`Origins::Any`], or where `null` is listed.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Origins::Any => true,
            Origins::List(list) => Origin::parse(origin).is_some_and(|origin| list.contains(&origin)),
        }
    }
}

/// One web origin, `https://app.example:8443` or `null`, in the form in which browsers send it: lower case and without
/// the scheme's default port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

impl Origin {
    /// Reads `scheme://host` or `scheme://host:port` or `null`; `None` for any other shape, a path included.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Some(Origin(text));
        }
        let (scheme, authority) = text.split_once("://")?;
        let scheme_fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(scheme_fits) {
            return None;
        }
        let address = NodeAddress::parse(authority)?;
        let usual = matches!((scheme, address.port), ("http" | "ws", Some(80)) | ("https" | "wss", Some(443)));
        let address = NodeAddress { port: if usual { None } else { address.port }, ..address };
        Some(Origin(format!("{scheme}://{address}")))
    }

    /// The origin as a header carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_contains_its_addresses_and_no_other() {
        let block = AddressBlock::parse("10.1.0.0/16").unwrap();
        assert!(block.contains(ip("10.1.255.3")) && block.contains(ip("::ffff:10.1.0.1")));
        assert!(!block.contains(ip("10.2.0.1")) && !block.contains(ip("::1")));
        assert!(AddressBlock::parse("0.0.0.0/0").unwrap().contains(ip("255.1.2.3")));
        assert!(AddressBlock::parse("::/0").unwrap().contains(ip("2001:db8::1")));
        assert!(AddressBlock::parse("::1").unwrap().contains(ip("::1")));
        assert!(!AddressBlock::parse("::1").unwrap().contains(ip("::2")));
        assert!(AddressBlock::parse("::ffff:10.0.0.0/104").unwrap().contains(ip("10.9.9.9")));
        assert!(!AddressBlock::parse("::ffff:10.0.0.0/104").unwrap().contains(ip("11.9.9.9")));
    }

    #[test]
    fn what_is_not_a_block_is_refused() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "host", "10.0.0.0/8/8"] {
            assert_eq!(AddressBlock::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_node_address_reads_what_it_writes() {
        for text in ["node-1.example:4000", "node_1", "10.0.0.1:65535", "[::1]:4000", "[2001:db8::1]"] {
            assert_eq!(NodeAddress::parse(text).unwrap().to_string(), text);
        }
        for bad in
            ["", ":4000", "a b", "host:", "host:0", "host:65536", "host:+1", "::1", "[::1", "[x]:1", "h/x", "[::1]x"]
        {
            assert_eq!(NodeAddress::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn origins_are_compared_as_browsers_send_them() {
        let list = ["https://App.example", "http://localhost:3000", "http://[::1]:80"];
        let origins = Origins::List(list.iter().map(|o| Origin::parse(o).unwrap()).collect());
        for let_in in ["https://app.example", "https://app.example:443", "http://localhost:3000", "http://[::1]"] {
            assert!(origins.allows(let_in), "{let_in}");
        }
        for foreign in ["http://app.example", "https://app.example.evil", "https://app.example:444", "null", "", "*"] {
            assert!(!origins.allows(foreign), "{foreign}");
        }
        assert!(Origins::Any.allows("anything"));
        assert!(Origins::List(vec![Origin::parse("null").unwrap()]).allows("null"));
        assert!(!Origins::List(vec![]).allows("https://app.example"));
    }

    #[test]
    fn what_is_not_an_origin_is_refused() {
        for bad in ["", "app.example", "https://", "https://app.example/", "https://app.example/x", "1://x", "a b://x"]
        {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }
}
