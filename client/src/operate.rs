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
    let mut out = String::new();
    let members = cluster.as_object().into_iter().flatten();
    for (member, _) in members.filter(|(name, _)| *name != "nodes") {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<8} {}", printable(member), word(cluster, member));
    }
    let nodes: Vec<[String; 3]> = cluster
        .get("nodes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|node| ["id", "role", "address"].map(|member| word(node, member)))
        .collect();
    let width = |column: usize| nodes.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let (ids, roles) = (width(0).max("node".len()), width(1).max("role".len()));
    let _ = write!(out, "\n{:<ids$}  {:<roles$}  address", "node", "role");
    for [id, role, address] in &nodes {
        let _ = write!(out, "\n{id:<ids$}  {role:<roles$}  {address}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_is_shown_in_columns() {
        let nodes = json!([
            {"id": "0a1b", "address": "10.0.0.1:4000", "role": "leader"},
            {"id": "2c", "address": null, "role": "follower"}
        ]);
        let cluster = json!({"id": "0a1b", "role": "leader", "term": 3, "leader": "0a1b", "nodes": nodes});
        let text = "id       0a1b\nleader   0a1b\nrole     leader\nterm     3\n\n\
                    node  role      address\n0a1b  leader    10.0.0.1:4000\n2c    follower  -";
        assert_eq!(describe(&cluster), text);
        assert_eq!(describe(&Value::Null), "\nnode  role  address");
    }

    #[test]
    fn what_could_lead_to_another_path_is_no_address() {
        for text in ["", "a/b", "..%2f", "a?force=true", "a b"] {
            assert!(path_segment(text).is_err(), "{text}");
        }
        assert_eq!(path_segment("[::1]:4000"), Ok("[::1]:4000"));
    }
}
