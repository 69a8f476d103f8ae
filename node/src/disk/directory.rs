//! The data directory (`WRS_DATA_DIR`): who may use it, what it holds, and each change of it.
//!
//! One process uses it at a time: a file `lock` stays locked as long as the process lives, however it ends. What is not
//! ours is named in a warning and never touched. A file that is replaced is written beside the old one under its name and
//! `.new`; what a crash left there is not a file of the directory yet and goes at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use wrs_core::action::FileName;

use super::files::{Files, System};
use super::plan::Step;

/// The most that a directory may hold when a node starts, in bytes: a million channels take a tenth of it.
pub const STORED_BYTES_MAX: u64 = 4 << 30;
/// Files and other names in the directory that are looked at.
const NAMES_MAX: usize = 65_536;
/// Names of strangers that are told one by one.
const WARNINGS_MAX: usize = 16;
/// What keeps a second process out.
const LOCK: &str = "lock";
/// What stands behind the name of a file that is not whole yet.
const NOT_YET: &str = ".new";
/// Pieces of an append that are gathered for one write, in bytes; a longer piece is written alone.
const GATHERED_MAX: usize = 256 << 10;

/// The directory of this process.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held, never read.
    _lock: File,
    /// The file that was appended to last.
    open: Option<(FileName, File)>,
    files: Box<dyn Files>,
}

/// A directory as a node finds it.
#[derive(Debug)]
pub struct Opened {
    /// The directory.
    pub directory: Directory,
    /// Its files, in the order of their names.
    pub stored: Vec<(FileName, Bytes)>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
}

impl Directory {
    /// Makes the directory if there is none, locks it and reads it whole.
    ///
    /// # Errors
    /// One line for the operator: another process uses it, it holds too much, or the system refuses.
    pub fn open(path: &Path) -> Result<Opened, String> {
        Self::open_with(path, Box::new(System))
    }

    /// The same, whose files may be others than the system's.
    pub(super) fn open_with(path: &Path, files: Box<dyn Files>) -> Result<Opened, String> {
        let of = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        create(path).map_err(|error| of(path, error))?;
        let lock_path = path.join(LOCK);
        let lock = options().create(true).write(true).open(&lock_path).map_err(|error| of(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{}: another process uses this data directory", path.display()));
            }
            Err(TryLockError::Error(error)) => return Err(of(&lock_path, error)),
        }
        let mut opened = Opened {
            directory: Directory { path: path.to_owned(), _lock: lock, open: None, files },
            stored: Vec::new(),
            warnings: Vec::new(),
        };
        opened.read().map_err(|error| of(path, error))?;
        Ok(opened)
    }

    /// Takes one step; `Tell` is not the disk's.
    ///
    /// # Errors
    /// One line that names the file. What the disk holds is then unknown: no further step may be taken.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), String> {
        let (path, taken) = match step {
            Step::Append { file, pieces } => (self.place(*file), self.append(*file, pieces)),
            Step::Sync(file) => (self.place(*file), self.sync(*file)),
            Step::Replace { file, bytes } => (self.place(*file), self.replace(*file, bytes)),
            Step::Truncate { file, length } => (self.place(*file), self.truncate(*file, *length)),
            Step::Remove(file) => (self.place(*file), self.remove(*file)),
            Step::SyncNames => (self.path.clone(), self.sync_names()),
            Step::Tell(_) => return Ok(()),
        };
        taken.map_err(|error| format!("{}: {error}", path.display()))
    }

    fn place(&self, file: FileName) -> PathBuf {
        self.path.join(file.to_string())
    }

    fn append(&mut self, file: FileName, pieces: &[Bytes]) -> io::Result<()> {
        let mut out = self.take_out(file)?;
        let mut gathered = Vec::new();
        for piece in pieces {
            if gathered.len() + piece.len() > GATHERED_MAX {
                self.files.write(&mut out, &gathered)?;
                gathered.clear();
            }
            if piece.len() > GATHERED_MAX {
                self.files.write(&mut out, piece)?;
            } else {
                gathered.extend_from_slice(piece);
            }
        }
        self.files.write(&mut out, &gathered)?;
        self.open = Some((file, out));
        Ok(())
    }

    /// The file, open at its end; it is made, durably, if there is none.
    fn take_out(&mut self, file: FileName) -> io::Result<File> {
        if let Some((_, out)) = self.open.take().filter(|(open, _)| *open == file) {
            return Ok(out);
        }
        let path = self.place(file);
        match self.files.open(options().append(true), &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let out = self.files.open(options().append(true).create_new(true), &path)?;
                self.sync_names()?;
                Ok(out)
            }
            opened => opened,
        }
    }

    fn sync(&mut self, file: FileName) -> io::Result<()> {
        let out = self.take_out(file)?;
        self.files.sync_data(&out)?;
        self.open = Some((file, out));
        Ok(())
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> io::Result<()> {
        self.let_go(file);
        let whole = self.place(file);
        let beside = self.path.join(format!("{file}{NOT_YET}"));
        let mut out = self.files.open(options().create(true).write(true).truncate(true), &beside)?;
        self.files.write(&mut out, bytes)?;
        self.files.sync_all(&out)?;
        drop(out);
        self.files.rename(&beside, &whole)?;
        self.sync_names()
    }

    fn truncate(&mut self, file: FileName, length: u64) -> io::Result<()> {
        self.let_go(file);
        let path = self.place(file);
        let out = self.files.open(options().write(true), &path)?;
        self.files.cut(&out, length)?;
        self.files.sync_all(&out)
    }

    fn remove(&mut self, file: FileName) -> io::Result<()> {
        self.let_go(file);
        let path = self.place(file);
        match self.files.remove(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn let_go(&mut self, file: FileName) {
        self.open.take_if(|(open, _)| *open == file);
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.files.sync_names(&self.path)
    }
}

impl Opened {
    fn read(&mut self) -> io::Result<()> {
        let mut strangers = 0_usize;
        let mut left = STORED_BYTES_MAX;
        for (index, entry) in fs::read_dir(&self.directory.path)?.enumerate() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_file = entry.file_type()?.is_file();
            if index >= NAMES_MAX {
                return Err(io::Error::other(format!("holds more than {NAMES_MAX} files")));
            }
            if name == LOCK {
                continue;
            }
            match FileName::parse(&name) {
                Some(file) if is_file => self.stored.push((file, read_at_most(&entry.path(), &mut left)?)),
                None if is_file && is_not_yet(&name) => fs::remove_file(entry.path())?,
                _ if strangers < WARNINGS_MAX => {
                    strangers += 1;
                    self.warnings.push(format!("WRS_DATA_DIR: {name:?} is not a file of ours; it is left alone"));
                }
                _ => strangers += 1,
            }
        }
        if strangers > WARNINGS_MAX {
            self.warnings.push(format!("WRS_DATA_DIR: so are {} more", strangers - WARNINGS_MAX));
        }
        self.stored.sort_by_key(|(file, _)| *file);
        Ok(())
    }
}

/// Whether this is what a crash left of a file that was being replaced.
fn is_not_yet(name: &str) -> bool {
    name.strip_suffix(NOT_YET).is_some_and(|whole| FileName::parse(whole).is_some())
}

fn read_at_most(path: &Path, left: &mut u64) -> io::Result<Bytes> {
    let too_much = || io::Error::other(format!("holds more than {STORED_BYTES_MAX} bytes"));
    let file = File::open(path)?;
    if file.metadata()?.len() > *left {
        return Err(too_much());
    }
    let mut bytes = Vec::new();
    let read = file.take(left.saturating_add(1)).read_to_end(&mut bytes)? as u64;
    *left = left.checked_sub(read).ok_or_else(too_much)?;
    Ok(bytes.into())
}

/// What is stored is the node's own: it holds the hashes of tokens.
fn options() -> OpenOptions {
    #[cfg(unix)]
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    options.mode(0o600);
    options
}

fn create(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::{Broken, Call};
    use super::*;
    use crate::trial::Scratch;

    const LOG: FileName = FileName::Segment(0x1F);
    const STATE: FileName = FileName::Snapshot(7);

    fn open(scratch: &Scratch) -> Directory {
        Directory::open(scratch.path()).unwrap().directory
    }

    fn stored(scratch: &Scratch) -> Vec<(FileName, Bytes)> {
        Directory::open(scratch.path()).unwrap().stored
    }

    fn append(pieces: &[&'static [u8]]) -> Step {
        Step::Append { file: LOG, pieces: pieces.iter().copied().map(Bytes::from_static).collect() }
    }

    fn replace(bytes: &'static [u8]) -> Step {
        Step::Replace { file: STATE, bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn what_was_stored_is_found_again() {
        let scratch = Scratch::new();
        let mut directory = open(&scratch);
        let large = Bytes::from(vec![7; GATHERED_MAX + 1]);
        for step in [
            append(&[b"one", b"", b"two"]),
            Step::Append { file: LOG, pieces: vec![large.clone(), Bytes::from_static(b"behind it")] },
            Step::Sync(LOG),
            replace(b"old"),
            replace(b"new"),
            Step::SyncNames,
            Step::Append { file: FileName::Segment(2), pieces: vec![Bytes::from_static(b"goes")] },
            Step::Sync(FileName::Segment(2)),
            Step::Remove(FileName::Segment(2)),
            Step::Remove(FileName::Segment(3)),
        ] {
            directory.take(&step).unwrap();
        }
        drop(directory);
        let whole = [&b"onetwo"[..], &large, b"behind it"].concat();
        assert_eq!(stored(&scratch), [(LOG, whole.into()), (STATE, Bytes::from_static(b"new"))]);
    }

    #[test]
    fn a_file_is_cut_and_goes_on_from_there() {
        let scratch = Scratch::new();
        let mut directory = open(&scratch);
        for step in [
            append(&[b"whole", b"torn"]),
            Step::Sync(LOG),
            Step::Truncate { file: LOG, length: 5 },
            append(&[b" again"]),
            Step::Sync(LOG),
        ] {
            directory.take(&step).unwrap();
        }
        drop(directory);
        assert_eq!(stored(&scratch), [(LOG, Bytes::from_static(b"whole again"))]);
    }

    #[test]
    fn one_process_uses_it_at_a_time() {
        let scratch = Scratch::new();
        let first = open(&scratch);
        let refused = Directory::open(scratch.path()).unwrap_err();
        assert!(refused.contains("another process") && refused.lines().count() == 1, "{refused}");
        drop(first);
        open(&scratch);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        let path = scratch.path().join("not/yet/there");
        let mut directory = Directory::open(&path).unwrap().directory;
        directory.take(&replace(b"x")).unwrap();
        directory.take(&append(&[b"x"])).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for name in [LOG.to_string(), STATE.to_string(), LOCK.to_owned()] {
            assert_eq!(mode(&path.join(&name)), 0o600, "{name}");
        }
    }

    #[test]
    fn what_is_not_ours_is_told_and_left_alone() {
        let scratch = Scratch::new();
        for name in ["notes.txt", "log-1", "notes.new"] {
            fs::write(scratch.path().join(name), "mine").unwrap();
        }
        fs::create_dir(scratch.path().join(LOG.to_string())).unwrap();
        let opened = Directory::open(scratch.path()).unwrap();
        assert_eq!((opened.stored, opened.warnings.len()), (vec![], 4));
        assert!(opened.warnings.iter().any(|warning| warning.contains("\"notes.txt\"")));
        assert_eq!(fs::read(scratch.path().join("notes.new")).unwrap(), b"mine");
        for number in 0..100 {
            fs::write(scratch.path().join(format!("note {number}")), "").unwrap();
        }
        drop(opened.directory);
        let warnings = Directory::open(scratch.path()).unwrap().warnings;
        assert_eq!(warnings.len(), WARNINGS_MAX + 1);
        assert!(warnings[WARNINGS_MAX].contains(&(104 - WARNINGS_MAX).to_string()), "{warnings:?}");
    }

    #[test]
    fn a_file_that_was_not_whole_when_a_crash_came_goes() {
        let scratch = Scratch::new();
        open(&scratch).take(&replace(b"old")).unwrap();
        let beside = scratch.path().join(format!("{STATE}{NOT_YET}"));
        fs::write(&beside, "ne").unwrap();
        let opened = Directory::open(scratch.path()).unwrap();
        assert_eq!(opened.stored, [(STATE, Bytes::from_static(b"old"))]);
        assert!(opened.warnings.is_empty() && !beside.exists());
    }

    #[cfg(unix)]
    #[test]
    fn more_than_memory_should_hold_is_not_read() {
        let scratch = Scratch::new();
        for file in [LOG, STATE] {
            // All of it is a hole: no disk holds that much for a test.
            let file = File::create(scratch.path().join(file.to_string())).unwrap();
            file.set_len(STORED_BYTES_MAX + 1).unwrap();
        }
        let refused = Directory::open(scratch.path()).unwrap_err();
        assert!(refused.contains(&STORED_BYTES_MAX.to_string()), "{refused}");
    }

    /// `/dev/full` is a disk without room.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_and_the_old_file_stays() {
        use std::os::unix::fs::symlink;
        let scratch = Scratch::new();
        let mut directory = open(&scratch);
        directory.take(&replace(b"old")).unwrap();
        symlink("/dev/full", scratch.path().join(format!("{STATE}{NOT_YET}"))).unwrap();
        symlink("/dev/full", scratch.path().join(LOG.to_string())).unwrap();
        for step in [replace(b"new"), append(&[b"x"])] {
            let why = directory.take(&step).unwrap_err();
            assert!(why.contains("No space left"), "{why}");
        }
        drop(directory);
        let opened = Directory::open(scratch.path()).unwrap();
        assert_eq!(opened.stored, [(STATE, Bytes::from_static(b"old"))]);
    }

    /// The steps of one batch of each kind, on a directory that has a log of `whole` and a state of `old`.
    fn steps() -> Vec<Step> {
        vec![
            append(&[b" and more"]),
            Step::Sync(LOG),
            Step::Append { file: FileName::Segment(0x20), pieces: vec![Bytes::from_static(b"first")] },
            Step::Sync(FileName::Segment(0x20)),
            replace(b"new"),
            Step::Truncate { file: LOG, length: 5 },
            Step::Remove(LOG),
            Step::SyncNames,
        ]
    }

    /// Any call may fail, in any step: the step says so with the file's name, nothing more is asked of the system for it, and
    /// whatever is found at the next start is what was there before or what was to be.
    #[test]
    fn each_call_that_fails_is_told_and_leaves_every_file_old_or_new() {
        let mut failed = [0; Call::ALL.len()];
        for (kind, call) in Call::ALL.into_iter().enumerate() {
            for nth in 1.. {
                let scratch = Scratch::new();
                for (file, bytes) in [(LOG, "whole"), (STATE, "old")] {
                    fs::write(scratch.path().join(file.to_string()), bytes).unwrap();
                }
                let broken = Broken::at(call, nth);
                let opened = Directory::open_with(scratch.path(), Box::new(broken.clone())).unwrap();
                let mut directory = opened.directory;
                let fails = |step: Step| Some((directory.take(&step).err()?, step));
                let Some((why, step)) = steps().into_iter().find_map(fails) else {
                    assert!(!broken.has_failed(), "{call:?} {nth} failed and nobody was told");
                    break;
                };
                failed[kind] += 1;
                let named = match &step {
                    Step::Append { file, .. }
                    | Step::Sync(file)
                    | Step::Replace { file, .. }
                    | Step::Truncate { file, .. }
                    | Step::Remove(file) => scratch.path().join(file.to_string()),
                    Step::SyncNames | Step::Tell(_) => scratch.path().to_owned(),
                };
                assert_eq!(why, format!("{}: the disk is broken", named.display()), "{call:?} {nth}");
                assert!(broken.was_last(), "{call:?} {nth}: the system was asked again: {:?}", broken.asked);
                for file in [LOG, STATE, FileName::Segment(0x20)] {
                    let Ok(bytes) = fs::read(scratch.path().join(file.to_string())) else {
                        assert_ne!(file, STATE, "{call:?} {nth}: it is replaced, and never gone");
                        continue;
                    };
                    let whole: &[&[u8]] = match file {
                        LOG => &[b"whole and more", b"whole"],
                        STATE => &[b"old", b"new"],
                        _ => &[b"first"],
                    };
                    let torn = matches!(file, FileName::Segment(_)) && whole[0].starts_with(&bytes);
                    assert!(torn || whole.contains(&&bytes[..]), "{call:?} {nth}: {file} is {bytes:?}");
                }
            }
        }
        assert_eq!(failed, [5, 3, 2, 2, 1, 1, 1, 3], "of each call, as often as the steps make it");
    }
}
