//! The text of `--help`, out of the table that the parser reads.

use std::fmt::Write;

use super::parse::ClientCommand;
use super::table::{TABLE, Variable};

/// This version of wrs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The text of `--help`, at most 100 columns wide.
pub fn help() -> String {
    let mut out = format!(
        "wrs {VERSION}: relays messages between WebSocket clients\n\n\
         usage: wrs [serve] [FLAGS]            run a node\n       \
         wrs [FLAGS] COMMAND [--help]   talk to a node\n       \
         wrs help COMMAND               what a command takes\n\ncommands:\n"
    );
    for (_, name, meaning) in ClientCommand::ALL {
        line(&mut out, format_args!("  {name:<9} {meaning}"));
    }
    out.push_str(
        "\nflags:\n  -h, --help     print this\n  -V, --version  print the version\n\n\
         Each setting is an environment variable and a flag; the flag wins. An empty value counts as not set.\n\
         Sizes (BYTES) may end in KiB, MiB or GiB. Flags shown without a value take true or false.\n",
    );
    for (heading, rows) in TABLE {
        line(&mut out, format_args!("\n{heading}"));
        for row in *rows {
            describe(&mut out, row);
        }
    }
    out
}

fn describe(out: &mut String, row: &Variable) {
    let mut flags: Vec<String> = Vec::new();
    for flag in row.all_flags() {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    let names = std::iter::once(&row.name).chain(row.aliases).copied().collect::<Vec<_>>().join(", ");
    let space = if row.is_switch() { "" } else { " " };
    line(out, format_args!("  {names}"));
    line(out, format_args!("      {}{space}{}", flags.join(", "), row.placeholder));
    line(out, format_args!("      {} (default: {})", row.meaning, row.default));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_variable_flag_and_command_and_is_not_too_wide() {
        let text = help();
        for row in crate::config::table::rows() {
            assert!(text.contains(row.name) && text.contains(row.meaning) && text.contains(row.default));
            assert!(row.all_flags().all(|flag| text.contains(&flag)), "{}", row.name);
        }
        assert!(ClientCommand::ALL.iter().all(|(_, name, _)| text.contains(name)));
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
