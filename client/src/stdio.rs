//! Standard input, output and error.
//!
//! Input and output are read and written by threads of their own, so that a pipe that stands still keeps no signal and
//! no time limit waiting.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stdin, Stdout, Write};

use smol::Unblock;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use crate::failure::Failure;
use crate::limits::{MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX};

/// Bytes that one read of standard input takes at most.
const READ_BYTES: usize = 64 << 10;

/// A line on standard error, without control characters of strangers.
pub fn note(text: &str) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Text of strangers as a terminal may show it: control characters, with which a terminal can be steered, as escapes.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if harmless(c) { String::from(c) } else { c.escape_default().collect() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Standard output.
#[derive(Debug)]
pub struct Output {
    pipe: Unblock<Stdout>,
    /// A person reads along.
    pub terminal: bool,
}

impl Output {
    /// The standard output of this program.
    pub fn new() -> Self {
        let pipe = Unblock::with_capacity(OUTPUT_BYTES_MAX, io::stdout());
        Output { pipe, terminal: io::stdout().is_terminal() }
    }

    /// Writes bytes as they are; [`Output::flush`] sends them.
    pub async fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.pipe.write_all(bytes).await.map_err(cannot_write)
    }

    /// Writes a line; [`Output::flush`] sends it.
    pub async fn line(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.put(text).await?;
        self.put(b"\n").await
    }

    /// Text that others wrote, as a line: as it is, but for a terminal.
    pub async fn foreign_line(&mut self, text: &str) -> Result<(), Failure> {
        let text = if self.terminal { printable(text) } else { Cow::Borrowed(text) };
        self.line(text.as_bytes()).await
    }

    /// Returns when everything has been written.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        self.pipe.flush().await.map_err(cannot_write)
    }

    /// A line and nothing behind it.
    pub async fn last(mut self, text: &[u8]) -> Result<(), Failure> {
        self.line(text).await?;
        self.flush().await
    }
}

fn cannot_write(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::refused(format!("cannot write to standard output: {error}")),
    }
}

/// Standard input.
#[derive(Debug)]
pub struct Input {
    pipe: Unblock<Stdin>,
    /// What was read.
    read: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    ended: bool,
}

impl Input {
    /// The standard input of this program. Nothing is read before the first question.
    pub fn new() -> Self {
        Input { pipe: Unblock::new(io::stdin()), read: Vec::new(), taken: 0, ended: false }
    }

    /// The next line without its end; `None` behind the last one.
    ///
    /// # Errors
    /// A line of more than [`MESSAGE_BYTES_MAX`], or what the system says.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut looked_at = self.taken;
        loop {
            let rest = self.read.get(looked_at..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n').map(|end| looked_at + end) {
                let line = self.read.get(self.taken..end).unwrap_or_default();
                self.taken = end + 1;
                return Ok(Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
            }
            looked_at = self.read.len() - self.taken;
            if !self.more().await? {
                let line = std::mem::take(&mut self.read);
                return Ok((!line.is_empty()).then_some(line));
            }
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// More than [`MESSAGE_BYTES_MAX`], or what the system says.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.read))
    }

    /// Forgets what was taken and reads on. Whether there was anything: behind the end nothing is asked for any more, or
    /// a terminal would have to say a second time that it has ended.
    async fn more(&mut self) -> Result<bool, Failure> {
        self.read.drain(..std::mem::take(&mut self.taken));
        if self.read.len() > MESSAGE_BYTES_MAX {
            let why = format!("a line or message of standard input is longer than {MESSAGE_BYTES_MAX} bytes");
            return Err(Failure::refused(why));
        }
        if !self.ended {
            let mut piece = vec![0; READ_BYTES];
            let count = self.pipe.read(&mut piece).await.map_err(cannot_read)?;
            self.read.extend_from_slice(piece.get(..count).unwrap_or_default());
            self.ended = count == 0;
        }
        Ok(!self.ended)
    }
}

fn cannot_read(error: io::Error) -> Failure {
    Failure::refused(format!("cannot read standard input: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters_of_strangers() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{9b}"), "a\\u{1b}[2Jb\\r\\n\\u{9b}");
        assert!(matches!(printable("Grüße, 世界\t!"), Cow::Borrowed(_)));
    }
}
