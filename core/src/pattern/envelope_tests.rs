use super::*;
use crate::id::{Life, ShardId};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

const SENDER: ClientId = ClientId { life: Life(0xABCD), shard: ShardId(3), serial: 7 };

fn sent_on(message: &str) -> String {
    let Ok(Envelope::Request(request)) = parse(message.as_bytes()) else { panic!("no request: {message}") };
    let mut out = BytesMut::new();
    write_request(&mut out, message.as_bytes(), &request, SENDER);
    assert!(out.len() <= message.len() + ORIGIN_BYTES_MAX);
    String::from_utf8(out.to_vec()).unwrap().replace(&SENDER.to_string(), "ID")
}

fn reply_to(message: &str) -> String {
    match parse(message.as_bytes()) {
        Ok(Envelope::Reply(reply)) => reply.origin().to_owned(),
        other => panic!("no reply: {message} {other:?}"),
    }
}

fn fault(message: impl AsRef<[u8]>) -> Malformed {
    parse(message.as_ref()).unwrap_err()
}

#[test]
fn a_request_gets_its_origin_first_and_keeps_every_other_byte() {
    assert_eq!(sent_on(r#"{"type":"request"}"#), r#"{"origin":"ID","type":"request"}"#);
    assert_eq!(
        sent_on("\n { \"a\" : [1 , 2.50e+1],\t\"type\" :\"request\" } \r\n"),
        "\n {\"origin\":\"ID\", \"a\" : [1 , 2.50e+1],\t\"type\" :\"request\" } \r\n"
    );
}

#[test]
fn the_senders_own_origin_is_cut_out_with_one_comma_and_the_space_between() {
    for (message, expected) in [
        (r#"{"origin":"x","type":"request"}"#, r#"{"origin":"ID","type":"request"}"#),
        (r#"{ "origin" : "x" , "type":"request"}"#, r#"{"origin":"ID",  "type":"request"}"#),
        (r#"{"type":"request","origin":"x"}"#, r#"{"origin":"ID","type":"request"}"#),
        (r#"{"type":"request" , "origin":"x" }"#, r#"{"origin":"ID","type":"request"  }"#),
        (r#"{"type":"request","origin":"x","a":1}"#, r#"{"origin":"ID","type":"request","a":1}"#),
        (r#"{"type":"request", "origin":"x" , "a":1}"#, r#"{"origin":"ID","type":"request",  "a":1}"#),
        (r#"{"type":"request","o\u0072igin":"a\"},b","a":1}"#, r#"{"origin":"ID","type":"request","a":1}"#),
    ] {
        assert_eq!(sent_on(message), expected, "{message}");
    }
}

#[test]
fn only_the_top_level_counts() {
    let nested = r#"{"a":{"type":"x","type":1,"origin":5,"origin":6},"type":"request","b":[{"origin":1}]}"#;
    assert_eq!(sent_on(nested), format!("{{\"origin\":\"ID\",{}", &nested[1..]));
    assert_eq!(fault(r#"{"a":{"type":"request"}}"#), Malformed::NoType);
}

#[test]
fn names_and_values_are_compared_after_unescaping() {
    assert_eq!(sent_on(r#"{"\u0074ype":"re\u0071uest"}"#), r#"{"origin":"ID","\u0074ype":"re\u0071uest"}"#);
    assert_eq!(reply_to(r#"{"typ\u0065":"\u0072eply","\u006frigin":"a\u00e9\n\ud83d\ude00\/"}"#), "aé\n😀/");
    assert_eq!(fault(r#"{"type":"request","\u0074ype":"request"}"#), Malformed::DoubledType);
    assert_eq!(fault(r#"{"type":"request","origin":"","origi\u006E":""}"#), Malformed::DoubledOrigin);
}

#[test]
fn a_reply_names_its_receiver_without_a_copy() {
    let message = format!(r#"{{"type":"reply","origin":"{SENDER}","data":1}}"#);
    let Ok(Envelope::Reply(reply)) = parse(message.as_bytes()) else { panic!("no reply") };
    assert!(matches!(reply.origin, Cow::Borrowed(_)));
    assert_eq!(ClientId::parse(reply.origin()), Some(SENDER));
}

#[test]
fn what_is_neither_request_nor_reply_is_malformed_with_its_reason() {
    for (message, expected) in [
        ("", Malformed::NotAnObject),
        ("request", Malformed::NotAnObject),
        ("[]", Malformed::NotAnObject),
        ("\"type\"", Malformed::NotAnObject),
        ("\u{feff}{\"type\":\"request\"}", Malformed::NotAnObject),
        (r#"{"type":"request"}{}"#, Malformed::NotAnObject),
        (r#"{"type":"request",}"#, Malformed::NotAnObject),
        (r#"{"type":"request" "a":1}"#, Malformed::NotAnObject),
        (r#"{"type":"request"#, Malformed::NotAnObject),
        ("{}", Malformed::NoType),
        (r#"{"Type":"request"}"#, Malformed::NoType),
        (r#"{"type":"Request"}"#, Malformed::UnknownType),
        (r#"{"type":null}"#, Malformed::UnknownType),
        (r#"{"type":["request"]}"#, Malformed::UnknownType),
        (r#"{"type":"request","type":"request"}"#, Malformed::DoubledType),
        (r#"{"type":"reply","type":"request","origin":"x"}"#, Malformed::DoubledType),
        (r#"{"type":"reply","origin":"x","origin":"x"}"#, Malformed::DoubledOrigin),
        (r#"{"type":"reply","origin":5}"#, Malformed::OriginNotString),
        (r#"{"type":"request","origin":null}"#, Malformed::OriginNotString),
        (r#"{"type":"reply"}"#, Malformed::NoOrigin),
    ] {
        assert_eq!(fault(message), expected, "{message}");
    }
    assert_eq!(fault(b"{\"type\":\"request\",\"a\":\"\xff\"}"), Malformed::NotAnObject);
}

#[test]
fn a_lone_surrogate_is_json_that_equals_nothing() {
    assert_eq!(
        sent_on(r#"{"type":"request","\ud800":"\udc00"}"#),
        r#"{"origin":"ID","type":"request","\ud800":"\udc00"}"#
    );
    assert_eq!(reply_to(r#"{"type":"reply","origin":"\ud800x\ud800\u0041\udc00"}"#), "\u{fffd}x\u{fffd}A\u{fffd}");
    assert_eq!(fault(r#"{"type":"re\ud800quest"}"#), Malformed::UnknownType);
}

#[test]
fn nesting_may_be_as_deep_as_a_message_is_long() {
    for depth in [1, 63, 64, 65, 128, 129, 200_000] {
        let (open, close) = ("[{\"type\":".repeat(depth), "}]".repeat(depth));
        let message = format!(r#"{{"a":{open}0{close},"type":"request"}}"#);
        assert!(parse(message.as_bytes()).is_ok(), "{depth}");
        let (open, close) = ("[{\"a\":".repeat(depth), "]}".repeat(depth));
        assert_eq!(fault(format!(r#"{{"type":"request","a":{open}0{close}}}"#)), Malformed::NotAnObject, "{depth}");
    }
}

#[test]
fn an_error_message_is_json_whatever_it_says() {
    let mut out = BytesMut::new();
    error_message(&mut out, "malformed", "say \"type\"\n");
    assert_eq!(&out[..], br#"{"type":"error","code":"malformed","message":"say \"type\"\n"}"#);
}

#[test]
fn every_reason_is_its_own() {
    let all = [
        Malformed::NotAnObject,
        Malformed::NoType,
        Malformed::UnknownType,
        Malformed::DoubledType,
        Malformed::DoubledOrigin,
        Malformed::OriginNotString,
        Malformed::NoOrigin,
    ];
    let reasons: std::collections::BTreeSet<_> = all.iter().map(|m| m.reason()).collect();
    assert_eq!(reasons.len(), all.len());
}

/// JSON texts with white space and every kind of value.
fn json() -> impl Strategy<Value = String> {
    let space = "[ \n\r\t]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        string(),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let item = (space, inner, space).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        let member = (space, string(), space, item.clone()).prop_map(|(a, n, b, v)| format!("{a}{n}{b}:{v}"));
        prop_oneof![
            proptest::collection::vec(item, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// A JSON string as a text, with escapes that pair their surrogates.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z {}:,\\[\\]]{0,12}",
        1 => "é|漢|😀",
        1 => "\\\\[\"\\\\/bfnrt]",
        1 => "\\\\u00[0-9a-fA-F]{2}",
        1 => Just("\\ud83d\\uDE00".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A request: its members, with `type` and perhaps `origin` at random places, and its text.
fn request() -> impl Strategy<Value = (Vec<(String, String)>, bool, String)> {
    let space = || "[ \n\r\t]{0,2}";
    let others = proptest::collection::vec((string(), json(), [space(), space(), space(), space()]), 0..5);
    let origin = proptest::option::of((string(), [space(), space(), space(), space()], any::<prop::sample::Index>()));
    (others, [space(), space(), space(), space()], any::<prop::sample::Index>(), origin, [space(), space(), space()])
        .prop_map(|(mut members, spaces, at, origin, around)| {
            members.retain(|(name, ..)| !matches!(serde_json::from_str::<&str>(name), Ok("type" | "origin")));
            members.insert(at.index(members.len() + 1), ("\"type\"".into(), "\"request\"".into(), spaces));
            let has_origin = origin.is_some();
            if let Some((value, spaces, at)) = origin {
                members.insert(at.index(members.len() + 1), ("\"origin\"".into(), value, spaces));
            }
            let text: Vec<String> = members.iter().map(|(n, v, [a, b, c, d])| format!("{a}{n}{b}:{c}{v}{d}")).collect();
            let text = format!("{}{{{}}}{}", around[0], text.join(","), around[2]);
            (members.into_iter().map(|(n, v, _)| (n, v)).collect(), has_origin, text)
        })
}

fn without_space(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '\n' | '\r' | '\t')).collect()
}

/// One top-level object, as serde_json sees it, read member by member.
fn reference(bytes: &[u8]) -> Option<Vec<(String, Box<RawValue>)>> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, Box<RawValue>)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let members = serde::Deserializer::deserialize_map(&mut reader, Members).ok()?;
    reader.end().ok()?;
    std::str::from_utf8(bytes).ok().map(|_| members)
}

/// What the contract says of a message, told by serde_json.
fn expected(bytes: &[u8]) -> Result<Option<String>, ()> {
    let members = reference(bytes).ok_or(())?;
    let named = |name: &str| members.iter().filter(|(n, _)| n == name).map(|(_, v)| v.get()).collect::<Vec<_>>();
    let text = |json: &str| serde_json::from_str::<String>(json).map_err(|_| ());
    let [kind] = named("type")[..] else { return Err(()) };
    let origin = match named("origin")[..] {
        [] => None,
        [origin] => Some(text(origin)?),
        _ => return Err(()),
    };
    match text(kind)?.as_str() {
        "request" => Ok(None),
        "reply" => origin.map(Some).ok_or(()),
        _ => Err(()),
    }
}

fn observed(bytes: &[u8]) -> Result<Option<String>, ()> {
    match parse(bytes) {
        Ok(Envelope::Request(_)) => Ok(None),
        Ok(Envelope::Reply(reply)) => Ok(Some(reply.origin().to_owned())),
        Err(_) => Err(()),
    }
}

/// Whether the scanner takes the whole of `bytes` for one JSON value.
fn is_value(bytes: &[u8]) -> bool {
    let mut scan = Scan { bytes, at: 0 };
    let read = scan.value().is_some();
    scan.space();
    read && scan.at == bytes.len() && std::str::from_utf8(bytes).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_request_stays_the_same_object_but_for_its_origin((members, has_origin, text) in request()) {
        let Ok(Envelope::Request(request)) = parse(text.as_bytes()) else { panic!("no request: {text}") };
        let mut out = BytesMut::new();
        write_request(&mut out, text.as_bytes(), &request, SENDER);

        let mut object: Map<String, Value> = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(object.remove("origin"), Some(Value::from(SENDER.to_string())));
        let mut original: Map<String, Value> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(original.remove("origin").is_some(), has_origin);
        prop_assert_eq!(object, original);

        // The members in order, byte for byte, with the relay's origin first and the sender's left out.
        let kept = members.iter().filter(|(name, _)| name != "\"origin\"").map(|(n, v)| format!("{n}:{v}"));
        let own = format!(r#""origin":"{SENDER}""#);
        let all: Vec<String> = std::iter::once(own).chain(kept).collect();
        let out = std::str::from_utf8(&out).unwrap();
        prop_assert_eq!(without_space(out), without_space(&format!("{{{}}}", all.join(","))));

        // And the space: without an origin of its own, taking ours out gives back every byte.
        if !has_origin {
            let ours = format!(r#""origin":"{SENDER}","#);
            prop_assert_eq!(out.replacen(&ours, "", 1), text);
        }
    }

    #[test]
    fn serde_json_agrees_on_what_json_is(text in json()) {
        prop_assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "the strategy makes JSON");
        prop_assert!(is_value(text.as_bytes()), "{}", text);
    }

    #[test]
    fn serde_json_agrees_on_what_json_is_not(
        text in json(), at in any::<prop::sample::Index>(), cut in 0usize..3, put in "[\\x00-\\x20\"\\\\{}\\[\\],:0-9eE.+tfnu-]{0,2}",
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.into_bytes());
        prop_assert_eq!(is_value(&bytes), serde_json::from_slice::<&RawValue>(&bytes).is_ok(), "{:?}", bytes);
    }

    #[test]
    fn serde_json_agrees_on_scraps(text in "([ {}\\[\\],:\"]|type|origin|request|reply|\\\\|\\\\u|00|1|-|\\.|e|true|null){0,12}") {
        prop_assert_eq!(is_value(text.as_bytes()), serde_json::from_str::<&RawValue>(&text).is_ok());
    }

    #[test]
    fn serde_json_agrees_on_every_verdict(
        members in proptest::collection::vec(
            (prop_oneof!["\"type\"|\"\\\\u0074ype\"|\"origin\"|\"origi\\\\u006e\"|\"a\"|\"\""],
             prop_oneof![3 => "\"request\"|\"repl\\\\u0079\"|\"reply\"|\"x\"|5|null", 1 => json()]),
            0..4),
        end in "[}]{1,2}|,}| ",
    ) {
        let members: Vec<String> = members.iter().map(|(n, v)| format!("{n}:{v}")).collect();
        let text = format!("{{{}{end}", members.join(","));
        prop_assert_eq!(observed(text.as_bytes()), expected(text.as_bytes()), "{}", text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(observed(&bytes), expected(&bytes));
    }

    #[test]
    fn plain_bytes_end_at_the_first_that_means_something(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let expected = bytes.iter().position(|b| matches!(b, b'"' | b'\\') || *b < 0x20).unwrap_or(bytes.len());
        prop_assert_eq!(plain_bytes(&bytes), expected);
    }

    #[test]
    fn an_origin_is_written_as_an_id_is_shown(node: u64, shard: u16, serial: u64) {
        let client = ClientId { life: Life(node), shard: ShardId(shard), serial };
        prop_assert_eq!(digits(client).to_vec(), client.to_string().into_bytes());
    }

    #[test]
    fn escapes_are_undone_as_serde_json_does(text in string()) {
        let inner = Text { start: 1, end: text.len() - 1, escaped: true };
        prop_assert_eq!(inner.unescape(&text).into_owned(), serde_json::from_str::<String>(&text).unwrap());
    }
}
