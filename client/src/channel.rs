//! A channel and its token: as `create` prints them and as the other commands take them.

use std::fmt;

use serde_json::{Value, json};
use smol::future::Future;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::node::{Node, is_field_value};
use crate::stdio::{Input, note};

/// The argument that stands for the first line of standard input.
const FROM_INPUT: &str = "-";
/// How long a channel outlives a command that could not delete it, in ms.
const FORGOTTEN_AFTER_MS: u32 = 600_000;

/// A channel and what opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Channel {
    /// Letters, digits and dashes.
    pub id: String,
    /// What a header field can carry.
    pub token: String,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ***", self.id)
    }
}

impl Channel {
    /// The next two arguments, or the first line of standard input if the next one is a dash.
    pub async fn take(arguments: &mut Arguments, input: &mut Input) -> Result<Channel, Failure> {
        let given = Given::take(arguments, input).await?;
        let channel = Channel::new(&given.id, given.token.as_deref());
        channel.map_err(|failure| given.blame(failure, "the first line of standard input is not CHANNEL TOKEN"))
    }

    /// The same where the id is enough. A token behind it is taken and not looked at, so that what `create` prints fits.
    pub async fn take_id(arguments: &mut Arguments, input: &mut Input) -> Result<String, Failure> {
        let given = Given::take(arguments, input).await?;
        match check_id(&given.id) {
            Ok(()) => Ok(given.id),
            Err(failure) => Err(given.blame(failure, "the first line of standard input is no CHANNEL")),
        }
    }

    fn new(id: &str, token: Option<&str>) -> Result<Channel, Failure> {
        check_id(id)?;
        match token {
            Some(token) if !token.is_empty() && is_field_value(token) => {
                Ok(Channel { id: id.to_owned(), token: token.to_owned() })
            }
            Some(_) => Err(Failure::usage("TOKEN is not the token of a channel")),
            None => Err(Failure::usage("TOKEN is missing: it was printed when the channel was created")),
        }
    }

    /// What an answer to `POST /channels` says.
    pub fn created(answer: &Value) -> Result<Channel, Failure> {
        let id = answer.pointer("/data/id").and_then(Value::as_str).unwrap_or_default();
        let channel = Channel::new(id, answer.get("token").and_then(Value::as_str));
        channel.map_err(|_| Failure::refused("the answer names no channel: is this a wrs node?"))
    }
}

/// What stands for a channel, unchecked.
struct Given {
    id: String,
    token: Option<String>,
    from_input: bool,
}

impl Given {
    async fn take(arguments: &mut Arguments, input: &mut Input) -> Result<Given, Failure> {
        let id = arguments.next().ok_or_else(|| Failure::usage("the channel is missing"))?;
        if id != FROM_INPUT {
            return Ok(Given { id, token: arguments.next(), from_input: false });
        }
        let line = input.line().await?.ok_or_else(|| Failure::refused("standard input holds no channel"))?;
        let line = String::from_utf8(line).unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        Ok(Given { id: words.next().unwrap_or_default(), token: words.next(), from_input: true })
    }

    /// What is wrong with an argument, or with standard input.
    fn blame(&self, failure: Failure, of_input: &str) -> Failure {
        if self.from_input { Failure::refused(of_input) } else { failure }
    }
}

fn check_id(id: &str) -> Result<(), Failure> {
    match !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        true => Ok(()),
        false => Err(Failure::usage("CHANNEL is not the id of a channel, such as D679-05F5")),
    }
}

impl Node {
    /// Makes a channel, lets `work` use it, and deletes it however that ends.
    pub async fn with_channel<T, F>(&self, pattern: &str, work: impl FnOnce(Channel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let wanted = json!({"pattern": pattern, "timeout": FORGOTTEN_AFTER_MS}).to_string();
        let channel = Channel::created(&self.ask("POST", "/channels", Some(&wanted)).await?.success()?)?;
        let path = format!("/channels/{}", channel.id);
        let id = channel.id.clone();
        let result = work(channel).await;
        let deleted = self.ask("DELETE", &path, None).await.and_then(|answer| answer.success());
        if deleted.is_err() {
            note(&format!(
                "wrs: channel {id} could not be deleted; it goes {FORGOTTEN_AFTER_MS} ms after its last message"
            ));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_is_none_is_named_and_its_token_not_shown() {
        for (id, token, part) in [
            ("", Some("s3cret"), "CHANNEL"),
            ("s3cret/../x", Some("s3cret"), "CHANNEL"),
            ("D679-05F5", Some("s3cret\r\nX: y"), "TOKEN"),
            ("D679-05F5", Some(""), "TOKEN"),
            ("D679-05F5", None, "TOKEN"),
        ] {
            let Err(Failure::Usage(why)) = Channel::new(id, token) else { panic!("{id}") };
            assert!(why.starts_with(part) && !why.contains("s3cret"), "{why}");
        }
        assert_eq!(format!("{:?}", Channel::new("D679-05F5", Some("s3cret")).unwrap()), "D679-05F5 ***");
    }

    #[test]
    fn the_answer_to_a_creation_names_a_channel() {
        let answer = json!({"message": "", "token": "abc", "data": {"id": "D679-05F5"}});
        assert_eq!(Channel::created(&answer), Channel::new("D679-05F5", Some("abc")));
        assert!(matches!(Channel::created(&json!([])), Err(Failure::Refused(_))));
    }
}
