//! Five nodes: the same, and two may die.

use std::collections::BTreeSet;

use wrs_tests::real::{Channel, Cluster, Runtime};

fn works(cluster: &Cluster, pattern: &str) -> Channel {
    let up = cluster.up();
    let channel = cluster.node(up[0]).channel(pattern);
    assert!(cluster.running().all(|server| server.look(&channel).is_some()));
    let mut clients = cluster.spread(&channel, 2 * up.len(), "");
    let count = clients.len();
    match pattern {
        "pub-sub" => {
            clients[1].send("to all");
            assert!(clients.iter_mut().all(|client| client.text() == "to all"));
        }
        _ => {
            let mut sender = cluster.node(up[1]).join_as(&channel, "&pull=false");
            (0..3 * count).for_each(|number| sender.send(&number.to_string()));
            let got: BTreeSet<String> =
                clients.iter_mut().flat_map(|client| (0..3).map(|_| client.text()).collect::<Vec<_>>()).collect();
            assert_eq!(got.len(), 3 * count);
        }
    }
    channel
}

pub fn five_nodes_outlive_two(runtime: &Runtime) {
    let mut cluster = Cluster::of(runtime, 5, &[]);
    let channels = [works(&cluster, "pub-sub"), works(&cluster, "push-pull")];
    let mut staying = cluster.spread(&channels[0], 5, "");
    let (leader, follower) = (cluster.leader(), cluster.follower());
    cluster.kill(leader);
    cluster.kill(follower);
    cluster.ready();
    works(&cluster, "pub-sub");
    works(&cluster, "push-pull");
    assert!(cluster.running().all(|server| channels.iter().all(|channel| server.look(channel).is_some())));
    let up = cluster.up();
    staying[up[0]].send("still here");
    up.iter().for_each(|index| assert_eq!(staying[*index].text(), "still here"));
    cluster.start(leader);
    cluster.start(follower);
    cluster.ready();
    works(&cluster, "push-pull");
}
