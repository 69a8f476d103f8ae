//! Whether this system can run the server, asked before glommio would panic.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ring;

/// Locked memory without which glommio makes no executor, in bytes.
const LOCKED: u64 = 512 << 10;
/// What to do instead.
const INSTEAD: &str = "run the smol server, which takes the same options: cargo run --release";

/// What stands in the way, in one line.
pub fn check() -> Result<(), String> {
    raise_locked_memory()?;
    ring::probe().map_err(|error| format!("{}; {INSTEAD}", reason(&error)))
}

/// What to say when one of so many shards could not be made.
pub fn shortage(shards: usize, error: &io::Error) -> String {
    format!("{shards} shards (WRS_SHARDS) are too many here: {}; take fewer, or {INSTEAD}", reason(error))
}

/// Raises the limit on locked memory as far as an ordinary user may.
fn raise_locked_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    if limit.current != limit.maximum {
        // What it is afterwards counts.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    match getrlimit(Resource::Memlock).current {
        Some(bytes) if bytes < LOCKED => Err(format!(
            "the limit on locked memory is {} KiB and glommio needs {} KiB: raise it (ulimit -l, --ulimit memlock) or {INSTEAD}",
            bytes >> 10,
            LOCKED >> 10
        )),
        _ => Ok(()),
    }
}

/// Why there is no ring.
fn reason(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => "this kernel has no io_uring".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is forbidden here (by a seccomp profile, as in many containers, or by kernel.io_uring_disabled)"
                .to_owned()
        }
        Some(Errno::INVAL) => "this kernel's io_uring is too old (Linux 6.1 or newer is needed)".to_owned(),
        Some(Errno::NOMEM) => format!("there is no memory for io_uring (see ulimit -l): {error}"),
        _ => format!("io_uring cannot be used: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_one_line_that_names_it() {
        let of = |errno: Errno| reason(&io::Error::from(errno));
        assert!(of(Errno::NOSYS).contains("no io_uring"));
        assert!(of(Errno::PERM).contains("seccomp"));
        assert!(of(Errno::INVAL).contains("6.1"));
        assert!(of(Errno::NOMEM).contains("ulimit -l"));
        assert!(of(Errno::MFILE).contains("cannot be used"));
    }
}
