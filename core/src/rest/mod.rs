//! REST: method and path to a [`Call`], and what the node says to bytes.
//!
//! One table says which resources there are; `Allow`, access rules, start-up warnings and the OpenAPI document are
//! drawn from it. It asks no channel anything: whether one exists is for the caller. Rules guarded: a path has one
//! spelling (see [`Target::path`]), and a request is checked as all that it does ([`guarded_as`]).

mod answer;
mod create;
mod cross_origin;
mod problem;

use std::borrow::Cow;

use http::Method;

pub use answer::{
    Answer, ChannelView, ClusterView, Field, LinkView, NodeView, Rendering, begin_list, put_list_begin,
    put_list_channel, put_list_end,
};
pub use create::{CreateChannel, MILLIS_OR_CLIENTS_MAX, TIMEOUT_MS_DEFAULT, check_content_type};
pub use cross_origin::{Cors, check_origin, is_preflight, options};
pub use problem::Problem;

use crate::config::NodeAddress;
use crate::id::ChannelId;
use crate::pages::Page;
use crate::wire::http::{Query, Target};

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// `POST /channels`.
    CreateChannel,
    /// `GET /channels`.
    ListChannels {
        /// The channels behind this one.
        after: Option<ChannelId>,
        /// At most so many.
        limit: Option<u32>,
    },
    /// `GET /channels/{id}`.
    GetChannel(ChannelId),
    /// `DELETE /channels/{id}`.
    DeleteChannel(ChannelId),
    /// `GET /channels/{id}/connect`: the WebSocket.
    Connect(ChannelId),
    /// `GET /channels/create`, with `WRS_BROWSER_ONLY` alone.
    BrowserCreate,
    /// `GET /channels/{id}/delete`, with `WRS_BROWSER_ONLY` alone.
    BrowserDelete(ChannelId),
    /// `DELETE /reset`.
    Reset,
    /// `GET /cluster`.
    Cluster,
    /// `POST /cluster/join/{address}`.
    Join {
        /// A member of the cluster to join.
        address: NodeAddress,
        /// Even if this node loses channels or leaves another cluster.
        force: bool,
    },
    /// `DELETE /cluster/{id}`, the id as it was sent: hexadecimal digits, at most [`NODE_ID_DIGITS_MAX`].
    RemoveNode(String),
    /// `POST /cluster/recover`.
    Recover,
    /// A page, or the OpenAPI document.
    Page(Page),
    /// `GET /docs/{file}`: what the OpenAPI page needs. Which files there are is for the pages to say.
    DocsAsset(String),
    /// `GET /healthz`.
    Healthz,
    /// `GET /readyz`.
    Readyz,
    /// `GET /metrics`.
    Metrics,
    /// `OPTIONS`: answered by [`options`].
    Options(Allow),
}

/// The longest id of a node, in digits.
pub const NODE_ID_DIGITS_MAX: usize = 32;

/// What a route does, apart from its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    GetChannel,
    Connect,
    CreateChannel,
    ListChannels,
    DeleteChannel,
    BrowserCreate,
    BrowserDelete,
    Reset,
    Cluster,
    Join,
    RemoveNode,
    Recover,
    Page(Page),
    DocsAsset,
    Healthz,
    Readyz,
    Metrics,
}

/// One row of the table of routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// `GET` (which `HEAD` goes with), `POST` or `DELETE`.
    pub method: &'static str,
    /// The path, `{…}` for one segment of its own: `{id}` of a channel or a node, `{peer}`, `{file}`.
    pub path: &'static str,
    /// Whether it exists with `WRS_BROWSER_ONLY` alone.
    pub browser_only: bool,
    deed: Deed,
}

/// Every route, the busiest first.
pub const ROUTES: [Route; 21] = [
    route("GET", "/channels/{id}", Deed::GetChannel),
    route("GET", "/channels/{id}/connect", Deed::Connect),
    route("POST", "/channels", Deed::CreateChannel),
    route("GET", "/channels", Deed::ListChannels),
    route("DELETE", "/channels/{id}", Deed::DeleteChannel),
    Route { browser_only: true, ..route("GET", "/channels/create", Deed::BrowserCreate) },
    Route { browser_only: true, ..route("GET", "/channels/{id}/delete", Deed::BrowserDelete) },
    route("DELETE", "/reset", Deed::Reset),
    route("GET", "/cluster", Deed::Cluster),
    route("POST", "/cluster/join/{peer}", Deed::Join),
    route("POST", "/cluster/recover", Deed::Recover),
    route("DELETE", "/cluster/{id}", Deed::RemoveNode),
    route("GET", "/", Deed::Page(Page::Landing)),
    route("GET", "/readme", Deed::Page(Page::Readme)),
    route("GET", "/client", Deed::Page(Page::Client)),
    route("GET", "/docs", Deed::Page(Page::Docs)),
    route("GET", "/docs/{file}", Deed::DocsAsset),
    route("GET", "/openapi.json", Deed::Page(Page::OpenApi)),
    route("GET", "/healthz", Deed::Healthz),
    route("GET", "/readyz", Deed::Readyz),
    route("GET", "/metrics", Deed::Metrics),
];

const fn route(method: &'static str, path: &'static str, deed: Deed) -> Route {
    Route { method, path, browser_only: false, deed }
}

/// Which methods a resource has: a set, written as an `Allow` field's value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Allow(u8);

impl Allow {
    const NAMES: [&'static str; 5] = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];
    /// Every method that any resource has: the answer to `OPTIONS *`.
    pub const ALL: Allow = Allow(0b1_1111);

    /// Adds a route's method, `HEAD` with `GET`, `OPTIONS` with any.
    fn with(self, method: &str) -> Allow {
        let bits = match method {
            "GET" => 0b1_0011,
            "POST" => 0b1_0100,
            "DELETE" => 0b1_1000,
            _ => 0,
        };
        Allow(self.0 | bits)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for Allow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = Self::NAMES.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        for (count, (_, name)) in names.enumerate() {
            f.write_str(if count == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// What of the configuration decides which resources there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resources {
    /// Digits in one group of a channel's id (`WRS_ID_LENGTH`).
    pub id_length: usize,
    /// Whether GET creates and deletes channels (`WRS_BROWSER_ONLY`).
    pub browser_only: bool,
}

/// What a path says besides which resource it is.
#[derive(Clone, Copy, Default)]
struct Captured<'p> {
    channel: Option<ChannelId>,
    text: &'p str,
}

impl Call {
    /// Whether what the nodes have agreed on must be known for the answer.
    pub fn is_about_channels(&self) -> bool {
        matches!(
            self,
            Call::CreateChannel
                | Call::BrowserCreate
                | Call::ListChannels { .. }
                | Call::GetChannel(_)
                | Call::DeleteChannel(_)
                | Call::BrowserDelete(_)
                | Call::Connect(_)
                | Call::Reset
        )
    }
}

impl Resources {
    /// What a request asks for. Whatever is no resource is 404, a channel id of another shape too; a method that the
    /// resource does not have is 405 with `Allow`; a parameter that cannot be read is 400 and named.
    pub fn call(self, method: &Method, target: &Target) -> Result<Call, Problem> {
        let path = target.path();
        if path == Target::ASTERISK {
            return Self::server_call(method);
        }
        let wanted = if method == Method::HEAD { Method::GET.as_str() } else { method.as_str() };
        let mut allow = Allow::default();
        for route in self.routes() {
            let Some(captured) = self.capture(route, path) else { continue };
            if route.method == wanted {
                return self.arguments(route.deed, captured, target.query());
            }
            allow = allow.with(route.method);
        }
        match *method {
            _ if allow.is_empty() => Err(Problem::not_found("There is no such resource.")),
            Method::OPTIONS => Ok(Call::Options(allow)),
            _ => Err(Problem::method_not_allowed(allow)),
        }
    }

    /// `OPTIONS *` asks about the server as a whole; `CONNECT` is the only other method that comes here.
    fn server_call(method: &Method) -> Result<Call, Problem> {
        if *method == Method::OPTIONS {
            Ok(Call::Options(Allow::ALL))
        } else {
            Err(Problem::method_not_allowed(Allow::ALL))
        }
    }

    fn routes(self) -> impl Iterator<Item = &'static Route> {
        ROUTES.iter().filter(move |route| self.browser_only || !route.browser_only)
    }

    /// Compares a path with a route, segment by segment.
    fn capture<'p>(self, route: &Route, path: &'p str) -> Option<Captured<'p>> {
        let mut captured = Captured::default();
        let mut given = path.split('/');
        for wanted in route.path.split('/') {
            let segment = given.next()?;
            let fits = match wanted {
                "{id}" if route.deed == Deed::RemoveNode => {
                    segment.len() <= NODE_ID_DIGITS_MAX && segment.bytes().all(|digit| digit.is_ascii_hexdigit())
                }
                "{id}" => {
                    captured.channel = Some(ChannelId::parse(segment, self.id_length)?);
                    true
                }
                "{peer}" | "{file}" => !segment.is_empty(),
                literal => literal == segment,
            };
            if !fits {
                return None;
            }
            if wanted.starts_with('{') {
                captured.text = segment;
            }
        }
        given.next().is_none().then_some(captured)
    }

    fn arguments(self, deed: Deed, captured: Captured<'_>, query: Query<'_>) -> Result<Call, Problem> {
        let channel = || captured.channel.ok_or(Problem::not_found("There is no such channel."));
        Ok(match deed {
            Deed::GetChannel => Call::GetChannel(channel()?),
            Deed::Connect => Call::Connect(channel()?),
            Deed::CreateChannel => Call::CreateChannel,
            Deed::ListChannels => self.list(query)?,
            Deed::DeleteChannel => Call::DeleteChannel(channel()?),
            Deed::BrowserCreate => Call::BrowserCreate,
            Deed::BrowserDelete => Call::BrowserDelete(channel()?),
            Deed::Reset => Call::Reset,
            Deed::Cluster => Call::Cluster,
            Deed::Join => join(captured.text, query)?,
            Deed::RemoveNode => Call::RemoveNode(captured.text.to_owned()),
            Deed::Recover => Call::Recover,
            Deed::Page(page) => Call::Page(page),
            Deed::DocsAsset => Call::DocsAsset(captured.text.to_owned()),
            Deed::Healthz => Call::Healthz,
            Deed::Readyz => Call::Readyz,
            Deed::Metrics => Call::Metrics,
        })
    }

    fn list(self, query: Query<'_>) -> Result<Call, Problem> {
        let after = match query.first("after").filter(|text| !text.is_empty()) {
            Some(text) => {
                let id = ChannelId::parse(&text, self.id_length);
                Some(id.ok_or_else(|| Problem::bad_request("The parameter \"after\" is not a channel id."))?)
            }
            None => None,
        };
        let limit = match query.first("limit").filter(|text| !text.is_empty()) {
            Some(text) if text.bytes().all(|digit| digit.is_ascii_digit()) => {
                // Beyond what fits is all there are.
                Some(text.parse::<u32>().unwrap_or(u32::MAX))
            }
            Some(_) => return Err(Problem::bad_request("The parameter \"limit\" is not a number.")),
            None => None,
        };
        Ok(Call::ListChannels { after, limit })
    }

    /// Every request that a route answers, method and an example path under both spellings: what an access rule can
    /// cover. A rule that covers none of them is worth a warning.
    pub fn examples(self) -> Vec<(&'static str, String)> {
        let id = ChannelId::from_bits(0xD679_05F5_D679_05F5_D679_05F5_D679_05F5, self.id_length);
        let id = id.display(self.id_length).to_string();
        let mut examples = Vec::new();
        for route in self.routes() {
            let id = if route.deed == Deed::RemoveNode { "0123456789ABCDEF" } else { &id };
            let path = route.path.replace("{id}", id).replace("{peer}", "127.0.0.1:4000");
            let path = path.replace("{file}", "swagger-ui.css");
            let methods =
                if route.method == "GET" { &["GET", "HEAD", "OPTIONS"][..] } else { &[route.method, "OPTIONS"] };
            for &method in methods {
                examples.extend(other_spelling(&path).map(|other| (method, other)));
                examples.push((method, path.clone()));
            }
        }
        examples
    }
}

fn join(address: &str, query: Query<'_>) -> Result<Call, Problem> {
    let bad_address = || Problem::bad_request("The address to join is not host:port.");
    let address = NodeAddress::parse(address).ok_or_else(bad_address)?;
    let force = match query.first("force").as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Problem::bad_request("The parameter \"force\" is neither true nor false.")),
    };
    Ok(Call::Join { address, force })
}

/// Everything that a request does, as method and path: an access rule that covers one of them covers the request.
/// `path` is [`Target::path`]; empty for what is never guarded. Preflights are not either: see [`is_preflight`].
pub fn guarded_as<'r>(method: &'r Method, path: &'r str, resources: Resources) -> Vec<(&'r str, Cow<'r, str>)> {
    if matches!(path, "/healthz" | "/readyz") {
        return Vec::new();
    }
    let mut deeds = vec![(method.as_str(), Cow::Borrowed(path))];
    if *method == Method::HEAD {
        deeds.push(("GET", Cow::Borrowed(path)));
    }
    match browser_change(method, path, resources.browser_only) {
        Some(BrowserChange::Create) => deeds.push(("POST", Cow::Borrowed("/channels"))),
        Some(BrowserChange::Delete(channel)) => deeds.push(("DELETE", Cow::Borrowed(channel))),
        None => {}
    }
    for index in 0..deeds.len() {
        if let Some((method, path)) = deeds.get(index)
            && let Some(other) = other_spelling(path)
        {
            let other = (*method, Cow::Owned(other));
            deeds.push(other);
        }
    }
    deeds
}

/// The thesis's spelling of a path that starts with `/channels`.
fn other_spelling(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/channels").filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    Some(format!("/channel{rest}"))
}

/// A change that a GET makes.
enum BrowserChange<'p> {
    Create,
    /// The path of the channel that it deletes.
    Delete(&'p str),
}

fn browser_change<'p>(method: &Method, path: &'p str, browser_only: bool) -> Option<BrowserChange<'p>> {
    if !browser_only || !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if path == "/channels/create" {
        return Some(BrowserChange::Create);
    }
    let channel = path.strip_suffix("/delete")?;
    let id = channel.strip_prefix("/channels/")?;
    (!id.is_empty() && !id.contains('/')).then_some(BrowserChange::Delete(channel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadScan, Limits};
    use proptest::prelude::*;

    const PLAIN: Resources = Resources { id_length: 4, browser_only: false };
    const BROWSER: Resources = Resources { browser_only: true, ..PLAIN };

    fn method(name: &str) -> Method {
        Method::from_bytes(name.as_bytes()).unwrap()
    }

    fn call(resources: Resources, name: &str, path: &str) -> Result<Call, Problem> {
        let request = format!("{name} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = HeadScan::default().parse_head(request.as_bytes(), &Limits::default()).unwrap().unwrap();
        resources.call(&head.method, &head.target)
    }

    fn status(resources: Resources, name: &str, path: &str) -> u16 {
        call(resources, name, path).map_or_else(|problem| problem.status.as_u16(), |_| 200)
    }

    fn id() -> ChannelId {
        ChannelId::parse("D679-05F5", 4).unwrap()
    }

    #[test]
    fn every_row_of_the_contract_is_a_call() {
        let join = |address: &str, force| Call::Join { address: NodeAddress::parse(address).unwrap(), force };
        for (name, path, wanted) in [
            ("POST", "/channels", Call::CreateChannel),
            ("POST", "/channel", Call::CreateChannel),
            ("GET", "/channels", Call::ListChannels { after: None, limit: None }),
            ("GET", "/channels/?after=D679-05F5&limit=7", Call::ListChannels { after: Some(id()), limit: Some(7) }),
            ("GET", "/channels?limit=99999999999", Call::ListChannels { after: None, limit: Some(u32::MAX) }),
            ("GET", "/channels/D679-05F5", Call::GetChannel(id())),
            ("HEAD", "/channel/D679-05F5", Call::GetChannel(id())),
            ("DELETE", "/channel/D679-05F5", Call::DeleteChannel(id())),
            ("GET", "/channel/D679-05F5/connect?token=x", Call::Connect(id())),
            ("DELETE", "/reset", Call::Reset),
            ("GET", "/cluster", Call::Cluster),
            ("POST", "/cluster/join/a.example:4000", join("a.example:4000", false)),
            ("POST", "/cluster/join/[::1]?force=true", join("[::1]", true)),
            ("POST", "/cluster/join/%5B::1%5D:1?force=false", join("[::1]:1", false)),
            ("POST", "/cluster/recover", Call::Recover),
            ("DELETE", "/cluster/00ff", Call::RemoveNode("00ff".into())),
            ("GET", "/", Call::Page(Page::Landing)),
            ("GET", "/readme", Call::Page(Page::Readme)),
            ("GET", "/client/", Call::Page(Page::Client)),
            ("GET", "/docs", Call::Page(Page::Docs)),
            ("GET", "/docs/swagger-ui.css", Call::DocsAsset("swagger-ui.css".into())),
            ("GET", "/openapi.json", Call::Page(Page::OpenApi)),
            ("GET", "/healthz", Call::Healthz),
            ("GET", "/readyz", Call::Readyz),
            ("GET", "/metrics", Call::Metrics),
            ("OPTIONS", "*", Call::Options(Allow::ALL)),
        ] {
            assert_eq!(call(PLAIN, name, path), Ok(wanted), "{name} {path}");
        }
        assert_eq!(call(BROWSER, "GET", "/channel/create?pattern=echo"), Ok(Call::BrowserCreate));
        assert_eq!(call(BROWSER, "GET", "/channel/D679-05F5/delete"), Ok(Call::BrowserDelete(id())));
    }

    #[test]
    fn what_is_no_resource_is_404_whatever_the_method() {
        for path in [
            "/channels/create",
            "/channels/D679-05F5/delete",
            "/channels/d679-05f5",
            "/channels/D679-05F",
            "/channels/D67905F5",
            "/channels/x/connect",
            "/channels/D679-05F5/x",
            "/channels/D679-05F5/connect/x",
            "/Channels",
            "/channelss",
            "/docs/a/b",
            "/cluster/xyz",
            "/cluster/join",
            "/cluster/000000000000000000000000000000000",
            "/x",
        ] {
            for name in ["GET", "POST", "DELETE", "OPTIONS", "BREW", "HEAD"] {
                assert_eq!(status(PLAIN, name, path), 404, "{name} {path}");
            }
        }
        assert_eq!(status(BROWSER, "GET", "/channels/x/delete"), 404);
    }

    #[test]
    fn another_method_is_405_and_told_what_is_allowed() {
        for (name, path, allow) in [
            ("PUT", "/channels", "GET, HEAD, POST, OPTIONS"),
            ("get", "/channels", "GET, HEAD, POST, OPTIONS"),
            ("POST", "/channels/D679-05F5", "GET, HEAD, DELETE, OPTIONS"),
            ("GET", "/reset", "DELETE, OPTIONS"),
            ("HEAD", "/cluster/recover", "POST, OPTIONS"),
            ("DELETE", "/", "GET, HEAD, OPTIONS"),
            ("CONNECT", "a:1", "GET, HEAD, POST, DELETE, OPTIONS"),
        ] {
            let problem = call(PLAIN, name, path).unwrap_err();
            assert_eq!((problem.status.as_u16(), &problem.fields[..]), (405, &[("Allow", allow.into())][..]), "{path}");
        }
        let Ok(Call::Options(allow)) = call(BROWSER, "OPTIONS", "/channels/create") else { panic!("no options") };
        assert_eq!(allow.to_string(), "GET, HEAD, OPTIONS");
    }

    #[test]
    fn a_parameter_that_cannot_be_read_is_named() {
        for (name, path, parameter) in [
            ("GET", "/channels?after=x", "after"),
            ("GET", "/channels?limit=-1", "limit"),
            ("GET", "/channels?limit=1.5", "limit"),
            ("POST", "/cluster/join/a%20b", "address"),
            ("POST", "/cluster/join/a:0", "address"),
            ("POST", "/cluster/join/a?force=yes", "force"),
        ] {
            let problem = call(PLAIN, name, path).unwrap_err();
            assert!(problem.status.as_u16() == 400 && problem.detail.contains(parameter), "{path}: {problem:?}");
        }
    }

    #[test]
    fn a_request_is_checked_as_all_that_it_does() {
        let deeds = |resources, name: &str, path: &str| {
            let method = method(name);
            let deeds = guarded_as(&method, path, resources);
            deeds.iter().map(|(method, path)| format!("{method}:{path}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(deeds(PLAIN, "GET", "/metrics"), "GET:/metrics");
        assert_eq!(deeds(PLAIN, "HEAD", "/"), "HEAD:/ GET:/");
        assert_eq!(deeds(PLAIN, "POST", "/channels"), "POST:/channels POST:/channel");
        assert_eq!(deeds(PLAIN, "GET", "/channelss"), "GET:/channelss");
        assert_eq!(
            deeds(PLAIN, "GET", "/channels/create"),
            "GET:/channels/create GET:/channel/create",
            "it does not create anything"
        );
        assert_eq!(
            deeds(BROWSER, "GET", "/channels/create"),
            "GET:/channels/create POST:/channels GET:/channel/create POST:/channel"
        );
        assert_eq!(
            deeds(BROWSER, "HEAD", "/channels/A-B/delete"),
            "HEAD:/channels/A-B/delete GET:/channels/A-B/delete DELETE:/channels/A-B \
             HEAD:/channel/A-B/delete GET:/channel/A-B/delete DELETE:/channel/A-B"
        );
        assert_eq!(deeds(PLAIN, "GET", "/healthz"), "");
        assert_eq!(deeds(PLAIN, "DELETE", "/readyz"), "");
        assert_eq!(deeds(PLAIN, "OPTIONS", "*"), "OPTIONS:*");
    }

    #[test]
    fn every_example_is_a_resource_and_every_route_has_one() {
        for resources in [PLAIN, BROWSER] {
            let examples = resources.examples();
            for (name, path) in &examples {
                assert_eq!(status(resources, name, path), 200, "{name} {path}");
            }
            for route in resources.routes() {
                let examples = examples.iter().filter(|(name, path)| {
                    let target = Target::parse(&Method::GET, path.as_bytes()).unwrap();
                    *name == route.method && resources.capture(route, target.path()).is_some()
                });
                assert_ne!(examples.count(), 0, "{route:?}");
            }
        }
        assert!(!PLAIN.examples().iter().any(|(_, path)| path.contains("create")));
    }

    #[test]
    fn the_openapi_document_describes_this_table() {
        let document: serde_json::Value = serde_json::from_slice(&crate::openapi::document("0")).unwrap();
        let mut described = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys().filter(|key| matches!(&***key, "get" | "post" | "delete"));
            described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
        }
        // What the OpenAPI page loads is no part of the API.
        let routes = ROUTES.iter().filter(|route| route.deed != Deed::DocsAsset);
        let mut routes: Vec<_> = routes.map(|route| format!("{} {}", route.method, route.path)).collect();
        described.sort();
        routes.sort();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_page_is_where_it_says() {
        for page in Page::ALL {
            assert_eq!(call(PLAIN, "GET", page.path()), Ok(Call::Page(page)));
        }
    }

    proptest! {
        #[test]
        fn no_spelling_is_routed_past_the_rules(
            path in "(/|//|/\\./|/x/\\.\\./)(channels?|%63hannel|reset)(/|//|/\\.)?(D679-05F5|create)?(/(delete|connect))?/?",
            name in prop_oneof![Just("GET"), Just("HEAD"), Just("DELETE"), Just("POST")],
        ) {
            let method = method(name);
            let target = Target::parse(&method, path.as_bytes()).unwrap();
            let Ok(call) = BROWSER.call(&method, &target) else { return Ok(()) };
            let deeds = guarded_as(&method, target.path(), BROWSER);
            let has = |wanted: &str, path: &str| deeds.iter().any(|(method, given)| *method == wanted && given == path);
            match call {
                Call::CreateChannel | Call::BrowserCreate => {
                    prop_assert!(has("POST", "/channels") && has("POST", "/channel"));
                }
                Call::DeleteChannel(_) | Call::BrowserDelete(_) => {
                    prop_assert!(has("DELETE", "/channels/D679-05F5") && has("DELETE", "/channel/D679-05F5"));
                }
                Call::GetChannel(_) => prop_assert!(has("GET", "/channels/D679-05F5")),
                Call::Connect(_) => prop_assert!(has("GET", "/channel/D679-05F5/connect")),
                Call::Reset => prop_assert!(has("DELETE", "/reset")),
                Call::ListChannels { .. } => prop_assert!(has("GET", "/channels")),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
