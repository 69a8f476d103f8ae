//! Command lines of the benches: `--name value` pairs, each known by name.

use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

/// The options of a command line.
#[derive(Debug, Default)]
pub struct Arguments {
    pairs: Vec<(String, String)>,
}

impl Arguments {
    /// Reads `--name value …`.
    ///
    /// # Errors
    /// A name that is not in `known`, or one without a value, in words for the user.
    pub fn parse(words: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Self, String> {
        let mut words = words.into_iter();
        let mut pairs = Vec::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let name = name.ok_or_else(|| format!("{word}: unknown; there are --{}", known.join(", --")))?;
            let value = words.next().ok_or_else(|| format!("{word}: no value"))?;
            pairs.push((name.to_owned(), value));
        }
        Ok(Self { pairs })
    }

    /// All values of an option, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The last value of an option, if it is given.
    ///
    /// # Errors
    /// A value of another type.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.all(name).last();
        value.map(|value| value.parse().map_err(|error| format!("--{name} {value}: {error}"))).transpose()
    }

    /// The last value of an option, or this.
    ///
    /// # Errors
    /// A value of another type.
    pub fn get_or<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, String> {
        Ok(self.get(name)?.unwrap_or(default))
    }
}

/// How a bench ends: 0 if all was well, 1 if something was lost or a budget broken, 2 if it could not be run, which is told.
pub fn end(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned), &["size", "peer"])
    }

    #[test]
    fn the_last_value_counts_and_all_are_kept() {
        let arguments = parse("--size 1 --peer a --size 2 --peer b").unwrap();
        assert_eq!(arguments.get_or("size", 9), Ok(2));
        assert_eq!(arguments.all("peer").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(parse("").unwrap().get_or("size", 9), Ok(9));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(parse("--sise 1").unwrap_err().starts_with("--sise: unknown"));
        assert_eq!(parse("--size").unwrap_err(), "--size: no value");
        assert!(parse("--size x").unwrap().get_or("size", 9).unwrap_err().starts_with("--size x:"));
    }
}
