//! Standard input, output and error.
//!
//! Input and output are read and written by threads of their own, so that a pipe that stands still keeps no signal and
//! no time limit waiting.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stdin, Stdout, Write};

use smol::Unblock;
use smol::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::failure::Failure;
use crate::limits::{MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX};

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
pub struct Input(BufReader<Unblock<Stdin>>);

impl Input {
    /// The standard input of this program. Nothing is read before the first question.
    pub fn new() -> Self {
        Input(BufReader::new(Unblock::new(io::stdin())))
    }

    /// The next line without its end; `None` behind the last one.
    ///
    /// # Errors
    /// A line of more than [`MESSAGE_BYTES_MAX`], or what the system says.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        loop {
            let found = self.0.fill_buf().await.map_err(cannot_read)?;
            if found.is_empty() {
                return Ok((!line.is_empty()).then_some(line));
            }
            let end = found.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(found.get(..end.unwrap_or(found.len())).unwrap_or_default());
            let used = end.map_or(found.len(), |end| end + 1);
            self.0.consume(used);
            if line.len() > MESSAGE_BYTES_MAX {
                return Err(Failure::refused(format!(
                    "a line of standard input is longer than {MESSAGE_BYTES_MAX} bytes"
                )));
            }
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// More than [`MESSAGE_BYTES_MAX`], or what the system says.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        loop {
            let found = self.0.fill_buf().await.map_err(cannot_read)?;
            if found.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(found);
            let used = found.len();
            self.0.consume(used);
            if all.len() > MESSAGE_BYTES_MAX {
                return Err(Failure::refused(format!("standard input is longer than {MESSAGE_BYTES_MAX} bytes")));
            }
        }
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
