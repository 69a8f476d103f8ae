//! `wrs health`, `wrs cluster` and `wrs reset`: what an operator asks of a node in an image without a shell.

use std::fmt::Write;

use serde_json::Value;

use crate::arguments::{Arguments, Grammar, flag};
use crate::failure::Failure;
use crate::http::word;
use crate::limits::CLUSTER_CHANGE_TIMEOUT;
use crate::node::{Node, within};
use crate::stdio::{Output, printable};

/// The grammar of `health`.
pub const HEALTH: Grammar = Grammar {
    usage: "health [--live]",
    about: "Asks a node whether it takes traffic: exit 0 if it does, 1 if not or if it cannot be reached.",
    flags: &[flag("--live", "", "ask only whether it lives")],
    positionals: 0..=0,
};

/// The grammar of `cluster`.
pub const CLUSTER: Grammar = Grammar {
    usage: "cluster [join HOST:PORT [--force] | remove ID | recover] [--json]",
    about: "Shows the cluster as a node sees it, or changes it: the node joins the cluster of the one whose\n\
            cluster port is HOST:PORT; the node ID is removed; the survivors go on without those that were\n\
            lost for good.",
    flags: &[
        flag("--force", "", "join even if the node loses channels or leaves another cluster"),
        flag("--json", "", "print the node's whole answer"),
    ],
    positionals: 0..=2,
};

/// The grammar of `reset`.
pub const RESET: Grammar = Grammar {
    usage: "reset --yes",
    about: "Deletes every channel and closes their clients' connections.",
    flags: &[flag("--yes", "", "yes, every channel")],
    positionals: 0..=0,
};

/// Asks whether a node is ready.
pub async fn health(arguments: &Arguments, node: Node) -> Result<(), Failure> {
    let (path, good) = if arguments.has("--live") { ("/healthz", "lives") } else { ("/readyz", "is ready") };
    let answer = node.ask("GET", path, None).await?;
    match answer.status {
        200 => Output::new().last(format!("{node} {good}").as_bytes()).await,
        _ => Err(answer.refusal()),
    }
}

/// Shows or changes the cluster.
pub async fn cluster(arguments: &mut Arguments, node: Node) -> Result<(), Failure> {
    let deed = arguments.next();
    let (method, path) = match (deed.as_deref(), arguments.next()) {
        (None, _) => ("GET", "/cluster".to_owned()),
        (Some("join"), Some(address)) => {
            let force = if arguments.has("--force") { "?force=true" } else { "" };
            ("POST", format!("/cluster/join/{}{force}", path_segment(&address)?))
        }
        (Some("remove"), Some(id)) => ("DELETE", format!("/cluster/{}", path_segment(&id)?)),
        (Some("recover"), None) => ("POST", "/cluster/recover".to_owned()),
        _ => return Err(Failure::usage("cluster takes join HOST:PORT, remove ID, recover or nothing")),
    };
    let changing = within(CLUSTER_CHANGE_TIMEOUT, "the change", node.exchange(method, &path, None));
    let answer = match method {
        "GET" => node.ask(method, &path, None).await?,
        _ => changing.await?,
    };
    let answer = answer.success()?;
    let text = match (arguments.has("--json"), method) {
        (true, _) => answer.to_string(),
        (false, "GET") => describe(answer.get("data").unwrap_or(&Value::Null)),
        (false, _) => word(&answer, "message"),
    };
    Output::new().last(text.as_bytes()).await
}

/// Deletes every channel.
pub async fn reset(arguments: &Arguments, node: Node) -> Result<(), Failure> {
    if !arguments.has("--yes") {
        return Err(Failure::usage("reset deletes every channel of the cluster; say so with --yes"));
    }
    let answer = node.ask("DELETE", "/reset", None).await?.success()?;
    Output::new().last(word(&answer, "message").as_bytes()).await
}

/// An address or an id as it may stand in a path.
fn path_segment(text: &str) -> Result<&str, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => Ok(text),
        false => Err(Failure::usage("this is neither HOST:PORT nor the ID of a node")),
    }
}

/// The cluster for a person: what the node says of itself, then a line for each node.
fn describe(cluster: &Value) -> String {
    const TITLES: [&str; 6] = ["node", "role", "live", "applied", "link", "address"];
    let mut out = String::new();
    let members = cluster.as_object().into_iter().flatten();
    for (member, _) in members.filter(|(name, _)| *name != "nodes" && *name != "links") {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<9} {}", printable(member), word(cluster, member));
    }
    let rows = elements(cluster, "nodes").map(|node| {
        let [id, role, applied, address] = ["id", "role", "applied", "address"].map(|member| word(node, member));
        let live = if node.get("live") == Some(&Value::Bool(true)) { "yes" } else { "no" };
        let link = link_to(cluster, &id);
        [id, role, live.to_owned(), applied, link, address]
    });
    let rows: Vec<[String; 6]> = std::iter::once(TITLES.map(str::to_owned)).chain(rows).collect();
    let widths = [0, 1, 2, 3, 4].map(|column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    for [id, role, live, applied, link, address] in &rows {
        let [a, b, c, d, e] = widths;
        let _ = write!(out, "\n{id:<a$}  {role:<b$}  {live:<c$}  {applied:>d$}  {link:<e$}  {address}");
    }
    out
}

/// The link of the node that answers to another: down, or how long an answer takes.
fn link_to(cluster: &Value, id: &str) -> String {
    if word(cluster, "id") == id {
        return "itself".to_owned();
    }
    let Some(link) = elements(cluster, "links").find(|link| word(link, "node") == id) else { return "-".to_owned() };
    match (link.get("up").and_then(Value::as_bool), link.get("roundTripUs").and_then(Value::as_u64)) {
        (Some(true), Some(microseconds)) => format!("{microseconds} us"),
        (Some(true), None) => "up".to_owned(),
        _ => "down".to_owned(),
    }
}

fn elements<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    of.get(member).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_is_shown_in_columns() {
        let nodes = json!([
            {"id": "0a1b", "address": "10.0.0.1:4000", "role": "leader", "live": true, "applied": 12},
            {"id": "2c", "address": "10.0.0.2:4000", "role": "follower", "live": true, "applied": 9},
            {"id": "3d", "address": null, "role": "learner", "live": false, "applied": null}
        ]);
        let links = json!([{"node": "2c", "up": true, "roundTripUs": 140}, {"node": "3d", "up": false}]);
        let cluster =
            json!({"id": "0a1b", "role": "leader", "term": 3, "leader": "0a1b", "nodes": nodes, "links": links});
        let text = "id        0a1b\nleader    0a1b\nrole      leader\nterm      3\n\n\
                    node  role      live  applied  link    address\n\
                    0a1b  leader    yes        12  itself  10.0.0.1:4000\n\
                    2c    follower  yes         9  140 us  10.0.0.2:4000\n\
                    3d    learner   no          -  down    -";
        assert_eq!(describe(&cluster), text);
        assert_eq!(describe(&Value::Null), "\nnode  role  live  applied  link  address");
    }

    #[test]
    fn what_could_lead_to_another_path_is_no_address() {
        for text in ["", "a/b", "..%2f", "a?force=true", "a b"] {
            assert!(path_segment(text).is_err(), "{text}");
        }
        assert_eq!(path_segment("[::1]:4000"), Ok("[::1]:4000"));
    }
}
