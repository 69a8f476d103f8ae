//! Where a request comes from: which address, behind which proxies, and from which web page.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::{AddressBlock, NodeAddress, Origin};

/// The address that limits and logs count a connection under. `peer` is the socket's; `forwarded_for` are the values of
/// `X-Forwarded-For` in the order of the head.
///
/// Each proxy appends whom it heard from, so the list is read from its end for as long as the speaker is trusted; what
/// stands before the first that is not is hearsay. An entry that is no address ends the walk at who wrote it.
pub fn client_address<'h>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'h [u8]>,
    trusted: &[AddressBlock],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|block| block.contains(address));
    let mut speaker = peer.to_canonical();
    for entry in forwarded_for.rev().flat_map(|value| value.rsplit(|&b| b == b',')) {
        if !is_trusted(speaker) {
            break;
        }
        match forwarded_address(entry) {
            Some(address) => speaker = address,
            None => break,
        }
    }
    speaker
}

/// One entry of `X-Forwarded-For`: an address, some proxies add the port.
fn forwarded_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|s| s.ip()))?;
    Some(address.to_canonical())
}

/// What limits per address count: an IPv4 address, or an IPv6 network of 64 bits, because one subscriber has at least
/// that many addresses and could otherwise be as many clients as it likes.
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Whether a request's `Origin` is another site than the one it was sent to: host or port differ from `Host`. The
/// port that a `Host` leaves out is the one that the origin's scheme implies. What is no origin is foreign.
pub fn is_foreign(origin: &str, host: &str) -> bool {
    let own = origin.split_once("://").and_then(|(scheme, authority)| {
        let implied = if matches!(scheme.to_ascii_lowercase().as_str(), "https" | "wss") { 443 } else { 80 };
        Origin::parse(origin)?;
        let (from, to) = (NodeAddress::parse(authority)?, NodeAddress::parse(host)?);
        let same_port = from.port.unwrap_or(implied) == to.port.unwrap_or(implied);
        Some(from.host.eq_ignore_ascii_case(&to.host) && same_port)
    });
    own != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(peer: &str, values: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "::1"].map(|b| AddressBlock::parse(b).unwrap());
        client_address(peer.parse().unwrap(), values.iter().map(|v| v.as_bytes()), &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_peer_may_speak_for_others() {
        assert_eq!(walk("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(walk("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(walk("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(walk("::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn the_walk_goes_from_the_right_and_stops_at_the_first_stranger() {
        assert_eq!(walk("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(walk("10.0.0.1", &["1.1.1.1", "203.0.113.9 ,10.0.0.2", "::1"]), "203.0.113.9");
        assert_eq!(walk("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all trusted: the farthest");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk_at_its_writer() {
        assert_eq!(walk("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(walk("10.0.0.1", &["203.0.113.9,"]), "10.0.0.1");
        assert_eq!(walk("10.0.0.1", &["203.0.113.9:1234"]), "203.0.113.9");
        assert_eq!(walk("10.0.0.1", &["[2001:db8::1]:1234"]), "2001:db8::1");
        assert_eq!(walk("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let key = |text: &str| address_key(text.parse().unwrap()).to_string();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        assert_eq!(key("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_foreign_origin_is_one_of_another_host_or_port() {
        for (origin, host) in [
            ("http://localhost:8080", "localhost:8080"),
            ("http://LOCALHOST:8080", "localhost:8080"),
            ("http://relay.example", "relay.example"),
            ("http://relay.example", "relay.example:80"),
            ("https://relay.example:443", "relay.example"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(!is_foreign(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example:8080", "localhost:8080"),
            ("http://localhost:8081", "localhost:8080"),
            ("https://relay.example", "relay.example:80"),
            ("http://localhost:8080/x", "localhost:8080"),
            ("null", "localhost:8080"),
            ("", ""),
            ("http://", ""),
            ("localhost:8080", "localhost:8080"),
        ] {
            assert!(is_foreign(origin, host), "{origin} {host}");
        }
    }

    proptest! {
        #[test]
        fn whatever_strangers_write_the_answer_is_the_one_that_the_trusted_proxy_saw(noise in "[0-9., a-f:\\[\\]]{0,40}") {
            prop_assert_eq!(walk("10.0.0.1", &[&noise, "203.0.113.9"]), "203.0.113.9");
            prop_assert_eq!(walk("192.0.2.1", &[&noise]), "192.0.2.1");
        }
    }
}
