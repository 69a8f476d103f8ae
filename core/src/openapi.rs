//! The OpenAPI 3.1 document of the REST API, behind `GET /openapi.json` and the page `/docs`.
//!
//! It is written by hand in `openapi.json`, to be read and reviewed as what it is. It describes and decides nothing: the routes are
//! in [`crate::rest`], and a test there holds the document to them.

use bytes::Bytes;

const DOCUMENT: &str = include_str!("openapi.json");

/// The document (JSON, UTF-8) of a program of this version. Called once, at start-up.
pub fn document(version: &str) -> Bytes {
    // A version that is not plain text would break the document, so it is written as JSON writes a string.
    let version = serde_json::Value::from(version).to_string();
    Bytes::from(DOCUMENT.replacen("\"{{version}}\"", &version, 1))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed() -> Value {
        serde_json::from_slice(&document("1.2.3")).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(key, value)| (path, key, value)))
            .filter(|(_, key, _)| methods.contains(&key.as_str()))
            .map(|(path, method, operation)| (format!("{method} {path}"), operation))
            .collect()
    }

    fn visit<'a>(value: &'a Value, seen: &mut impl FnMut(&'a Value)) {
        seen(value);
        match value {
            Value::Array(items) => items.iter().for_each(|item| visit(item, seen)),
            Value::Object(members) => members.values().for_each(|member| visit(member, seen)),
            _ => {}
        }
    }

    #[test]
    fn it_is_openapi_3_1_of_the_given_version() {
        let document = parsed();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], "1.2.3");
        assert_eq!(serde_json::from_slice::<Value>(&super::document("a\"b\\")).unwrap()["info"]["version"], "a\"b\\");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = parsed();
        let mut references = 0;
        visit(&document, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
                references += 1;
            }
        });
        assert!(references > 50, "{references}");
        for (_, link) in document["paths"]["/channels"]["post"]["responses"]["201"]["links"].as_object().unwrap() {
            assert!(operations(&document).iter().any(|(_, operation)| operation["operationId"] == link["operationId"]));
        }
    }

    #[test]
    fn every_component_is_used() {
        let document = parsed();
        for kind in ["parameters", "schemas", "responses"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(DOCUMENT.contains(&format!("\"#/components/{kind}/{name}\"")), "{kind} {name}");
            }
        }
    }

    #[test]
    fn operations_are_named_once_tagged_and_declare_the_parameters_of_their_path() {
        let document = parsed();
        let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        let mut names = Vec::new();
        for (route, operation) in operations(&document) {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{route}");
            assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{route}");
            assert!(
                operation["responses"].as_object().unwrap().keys().any(|status| status < &"300".to_owned()),
                "{route}"
            );
            let path = route.split_once(' ').unwrap().1;
            let declared = document["paths"][path]["parameters"].as_array().map_or(0, Vec::len);
            assert_eq!(declared, path.matches('{').count(), "{route}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn whoever_may_change_something_is_told_what_401_503_and_504_mean() {
        let document = parsed();
        for (route, operation) in operations(&document) {
            let changes = route.starts_with("post")
                || route.starts_with("delete")
                || route.contains("/create")
                || route.contains("/delete");
            if changes && !route.ends_with("/recover") {
                for status in ["401", "503", "504"] {
                    assert!(operation["responses"].get(status).is_some(), "{route} {status}");
                }
            }
        }
    }
}
