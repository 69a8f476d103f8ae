//! One text of one variable → its value, or a clause that says what is allowed.
//!
//! The clause follows the variable's name in an error; it never repeats the text, which may be a token.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::is_host_name;
use super::{AddressBlock, LogFormat, NodeAddress, Origin, Origins, Secret};

/// What a text was read as, or what is allowed in its place.
pub(super) type Read<T> = Result<T, String>;

/// Entries in a list of addresses, origins or seeds, at most.
const LIST_MAX: usize = 256;
/// The longest token or shared secret, in bytes: it must fit into a request's head.
const SECRET_BYTES_MAX: usize = 1_024;

/// A whole number in decimal digits.
pub(super) fn whole(text: &str, min: u64, max: u64) -> Read<u64> {
    digits(text)
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// Decimal digits alone: no sign, no space.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number of hexadecimal digits.
pub(super) fn length(text: &str, min: u64, max: u64) -> Read<usize> {
    whole(text, min, max).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// A number of at most sixteen bits.
pub(super) fn small(text: &str, min: u16, max: u16) -> Read<u16> {
    whole(text, min.into(), max.into()).map(|n| u16::try_from(n).unwrap_or(max))
}

/// A port to listen on; 0 lets the system choose.
pub(super) fn port(text: &str) -> Read<u16> {
    small(text, 0, u16::MAX).map_err(|why| {
        let from_kubernetes = text.contains("://");
        let hint = "; Kubernetes sets it for a service of that name: rename it or set enableServiceLinks to false";
        format!("{why}{}", if from_kubernetes { hint } else { "" })
    })
}

/// Milliseconds.
pub(super) fn millis(text: &str, min: u64, max: u64) -> Read<Duration> {
    let millis = digits(text).filter(|n| (min..=max).contains(n));
    millis.map(Duration::from_millis).ok_or_else(|| format!("must be whole milliseconds from {min} to {max}"))
}

/// Milliseconds, 0 for none.
pub(super) fn millis_or_none(text: &str, min: u64, max: u64) -> Read<Option<Duration>> {
    if digits(text) == Some(0) {
        return Ok(None);
    }
    millis(text, min, max).map(Some).map_err(|why| format!("{why}, or 0 for none"))
}

/// Bytes, plain or with one of the suffixes KiB, MiB and GiB in any case.
pub(super) fn size(text: &str, min: u64, max: u64) -> Read<usize> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = [("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)]
        .into_iter()
        .find_map(|(suffix, unit)| Some((lower.strip_suffix(suffix)?, unit)))
        .unwrap_or((&lower, 1u64));
    digits(number)
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| (min..=max).contains(n))
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| format!("must be bytes from {min} to {max}, plain or with KiB, MiB or GiB (64KiB)"))
}

/// `true` or `false`, also `1` or `0`.
pub(super) fn switch(text: &str) -> Read<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// An IP address to listen on.
pub(super) fn ip(text: &str) -> Read<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "must be an IP address (127.0.0.1, 0.0.0.0, ::)".to_owned())
}

/// A host name or an address, as it stands in a URL: an IPv6 address gets brackets.
pub(super) fn domain(text: &str) -> Read<String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => Ok(format!("[{v6}]")),
        _ if is_host_name(text) => Ok(text.to_owned()),
        _ => Err("must be a host name or an address, without scheme, port or path".to_owned()),
    }
}

/// A path. Whether anything is there, the adapter will see.
pub(super) fn path(text: &str) -> Read<Option<PathBuf>> {
    if text.contains('\0') { Err("must be a path".to_owned()) } else { Ok(Some(PathBuf::from(text))) }
}

/// A token that clients send in a header or a query.
pub(super) fn token(text: &str) -> Read<Option<Secret>> {
    let legal = text.len() <= SECRET_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    legal
        .then(|| Some(Secret::new(text)))
        .ok_or_else(|| format!("must be at most {SECRET_BYTES_MAX} visible ASCII characters without spaces"))
}

/// A secret that nodes share.
pub(super) fn secret(text: &str) -> Read<Option<Secret>> {
    let legal = text.len() <= SECRET_BYTES_MAX;
    legal.then(|| Some(Secret::new(text))).ok_or_else(|| format!("must be at most {SECRET_BYTES_MAX} bytes"))
}

/// Items separated by white space.
fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>, allowed: &str) -> Read<Vec<T>> {
    let items: Option<Vec<T>> = text.split_whitespace().take(LIST_MAX + 1).map(read).collect();
    items
        .filter(|items| items.len() <= LIST_MAX)
        .ok_or_else(|| format!("must be {allowed}, separated by spaces, at most {LIST_MAX}"))
}

/// Addresses and blocks of addresses.
pub(super) fn blocks(text: &str) -> Read<Vec<AddressBlock>> {
    list(text, AddressBlock::parse, "addresses or blocks (10.0.0.1 10.0.0.0/8 ::1)")
}

/// Cluster addresses.
pub(super) fn nodes(text: &str) -> Read<Vec<NodeAddress>> {
    list(text, NodeAddress::parse, "host:port (IPv6 in brackets)")
}

/// One cluster address.
pub(super) fn node(text: &str) -> Read<Option<NodeAddress>> {
    NodeAddress::parse(text).map(Some).ok_or_else(|| "must be host or host:port (IPv6 in brackets)".to_owned())
}

/// `*`, `none`, or origins.
pub(super) fn origins(text: &str) -> Read<Origins> {
    let text = text.trim();
    match text {
        "none" => Ok(Origins::List(Vec::new())),
        _ if text.split_whitespace().any(|item| item == "*") => Ok(Origins::Any),
        _ => list(text, Origin::parse, "*, none, or origins (https://app.example)").map(Origins::List),
    }
}

/// `text` or `json`.
pub(super) fn log_format(text: &str) -> Read<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        assert_eq!(size("1048576", 1, 1 << 30), Ok(1 << 20));
        assert_eq!(size("1MiB", 1, 1 << 30), Ok(1 << 20));
        assert_eq!(size("64kib", 1, 1 << 30), Ok(1 << 16));
        assert_eq!(size("1GiB", 1, 1 << 30), Ok(1 << 30));
        for bad in [
            "1MB",
            "1M",
            "-1",
            "1.5MiB",
            "MiB",
            "1 MiB",
            "2GiB",
            "0",
            "99999999999999999999GiB",
            "18014398509481984KiB",
        ] {
            assert!(size(bad, 1, 1 << 30).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_digits_within_their_range() {
        assert_eq!(whole("7", 1, 9), Ok(7));
        assert_eq!(small("65535", 0, u16::MAX), Ok(65535));
        for bad in ["", "+7", " 7", "7 ", "0x7", "7.0", "10", "0", "-1", "99999999999999999999"] {
            assert!(whole(bad, 1, 9).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn zero_is_none_only_where_it_says_so() {
        assert_eq!(millis_or_none("0", 10, 100), Ok(None));
        assert_eq!(millis_or_none("10", 10, 100), Ok(Some(Duration::from_millis(10))));
        assert!(millis_or_none("9", 10, 100).is_err() && millis("0", 10, 100).is_err());
    }

    #[test]
    fn a_domain_is_safe_in_a_url() {
        assert_eq!(domain("relay.example").as_deref(), Ok("relay.example"));
        assert_eq!(domain("::1").as_deref(), Ok("[::1]"));
        assert_eq!(domain("[::1]").as_deref(), Ok("[::1]"));
        for bad in ["http://x", "x:80", "x/y", "<b>", "a b", "[x]"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        assert_eq!(nodes("a:1 b:2").unwrap().len(), 2);
        assert!(nodes(&"a:1 ".repeat(LIST_MAX)).is_ok() && nodes(&"a:1 ".repeat(LIST_MAX + 1)).is_err());
        assert!(blocks("10.0.0.0/8 nowhere").is_err());
    }

    #[test]
    fn origins_are_all_none_or_a_list() {
        assert_eq!(origins("*"), Ok(Origins::Any));
        assert_eq!(origins("https://a.example *"), Ok(Origins::Any));
        assert_eq!(origins("none"), Ok(Origins::List(vec![])));
        assert!(origins("https://a.example").unwrap().allows("https://a.example"));
        assert!(origins("a.example").is_err());
    }

    #[test]
    fn a_kubernetes_service_link_is_explained() {
        assert!(port("tcp://10.0.0.1:8080").unwrap_err().contains("enableServiceLinks"));
        assert!(!port("http").unwrap_err().contains("Kubernetes"));
    }
}
