//! Command line and environment → [`Parsed`].
//!
//! A flag wins over a variable, the variable's own name over its other spelling, the last flag over those before it. An
//! empty value counts as not set. Rule guarded: no error or warning repeats a value that may be a token.

use std::collections::BTreeMap;
use std::fmt;

use super::draft::Draft;
use super::table::{self, Variable};
use super::{Config, HostFacts};

/// The longest part of a value or name that an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 60;
/// How many letters may differ for a "did you mean".
const MISSPELT_LETTERS_MAX: usize = 3;

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run a node; the default.
    Serve,
    /// Print [`super::help`] and exit.
    Help,
    /// Print [`super::VERSION`] and exit.
    Version,
    /// Run a client command with the arguments after its name, unread.
    Client(ClientCommand, Vec<String>),
}

impl Command {
    /// Whether only a text is to be printed, for which no configuration is needed.
    fn asks_for_text(&self) -> bool {
        match self {
            Command::Help | Command::Version => true,
            Command::Client(_, arguments) => matches!(&arguments[..], [only] if only == "--help" || only == "-h"),
            Command::Serve => false,
        }
    }
}

/// The commands that talk to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCommand {
    /// Create a channel.
    Create,
    /// Delete a channel.
    Delete,
    /// Print the messages of a channel.
    Sub,
    /// Send messages to a channel.
    Pub,
    /// Send a request and print the replies.
    Req,
    /// Answer requests.
    Reply,
    /// Measure round trips.
    Echo,
    /// Measure throughput and latency.
    Bench,
    /// Ask whether a node is ready.
    Health,
    /// Show or change the cluster.
    Cluster,
    /// Delete every channel.
    Reset,
}

impl ClientCommand {
    /// All of them with name and meaning, as `--help` lists them.
    pub const ALL: [(ClientCommand, &'static str, &'static str); 11] = [
        (ClientCommand::Create, "create", "create a channel"),
        (ClientCommand::Delete, "delete", "delete a channel"),
        (ClientCommand::Sub, "sub", "print the messages of a channel"),
        (ClientCommand::Pub, "pub", "send messages to a channel"),
        (ClientCommand::Req, "req", "send requests and print the replies"),
        (ClientCommand::Reply, "reply", "answer requests"),
        (ClientCommand::Echo, "echo", "measure round trips"),
        (ClientCommand::Bench, "bench", "measure throughput and latency"),
        (ClientCommand::Health, "health", "ask whether a node is ready"),
        (ClientCommand::Cluster, "cluster", "show or change the cluster"),
        (ClientCommand::Reset, "reset", "delete every channel"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known, _)| *known == name).map(|(command, _, _)| command)
    }
}

/// What command line and environment say.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What to do.
    pub command: Command,
    /// With what; the defaults where only a text is to be printed.
    pub config: Config,
    /// One line each, for the log; none shows a token.
    pub warnings: Vec<String>,
}

/// Why there is no configuration. One line; the program prints it on stderr and exits with 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// A value that its variable does not allow.
    Value {
        /// The variable.
        name: &'static str,
        /// What was given, shortened; `None` for a secret.
        value: Option<String>,
        /// What is allowed.
        allowed: String,
    },
    /// Values that are legal alone but not together, or a value that another one needs and that is missing.
    Conflict(String),
    /// A flag without its value.
    MissingValue {
        /// The flag.
        flag: String,
    },
    /// A flag that nobody knows.
    UnknownFlag {
        /// The flag without its value.
        flag: String,
        /// The nearest known flag, if one is near.
        meant: Option<String>,
    },
    /// An argument that is no command. It may be a stray token, so that only its place is shown.
    UnknownCommand {
        /// Counted from 1.
        position: usize,
        /// The nearest command, if one is near.
        meant: Option<String>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meant = |f: &mut fmt::Formatter<'_>, meant: &Option<String>| match meant {
            Some(meant) => write!(f, "; did you mean {meant}?"),
            None => write!(f, "; see --help"),
        };
        match self {
            ConfigError::Value { name, value: Some(value), allowed } => write!(f, "{name}={value:?}: {allowed}"),
            ConfigError::Value { name, value: None, allowed } => write!(f, "{name}: {allowed}"),
            ConfigError::Conflict(why) => f.write_str(why),
            ConfigError::MissingValue { flag } => write!(f, "{flag} needs a value"),
            ConfigError::UnknownFlag { flag, meant: near } => {
                write!(f, "unknown flag {flag:?}")?;
                meant(f, near)
            }
            ConfigError::UnknownCommand { position, meant: near } => {
                write!(f, "argument {position} is no command")?;
                meant(f, near)
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The texts by variable, those of the flags over those of the environment.
type Texts = BTreeMap<&'static str, String>;

/// See [`Config::parse`].
pub(super) fn parse(
    args: impl IntoIterator<Item = String>,
    env: impl IntoIterator<Item = (String, String)>,
    host: &HostFacts,
) -> Result<Parsed, ConfigError> {
    let mut flags = Texts::new();
    let command = read_args(args, &mut flags)?;
    let mut warnings = Vec::new();
    if command.asks_for_text() {
        return Ok(Parsed { command, config: Config::default(), warnings });
    }
    let mut texts = read_env(env, &mut warnings);
    texts.extend(flags);
    let mut draft = Draft::new();
    for row in table::rows() {
        let Some(text) = texts.get(row.name).filter(|text| !text.is_empty()) else { continue };
        (row.set)(&mut draft, text).map_err(|allowed| ConfigError::Value {
            name: row.name,
            value: (!row.secret).then(|| shorten(text)),
            allowed,
        })?;
    }
    let config = draft.finish(host, &mut warnings)?;
    Ok(Parsed { command, config, warnings })
}

/// Reads flags into `texts` up to a client command, whose arguments are its own.
fn read_args(args: impl IntoIterator<Item = String>, texts: &mut Texts) -> Result<Command, ConfigError> {
    let mut args = args.into_iter().peekable();
    let mut position = 0;
    let mut serve_seen = false;
    while let Some(arg) = args.next() {
        position += 1;
        match arg.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--version" | "-V" => return Ok(Command::Version),
            flag if flag.starts_with('-') => {
                let (row, given) = read_flag(flag)?;
                let takes_next = |next: &String| match row.is_switch() {
                    true => next.eq_ignore_ascii_case("true") || next.eq_ignore_ascii_case("false"),
                    false => !next.starts_with("--"),
                };
                let text = match given {
                    Some(text) => text,
                    None => match args.next_if(takes_next) {
                        Some(text) => {
                            position += 1;
                            text
                        }
                        None if row.is_switch() => "true".to_owned(),
                        None => return Err(ConfigError::MissingValue { flag: shorten(flag) }),
                    },
                };
                texts.insert(row.name, text);
            }
            "serve" if !serve_seen => serve_seen = true,
            "help" if !serve_seen => return help_of(args.next(), position + 1),
            "version" if !serve_seen => return Ok(Command::Version),
            name => match ClientCommand::named(name).filter(|_| !serve_seen) {
                Some(command) => return Ok(Command::Client(command, args.collect())),
                None => return Err(unknown_command(name, position)),
            },
        }
    }
    Ok(Command::Serve)
}

/// `help`, or `help COMMAND`: the command itself knows.
fn help_of(name: Option<String>, position: usize) -> Result<Command, ConfigError> {
    match name.as_deref() {
        None | Some("serve" | "help" | "version") => Ok(Command::Help),
        Some(flag) if flag.starts_with('-') => Ok(Command::Help),
        Some(name) => match ClientCommand::named(name) {
            Some(command) => Ok(Command::Client(command, vec!["--help".to_owned()])),
            None => Err(unknown_command(name, position)),
        },
    }
}

fn unknown_command(name: &str, position: usize) -> ConfigError {
    let known = ClientCommand::ALL.map(|(_, known, _)| known.to_owned());
    let known = known.into_iter().chain(["serve", "help", "version"].map(str::to_owned));
    ConfigError::UnknownCommand { position, meant: nearest(name, known) }
}

/// The row of a flag, and the value that is written into the same argument: `--flag=value`, `-fvalue`, `-f=value`.
fn read_flag(arg: &str) -> Result<(&'static Variable, Option<String>), ConfigError> {
    let (flag, value) = match arg.split_once('=') {
        Some((flag, value)) => (flag, Some(value.to_owned())),
        None => (arg, None),
    };
    let row_of = |flag: &str| table::rows().find(|row| row.all_flags().any(|known| known == flag));
    if let Some(row) = row_of(flag) {
        return Ok((row, value));
    }
    // -p8080: the second character of an argument is at a character's edge only if it is ASCII, as all short flags are.
    let short = arg.split_at_checked(2).filter(|_| !arg.starts_with("--"));
    if let Some((flag, value)) = short
        && let Some(row) = row_of(flag).filter(|row| !row.is_switch())
    {
        return Ok((row, Some(value.to_owned())));
    }
    // What follows an unknown short flag may be a value, and a value may be a token.
    let shown = short.map_or(flag, |(flag, _)| flag);
    let known = table::rows().flat_map(Variable::all_flags).chain(["--help".to_owned(), "--version".to_owned()]);
    let meant = nearest(flag, known.filter(|known| known.starts_with("--")));
    Err(ConfigError::UnknownFlag { flag: shorten(shown), meant })
}

/// The texts of the environment; what begins with `WRS_` and is no variable is a warning.
fn read_env(env: impl IntoIterator<Item = (String, String)>, warnings: &mut Vec<String>) -> Texts {
    // Sorted, so that warnings come in one order whatever the environment's.
    let ours: BTreeMap<String, String> = env.into_iter().filter(|(name, _)| name.starts_with("WRS_")).collect();
    let mut texts = Texts::new();
    for (name, text) in ours.iter().filter(|(_, text)| !text.is_empty()) {
        let Some(row) = table::rows().find(|row| row.is_named(name)) else {
            if !is_service_link(name, text) {
                warnings.push(unknown_variable(name));
            }
            continue;
        };
        if row.name != name && ours.get(row.name).is_some_and(|own| !own.is_empty() && own != text) {
            warnings.push(format!("{name} is ignored: {} is set too", row.name));
            continue;
        }
        texts.insert(row.name, text.clone());
    }
    texts
}

fn unknown_variable(name: &str) -> String {
    let known = table::rows().map(|row| row.name.to_owned());
    match nearest(name, known) {
        Some(meant) => format!("unknown variable {:?}; did you mean {meant}?", shorten(name)),
        None => format!("unknown variable {:?}", shorten(name)),
    }
}

/// Whether Kubernetes put the variable there, which it does for every service of a namespace: a service named `wrs` or
/// `wrs-x` is no mistake of the operator's.
fn is_service_link(name: &str, text: &str) -> bool {
    let after_port = name.split_once("_PORT_").map(|(_, rest)| rest);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && text.contains("://"))
        || after_port.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// At most [`SHOWN_CHARS_MAX`] characters of `text`.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The known word that differs least, if it differs little.
fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    if word.len() > SHOWN_CHARS_MAX {
        return None;
    }
    known
        .map(|known| (distance(word, &known), known))
        .filter(|(distance, known)| *distance <= MISSPELT_LETTERS_MAX.min(known.len() / 3))
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein's distance: letters inserted, deleted or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        // `diagonal` is the entry up and to the left, `left` the one before in the new row.
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (*cell + 1).min(left + 1).min(diagonal + usize::from(from != to));
            diagonal = *cell;
            left = best;
            *cell = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
