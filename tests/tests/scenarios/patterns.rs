//! The five patterns and each of their rules.
//!
//! That somebody gets nothing is shown by what the same sender sends next: order per sender is kept, so that what comes
//! first is all there was.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};
use wrs_tests::real::{Channel, Got, Runtime, Server, Ws};

fn joined(server: &Server, channel: &Channel, count: usize) -> Vec<Ws> {
    (0..count).map(|_| server.join(channel)).collect()
}

pub fn echo_gives_a_message_back_to_its_sender_alone(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut clients = joined(&server, &channel, 3);
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("{number} says {round}"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.text(), format!("{number} says {round}"));
        }
    }
    let mut indifferent = server.join_as(&channel, "&echo=false&pull=false");
    indifferent.send("the pattern has no use for these");
    assert_eq!(indifferent.text(), "the pattern has no use for these");
}

pub fn pub_sub_gives_a_message_to_everyone(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let mut clients = joined(&server, &channel, 6);
    for sender in 0..clients.len() {
        clients[sender].send(&format!("from {sender}"));
        for client in &mut clients {
            assert_eq!(client.text(), format!("from {sender}"), "the sender included");
        }
    }
    assert_eq!(server.clients(&channel), 6);
}

pub fn echo_false_keeps_a_clients_own_messages_from_it(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let mut deaf = server.join_as(&channel, "&echo=false");
    let mut other = server.join_as(&channel, "&echo=true");
    deaf.send("mine");
    assert_eq!(other.text(), "mine");
    other.send("yours");
    assert_eq!(other.text(), "yours");
    assert_eq!(deaf.text(), "yours", "its own message did not come before");
}

pub fn text_and_binary_keep_their_type(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for pattern in ["echo", "pub-sub", "push-pull"] {
        let channel = server.channel(pattern);
        let mut client = server.join(&channel);
        client.send("tëxt \u{1f980}");
        client.send_binary(&[0, 255, 128, 10]);
        client.send("");
        client.send_binary(&[]);
        assert_eq!(client.recv(), Got::Text("tëxt \u{1f980}".to_owned()), "{pattern}");
        assert_eq!(client.recv(), Got::Binary(vec![0, 255, 128, 10]), "{pattern}");
        assert_eq!(client.recv(), Got::Text(String::new()), "{pattern}");
        assert_eq!(client.recv(), Got::Binary(vec![]), "{pattern}");
    }
    for pattern in ["req-repl", "fan-in-out"] {
        let channel = server.channel(pattern);
        let (mut asker, mut other) = (server.join(&channel), server.join(&channel));
        asker.send_binary(br#"{"type":"request"}"#);
        let request: Value = serde_json::from_slice(&other.binary()).unwrap();
        other.send_binary(json!({"type": "reply", "origin": request["origin"]}).to_string().as_bytes());
        assert!(matches!(asker.recv(), Got::Binary(_)), "{pattern}");
    }
}

pub fn order_is_kept_per_sender(runtime: &Runtime) {
    const MESSAGES: usize = 300;
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let receivers = joined(&server, &channel, 3);
    let senders: Vec<Ws> = (0..3).map(|_| server.join_as(&channel, "&echo=false")).collect();
    thread::scope(|scope| {
        for (number, mut sender) in senders.into_iter().enumerate() {
            scope.spawn(move || {
                (0..MESSAGES).for_each(|message| sender.send(&format!("{number} {message}")));
                // It is a subscriber, too, and has to take what it is sent.
                (0..MESSAGES * 2).for_each(|_| drop(sender.text()));
            });
        }
        for mut receiver in receivers {
            scope.spawn(move || {
                let mut next = [0; 3];
                for _ in 0..MESSAGES * 3 {
                    let text = receiver.text();
                    let (sender, message) = text.split_once(' ').unwrap();
                    let next = &mut next[sender.parse::<usize>().unwrap()];
                    assert_eq!(message.parse::<usize>().unwrap(), *next);
                    *next += 1;
                }
            });
        }
    });
}

pub fn push_pull_goes_round(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("push-pull");
    let mut sender = server.join_as(&channel, "&pull=false");
    let mut workers = joined(&server, &channel, 4);
    for message in 0..12 {
        sender.send(&message.to_string());
    }
    for round in 0..3 {
        for (place, worker) in workers.iter_mut().enumerate() {
            assert_eq!(worker.text(), (round * 4 + place).to_string(), "in the order in which they came");
        }
    }
}

/// "A sender at the head is moved to the tail first."
pub fn push_pull_skips_the_sender(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("push-pull");
    let mut clients = joined(&server, &channel, 3);
    let mut queue = [0, 1, 2];
    for message in 0..20 {
        let sender = message % 2;
        if queue[0] == sender {
            queue.rotate_left(1);
        }
        let receiver = queue[0];
        queue.rotate_left(1);
        clients[sender].send(&message.to_string());
        assert_eq!(clients[receiver].text(), message.to_string(), "by the queue, {receiver} is next");
    }
}

pub fn push_pull_alone_gives_the_message_back(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("push-pull");
    let mut alone = server.join(&channel);
    alone.send("mine");
    assert_eq!(alone.text(), "mine");
    let mut sender = server.join_as(&channel, "&pull=false");
    alone.send("still mine");
    assert_eq!(alone.text(), "still mine", "alone means alone in the queue");
    assert_eq!(alone.leave(1000), 1000);
    sender.send("nobody");
    assert_eq!(sender.text(), "nobody", "an empty queue gives the message back");
}

pub fn pull_false_stands_in_no_queue(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("push-pull");
    let mut one = server.join_as(&channel, "&pull=false");
    let mut two = server.join_as(&channel, "&pull=false");
    let mut worker = server.join(&channel);
    for message in 0..10 {
        one.send(&format!("one {message}"));
        assert_eq!(worker.text(), format!("one {message}"));
        two.send(&format!("two {message}"));
        assert_eq!(worker.text(), format!("two {message}"));
    }
    worker.send("to itself");
    assert_eq!(worker.text(), "to itself");
    assert_eq!(server.clients(&channel), 3, "they count as clients all the same");
}

/// "With n workers and k·n messages each gets k."
pub fn push_pull_is_exact_under_concurrent_senders(runtime: &Runtime) {
    const WORKERS: usize = 7;
    const EACH: usize = 60;
    let server = runtime.start(&[]);
    let channel = server.channel("push-pull");
    let workers = joined(&server, &channel, WORKERS);
    let senders: Vec<Ws> = (0..6).map(|_| server.join_as(&channel, "&pull=false")).collect();
    let counts = thread::scope(|scope| {
        let counting: Vec<_> = workers
            .into_iter()
            .map(|mut worker| {
                scope.spawn(move || (0..EACH).map(|_| worker.text()).collect::<Vec<_>>())
            })
            .collect();
        for (number, mut sender) in senders.into_iter().enumerate() {
            scope.spawn(move || {
                (0..WORKERS * EACH / 6).for_each(|message| sender.send(&format!("{number} {message}")));
                assert_eq!(sender.leave(1000), 1000);
            });
        }
        counting.into_iter().map(|counter| counter.join().unwrap()).collect::<Vec<_>>()
    });
    let mut all: Vec<String> = counts.into_iter().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), WORKERS * EACH, "every message was given once, and each worker waited for its own {EACH}");
}

pub fn a_worker_that_leaves_gets_nothing_more(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("push-pull");
    let mut sender = server.join_as(&channel, "&pull=false");
    let mut workers = joined(&server, &channel, 3);
    assert_eq!(workers.remove(0).leave(1000), 1000);
    for message in 0..6 {
        sender.send(&message.to_string());
    }
    for message in 0..6 {
        assert_eq!(workers[message % 2].text(), message.to_string());
    }
    let mut late = server.join(&channel);
    for message in 0..3 {
        sender.send(&message.to_string());
    }
    assert_eq!((workers[0].text(), workers[1].text(), late.text()), ("0".into(), "1".into(), "2".into()));
}

pub fn req_repl_brings_a_request_to_all_others_and_the_reply_back(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("req-repl");
    let mut clients = joined(&server, &channel, 4);
    for asker in 0..4 {
        clients[asker].send(&json!({"type": "request", "question": asker}).to_string());
        let name = clients[asker].id();
        for (other, client) in clients.iter_mut().enumerate().filter(|(other, _)| *other != asker) {
            let request = client.json();
            assert_eq!(request, json!({"type": "request", "question": asker, "origin": name}));
            client.send(&json!({"type": "reply", "origin": name, "answer": other}).to_string());
        }
        let mut answers: Vec<u64> = (0..3).map(|_| clients[asker].json()["answer"].as_u64().unwrap()).collect();
        answers.sort_unstable();
        let others: Vec<u64> = (0..4).filter(|other| *other != asker as u64).collect();
        assert_eq!(answers, others, "its own request did not come before the replies");
    }
}

/// "The relay cuts out `origin` (with the comma after it, or before it if it is last, and the space between) and writes
/// its own first; no other byte changes."
pub fn a_request_keeps_every_byte_but_its_origin(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("req-repl");
    let (mut asker, mut other) = (server.join(&channel), server.join(&channel));
    let own = format!(r#""origin":"{}","#, asker.id());
    for (sent, behind) in [
        (r#"{"type":"request"}"#, r#""type":"request"}"#),
        (r#"  { "type" : "request" }  "#, r#" "type" : "request" }  "#),
        (r#"{"origin":"x","type":"request"}"#, r#""type":"request"}"#),
        (r#"{"type":"request","origin":"x"}"#, r#""type":"request"}"#),
        (r#"{"type":"request" , "origin" : "x" }"#, r#""type":"request"  }"#),
        (r#"{"a":1,"origin":"x" , "type":"request"}"#, r#""a":1, "type":"request"}"#),
        (r#"{"\u006frigin":"x","type":"request"}"#, r#""type":"request"}"#),
        (r#"{"t\u0079pe":"r\u0065quest","n":1.50e+1}"#, r#""t\u0079pe":"r\u0065quest","n":1.50e+1}"#),
        (r#"{"type":"request","in":{"origin":5,"type":7}}"#, r#""type":"request","in":{"origin":5,"type":7}}"#),
        ("{\n\t\"type\":\"request\",\r\n\t\"é\":\"\u{1f980}\"\n}", "\n\t\"type\":\"request\",\r\n\t\"é\":\"\u{1f980}\"\n}"),
        (r#"{"type":"request","a":1,"a":2}"#, r#""type":"request","a":1,"a":2}"#),
    ] {
        asker.send(sent);
        let start = &sent[..=sent.find('{').unwrap()];
        let got = other.text();
        assert_eq!(got.strip_prefix(start).and_then(|rest| rest.strip_prefix(&own)), Some(behind), "{sent} -> {got}");
    }
}

pub fn replies_pass_byte_for_byte(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for pattern in ["req-repl", "fan-in-out"] {
        let channel = server.channel(pattern);
        let (mut asker, mut other) = (server.join(&channel), server.join(&channel));
        let name = asker.id();
        let escaped: String = name.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        for reply in [
            format!(r#"{{"type":"reply","origin":"{name}","x":[1.0, 2e5]}}"#),
            format!(" {{ \"origin\" : \"{name}\" ,\n\"type\" : \"reply\" }} "),
            format!(r#"{{"type":"reply","origin":"{escaped}"}}"#),
        ] {
            other.send(&reply);
            assert_eq!(asker.text(), reply, "{pattern}");
        }
        other.send(&format!(r#"{{"type":"reply","origin":"{}"}}"#, other.id()));
        assert_eq!(other.json()["type"], "reply", "{pattern}: a client may answer itself");
    }
}

pub fn what_is_no_envelope_is_malformed(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for pattern in ["req-repl", "fan-in-out"] {
        let channel = server.channel(pattern);
        let (mut client, mut other) = (server.join(&channel), server.join(&channel));
        for bad in [
            "",
            "hello",
            "[]",
            "null",
            r#""request""#,
            "{}",
            r#"{"type":"publish"}"#,
            r#"{"type":5}"#,
            r#"{"Type":"request"}"#,
            r#"{"type":"request","type":"request"}"#,
            r#"{"type":"request","t\u0079pe":"reply"}"#,
            r#"{"type":"request","origin":5}"#,
            r#"{"type":"request","origin":null}"#,
            r#"{"type":"request","origin":"a","origin":"b"}"#,
            r#"{"type":"reply"}"#,
            r#"{"type":"reply","origin":{}}"#,
            r#"{"type":"request"} {}"#,
            r#"{"type":"request",}"#,
            r#"{"type":"request","x":01}"#,
        ] {
            client.send(bad);
            let error = client.json();
            assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("malformed")), "{bad}");
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{bad}");
            assert_eq!(error.as_object().unwrap().len(), 3, "{error}");
        }
        client.send_binary(b"{\"type\":\"request\",\"x\":\"\xff\"}");
        assert_eq!(client.json()["code"], "malformed");
        client.send(r#"{"type":"request","good":true}"#);
        assert_eq!(other.json()["good"], true, "{pattern}: the connection stays, and nothing bad went through");
    }
}

pub fn a_request_without_a_recipient_says_so(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for pattern in ["req-repl", "fan-in-out"] {
        let channel = server.channel(pattern);
        let mut alone = server.join(&channel);
        alone.send(r#"{"type":"request"}"#);
        let error = alone.json();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("no-recipient")), "{pattern}");
        let mut other = server.join(&channel);
        alone.send(r#"{"type":"request"}"#);
        assert_eq!(other.json()["origin"], alone.id().as_str(), "{pattern}: now there is one");
    }
}

pub fn a_reply_to_nobody_says_so(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for pattern in ["req-repl", "fan-in-out"] {
        let (channel, elsewhere) = (server.channel(pattern), server.channel(pattern));
        let mut client = server.join(&channel);
        let gone = server.join(&channel);
        let stranger = server.join(&elsewhere);
        let gone_id = gone.id();
        assert_eq!(gone.leave(1000), 1000);
        let zeros = "0".repeat(gone_id.len());
        for origin in [gone_id.as_str(), &stranger.id(), &zeros, "", "nobody", "\u{1f980}", &"x".repeat(500)] {
            client.send(&json!({"type": "reply", "origin": origin}).to_string());
            let error = client.json();
            let wanted = (&json!("error"), &json!("origin-gone"));
            assert_eq!((&error["type"], &error["code"]), wanted, "{pattern} {origin}");
        }
    }
}

pub fn fan_in_out_gives_a_request_to_one(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("fan-in-out");
    let mut clients = joined(&server, &channel, 4);
    let name = clients[0].id();
    for receiver in [1, 2, 3, 1, 2, 3] {
        clients[0].send(r#"{"type":"request"}"#);
        assert_eq!(clients[receiver].json(), json!({"type": "request", "origin": name}));
        clients[receiver].send(&json!({"type": "reply", "origin": name, "by": receiver}).to_string());
        assert_eq!(clients[0].json()["by"], receiver);
    }
}

pub fn fan_in_out_is_exact_under_concurrent_senders(runtime: &Runtime) {
    const WORKERS: usize = 5;
    const EACH: usize = 40;
    let server = runtime.start(&[]);
    let channel = server.channel("fan-in-out");
    let workers = joined(&server, &channel, WORKERS);
    let askers: Vec<Ws> = (0..4).map(|_| server.join_as(&channel, "&pull=false")).collect();
    thread::scope(|scope| {
        for mut worker in workers {
            scope.spawn(move || {
                for _ in 0..EACH {
                    let request = worker.json();
                    let reply = json!({"type": "reply", "origin": request["origin"], "n": request["n"]});
                    worker.send(&reply.to_string());
                }
                // Nothing more may come before its own request, which nobody takes once all have had their share.
                worker
            });
        }
        for mut asker in askers {
            scope.spawn(move || {
                let mut open = BTreeMap::new();
                for n in 0..WORKERS * EACH / 4 {
                    asker.send(&json!({"type": "request", "n": n}).to_string());
                    open.insert(n, ());
                }
                while !open.is_empty() {
                    let reply = asker.json();
                    assert_eq!(reply["type"], "reply");
                    assert!(open.remove(&(reply["n"].as_u64().unwrap() as usize)).is_some(), "one reply for each");
                }
            });
        }
    });
}

pub fn fan_in_out_with_pull_false(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("fan-in-out");
    let mut asker = server.join_as(&channel, "&pull=false");
    let mut other = server.join_as(&channel, "&pull=false");
    asker.send(r#"{"type":"request"}"#);
    assert_eq!(asker.json()["code"], "no-recipient", "two that only ask are nobody");
    let mut worker = server.join(&channel);
    for _ in 0..4 {
        other.send(r#"{"type":"request"}"#);
        let origin = worker.json()["origin"].clone();
        assert_eq!(origin, other.id().as_str());
        worker.send(&json!({"type": "reply", "origin": origin}).to_string());
        assert_eq!(other.json()["type"], "reply");
    }
    worker.send(r#"{"type":"request"}"#);
    assert_eq!(worker.json()["code"], "no-recipient", "alone is nobody");
}

pub fn large_messages_arrive_whole(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let (mut sender, mut receiver) = (server.join_as(&channel, "&echo=false"), server.join(&channel));
    for size in [125, 126, 65_535, 65_536, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|place: u32| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        sender.send_binary(&bytes);
        assert!(receiver.binary() == bytes, "{size} bytes");
    }
}

pub fn channels_do_not_hear_each_other(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let (one, two) = (server.channel("pub-sub"), server.channel("pub-sub"));
    let (mut in_one, mut in_two) = (server.join(&one), server.join(&two));
    in_one.send("in one");
    assert_eq!(in_one.text(), "in one");
    in_two.send("in two");
    assert_eq!(in_two.text(), "in two");
    server.ask(&format!("{}/connect?token={}", one.resource(), two.token), &[]).problem(401);
}
