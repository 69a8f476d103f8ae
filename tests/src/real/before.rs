//! What a small library before the system's does to a server: a disk that breaks, calls that come back late. It takes no
//! rights and no file system of its own, only a C compiler and a server that is linked to the system's library.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Server;

/// A library before the system's, in a directory of its own that goes with it.
struct Library {
    place: PathBuf,
    name: &'static str,
}

impl Library {
    fn new(place: &Path, name: &'static str, text: &str) -> Result<Library, String> {
        std::fs::create_dir_all(place).unwrap();
        let library = Library { place: place.to_owned(), name };
        let source = place.join(format!("{name}.c"));
        std::fs::write(&source, text).unwrap();
        let mut compiler = Command::new("cc");
        let compiler = compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library.path()).arg(&source).arg("-ldl");
        let output = compiler.output().map_err(|error| format!("there is no C compiler: {error}"))?;
        if output.status.success() { Ok(library) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    fn path(&self) -> PathBuf {
        self.place.join(format!("{}.so", self.name))
    }

    /// What gives it to a server, which a shell becomes.
    fn setting(&self) -> String {
        format!("sh:export LD_PRELOAD='{}'", self.path().display())
    }

    fn is_in(&self, server: &Server) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap_or_default();
        maps.contains(&format!("{}.so", self.name))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // What is left in the directory for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

/// Rings of io_uring whose calls all come back 150 ms late, as on a machine with much more work than cores.
pub struct LateRing(Library);

impl LateRing {
    /// Makes the library in a directory of its own, which is made and goes with this.
    ///
    /// # Errors
    /// Why this machine makes none.
    pub fn new(place: &Path) -> Result<LateRing, String> {
        Library::new(place, "late_ring", include_str!("late_ring.c")).map(LateRing)
    }

    /// The setting of a server that has it.
    pub fn setting(&self) -> String {
        self.0.setting()
    }

    /// Whether a server that was started so has the library: one that is linked to none has not.
    pub fn is_in(&self, server: &Server) -> bool {
        self.0.is_in(server)
    }
}

/// How to break the disk of the servers that have this library: it lets one call fail from a moment on.
pub struct BrokenDisk(Library);

impl BrokenDisk {
    /// Makes the library in a directory of its own, which is made and goes with this.
    ///
    /// # Errors
    /// Why this machine makes none.
    pub fn new(place: &Path) -> Result<BrokenDisk, String> {
        Library::new(place, "broken_disk", include_str!("broken_disk.c")).map(BrokenDisk)
    }

    fn word(&self, index: usize) -> PathBuf {
        self.0.place.join(format!("broken-{index}"))
    }

    /// The setting of a server whose disk can break; servers are told apart by `index`.
    pub fn setting(&self, index: usize) -> String {
        format!("{} BROKEN_DISK='{}'", self.0.setting(), self.word(index).display())
    }

    /// Whether a server that was started so has the library: one that is linked to none has not.
    pub fn is_in(&self, server: &Server) -> bool {
        self.0.is_in(server)
    }

    /// From now on this call of a server fails: `fdatasync`, `fsync` or `rename`.
    pub fn break_at(&self, index: usize, call: &str) {
        // It is there at once, and whole.
        let beside = self.0.place.join("next");
        std::fs::write(&beside, call).unwrap();
        std::fs::rename(&beside, self.word(index)).unwrap();
    }

    /// The disk is whole again, for the server that starts next.
    pub fn mend(&self, index: usize) {
        std::fs::remove_file(self.word(index)).unwrap();
    }
}
