//! How nodes become one service: who founds, who joins, who refuses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wrs_tests::real::{Balancer, Channel, Cluster, Kind, Runtime, Server, until, view};

use crate::load::DEFAULT_TIMES;

/// Long enough for a node that forms a cluster by itself to have done so, in times that a seed is asked.
const SEVERAL_QUESTIONS: Duration = Duration::from_millis(2_500);

/// Less than a node that retries would take.
const AT_ONCE: Duration = Duration::from_secs(8);
/// Within which clusters behind one domain have become one: some twenty questions of each node.
const MERGED: Duration = Duration::from_secs(180);

#[track_caller]
fn join(cluster: &Cluster, index: usize, to: usize) {
    let response = cluster.node(index).post(&format!("/cluster/join/{}", cluster.address(to)), "");
    assert_eq!(response.status, 200, "{}", response.text());
}

#[track_caller]
fn serves(server: &Server) -> Channel {
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    client.send("here");
    assert_eq!(client.text(), "here");
    channel
}

pub fn seeds_found_one_cluster(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    let views: Vec<_> = cluster.running().map(view).collect();
    let mut roles: Vec<_> = views.iter().map(|view| view["role"].as_str().unwrap()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["follower", "follower", "leader"]);
    for view in &views {
        assert_eq!(view["term"], views[0]["term"]);
        let nodes = view["nodes"].as_array().unwrap();
        let addresses: Vec<_> = nodes.iter().map(|node| node["address"].as_str().unwrap().to_owned()).collect();
        for index in 0..3 {
            assert!(addresses.contains(&cluster.address(index)), "{addresses:?}");
        }
    }
    cluster.running().for_each(|server| drop(serves(server)));
}

pub fn a_majority_of_the_seeds_founds_and_the_last_one_joins(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 3, &[]);
    cluster.seed(3);
    (0..2).for_each(|index| cluster.start(index));
    cluster.ready();
    let founded = view(cluster.node(0))["cluster"].clone();
    let channel = cluster.node(0).channel("pub-sub");
    cluster.start(2);
    cluster.ready();
    assert_eq!(view(cluster.node(2))["cluster"], founded);
    assert!(cluster.node(2).look(&channel).is_some(), "a node that is ready has caught up");
}

pub fn a_minority_of_the_seeds_founds_nothing(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 3, &[]);
    cluster.seed(3);
    cluster.start(0);
    std::thread::sleep(SEVERAL_QUESTIONS);
    let lone = cluster.node(0);
    lone.get("/readyz").problem(503);
    let refused = lone.post("/channels", r#"{"pattern":"echo"}"#);
    refused.problem(503);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(lone.get("/healthz").status, 200);
    cluster.start(1);
    cluster.ready();
    serves(cluster.node(0));
}

pub fn nodes_join_by_rest(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 3, &[]);
    (0..3).for_each(|index| cluster.start(index));
    for server in cluster.running() {
        assert_eq!(view(server)["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(server.get("/readyz").status, 200, "a lone node is a cluster of its own");
    }
    let channel = cluster.node(0).channel("echo");
    for index in 1..3 {
        join(&cluster, index, index - 1);
    }
    cluster.ready();
    assert!(cluster.running().all(|server| server.look(&channel).is_some()));
    // Who is a member has what it wants.
    join(&cluster, 2, 0);
}

pub fn a_node_that_has_joined_serves_at_once(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 3, &[]);
    (0..3).for_each(|index| cluster.start(index));
    let channel = cluster.node(0).channel("echo");
    for index in 1..3 {
        join(&cluster, index, index - 1);
        assert!(cluster.node(index).look(&channel).is_some(), "a node that has joined has caught up");
    }
}

pub fn a_node_with_channels_joins_only_by_force(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 2, &[]);
    (0..2).for_each(|index| cluster.start(index));
    let (kept, lost) = (cluster.node(0).channel("echo"), cluster.node(1).channel("echo"));
    let mut staying = cluster.node(0).join(&kept);
    let mut closed = cluster.node(1).join(&lost);
    let path = format!("/cluster/join/{}", cluster.address(0));
    cluster.node(1).post(&path, "").problem(409);
    closed.send("unharmed");
    assert_eq!(closed.text(), "unharmed");
    let forced = cluster.node(1).post(&format!("{path}?force=true"), "");
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert_eq!(closed.closed(), 1012);
    cluster.ready();
    for server in cluster.running() {
        assert!(server.look(&kept).is_some());
        assert!(server.look(&lost).is_none());
    }
    staying.send("unharmed");
    assert_eq!(staying.text(), "unharmed");
}

pub fn what_must_agree_is_refused_and_nothing_is_harmed(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 3, &[]);
    for (index, setting) in ["WRS_CLUSTER_SECRET=one", "WRS_CLUSTER_SECRET=two", "WRS_ID_LENGTH=5"].iter().enumerate() {
        cluster.set(index, setting);
    }
    cluster.set(2, "WRS_CLUSTER_SECRET=one");
    (0..3).for_each(|index| cluster.start(index));
    let channel = serves(cluster.node(0));
    let path = format!("/cluster/join/{}", cluster.address(0));
    let start = Instant::now();
    let secret = cluster.node(1).post(&path, "").problem(502);
    assert!(secret.contains("WRS_CLUSTER_SECRET"), "{secret}");
    let length = cluster.node(2).post(&path, "").problem(502);
    assert!(length.contains("WRS_ID_LENGTH"), "{length}");
    assert!(start.elapsed() < AT_ONCE, "what cannot change is told at once, not after {:?}", start.elapsed());
    for server in cluster.running() {
        assert_eq!(view(server)["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(server.get("/readyz").status, 200);
        serves(server);
    }
    assert!(cluster.node(0).look(&channel).is_some());
}

pub fn a_join_of_nobody_says_so(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 2, &[]);
    cluster.start(0);
    let response = cluster.node(0).post(&format!("/cluster/join/{}", cluster.address(1)), "");
    assert!(matches!(response.status, 502 | 504), "{}", response.text());
    response.problem(response.status);
    serves(cluster.node(0));
}

/// The thesis's way: who answers at the service's own domain is asked.
pub fn a_node_meets_the_cluster_behind_its_domain(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 2, &[]);
    cluster.start(0);
    let channel = cluster.node(0).channel("echo");
    let port = cluster.node(0).port;
    cluster.set(1, &format!("WRS_PUBLIC_API_PORT={port}"));
    cluster.start(1);
    cluster.ready();
    assert!(cluster.node(1).look(&channel).is_some());
}

/// Nodes of one service behind a load balancer, none of which runs.
fn behind_one_domain(runtime: &Runtime, count: usize) -> (Cluster, Balancer) {
    let (mut cluster, balancer) = (Cluster::places(runtime, count, &[]), Balancer::start());
    (0..count).for_each(|index| cluster.set(index, &format!("WRS_PUBLIC_API_PORT={}", balancer.port())));
    (cluster, balancer)
}

fn put_all(cluster: &Cluster, balancer: &Balancer) {
    balancer.put(cluster.running().map(|server| server.port).collect());
}

fn cluster_of(cluster: &Cluster, index: usize) -> String {
    view(cluster.node(index))["cluster"].as_str().unwrap().to_owned()
}

/// However they meet: they may be clusters of several nodes by the time that all know of each other.
pub fn nodes_that_start_together_behind_one_domain_become_one(runtime: &Runtime) {
    let (mut cluster, balancer) = behind_one_domain(runtime, 5);
    (0..5).for_each(|index| cluster.start(index));
    put_all(&cluster, &balancer);
    let start = Instant::now();
    cluster.ready_within(MERGED);
    println!("five nodes that started together were one cluster after {:?}", start.elapsed());
    let channel = serves(cluster.node(0));
    assert!(cluster.running().all(|server| server.look(&channel).is_some()));
}

pub fn of_two_clusters_behind_one_domain_the_one_without_channels_gives_way(runtime: &Runtime) {
    let (mut cluster, balancer) = behind_one_domain(runtime, 5);
    (0..5).for_each(|index| cluster.start(index));
    for (index, to) in [(1, 0), (3, 2), (4, 2)] {
        join(&cluster, index, to);
    }
    assert_ne!(cluster_of(&cluster, 1), cluster_of(&cluster, 4));
    let stays = cluster_of(&cluster, 0);
    let channel = cluster.node(0).channel("echo");
    let mut client = cluster.node(1).join(&channel);
    put_all(&cluster, &balancer);
    let start = Instant::now();
    cluster.ready_within(MERGED);
    println!("three nodes without channels went to two with one within {:?}", start.elapsed());
    assert_eq!(cluster_of(&cluster, 4), stays, "the smaller one has a channel");
    assert!(cluster.running().all(|server| view(server)["nodes"].as_array().unwrap().len() == 5));
    assert!(cluster.running().all(|server| server.look(&channel).is_some()));
    client.send("unharmed");
    assert_eq!(client.text(), "unharmed");
}

pub fn two_clusters_behind_one_domain_that_both_hold_channels_stay_apart(runtime: &Runtime) {
    let (mut cluster, balancer) = behind_one_domain(runtime, 4);
    (0..4).for_each(|index| cluster.start(index));
    for (index, to) in [(1, 0), (3, 2)] {
        join(&cluster, index, to);
    }
    let channels = [cluster.node(0).channel("echo"), cluster.node(2).channel("echo")];
    put_all(&cluster, &balancer);
    let start = Instant::now();
    while !cluster.running().any(|server| view(server)["apart"].is_string()) {
        assert!(start.elapsed() < MERGED, "nobody says so: {}", cluster.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(cluster_of(&cluster, 0), cluster_of(&cluster, 2));
    for (index, channel) in [(1, &channels[0]), (3, &channels[1])] {
        assert!(cluster.node(index).look(channel).is_some());
    }
}

pub fn a_member_is_removed(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let gone = cluster.follower();
    let id = view(cluster.node(gone))["id"].as_str().unwrap().to_owned();
    cluster.kill(gone);
    let server = cluster.running().next().unwrap();
    assert_eq!(server.delete(&format!("/cluster/{id}")).status, 200);
    until("it is no member", || {
        let members = view(server)["nodes"].as_array().unwrap().clone();
        members.iter().all(|node| node["id"] != id.as_str()).then_some(())
    });
    server.delete(&format!("/cluster/{id}")).problem(404);
    cluster.ready();
}

pub fn both_servers_are_one_cluster(runtime: &Runtime) {
    let mut cluster = Cluster::places(runtime, 2, &[]);
    if Kind::Glommio.availability().is_err() {
        return;
    }
    let other = if runtime.kind == Kind::Smol { Kind::Glommio } else { Kind::Smol };
    cluster.run_as(1, Runtime { kind: other, shards: 2 });
    cluster.seed(2);
    (0..2).for_each(|index| cluster.start(index));
    cluster.ready();
    let channel = cluster.node(0).channel("pub-sub");
    let mut clients = cluster.spread(&channel, 4, "");
    for sender in 0..4 {
        clients[sender].send(&sender.to_string());
        for client in &mut clients {
            assert_eq!(client.text(), sender.to_string());
        }
    }
}

pub fn seven_of_nine_nodes_vote_and_all_serve(runtime: &Runtime) {
    const NODES: usize = 9;
    let cluster = Cluster::of(runtime, NODES, &DEFAULT_TIMES);
    let role = |index: &usize| view(cluster.node(*index))["role"].clone();
    let learners: Vec<usize> = (0..NODES).filter(|index| role(index) == "learner").collect();
    assert_eq!(learners.len(), NODES - 7, "{}", cluster.logs());
    let channel = cluster.node(learners[0]).channel("pub-sub");
    let mut clients = cluster.spread(&channel, NODES, "");
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(&index.to_string());
    }
    for client in &mut clients {
        let got: BTreeSet<String> = (0..NODES).map(|_| client.text()).collect();
        assert_eq!(got, (0..NODES).map(|index| index.to_string()).collect());
    }
    assert_eq!(cluster.node(learners[1]).delete(&channel.resource()).status, 200);
}
