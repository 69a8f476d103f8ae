//! Messages between nodes: a client sees no difference, whichever nodes its peers are on.
//!
//! No scenario here waits for an election, so that the clusters have the default times.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use wrs_tests::real::{Certificate, Cluster, Got, Http, Runtime, Server, Ws, until, upgrade_request};

use crate::load::DEFAULT_TIMES;

/// What a client gets until its channel is deleted.
#[track_caller]
fn rest(client: &mut Ws) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        match client.recv() {
            Got::Text(text) => texts.push(text),
            Got::Closed(4404, _) => return texts,
            other => panic!("{other:?} after {texts:?}"),
        }
    }
}

pub fn pub_sub_gives_each_client_each_message_once_and_in_order(runtime: &Runtime) {
    const EACH: usize = 50;
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channel = cluster.node(1).channel("pub-sub");
    let mut clients = cluster.spread(&channel, 6, "");
    clients.extend(cluster.spread(&channel, 3, "&echo=false"));
    for number in 0..EACH {
        for (sender, client) in clients.iter_mut().enumerate() {
            client.send(&format!("{sender}:{number}"));
        }
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let deaf_to_itself = index >= 6;
        let expected = if deaf_to_itself { 8 } else { 9 } * EACH;
        let mut next = BTreeMap::<usize, usize>::new();
        for _ in 0..expected {
            let text = client.text();
            let (sender, number) = text.split_once(':').unwrap();
            let sender: usize = sender.parse().unwrap();
            assert!(!deaf_to_itself || sender != index);
            let next = next.entry(sender).or_default();
            assert_eq!(number.parse::<usize>().unwrap(), *next, "from {sender} to {index}");
            *next += 1;
        }
    }
    assert_eq!(cluster.node(2).delete(&channel.resource()).status, 200);
    for client in &mut clients {
        assert!(rest(client).is_empty());
    }
}

pub fn a_message_after_the_101_arrives(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    for round in 0..40 {
        let channel = cluster.node(round % 3).channel("pub-sub");
        let mut sender = cluster.node((round + 1) % 3).join(&channel);
        let mut receiver = cluster.node((round + 2) % 3).join(&channel);
        sender.send("first");
        receiver.send("second");
        let mut got: Vec<_> = (0..2).map(|_| receiver.text()).collect();
        got.sort();
        assert_eq!(got, ["first", "second"]);
    }
}

pub fn echo_gives_a_message_back_to_its_sender_alone(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channel = cluster.node(1).channel("echo");
    let mut clients = cluster.spread(&channel, 6, "");
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(&index.to_string());
        client.send_binary(&[0, 255]);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.text(), index.to_string());
        assert_eq!(client.binary(), [0, 255]);
    }
    assert_eq!(cluster.node(2).delete(&channel.resource()).status, 200);
    assert!(clients.iter_mut().all(|client| rest(client).is_empty()));
}

pub fn push_pull_is_exact_over_nodes(runtime: &Runtime) {
    const EACH: usize = 40;
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channel = cluster.node(0).channel("push-pull");
    let mut workers = cluster.spread(&channel, 6, "");
    let mut senders = cluster.spread(&channel, 3, "&pull=false");
    for number in 0..EACH * workers.len() / senders.len() {
        for (sender, client) in senders.iter_mut().enumerate() {
            client.send(&format!("{sender}:{number}"));
        }
    }
    let mut all = BTreeSet::new();
    for worker in &mut workers {
        let got: Vec<_> = (0..EACH).map(|_| worker.text()).collect();
        all.extend(got);
    }
    assert_eq!(all.len(), EACH * workers.len(), "each message went to one");
    assert_eq!(cluster.node(2).delete(&channel.resource()).status, 200);
    assert!(workers.iter_mut().chain(&mut senders).all(|client| rest(client).is_empty()));
}

pub fn fan_in_out_is_exact_over_nodes_and_replies_come_back(runtime: &Runtime) {
    const EACH: usize = 20;
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channel = cluster.node(0).channel("fan-in-out");
    let mut workers = cluster.spread(&channel, 6, "");
    let mut askers = cluster.spread(&channel, 3, "&pull=false");
    let share = EACH * workers.len() / askers.len();
    for number in 0..share {
        for (asker, client) in askers.iter_mut().enumerate() {
            client.send(&json!({"type": "request", "asker": asker, "number": number}).to_string());
        }
    }
    for worker in &mut workers {
        for _ in 0..EACH {
            let mut message = worker.json();
            message["type"] = json!("reply");
            worker.send(&message.to_string());
        }
    }
    for (index, asker) in askers.iter_mut().enumerate() {
        let replies: BTreeSet<u64> = (0..share)
            .map(|_| {
                let reply = asker.json();
                assert_eq!((&reply["type"], &reply["asker"]), (&json!("reply"), &json!(index)));
                reply["number"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(replies.len(), share, "each request was answered once");
    }
    assert_eq!(cluster.node(2).delete(&channel.resource()).status, 200);
    assert!(workers.iter_mut().chain(&mut askers).all(|client| rest(client).is_empty()));
}

pub fn req_repl_asks_all_nodes_and_replies_come_back(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channel = cluster.node(0).channel("req-repl");
    let mut clients = cluster.spread(&channel, 6, "");
    for round in 0..12 {
        let asking = round % clients.len();
        let origin = clients[asking].id();
        clients[asking].send(&json!({"type": "request", "round": round, "origin": "a lie"}).to_string());
        for (index, client) in clients.iter_mut().enumerate().filter(|(index, _)| *index != asking) {
            let request = client.json();
            assert_eq!(request, json!({"type": "request", "round": round, "origin": origin}));
            client.send(&json!({"type": "reply", "origin": origin, "from": index}).to_string());
        }
        let replies: BTreeSet<_> = (1..6).map(|_| clients[asking].json()["from"].as_u64().unwrap()).collect();
        assert_eq!(replies.len(), 5);
    }
    assert_eq!(cluster.node(2).delete(&channel.resource()).status, 200);
    assert!(clients.iter_mut().all(|client| rest(client).is_empty()));
}

pub fn errors_come_back_over_nodes(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    for pattern in ["req-repl", "fan-in-out"] {
        // Homes differ by channel: with several, sender and home are on different nodes in some.
        for _ in 0..6 {
            let channel = cluster.node(0).channel(pattern);
            let mut asker = cluster.node(1).join(&channel);
            let mut worker = cluster.node(2).join(&channel);
            let origin = asker.id();
            asker.send(r#"{"type":"request"}"#);
            assert_eq!(worker.json()["origin"], origin.as_str());
            assert_eq!(asker.leave(1000), 1000);
            until("one has left", || (cluster.node(2).clients(&channel) == 1).then_some(()));
            worker.send(&json!({"type": "reply", "origin": origin}).to_string());
            assert_eq!(worker.json()["code"], "origin-gone");
            worker.send(r#"{"type":"request"}"#);
            assert_eq!(worker.json()["code"], "no-recipient");
            worker.send("what is this");
            assert_eq!(worker.json()["code"], "malformed");
        }
    }
}

pub fn clients_and_countdown_are_the_clusters(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channel = cluster.node(0).create(r#"{"pattern":"pub-sub","timeout":60000}"#);
    let mut clients = cluster.spread(&channel, 9, "");
    for server in cluster.running() {
        until("all are counted", || (server.clients(&channel) == 9).then_some(()));
    }
    let countdowns = || -> Vec<i64> {
        cluster.running().map(|server| server.look(&channel).unwrap()["countdown"].as_i64().unwrap()).collect()
    };
    until("it counts down everywhere", || countdowns().iter().all(|left| *left < 58_500).then_some(()));
    clients[1].send("still here");
    assert_eq!(clients[2].text(), "still here");
    until("the message counts everywhere", || countdowns().iter().all(|left| *left > 58_500).then_some(()));
    for client in clients.drain(..5) {
        client.leave(1000);
    }
    for server in cluster.running() {
        until("those who left are not counted", || (server.clients(&channel) == 4).then_some(()));
        let list = server.get("/channels").json();
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
    }
}

pub fn a_channel_ends_on_all_nodes(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let deleted = cluster.node(0).channel("push-pull");
    let mut clients = cluster.spread(&deleted, 6, "");
    assert_eq!(cluster.node(2).delete(&deleted.resource()).status, 200);
    assert!(clients.iter_mut().all(|client| client.closed() == 4404));

    let start = Instant::now();
    let expiring = cluster.node(0).create(r#"{"pattern":"pub-sub","timeout":1500}"#);
    let mut clients = cluster.spread(&expiring, 6, "");
    // A message on any node prolongs it.
    thread::sleep(Duration::from_millis(700).saturating_sub(start.elapsed()));
    let sent = Instant::now();
    clients[4].send("more time");
    assert!(clients.iter_mut().all(|client| client.text() == "more time"));
    assert!(clients.iter_mut().all(|client| client.closed() == 4408));
    let lived = sent.elapsed();
    assert!(lived >= Duration::from_millis(1_450), "{lived:?}");
    println!("a timeout of 1500 ms took {lived:?} on three nodes");
    for server in cluster.running() {
        until("it has gone everywhere", || server.look(&expiring).is_none().then_some(()));
    }
}

pub fn a_client_limit_is_exact_over_nodes(runtime: &Runtime) {
    const LIMIT: usize = 20;
    let cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    for round in 0..3 {
        let channel = cluster.node(round).create(&format!(r#"{{"pattern":"pub-sub","clientLimit":{LIMIT}}}"#));
        let joined: Vec<Http> = thread::scope(|scope| {
            let racing: Vec<_> = cluster
                .running()
                .flat_map(|server| [server; 2])
                .map(|server| {
                    let path = channel.path("");
                    scope.spawn(move || {
                        let mut held: Vec<Http> = (0..LIMIT / 2).map(|_| server.http()).collect();
                        held.iter_mut().for_each(|http| http.write(upgrade_request(&path, &[])));
                        held.retain_mut(|http| match http.read().status {
                            101 => true,
                            status => {
                                assert_eq!(status, 429);
                                false
                            }
                        });
                        held
                    })
                })
                .collect();
            racing.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(joined.len(), LIMIT, "of {} that raced", 3 * LIMIT);
        let server = cluster.node((round + 1) % 3);
        until("all are counted", || (server.clients(&channel) == LIMIT as u64).then_some(()));
        drop(joined);
        until("all seats are free again", || (server.clients(&channel) == 0).then_some(()));
        let again = cluster.spread(&channel, LIMIT, "");
        assert_eq!(server.ask(&channel.path(""), &[]).status, 429);
        drop(again);
    }
}

/// Without relays, which could not know who dials.
pub fn messages_cross_links_that_have_tls_and_a_secret(runtime: &Runtime) {
    let certificate = Certificate::new();
    let file = |name: &str| certificate.directory().join(name).display().to_string();
    let cert = format!("WRS_NODE_SSL_CERT_PATH={}", file("cert.pem"));
    let key = format!("WRS_NODE_SSL_KEY_PATH={}", file("key.pem"));
    let nodes: Vec<Server> =
        (0..3).map(|_| runtime.start(&[&cert, &key, "WRS_CLUSTER_SECRET=not to be heard"])).collect();
    for node in &nodes[1..] {
        let told = node.post(&format!("/cluster/join/127.0.0.1:{}", nodes[0].node_port), "");
        assert_eq!(told.status, 200, "{}", told.text());
    }
    let channel = nodes[0].channel("push-pull");
    let mut workers: Vec<Ws> = nodes.iter().map(|node| node.join(&channel)).collect();
    let mut sender = nodes[1].join_as(&channel, "&pull=false");
    let large = "x".repeat(100_000);
    (0..30).for_each(|number| sender.send(&format!("{number}:{large}")));
    let mut numbers = BTreeSet::new();
    for worker in &mut workers {
        for _ in 0..10 {
            let text = worker.text();
            let (number, rest) = text.split_once(':').unwrap();
            assert!(rest == large, "what crosses is whole");
            numbers.insert(number.to_owned());
        }
    }
    assert_eq!(numbers.len(), 30);
    let stranger = runtime.start(&["WRS_CLUSTER_SECRET=not to be heard"]);
    let told = stranger.post(&format!("/cluster/join/127.0.0.1:{}", nodes[0].node_port), "");
    assert_eq!(told.status, 502, "{}", told.text());
}
