//! A text that must not be seen: tokens and shared secrets.
//!
//! It never shows itself, neither in `Debug` nor anywhere else, and it is compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;

/// A token or a shared secret. Its bytes are reached through [`Secret::expose`] alone, so that a search finds every use.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps `text` secret from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into().into_bytes().into_boxed_slice())
    }

    /// Whether `candidate` is the same text. The time it takes depends on the lengths alone.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.ct_eq(candidate).into()
    }

    /// The bytes, for a key derivation or a handshake; never for a log, a page, a metric or an error.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for other in [&b""[..], b"hunter", b"hunter22", b"Hunter2"] {
            assert!(!secret.matches(other));
        }
        assert_ne!(secret, Secret::new(""));
    }
}
