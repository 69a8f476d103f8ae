//! A disk that breaks under a server: a small library before the system's lets one call fail from a moment on. It takes no
//! rights and no file system of its own, only a C compiler and a server that is linked to the system's library.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Server;

/// What the library is made from.
const SOURCE: &str = include_str!("broken_disk.c");

/// The library, and how to break the disk of the servers that have it.
pub struct BrokenDisk {
    place: PathBuf,
}

impl BrokenDisk {
    /// Makes the library in a directory of its own, which is made and goes with this.
    ///
    /// # Errors
    /// Why this machine makes none.
    pub fn new(place: &Path) -> Result<BrokenDisk, String> {
        std::fs::create_dir_all(place).unwrap();
        let disk = BrokenDisk { place: place.to_owned() };
        let source = place.join("broken_disk.c");
        std::fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        let compiler = compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(disk.library()).arg(&source);
        let output = compiler.output().map_err(|error| format!("there is no C compiler: {error}"))?;
        if output.status.success() { Ok(disk) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    fn library(&self) -> PathBuf {
        self.place.join("broken_disk.so")
    }

    fn word(&self, index: usize) -> PathBuf {
        self.place.join(format!("broken-{index}"))
    }

    /// The setting of a server whose disk can break; servers are told apart by `index`.
    pub fn setting(&self, index: usize) -> String {
        format!("sh:export LD_PRELOAD='{}' BROKEN_DISK='{}'", self.library().display(), self.word(index).display())
    }

    /// Whether a server that was started so has the library: one that is linked to none has not.
    pub fn is_in(&self, server: &Server) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap_or_default();
        maps.contains("broken_disk.so")
    }

    /// From now on this call of a server fails: `fdatasync`, `fsync` or `rename`.
    pub fn break_at(&self, index: usize, call: &str) {
        // It is there at once, and whole.
        let beside = self.place.join("next");
        std::fs::write(&beside, call).unwrap();
        std::fs::rename(&beside, self.word(index)).unwrap();
    }

    /// The disk is whole again, for the server that starts next.
    pub fn mend(&self, index: usize) {
        std::fs::remove_file(self.word(index)).unwrap();
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        // What is left in the directory for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.place);
    }
}
