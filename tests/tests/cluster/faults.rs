//! Harm under load: nodes that die, pause, leave and come, links that are cut; and what the contract says of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use wrs_tests::real::{Channel, Cluster, ELECTION_MAX, ELECTION_MIN, Got, Runtime, Server, attempt, until, view};

use crate::load::{Creator, DEFAULT_TIMES, Load, ids};

/// How long a load runs before and after what happens to it.
const WHILE: Duration = Duration::from_millis(700);

/// How long a member that hears nothing waits before it takes itself for dropped.
fn out_after() -> Duration {
    2 * (ELECTION_MAX + Duration::from_millis(500))
}

/// Lets load run between two nodes and a third one die: what the two have between them never stops, creation resumes, and
/// nothing that was acknowledged is lost.
fn killed_under_load(runtime: &Runtime, leads: bool) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let victim = if leads { cluster.leader() } else { cluster.follower() };
    let stays: Vec<usize> = (0..3).filter(|index| *index != victim).collect();
    // As many channels as to have some homed on each node.
    let channels: Vec<Channel> = (0..6).map(|number| cluster.node(number % 3).channel("pub-sub")).collect();
    let mut loads: Vec<Load> = channels.iter().map(|_| Load::default()).collect();
    for (load, channel) in loads.iter_mut().zip(&channels) {
        stays.iter().for_each(|index| load.receiver(cluster.node(*index).join(channel)));
        for index in &stays {
            load.sender(&index.to_string(), cluster.node(*index).join_as(channel, "&echo=false"));
        }
    }
    let creator = Creator::start(cluster.node(stays[0]));
    thread::sleep(WHILE);
    let killed = Instant::now();
    cluster.kill(victim);
    let resumed = until("creation resumes", || {
        let answer = attempt(cluster.node(stays[1]).port, "POST", "/channels", r#"{"pattern":"echo"}"#)?;
        (answer.status == 201).then(|| killed.elapsed())
    });
    cluster.ready();
    thread::sleep(WHILE);
    let created = creator.end();
    let mut gap = Duration::ZERO;
    let mut count = 0;
    for (load, channel) in loads.iter_mut().zip(&channels) {
        let sent = load.stop();
        load.all_heard(&sent);
        assert!(cluster.running().all(|server| server.look(channel).is_some()));
        for heard in load.end(cluster.node(stays[0]), channel) {
            assert_eq!(heard.code, Some(4404), "a survivor's client was closed");
            heard.in_order();
            for (name, sent) in &sent {
                assert_eq!(sent.closed, None, "a survivor's client was closed");
                heard.whole(name, sent.count);
                count += sent.count;
            }
            gap = gap.max(heard.gap);
        }
    }
    for server in cluster.running() {
        let known = ids(server);
        assert!(created.ids.is_subset(&known), "lost: {:?}", created.ids.difference(&known));
    }
    println!(
        "killed the {}: creation resumed after {resumed:?}, largest pub-sub gap {gap:?} in {count} deliveries, largest \
         gap of acknowledged creations {:?}, {} created, otherwise told {:?}",
        if leads { "leader" } else { "follower" },
        created.gap,
        created.ids.len(),
        created.refused
    );
    assert!(gap < ELECTION_MIN, "pub-sub between survivors stopped for {gap:?}");
    assert!(resumed < 2 * (ELECTION_MAX + Duration::from_millis(500)), "creation resumed after {resumed:?}");
}

pub fn the_leader_is_killed_under_load(runtime: &Runtime) {
    killed_under_load(runtime, true);
}

pub fn a_follower_is_killed_under_load(runtime: &Runtime) {
    killed_under_load(runtime, false);
}

/// push-pull needs a home's decision for each message: what a dead home was asked is given once by the next one, or the
/// sender is closed with 1012.
pub fn work_is_done_once_or_its_sender_is_told_when_a_home_dies(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let victim = cluster.follower();
    let stays: Vec<usize> = (0..3).filter(|index| *index != victim).collect();
    let channels: Vec<Channel> = (0..6).map(|number| cluster.node(number % 3).channel("push-pull")).collect();
    let mut loads: Vec<Load> = channels.iter().map(|_| Load::default()).collect();
    for (load, channel) in loads.iter_mut().zip(&channels) {
        stays.iter().for_each(|index| load.receiver(cluster.node(*index).join(channel)));
        for index in &stays {
            load.sender(&index.to_string(), cluster.node(*index).join_as(channel, "&pull=false"));
        }
    }
    thread::sleep(WHILE);
    cluster.kill(victim);
    cluster.ready();
    thread::sleep(WHILE);
    let (mut told, mut count, mut gap) = (0, 0, Duration::ZERO);
    for (load, channel) in loads.iter_mut().zip(&channels) {
        let sent = load.stop();
        load.all_taken(&sent);
        let heard = load.end(cluster.node(stays[0]), channel);
        let mut all = BTreeSet::new();
        for heard in &heard {
            assert_eq!(heard.code, Some(4404), "a survivor's worker was closed");
            heard.in_order();
            gap = gap.max(heard.gap);
            for message in heard.all() {
                assert!(all.insert(message.clone()), "{message:?} was given twice");
            }
        }
        for (name, sent) in sent {
            told += u32::from(sent.closed.is_some());
            count += sent.count;
            if sent.closed.is_none() {
                let missing: Vec<u64> = (0..sent.count).filter(|n| !all.contains(&(name.clone(), *n))).collect();
                assert!(missing.is_empty(), "of {} from {name} miss {missing:?}, and it was not told", sent.count);
            }
        }
    }
    println!("a home died: {told} of 12 senders closed, {count} messages, largest gap {gap:?}");
}

pub fn a_paused_node_closes_its_clients_and_comes_back(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    let paused = cluster.follower();
    let others: Vec<usize> = (0..3).filter(|index| *index != paused).collect();
    let channel = cluster.node(others[0]).channel("pub-sub");
    let mut there = cluster.node(paused).join(&channel);
    let mut here = cluster.node(others[0]).join(&channel);
    cluster.node(paused).signal("STOP");
    until("it is dropped", || {
        let nodes = view(cluster.node(others[1]))["nodes"].as_array().unwrap().clone();
        (nodes.iter().filter(|node| node["live"] == true).count() == 2).then_some(())
    });
    here.send("without it");
    assert_eq!(here.text(), "without it");
    let during = cluster.node(others[1]).channel("echo");
    cluster.node(paused).signal("CONT");
    assert_eq!(there.closed(), 1012);
    cluster.ready();
    assert!(cluster.node(paused).look(&during).is_some(), "it has caught up");
    let mut again = cluster.node(paused).join(&channel);
    again.send("back");
    assert_eq!((again.text(), here.text()), ("back".to_owned(), "back".to_owned()));
}

pub fn a_minority_says_so_and_heals(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    // The leader, so that it must find out by itself that it leads nobody.
    let alone = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|index| *index != alone).collect();
    let channel = cluster.node(0).channel("pub-sub");
    let mut there = cluster.node(alone).join(&channel);
    let mut here = cluster.node(others[0]).join(&channel);
    cluster.links.isolate(alone);
    let refused = until("the minority says so", || {
        let answer = attempt(cluster.node(alone).port, "POST", "/channels", r#"{"pattern":"echo"}"#)?;
        (answer.status != 201).then_some(answer)
    });
    // What was proposed before it knew may be of unknown fate.
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    let refused = until("it knows", || {
        Some(cluster.node(alone).post("/channels", r#"{"pattern":"echo"}"#)).filter(|answer| answer.status == 503)
    });
    assert!(refused.header("Retry-After").is_some());
    let unsure = cluster.node(alone).get(&channel.resource());
    assert_eq!(unsure.status, 503, "{}", unsure.text());
    assert!(unsure.header("Retry-After").is_some());
    assert_eq!(cluster.node(alone).ask(&channel.path(""), &[]).status, 503);
    assert_eq!(cluster.node(alone).get("/readyz").status, 503);
    let during = until("the majority goes on", || {
        let answer = cluster.node(others[0]).post("/channels", r#"{"pattern":"echo"}"#);
        (answer.status == 201).then(|| answer.json()["data"]["id"].as_str().unwrap().to_owned())
    });
    here.send("in the majority");
    assert_eq!(here.text(), "in the majority");
    assert_eq!(there.closed(), 1012, "a node that is out closes its clients");
    cluster.links.heal();
    cluster.ready();
    assert!(ids(cluster.node(alone)).contains(&during));
    let mut again = cluster.node(alone).join(&channel);
    again.send("back");
    assert_eq!((again.text(), here.text()), ("back".to_owned(), "back".to_owned()));
}

/// A link that carries nothing and does not end is as good as cut: one of the two is dropped, and comes back.
pub fn a_silent_link_is_noticed(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    cluster.links.silence(others[0], others[1]);
    until("one of the two is dropped", || {
        let nodes = view(cluster.node(leader))["nodes"].as_array().unwrap().clone();
        (nodes.iter().filter(|node| node["live"] == true).count() == 2).then_some(())
    });
    let channel = cluster.node(leader).channel("echo");
    cluster.links.heal();
    cluster.ready();
    assert!(cluster.running().all(|server| server.look(&channel).is_some()));
}

pub fn links_that_flap_lose_and_double_nothing(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    let shared: Vec<Channel> = (0..3).map(|number| cluster.node(number).channel("pub-sub")).collect();
    let pulled: Vec<Channel> = (0..3).map(|number| cluster.node(number).channel("push-pull")).collect();
    let mut loads: Vec<Load> = (0..6).map(|_| Load::default()).collect();
    for (load, channel) in loads.iter_mut().zip(shared.iter().chain(&pulled)) {
        cluster.running().for_each(|server| load.receiver(server.join(channel)));
        for server in cluster.running() {
            load.sender(&server.port.to_string(), server.join_as(channel, "&echo=false&pull=false"));
        }
    }
    // Each pair in turn, ten cuts a second: more than redialing keeps up with, so that nodes are dropped and come back too.
    let start = Instant::now();
    let mut flaps = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let one = flaps % 3;
        cluster.links.flap(one, (one + 1) % 3);
        flaps += 1;
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(WHILE);
    cluster.ready();
    let (mut told, mut count, mut gap) = (0, 0, Duration::ZERO);
    for (index, (load, channel)) in loads.iter_mut().zip(shared.iter().chain(&pulled)).enumerate() {
        let sent = load.stop();
        if index < 3 { load.all_heard(&sent) } else { load.all_taken(&sent) }
        let heard = load.end(cluster.node(0), channel);
        let mut all = BTreeSet::new();
        for heard in &heard {
            heard.in_order();
            gap = gap.max(heard.gap);
            told += u32::from(heard.code != Some(4404));
            assert!(matches!(heard.code, Some(1012 | 4404)), "{:?}", heard.code);
            for message in heard.all() {
                assert!(index < 3 || all.insert(message.clone()) , "{message:?} was given twice");
            }
        }
        for (name, sent) in &sent {
            told += u32::from(sent.closed.is_some());
            count += sent.count;
            if let Some(end) = &sent.closed {
                assert!(matches!(end, Got::Closed(1012, _) | Got::Lost), "{end:?}");
                continue;
            }
            if index < 3 {
                heard.iter().filter(|heard| heard.code == Some(4404)).for_each(|heard| heard.whole(name, sent.count));
            } else if heard.iter().all(|heard| heard.code == Some(4404)) {
                let missing: Vec<u64> = (0..sent.count).filter(|n| !all.contains(&(name.clone(), *n))).collect();
                assert!(missing.is_empty(), "of {} from {name} miss {missing:?}", sent.count);
            }
        }
    }
    println!("{flaps} flaps, {count} messages: {told} of 36 clients closed, largest gap {gap:?}");
}

pub fn garbage_at_the_cluster_port_harms_nobody(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    let term = view(cluster.node(0))["term"].clone();
    let channel = cluster.node(0).channel("pub-sub");
    let mut clients = cluster.spread(&channel, 6, "");
    let garbage: [&[u8]; 6] = [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096], &[0; 65_536], &[0x16, 3, 1, 2, 0, 1]];
    let mut held = Vec::new();
    for server in cluster.running() {
        for bytes in garbage {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.node_port)).unwrap();
            // It may be cut off within.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
    }
    for round in 0..50 {
        let text = round.to_string();
        clients[round % 6].send(&text);
        assert!(clients.iter_mut().all(|client| client.text() == text));
    }
    cluster.ready();
    assert_eq!(view(cluster.node(0))["term"], term, "nobody was elected anew");
}

pub fn a_rolling_restart_loses_no_channel(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let channels: Vec<Channel> = (0..20).map(|number| cluster.node(number % 3).channel("pub-sub")).collect();
    for (index, channel) in channels.iter().enumerate().take(3) {
        let mut clients = cluster.spread(channel, 6, "");
        let mut stopped = cluster.take(index);
        let start = Instant::now();
        stopped.signal("TERM");
        for (_, client) in clients.iter_mut().enumerate().filter(|(number, _)| number % 3 == index) {
            assert_eq!(client.closed(), 1001);
        }
        assert_eq!(stopped.wait().code(), Some(0), "{:#?}", stopped.log());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        let sender = (index + 1) % 3;
        clients[sender].send("still here");
        for (number, client) in clients.iter_mut().enumerate() {
            assert!(number % 3 == index || client.text() == "still here");
        }
        cluster.start(index);
        cluster.ready();
        println!("node {index} stopped within {took:?}");
    }
    for server in cluster.running() {
        assert!(channels.iter().all(|channel| server.look(channel).is_some()));
        assert_eq!(view(server)["nodes"].as_array().unwrap().len(), 3);
    }
}

pub fn a_newcomer_joins_under_load(runtime: &Runtime) {
    joined_under_load(runtime, "pub-sub");
}

pub fn work_goes_on_while_a_newcomer_joins(runtime: &Runtime) {
    joined_under_load(runtime, "push-pull");
}

/// Nobody is closed and nothing is lost or doubled when a node comes.
fn joined_under_load(runtime: &Runtime, pattern: &str) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let channels: Vec<Channel> = (0..6).map(|number| cluster.node(number % 3).channel(pattern)).collect();
    let to_all = pattern == "pub-sub";
    let mut loads: Vec<Load> = channels.iter().map(|_| Load::default()).collect();
    for (load, channel) in loads.iter_mut().zip(&channels) {
        cluster.running().for_each(|server| load.receiver(server.join(channel)));
        for server in cluster.running() {
            load.sender(&server.port.to_string(), server.join_as(channel, "&echo=false&pull=false"));
        }
    }
    let creator = Creator::start(cluster.node(0));
    thread::sleep(WHILE);
    let seeds = format!("WRS_SEEDS={} {} {}", cluster.address(0), cluster.address(1), cluster.address(2));
    let fourth = cluster.add_place(runtime, &[&seeds]);
    let start = Instant::now();
    cluster.start(fourth);
    cluster.ready();
    println!("a newcomer was ready within {:?}", start.elapsed());
    thread::sleep(WHILE);
    let created = creator.end();
    assert_eq!(created.refused.len(), 0, "{:?}", created.refused);
    for (load, channel) in loads.iter_mut().zip(&channels) {
        let sent = load.stop();
        if to_all { load.all_heard(&sent) } else { load.all_taken(&sent) }
        let heard = load.end(cluster.node(fourth), channel);
        let mut all = BTreeSet::new();
        for heard in &heard {
            assert_eq!(heard.code, Some(4404));
            heard.in_order();
            let once = heard.all().map(|message| all.insert(message)).filter(|new| *new).count();
            assert!(to_all || once == heard.all().count(), "given twice");
        }
        for (name, sent) in &sent {
            assert_eq!(sent.closed, None);
            if to_all {
                heard.iter().for_each(|heard| heard.whole(name, sent.count));
            } else {
                assert!((0..sent.count).all(|number| all.contains(&(name.clone(), number))), "lost");
            }
        }
    }
    assert!(created.ids.is_subset(&ids(cluster.node(fourth))));
}

pub fn a_stopped_node_leaves(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let index = cluster.leader();
    let channel = cluster.node(index).channel("pub-sub");
    let mut clients = cluster.spread(&channel, 6, "");
    let mut stopped = cluster.take(index);
    let start = Instant::now();
    stopped.signal("TERM");
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 3 == index {
            assert_eq!(client.recv(), Got::Closed(1001, "the node shuts down".to_owned()));
        }
    }
    assert_eq!(stopped.wait().code(), Some(0), "{:#?}", stopped.log());
    let took = start.elapsed();
    cluster.ready();
    for server in cluster.running() {
        assert_eq!(view(server)["nodes"].as_array().unwrap().len(), 2, "in memory a stopped node is no member");
        assert!(server.look(&channel).is_some());
    }
    println!("the leader left within {took:?}, all were ready after {:?}", start.elapsed());
    assert!(took < Duration::from_secs(10), "{took:?}");
    cluster.start(index);
    cluster.ready();
}

/// All are stopped at once, as when a whole service is taken down: none waits for another in vain.
pub fn nodes_that_stop_together_end_together(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &["WRS_DRAIN_TIMEOUT=15000"]);
    let channel = cluster.node(0).channel("pub-sub");
    let mut clients = cluster.spread(&channel, 6, "");
    let mut stopped: Vec<Server> = (0..3).map(|index| cluster.take(index)).collect();
    let start = Instant::now();
    stopped.iter().for_each(|server| server.signal("TERM"));
    assert!(clients.iter_mut().all(|client| client.closed() == 1001));
    for server in &mut stopped {
        assert_eq!(server.wait().code(), Some(0), "{:#?}", server.log());
    }
    println!("all ended within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// Of two nodes in memory one dies: the other has no majority and cannot know, until a new one stands in its place.
pub fn the_last_of_two_goes_on(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 2, &[]);
    let channel = cluster.node(0).channel("pub-sub");
    let dead = cluster.leader();
    let left = 1 - dead;
    cluster.kill(dead);
    until("it says so", || (cluster.node(left).get("/readyz").status == 503).then_some(()));
    thread::sleep(out_after());
    assert_eq!(cluster.node(left).post("/channels", r#"{"pattern":"echo"}"#).status, 503);
    cluster.start(dead);
    cluster.ready();
    assert!(cluster.running().all(|server| server.look(&channel).is_some()), "the longest log goes on");
}

/// A service is brought to the next version of the protocol node by node, under load: nothing is lost, the log is written in the
/// older version until all know the newer, and then none that knows only the older is let in any more.
pub fn an_upgrade_from_node_to_node_loses_nothing(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &DEFAULT_TIMES);
    let channels: Vec<Channel> = (0..6).map(|number| cluster.node(number % 3).channel("pub-sub")).collect();
    let version = |server: &Server| view(server)["version"].as_u64().unwrap();
    let old = version(cluster.node(0));
    let (mut acknowledged, mut told) = (BTreeSet::new(), 0);
    for index in 0..3 {
        let stays: Vec<usize> = (0..3).filter(|other| *other != index).collect();
        let loaded: Vec<Channel> = (0..6).map(|number| cluster.node(number % 3).channel("pub-sub")).collect();
        let mut loads: Vec<Load> = loaded.iter().map(|_| Load::default()).collect();
        for (load, channel) in loads.iter_mut().zip(&loaded) {
            stays.iter().for_each(|other| load.receiver(cluster.node(*other).join(channel)));
            for other in &stays {
                load.sender(&other.to_string(), cluster.node(*other).join_as(channel, "&echo=false"));
            }
        }
        let creator = Creator::start(cluster.node(stays[0]));
        thread::sleep(WHILE);
        assert!(cluster.running().all(|server| version(server) == old), "one does not know the newer");
        let mut stopped = cluster.take(index);
        stopped.signal("TERM");
        assert_eq!(stopped.wait().code(), Some(0), "{:#?}", stopped.log());
        cluster.set(index, "WRS_TRIAL_NEXT_PROTOCOL=yes");
        cluster.start(index);
        cluster.ready();
        thread::sleep(WHILE);
        let created = creator.end();
        assert!(created.refused.keys().all(|status| matches!(status, 503 | 504)), "{:?}", created.refused);
        acknowledged.extend(created.ids);
        for (load, channel) in loads.iter_mut().zip(&loaded) {
            let sent = load.stop();
            load.all_heard(&sent);
            until("the channel is deleted", || {
                let answer = attempt(cluster.node(index).port, "DELETE", &channel.resource(), "")?;
                matches!(answer.status, 200 | 404).then_some(())
            });
            for heard in load.ended() {
                heard.in_order();
                // On a machine that starves a node the others do without it, and it says so to its clients.
                assert!(matches!(heard.code, Some(1012 | 4404)), "{:?}", heard.code);
                told += u32::from(heard.code == Some(1012));
                for (name, sent) in sent.iter().filter(|(_, sent)| sent.closed.is_none() && heard.code == Some(4404)) {
                    heard.whole(name, sent.count);
                }
            }
            for sent in sent.values().filter_map(|sent| sent.closed.as_ref()) {
                assert!(matches!(sent, Got::Closed(1012, _)), "{sent:?}");
                told += 1;
            }
        }
    }
    println!("{} channels acknowledged while nodes were upgraded; {told} of 72 clients told to come again", acknowledged.len());
    until("all know that all know the newer", || {
        cluster.running().all(|server| version(server) == old + 1).then_some(())
    });
    for server in cluster.running() {
        let known = ids(server);
        assert!(acknowledged.is_subset(&known), "lost: {:?}", acknowledged.difference(&known));
        assert!(channels.iter().all(|channel| server.look(channel).is_some()));
    }
    let late = cluster.add_place(runtime, &[]);
    cluster.start(late);
    let path = format!("/cluster/join/{}", cluster.address(0));
    let why = cluster.node(late).post(&path, "").problem(502);
    assert!(why.contains("version"), "{why}");
}
