//! The arguments of a command: its grammar, its help and what was given.
//!
//! Rule guarded: no error repeats an argument, because it may be a token; a flag's name is shown, its value only where
//! the flag is not secret and the value is wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::failure::Failure;

/// The longest flag that an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// With its two dashes.
    pub name: &'static str,
    /// What stands for its value in the help; empty for a switch.
    pub value: &'static str,
    /// One line of the help.
    pub meaning: &'static str,
}

/// A switch has no value, every other flag has one.
pub const fn flag(name: &'static str, value: &'static str, meaning: &'static str) -> Flag {
    Flag { name, value, meaning }
}

/// What every command understands.
const COMMON: [Flag; 5] = [
    flag("--url", "URL", "the node, http(s)://HOST[:PORT] (default: this configuration's own)"),
    flag("--ca", "FILE", "trust these certificates (PEM) and no others"),
    flag("--insecure", "", "trust any certificate"),
    flag("--auth", "TOKEN", "the API token (default: WRS_AUTH_TOKEN, which no list of processes shows)"),
    flag("--help", "", "print this"),
];

/// The grammar of a command and what its help says.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// Behind `usage: wrs `.
    pub usage: &'static str,
    /// What it does; lines of at most 100 characters.
    pub about: &'static str,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// How many arguments there are beside the flags.
    pub positionals: RangeInclusive<usize>,
}

/// What a command line says.
#[derive(Debug)]
pub enum Read {
    /// Print this and exit.
    Help(String),
    /// Do it.
    Arguments(Arguments),
}

/// What was given.
#[derive(Debug)]
pub struct Arguments {
    positionals: std::vec::IntoIter<String>,
    flags: BTreeMap<&'static str, String>,
}

impl Grammar {
    /// Reads the arguments behind a command's name.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what the grammar does not know.
    pub fn read(&self, arguments: &[String]) -> Result<Read, Failure> {
        let mut positionals = Vec::new();
        let mut flags = BTreeMap::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                positionals.extend(rest.by_ref().cloned());
            } else if is_flag(argument) {
                let (name, given) = match argument.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (argument.as_str(), None),
                };
                let name = if name == "-h" { "--help" } else { name };
                let flag = self.flag(name)?;
                let value = match (flag.value.is_empty(), given) {
                    (true, None) => String::new(),
                    (true, Some(_)) => return Err(self.usage(&format!("{name} takes no value"))),
                    (false, Some(value)) => value,
                    (false, None) => {
                        rest.next().cloned().ok_or_else(|| self.usage(&format!("{name} needs {}", flag.value)))?
                    }
                };
                flags.insert(flag.name, value);
            } else {
                positionals.push(argument.clone());
            }
        }
        if flags.contains_key("--help") {
            return Ok(Read::Help(self.help()));
        }
        if positionals.len() < *self.positionals.start() {
            return Err(self.usage("an argument is missing"));
        }
        if positionals.len() > *self.positionals.end() {
            return Err(self.usage("there are too many arguments"));
        }
        Ok(Read::Arguments(Arguments { positionals: positionals.into_iter(), flags }))
    }

    fn flag(&self, name: &str) -> Result<Flag, Failure> {
        let known = self.flags.iter().chain(&COMMON).find(|flag| flag.name == name);
        let unknown = || {
            let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
            self.usage(&format!("unknown flag {shown:?}"))
        };
        known.copied().ok_or_else(unknown)
    }

    fn usage(&self, why: &str) -> Failure {
        Failure::Usage(format!("{why}; usage: wrs {}", self.usage))
    }

    fn help(&self) -> String {
        let mut out = format!("usage: wrs {}\n\n{}\n", self.usage, self.about);
        for flag in self.flags.iter().chain(&COMMON) {
            let name = format!("{} {}", flag.name, flag.value);
            // Writing to a String cannot fail.
            let _ = write!(out, "\n  {name:<22} {}", flag.meaning);
        }
        out
    }
}

/// A dash alone stands for standard input, a dash and a digit for a number.
fn is_flag(argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|rest| rest.starts_with(|first: char| !first.is_ascii_digit()))
}

impl Arguments {
    /// The next argument that is no flag.
    pub fn next(&mut self) -> Option<String> {
        self.positionals.next()
    }

    /// How many arguments are left that are no flags.
    pub fn remaining(&self) -> usize {
        self.positionals.len()
    }

    /// That no arguments are left.
    ///
    /// # Errors
    /// [`Failure::Usage`] if some are.
    pub fn done(&self) -> Result<(), Failure> {
        if self.remaining() == 0 { Ok(()) } else { Err(Failure::usage("there are too many arguments; see --help")) }
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
    }

    /// A flag's value.
    pub fn text(&self, flag: &str) -> Option<&str> {
        self.flags.get(flag).map(String::as_str)
    }

    /// A flag's value as a number of this range.
    ///
    /// # Errors
    /// [`Failure::Usage`] for anything else.
    pub fn number<N: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        flag: &str,
        allowed: RangeInclusive<N>,
    ) -> Result<Option<N>, Failure> {
        let Some(text) = self.text(flag) else { return Ok(None) };
        match text.parse() {
            Ok(number) if allowed.contains(&number) => Ok(Some(number)),
            _ => Err(Failure::usage(format!("{flag} is a number from {} to {}", allowed.start(), allowed.end()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar {
        usage: "try A [B]",
        about: "Tries.",
        flags: &[flag("--count", "N", "how often"), flag("--json", "", "as JSON")],
        positionals: 1..=2,
    };

    fn read(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match GRAMMAR.read(&words) {
            Ok(Read::Arguments(arguments)) => Ok(arguments),
            Ok(Read::Help(text)) => Err(text),
            Err(Failure::Usage(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_stand_anywhere_in_both_spellings_and_the_last_one_wins() {
        let mut arguments = read("--count=3 x --json --count 4 - --url http://h").unwrap();
        assert_eq!(arguments.number("--count", 1..=9), Ok(Some(4)));
        assert!(arguments.has("--json") && !arguments.has("--insecure"));
        assert_eq!(arguments.text("--url"), Some("http://h"));
        assert_eq!([arguments.next(), arguments.next(), arguments.next()], [Some("x".into()), Some("-".into()), None]);
    }

    #[test]
    fn what_begins_like_a_number_or_stands_behind_two_dashes_is_no_flag() {
        assert_eq!(read("-5").unwrap().next().as_deref(), Some("-5"));
        assert_eq!(read("-- --json").unwrap().next().as_deref(), Some("--json"));
        assert_eq!(read("x --count -1").unwrap().number("--count", -1..=5), Ok(Some(-1)));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_repeats_no_argument() {
        for (line, part) in [
            ("--json", "an argument is missing"),
            ("s3cret s3cret s3cret", "too many arguments"),
            ("x --auht s3cret", "unknown flag \"--auht\""),
            ("x --auht=s3cret", "unknown flag \"--auht\""),
            ("x --json=s3cret", "--json takes no value"),
            ("x --count", "--count needs N"),
        ] {
            let why = read(line).unwrap_err();
            assert!(why.contains(part) && why.contains("usage: wrs try A [B]") && !why.contains("s3cret"), "{why}");
        }
        let why = read("x --count ten").unwrap().number("--count", 1..=9).unwrap_err();
        assert_eq!(why, Failure::usage("--count is a number from 1 to 9"));
    }

    #[test]
    fn help_comes_before_everything_that_is_missing() {
        let text = read("-h").unwrap_err();
        assert!(text.starts_with("usage: wrs try A [B]\n\nTries.\n"), "{text}");
        assert!(text.contains("--count N") && text.contains("--insecure"), "{text}");
    }
}
