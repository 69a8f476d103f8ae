//! `WRS_BROWSER_ONLY`: changes by GET, for an address bar.

use wrs_tests::real::Runtime;

pub fn get_creates_and_deletes_channels(runtime: &Runtime) {
    let server = runtime.start(&["WRS_BROWSER_ONLY=true"]);
    for path in ["/channels/create", "/channel/create"] {
        let response = server.get(&format!("{path}?pattern=pub-sub&clientLimit=3&timeout=5000"));
        assert_eq!(response.status, 201);
        let answer = response.json();
        let data = &answer["data"];
        assert_eq!((&data["pattern"], &data["clientLimit"], &data["timeout"]), (&"pub-sub".into(), &3.into(), &5000.into()));
        let (id, token) = (data["id"].as_str().unwrap(), answer["token"].as_str().unwrap());
        assert_eq!(response.header("Location"), Some(format!("/channels/{id}").as_str()));
        let mut client = server.connect(&format!("/channels/{id}/connect?token={token}"), &[]);
        assert_eq!(server.get(&format!("/channels/{id}/delete")).status, 200);
        assert_eq!(client.closed(), 4404);
        server.get(&format!("/channels/{id}")).problem(404);
        server.get(&format!("/channels/{id}/delete")).problem(404);
    }
    let small = server.get("/channels/create?pattern=echo&clientlimit=2").json();
    assert_eq!(small["data"]["clientLimit"], 2, "the thesis's spelling");
    assert_eq!(server.post("/channels", r#"{"pattern":"echo"}"#).status, 201, "POST works beside it");
}

pub fn a_wrong_parameter_is_named(runtime: &Runtime) {
    let server = runtime.start(&["WRS_BROWSER_ONLY=true"]);
    for (query, name) in [
        ("", "pattern"),
        ("?pattern=nope", "pattern"),
        ("?pattern=echo&timeout=soon", "timeout"),
        ("?pattern=echo&clientLimit=-3", "clientLimit"),
    ] {
        let detail = server.get(&format!("/channels/create{query}")).problem(400);
        assert!(detail.contains(name), "{query}: {detail}");
    }
    assert_eq!(server.get("/channels").json()["data"].as_array().unwrap().len(), 0);
}

pub fn a_foreign_page_changes_nothing(runtime: &Runtime) {
    let server = runtime.start(&["WRS_BROWSER_ONLY=true", "WRS_CORS_ORIGINS=https://a.example"]);
    let foreign = [("Origin", "https://b.example")];
    server.send("GET", "/channels/create?pattern=echo", &foreign, "").problem(403);
    let channel = server.channel("echo");
    server.send("GET", &format!("{}/delete", channel.resource()), &foreign, "").problem(403);
    assert!(server.look(&channel).is_some());
}
