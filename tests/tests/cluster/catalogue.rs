//! The catalogue: what a change promises, and what outlives whom.

#[cfg(target_os = "linux")]
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
#[cfg(target_os = "linux")]
use wrs_tests::real::BrokenDisk;
use wrs_tests::real::{Channel, Cluster, Http, Runtime, Server, attempt, until, view};

use crate::load::{Creator, DEFAULT_TIMES};

fn dir(runtime: &Runtime, name: &str, index: usize) -> std::path::PathBuf {
    let name = format!("wrs-{name}-{:?}-{}-{index}", runtime.kind, std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Directories that go with the scenario.
struct Dirs(Vec<std::path::PathBuf>);

impl Dirs {
    /// A cluster whose nodes have a data directory each.
    fn cluster(runtime: &Runtime, name: &str, settings: &[&str]) -> (Dirs, Cluster) {
        let (dirs, mut cluster) = Dirs::places(runtime, name, settings);
        start(&mut cluster);
        (dirs, cluster)
    }

    /// The same before it is started.
    fn places(runtime: &Runtime, name: &str, settings: &[&str]) -> (Dirs, Cluster) {
        let mut cluster = Cluster::places(runtime, 3, settings);
        let dirs = Dirs((0..3).map(|index| dir(runtime, name, index)).collect());
        for (index, dir) in dirs.0.iter().enumerate() {
            cluster.set(index, &format!("WRS_DATA_DIR={}", dir.display()));
        }
        (dirs, cluster)
    }
}

fn start(cluster: &mut Cluster) {
    cluster.seed(3);
    (0..3).for_each(|index| cluster.start(index));
    cluster.ready();
}

impl Drop for Dirs {
    fn drop(&mut self) {
        self.0.iter().for_each(|dir| drop(std::fs::remove_dir_all(dir)));
    }
}

pub fn a_change_is_everywhere_once_it_is_answered(runtime: &Runtime) {
    let cluster = Cluster::of(runtime, 3, &[]);
    let mut nodes: Vec<Http> = cluster.running().map(Server::http).collect();
    for round in 0..100 {
        let created = nodes[round % 3].call("POST", "/channels", r#"{"pattern":"echo"}"#);
        assert_eq!(created.status, 201, "{}", created.text());
        let path = format!("/channels/{}", created.json()["data"]["id"].as_str().unwrap());
        for node in &mut nodes {
            assert_eq!(node.call("GET", &path, "").status, 200, "round {round}");
        }
        // Every second one stays for the reset.
        if round % 2 == 0 {
            assert_eq!(nodes[(round + 1) % 3].call("DELETE", &path, "").status, 200);
            for node in &mut nodes {
                assert_eq!(node.call("GET", &path, "").status, 404, "round {round}");
            }
        }
    }
    for node in &mut nodes {
        assert_eq!(node.call("GET", "/channels", "").json()["data"].as_array().unwrap().len(), 50);
    }
    assert_eq!(nodes[1].call("DELETE", "/reset", "").status, 200);
    for node in &mut nodes {
        assert_eq!(node.call("GET", "/channels", "").json()["data"], json!([]));
    }
}

pub fn channels_survive_their_leader(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 3, &[]);
    let channels: Vec<Channel> = (0..30).map(|number| cluster.node(number % 3).channel("pub-sub")).collect();
    cluster.kill(cluster.leader());
    cluster.ready();
    for channel in &channels {
        assert!(cluster.running().all(|server| server.look(channel).is_some()), "{channel:?}");
    }
    let later = cluster.node(cluster.follower()).channel("echo");
    assert!(cluster.running().all(|server| server.look(&later).is_some()));
}

pub fn channels_come_back_from_disk(runtime: &Runtime) {
    let (_dirs, mut cluster) = Dirs::cluster(runtime, "all", &[]);
    let ids: Vec<_> = cluster.running().map(|server| view(server)["id"].clone()).collect();
    let channels: Vec<Channel> = (0..30).map(|number| cluster.node(number % 3).channel("pub-sub")).collect();
    let gone = cluster.node(0).channel("echo");
    assert_eq!(cluster.node(1).delete(&gone.resource()).status, 200);
    // One is stopped, which marks it away; the others die.
    let mut stopped = cluster.take(1);
    stopped.signal("TERM");
    assert_eq!(stopped.wait().code(), Some(0), "{:#?}", stopped.log());
    cluster.kill(0);
    cluster.kill(2);
    (0..3).for_each(|index| cluster.start(index));
    cluster.ready();
    for (server, id) in cluster.running().zip(&ids) {
        assert_eq!(view(server)["id"], *id, "who a node is stands on its disk");
        assert!(channels.iter().all(|channel| server.look(channel).is_some()));
        assert!(server.look(&gone).is_none());
    }
    let mut clients = cluster.spread(&channels[0], 3, "");
    clients[0].send("again");
    assert!(clients.iter_mut().all(|client| client.text() == "again"));
}

pub fn a_node_with_a_disk_comes_back_as_itself(runtime: &Runtime) {
    let (_dirs, mut cluster) = Dirs::cluster(runtime, "one", &[]);
    let index = cluster.follower();
    let id = view(cluster.node(index))["id"].clone();
    let mut stopped = cluster.take(index);
    stopped.signal("TERM");
    assert_eq!(stopped.wait().code(), Some(0), "{:#?}", stopped.log());
    let other = cluster.up()[0];
    until("it is marked away", || {
        let nodes = view(cluster.node(other))["nodes"].as_array().unwrap().clone();
        nodes.iter().any(|node| node["id"] == id && node["live"] == false).then_some(())
    });
    let channel = cluster.node(other).channel("echo");
    cluster.start(index);
    cluster.ready();
    let now = view(cluster.node(index));
    assert_eq!(now["id"], id);
    assert_eq!(now["nodes"].as_array().unwrap().len(), 3, "{now}");
    assert!(cluster.node(index).look(&channel).is_some(), "it caught up");
}

pub fn an_operator_recovers_who_is_left_of_a_lost_majority(runtime: &Runtime) {
    let (dirs, mut cluster) = Dirs::cluster(runtime, "recover", &[]);
    let channel = cluster.node(0).channel("pub-sub");
    for lost in [0, 1] {
        cluster.kill(lost);
        std::fs::remove_dir_all(&dirs.0[lost]).unwrap();
        std::fs::create_dir_all(&dirs.0[lost]).unwrap();
    }
    let create = r#"{"pattern":"echo"}"#;
    until("the last node decides nothing", || (cluster.node(2).post("/channels", create).status == 503).then_some(()));
    let told = cluster.node(2).post("/cluster/recover", "");
    assert_eq!(told.status, 200, "{}", told.text());
    cluster.ready();
    assert!(cluster.node(2).look(&channel).is_some(), "what it had on its disk is there");
    cluster.start(0);
    cluster.start(1);
    cluster.ready();
    let mut clients = cluster.spread(&channel, 3, "");
    clients[0].send("again");
    assert!(clients.iter_mut().all(|client| client.text() == "again"));
}

/// A node whose disk fails, full or broken, can agree to nothing any more: it says so, lets its clients go to others, and ends.
/// The others go on. `harm` is what is done to it, `mend` what lets it come back, `says` the system's words.
#[cfg(target_os = "linux")]
fn disk_fails(place: (Dirs, Cluster), leads: bool, harm: impl Fn(&Server, usize), mend: impl Fn(usize), says: &str) {
    let (_dirs, mut cluster) = place;
    let index = if leads { cluster.leader() } else { cluster.follower() };
    let id = view(cluster.node(index))["id"].clone();
    let others: Vec<usize> = cluster.up().into_iter().filter(|other| *other != index).collect();
    let channel = cluster.node(index).channel("pub-sub");
    let mut there = cluster.node(index).join(&channel);
    let mut here: Vec<_> = others.iter().map(|other| cluster.node(*other).join(&channel)).collect();
    let creator = Creator::start(cluster.node(others[0]));
    let mut failing = cluster.take(index);
    let creator_there = Creator::start(&failing);
    until("channels are created there", || (crate::load::ids(&failing).len() > 10).then_some(()));
    let start = Instant::now();
    harm(&failing, index);
    let refused = until("it takes no change", || {
        let answer = attempt(failing.port, "POST", "/channels", r#"{"pattern":"echo"}"#);
        // What it proposed before it knew may be of unknown fate; once it ends it listens no more.
        (answer.as_ref().is_none_or(|answer| answer.status != 201)).then_some(answer)
    });
    assert!(refused.as_ref().is_none_or(|answer| matches!(answer.status, 503 | 504)), "{refused:?}");
    assert!(attempt(failing.port, "GET", "/readyz", "").is_none_or(|answer| answer.status == 503));
    assert_eq!(there.closed(), 1012);
    assert_eq!(failing.wait().code(), Some(1), "{:#?}", failing.log());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let said = failing.said().join("\n");
    assert!(said.contains("data directory") && said.contains(says), "{said}");
    cluster.ready();
    let ready = start.elapsed();
    let (mut created, created_there) = (creator.end(), creator_there.end());
    // Whoever was under way there is told that nothing was done, or that nobody knows; whoever comes later finds nobody.
    assert!(created_there.refused.keys().all(|status| matches!(status, 0 | 503 | 504)), "{:?}", created_there.refused);
    let told = created_there.refused;
    println!("a disk that failed ended its node within {took:?}, the others were ready after {ready:?}; there: {told:?}");
    created.ids.extend(created_there.ids);
    here[0].send("still here");
    assert!(here.iter_mut().all(|client| client.text() == "still here"));
    let later = cluster.node(others[1]).channel("echo");
    // With a disk again it comes back as itself.
    mend(index);
    cluster.start(index);
    cluster.ready();
    let node = cluster.node(index);
    assert_eq!(view(node)["id"], id);
    let known = crate::load::ids(node);
    assert!(known.contains(&later.id) && known.contains(&channel.id));
    assert!(created.ids.is_subset(&known), "lost: {:?}", created.ids.difference(&known));
}

#[cfg(target_os = "linux")]
fn full_disk(runtime: &Runtime, name: &str, leads: bool) {
    let [heartbeat, min, max] = DEFAULT_TIMES;
    let place = Dirs::cluster(runtime, name, &[heartbeat, min, max, "sh:trap '' XFSZ"]);
    disk_fails(place, leads, |server, _| server.fill_disk(), |_| {}, "File too large");
}

/// One call of the system fails from a moment on, as it does on a disk that is broken.
#[cfg(target_os = "linux")]
fn broken_disk(runtime: &Runtime, call: &str, leads: bool) {
    let name = format!("broken-{call}-{leads}");
    let disk = match BrokenDisk::new(&dir(runtime, &name, 3)) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let [heartbeat, min, max] = DEFAULT_TIMES;
    // Whole files, and names, are made durable at each snapshot.
    let (dirs, mut cluster) = Dirs::places(runtime, &name, &[heartbeat, min, max, "WRS_NODE_SNAPSHOT_LENGTH=50"]);
    (0..3).for_each(|index| cluster.set(index, &disk.setting(index)));
    start(&mut cluster);
    if !cluster.running().all(|server| disk.is_in(server)) {
        return skip("the server is linked to no library of the system");
    }
    let (harm, mend) = (|_: &Server, index| disk.break_at(index, call), |index| disk.mend(index));
    disk_fails((dirs, cluster), leads, harm, mend, "Input/output error");
}

/// Says past the test's captured output why nothing was tried.
#[cfg(target_os = "linux")]
fn skip(why: &str) {
    let mut past_the_capture = std::io::stderr();
    writeln!(past_the_capture, "\nbroken disks SKIPPED: {why}").unwrap();
}

#[cfg(target_os = "linux")]
pub fn a_log_that_is_not_made_durable_ends_the_leader_and_the_others_go_on(runtime: &Runtime) {
    broken_disk(runtime, "fdatasync", true);
}

#[cfg(target_os = "linux")]
pub fn a_log_that_is_not_made_durable_ends_a_follower_and_the_others_go_on(runtime: &Runtime) {
    broken_disk(runtime, "fdatasync", false);
}

#[cfg(target_os = "linux")]
pub fn a_snapshot_that_is_not_made_durable_ends_its_node_and_the_others_go_on(runtime: &Runtime) {
    broken_disk(runtime, "fsync", false);
}

#[cfg(target_os = "linux")]
pub fn a_snapshot_that_is_not_put_in_place_ends_its_node_and_the_others_go_on(runtime: &Runtime) {
    broken_disk(runtime, "rename", false);
}

#[cfg(target_os = "linux")]
pub fn a_full_disk_ends_the_leader_and_the_others_go_on(runtime: &Runtime) {
    full_disk(runtime, "full-leader", true);
}

#[cfg(target_os = "linux")]
pub fn a_full_disk_ends_a_follower_and_the_others_go_on(runtime: &Runtime) {
    full_disk(runtime, "full-follower", false);
}
