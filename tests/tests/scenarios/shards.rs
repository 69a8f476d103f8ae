//! Several shards are one node: that is for all other scenarios to show, which run with 1, 2 and 16. What is left is how
//! connections are dealt out.

use std::collections::BTreeMap;
use std::thread;

use serde_json::json;
use wrs_tests::real::{Http, Runtime, Ws, upgrade_request};

/// At most 1.2 times the mean per shard at 1,000 clients. A client's id names its shard: the four digits behind its node's
/// sixteen. Each client asks over REST first, as clients do, on a connection that ends.
pub fn connections_are_spread_evenly(runtime: &Runtime) {
    const CLIENTS: usize = 1_000;
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut clients: Vec<Http> = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..CLIENTS {
        assert_eq!(server.get(&channel.resource()).status, 200);
        let mut http = server.http();
        http.write(upgrade_request(&channel.path(""), &[]));
        let response = http.read();
        assert_eq!(response.status, 101);
        *counts.entry(response.header("WRS-Client-Id").unwrap()[16..20].to_owned()).or_default() += 1;
        clients.push(http);
    }
    let shards = usize::from(runtime.shards);
    assert_eq!(counts.len(), shards, "every shard has some: {counts:?}");
    let most = *counts.values().max().unwrap();
    assert!(most * shards * 10 <= CLIENTS * 12, "more than 1.2 times the mean: {counts:?}");
    assert_eq!(server.clients(&channel), CLIENTS as u64);
}

pub fn a_channel_spans_all_shards(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let count = usize::from(runtime.shards) + 1;
    for pattern in ["pub-sub", "req-repl"] {
        let channel = server.channel(pattern);
        let mut clients: Vec<Ws> = (0..count).map(|_| server.join(&channel)).collect();
        thread::yield_now();
        for sender in 0..count {
            clients[sender].send(&json!({"type": "request", "from": sender}).to_string());
            for (other, client) in clients.iter_mut().enumerate() {
                if pattern == "pub-sub" || other != sender {
                    assert_eq!(client.json()["from"], sender, "{pattern}");
                }
            }
        }
        assert_eq!(server.clients(&channel), count as u64);
    }
}
