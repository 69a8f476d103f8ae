//! `WRS_AUTH_RESOURCES`: which requests need the API token.
//!
//! A list of `METHOD:REGEX`. A regex matches from the start of the path and need not reach its end. Rule guarded: no
//! rule widens or narrows by how it is written; what cannot be read is refused at start-up.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Rules in one list, at most.
pub const RULES_MAX: usize = 256;
/// Bytes that one compiled regex may take; what is bigger is refused.
pub const RULE_REGEX_BYTES_MAX: usize = 1 << 20;
/// How deep a regex may nest.
pub const RULE_REGEX_DEPTH_MAX: u32 = 64;

/// One `METHOD:REGEX`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As the operator wrote it.
    text: String,
    /// Upper case; `None` is any method.
    method: Option<String>,
    /// `None` is any path.
    path: Option<Regex>,
}

/// Why a rule cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RuleError {
    /// More than [`RULES_MAX`] rules.
    TooMany,
    /// No colon, or what stands before it is not a method.
    Method {
        /// The rule as written.
        rule: String,
    },
    /// The regex cannot be read or is too big.
    Regex {
        /// The rule as written.
        rule: String,
        /// What is wrong, in one line.
        why: String,
    },
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleError::TooMany => write!(f, "at most {RULES_MAX} rules"),
            RuleError::Method { rule } => {
                write!(f, "{rule:?} is not METHOD:REGEX (METHOD is letters, or * for any)")
            }
            RuleError::Regex { rule, why } => write!(f, "{rule:?} has a bad regex: {why}"),
        }
    }
}

impl std::error::Error for RuleError {}

impl Rule {
    /// Reads one rule. `*/x` is read as `*:/x`, a regex of `*` alone means any path.
    fn parse(text: &str) -> Result<Self, RuleError> {
        let bad_method = || RuleError::Method { rule: text.to_owned() };
        let (method, path) = match text.split_once(':') {
            Some((method, path)) if !method.contains('/') => (method, path),
            _ => ("*", text.strip_prefix('*').filter(|p| p.starts_with('/')).ok_or_else(bad_method)?),
        };
        let any_method = method == "*";
        if !any_method && (method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic())) {
            return Err(bad_method());
        }
        let method = (!any_method).then(|| method.to_ascii_uppercase());
        let path = if path == "*" { None } else { Some(compile(text, path)?) };
        Ok(Rule { text: text.to_owned(), method, path })
    }

    /// Whether the rule covers a request. `method` in upper case.
    pub fn covers(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|m| m == method)
            && self.path.as_ref().is_none_or(|p| matches_from_start(p, path))
    }

    /// The rule as the operator wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Compiles `path`. Bytes, not Unicode: `.` is a byte, `(?i)` and `\w` know ASCII, which is what paths are made of.
fn compile(rule: &str, path: &str) -> Result<Regex, RuleError> {
    let mut builder = RegexBuilder::new(path);
    builder.unicode(false).size_limit(RULE_REGEX_BYTES_MAX).nest_limit(RULE_REGEX_DEPTH_MAX);
    builder.build().map_err(|error| RuleError::Regex {
        rule: rule.to_owned(),
        // The crate draws a picture over several lines; its last one says what is wrong.
        why: error.to_string().lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned(),
    })
}

/// Whether `path` is matched from its start. The leftmost match begins there if any does, so that no anchor has to be
/// written around the operator's regex, which flags or comments in it could break.
fn matches_from_start(regex: &Regex, path: &str) -> bool {
    regex.find(path.as_bytes()).is_some_and(|found| found.start() == 0)
}

/// The whole list. Empty text means every method and path.
#[derive(Clone, Debug)]
pub struct Rules(Vec<Rule>);

impl Default for Rules {
    /// `*:*`: everything is guarded.
    fn default() -> Self {
        Rules(vec![Rule { text: "*:*".to_owned(), method: None, path: None }])
    }
}

impl Rules {
    /// Reads rules separated by white space; none at all is `*:*`.
    ///
    /// # Errors
    /// The first rule that cannot be read.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut rules = Vec::new();
        for rule in text.split_whitespace() {
            if rules.len() == RULES_MAX {
                return Err(RuleError::TooMany);
            }
            rules.push(Rule::parse(rule)?);
        }
        Ok(if rules.is_empty() { Rules::default() } else { Rules(rules) })
    }

    /// Whether a request needs the API token. `method` in upper case; `path` is the normal form, without query. The
    /// caller asks for each thing that the request does under each spelling of its path, and one yes is a yes.
    pub fn guards(&self, method: &str, path: &str) -> bool {
        self.0.iter().any(|rule| rule.covers(method, path))
    }

    /// The rules that cover none of `routes` (method in upper case, an example path): each deserves a warning.
    pub fn idle<'a>(&'a self, routes: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Rule> {
        self.0.iter().filter(move |rule| !routes.iter().any(|(method, path)| rule.covers(method, path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules::parse(text).unwrap()
    }

    #[test]
    fn a_rule_covers_its_method_and_every_path_that_begins_with_a_match() {
        let rules = rules("DELETE:/channels POST:/channels?$");
        assert!(rules.guards("DELETE", "/channels/AB12-CD34") && rules.guards("DELETE", "/channels"));
        assert!(!rules.guards("GET", "/channels/AB12-CD34"));
        assert!(!rules.guards("DELETE", "/x/channels"), "a match further on does not count");
        assert!(rules.guards("POST", "/channel") && rules.guards("POST", "/channels"));
        assert!(!rules.guards("POST", "/channels/x"));
    }

    #[test]
    fn an_empty_list_guards_everything() {
        for all in ["", "  ", "*:*", "*:"] {
            assert!(rules(all).guards("GET", "/") && rules(all).guards("DELETE", "/reset"), "{all:?}");
        }
    }

    #[test]
    fn a_star_stands_for_any_method_or_any_path() {
        for text in ["*:/reset", "*/reset"] {
            assert!(rules(text).guards("DELETE", "/reset") && !rules(text).guards("GET", "/channels"), "{text}");
        }
        assert!(rules("GET:*").guards("GET", "/anything") && !rules("GET:*").guards("POST", "/anything"));
        assert!(rules("*/a:b").guards("GET", "/a:b"));
        assert!(rules("delete:/reset").guards("DELETE", "/reset"), "methods are read in any case");
    }

    #[test]
    fn flags_and_alternatives_cannot_lift_the_anchor() {
        for text in ["GET:a|/b", "GET:(?i)/B", "GET:(?x)/b#c", "GET:(?m)/b$"] {
            assert!(rules(text).guards("GET", "/b"), "{text}");
            assert!(!rules(text).guards("GET", "/x/b"), "{text}");
        }
        assert!(!rules("GET:\\A/b").guards("GET", "/a/b"));
    }

    #[test]
    fn what_cannot_be_read_is_named_in_one_line() {
        for bad in
            ["/channels", "*", "GET", ":/x", "G ET:/x GET", "G*T:/x", "GET:(", "GET:a)|(b", "GET:*/x", "GET:a{9999999}"]
        {
            let error = Rules::parse(bad).unwrap_err().to_string();
            assert!(!error.contains('\n') && error.len() < 200, "{error}");
        }
        assert_eq!(Rules::parse(&"*:/x ".repeat(RULES_MAX + 1)).unwrap_err(), RuleError::TooMany);
        assert_eq!(Rules::parse("GET:(").unwrap_err().to_string(), r#""GET:(" has a bad regex: unclosed group"#);
    }

    #[test]
    fn a_rule_without_a_route_is_found() {
        let routes = [("GET", "/channels"), ("DELETE", "/reset")];
        let rules = rules("GET:/chanels *:/reset PATCH:*");
        let idle: Vec<&str> = rules.idle(&routes).map(Rule::text).collect();
        assert_eq!(idle, ["GET:/chanels", "PATCH:*"]);
    }
}
