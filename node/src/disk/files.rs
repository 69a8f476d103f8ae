//! What a data directory asks of the system while a node runs: each call that can fail, so that a test can let it fail.
//!
//! No rule stands here: which calls are made, and in which order, is the directory's. What is asked once, when a node starts,
//! is none of it.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The calls. Each says what the system says; nothing is asked twice.
pub(super) trait Files: Debug + Send {
    /// Opens a file, as the options say.
    fn open(&mut self, options: &OpenOptions, path: &Path) -> io::Result<File>;
    /// Writes all of it.
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable, whatever else is known of the file (`fdatasync`).
    fn sync_data(&mut self, file: &File) -> io::Result<()>;
    /// Makes all of a file durable (`fsync`).
    fn sync_all(&mut self, file: &File) -> io::Result<()>;
    /// Makes a file so long, in bytes.
    fn cut(&mut self, file: &File, length: u64) -> io::Result<()>;
    /// Puts a file in the place of another.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes durable which files a directory has. Where a directory is not a file, the system does so by itself.
    fn sync_names(&mut self, directory: &Path) -> io::Result<()>;
}

/// The system's own files.
#[derive(Debug)]
pub(super) struct System;

impl Files for System {
    fn open(&mut self, options: &OpenOptions, path: &Path) -> io::Result<File> {
        options.open(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_data(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn cut(&mut self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_names(&mut self, directory: &Path) -> io::Result<()> {
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// One of the calls.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(in crate::disk) enum Call {
        Open,
        Write,
        SyncData,
        SyncAll,
        Cut,
        Rename,
        Remove,
        SyncNames,
    }

    impl Call {
        pub(in crate::disk) const ALL: [Call; 8] = [
            Call::Open,
            Call::Write,
            Call::SyncData,
            Call::SyncAll,
            Call::Cut,
            Call::Rename,
            Call::Remove,
            Call::SyncNames,
        ];
    }

    /// The system's files, but for one call that fails: the `nth` of its kind, counted from 1. A write that fails has written
    /// half.
    #[derive(Clone, Debug)]
    pub(in crate::disk) struct Broken {
        pub(in crate::disk) call: Call,
        pub(in crate::disk) nth: usize,
        /// What was asked, in order.
        pub(in crate::disk) asked: Arc<Mutex<Vec<Call>>>,
    }

    impl Broken {
        pub(in crate::disk) fn at(call: Call, nth: usize) -> Broken {
            Broken { call, nth, asked: Arc::default() }
        }

        /// Whether the call came that fails.
        pub(in crate::disk) fn has_failed(&self) -> bool {
            self.asked.lock().unwrap().iter().filter(|call| **call == self.call).count() >= self.nth
        }

        /// Whether the call that fails was the last of all.
        pub(in crate::disk) fn was_last(&self) -> bool {
            let asked = self.asked.lock().unwrap();
            asked.iter().filter(|call| **call == self.call).count() == self.nth && asked.last() == Some(&self.call)
        }

        fn ask(&self, call: Call) -> io::Result<()> {
            let mut asked = self.asked.lock().unwrap();
            asked.push(call);
            let count = asked.iter().filter(|other| **other == call).count();
            if call == self.call && count == self.nth { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
        }
    }

    impl Files for Broken {
        fn open(&mut self, options: &OpenOptions, path: &Path) -> io::Result<File> {
            self.ask(Call::Open)?;
            System.open(options, path)
        }

        fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            if let Err(error) = self.ask(Call::Write) {
                System.write(file, &bytes[..bytes.len() / 2])?;
                return Err(error);
            }
            System.write(file, bytes)
        }

        fn sync_data(&mut self, file: &File) -> io::Result<()> {
            self.ask(Call::SyncData)?;
            System.sync_data(file)
        }

        fn sync_all(&mut self, file: &File) -> io::Result<()> {
            self.ask(Call::SyncAll)?;
            System.sync_all(file)
        }

        fn cut(&mut self, file: &File, length: u64) -> io::Result<()> {
            self.ask(Call::Cut)?;
            System.cut(file, length)
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.ask(Call::Rename)?;
            System.rename(from, to)
        }

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.ask(Call::Remove)?;
            System.remove(path)
        }

        fn sync_names(&mut self, directory: &Path) -> io::Result<()> {
            self.ask(Call::SyncNames)?;
            System.sync_names(directory)
        }
    }
}
