//! The pages a node shows to people: landing page, test client, API guide, OpenAPI page, and the OpenAPI document.
//!
//! All of them are assembled once, at start-up; serving one clones a [`Bytes`]. A page never asks for anything beyond
//! its own node: styles and scripts stand in the page and are allowed by their hash alone (`Content-Security-Policy`),
//! so that text which slips into a page cannot run. Nothing here knows a token, and no page can show one.

mod guide;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use swagger_ui_redist::{SwaggerUi, SwaggerUiStaticFile};

const SHELL: &str = include_str!("pages/shell.html");
const BASE_STYLE: &str = include_str!("pages/base.css");
const COPY_SCRIPT: &str = include_str!("pages/copy.js");

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// Pages are asked for again each time: they change with the configuration and are small.
const CACHE_PAGE: &str = "no-cache";
/// The files of the OpenAPI page weigh 1.6 MB and change with a release only.
const CACHE_FILE: &str = "public, max-age=86400";

/// Headers that belong on every page beside its own.
const SECURITY_HEADERS: [(&str, &str); 3] =
    [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY")];

/// What the pages say about the node that serves them.
#[derive(Clone, Debug)]
pub struct PageContext {
    /// Links and examples use `https` and `wss` (`WRS_PUBLIC_SSL`).
    pub tls: bool,
    /// The name or address of the service as seen outside (`WRS_DOMAIN`).
    pub domain: String,
    /// The port as seen outside (`WRS_PUBLIC_API_PORT`).
    pub public_port: u16,
    /// The node asks for an API token (`WRS_AUTH`): the test client then shows a field for it.
    pub auth: bool,
    /// The node listens beyond loopback without `WRS_AUTH`: the landing page warns of it.
    pub exposed_without_auth: bool,
    /// Channels can be created and deleted from an address bar (`WRS_BROWSER_ONLY`).
    pub browser_only: bool,
    /// Markdown in place of the built-in guide (`WRS_README_PATH`).
    pub readme_markdown: Option<String>,
    /// The version of the program.
    pub version: &'static str,
}

impl PageContext {
    /// The address of the service with a scheme for HTTP and one for WebSocket; the port is left out where the scheme implies it.
    fn bases(&self) -> (String, String) {
        let (http, ws, implied) = if self.tls { ("https", "wss", 443) } else { ("http", "ws", 80) };
        let host = if self.domain.contains(':') && !self.domain.starts_with('[') {
            format!("[{}]", self.domain)
        } else {
            self.domain.clone()
        };
        let authority = if self.public_port == implied { host } else { format!("{host}:{}", self.public_port) };
        (format!("{http}://{authority}"), format!("{ws}://{authority}"))
    }
}

/// A page with a route of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `GET /`
    Landing,
    /// `GET /client`
    Client,
    /// `GET /readme`
    Readme,
    /// `GET /docs`
    Docs,
    /// `GET /openapi.json`
    OpenApi,
}

impl Page {
    /// Every page, in the order of the routes.
    pub const ALL: [Page; 5] = [Page::Landing, Page::Client, Page::Readme, Page::Docs, Page::OpenApi];

    /// The path that shows it.
    pub fn path(self) -> &'static str {
        match self {
            Page::Landing => "/",
            Page::Client => "/client",
            Page::Readme => "/readme",
            Page::Docs => "/docs",
            Page::OpenApi => "/openapi.json",
        }
    }
}

/// One body with what its response says about it.
#[derive(Clone, Debug)]
pub struct Asset {
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body; a clone shares it.
    pub body: Bytes,
    /// The `Cache-Control`.
    pub cache_control: &'static str,
    /// The `Content-Security-Policy`, on HTML only.
    pub csp: Option<String>,
}

impl Asset {
    /// The headers of a 200 with this body, beside `Content-Type`, `Content-Length` and what depends on the request.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        std::iter::once(("Cache-Control", self.cache_control))
            .chain(self.csp.as_deref().map(|csp| ("Content-Security-Policy", csp)))
            .chain(SECURITY_HEADERS)
    }
}

/// All pages of a node. A clone shares every body, so that each shard may hold its own.
#[derive(Clone, Debug)]
pub struct Pages {
    landing: Asset,
    client: Asset,
    readme: Asset,
    docs: Asset,
    openapi: Asset,
    docs_style: Asset,
    docs_script: Asset,
}

impl Pages {
    /// Assembles every page. Called once, at start-up.
    pub fn new(context: &PageContext) -> Self {
        Pages {
            landing: landing(context),
            client: client(context),
            readme: readme(context),
            docs: docs(context),
            openapi: Asset {
                content_type: JSON,
                body: crate::openapi::document(context.version),
                cache_control: CACHE_PAGE,
                csp: None,
            },
            docs_style: file("text/css; charset=utf-8", SwaggerUiStaticFile::Css),
            docs_script: file("text/javascript; charset=utf-8", SwaggerUiStaticFile::Js),
        }
    }

    /// The page that `page` names.
    pub fn get(&self, page: Page) -> &Asset {
        match page {
            Page::Landing => &self.landing,
            Page::Client => &self.client,
            Page::Readme => &self.readme,
            Page::Docs => &self.docs,
            Page::OpenApi => &self.openapi,
        }
    }

    /// The file behind `/docs/{name}`, or `None` when the OpenAPI page has no such file.
    pub fn docs_asset(&self, name: &str) -> Option<&Asset> {
        match name {
            "swagger-ui.css" => Some(&self.docs_style),
            "swagger-ui-bundle.js" => Some(&self.docs_script),
            _ => None,
        }
    }
}

fn landing(context: &PageContext) -> Asset {
    let (http, ws) = context.bases();
    let browser_only = if context.browser_only { include_str!("pages/landing_browser_only.html") } else { "" };
    let main = include_str!("pages/landing.html").replace("{{browser_only}}", browser_only);
    let main = fill(&main, &[("http", &http), ("ws", &ws), ("version", context.version)]);
    Sheet {
        title: "wrs, a WebSocket relay",
        class: "landing",
        style: &[BASE_STYLE, include_str!("pages/landing.css")],
        main: &main,
        script: &[COPY_SCRIPT, include_str!("pages/landing.js")],
        policy: Policy::Strict,
    }
    .assemble(context)
}

fn client(context: &PageContext) -> Asset {
    let open = if context.auth { "open" } else { "" };
    Sheet {
        title: "Test client · wrs",
        class: "tester",
        style: &[BASE_STYLE, include_str!("pages/client.css")],
        main: &fill(include_str!("pages/client.html"), &[("auth_open", open)]),
        script: &[
            COPY_SCRIPT,
            include_str!("pages/client_wire.js"),
            include_str!("pages/client_card.js"),
            include_str!("pages/client.js"),
        ],
        policy: Policy::Strict,
    }
    .assemble(context)
}

fn readme(context: &PageContext) -> Asset {
    let built_in;
    let markdown = match &context.readme_markdown {
        Some(text) => text.as_str(),
        None => {
            // The guide is written for a node with no configuration; its examples shall work for this one as they stand.
            let (http, ws) = context.bases();
            built_in = include_str!("pages/readme.md")
                .replace("http://127.0.0.1:8080", &http)
                .replace("ws://127.0.0.1:8080", &ws);
            built_in.as_str()
        }
    };
    let guide = guide::render(markdown);
    Sheet {
        title: "API guide · wrs",
        class: "guide",
        style: &[BASE_STYLE, include_str!("pages/guide.css")],
        main: &Template(include_str!("pages/guide.html")).with(&[("contents", &guide.contents), ("text", &guide.text)]),
        script: &[COPY_SCRIPT, include_str!("pages/guide.js")],
        policy: Policy::Strict,
    }
    .assemble(context)
}

fn docs(context: &PageContext) -> Asset {
    Sheet {
        title: "OpenAPI · wrs",
        class: "docs",
        style: &[BASE_STYLE, include_str!("pages/docs.css")],
        main: include_str!("pages/docs.html"),
        script: &[include_str!("pages/docs.js")],
        policy: Policy::Docs,
    }
    .assemble(context)
}

/// A file of the OpenAPI page, as the crate that carries it has it.
fn file(content_type: &'static str, which: SwaggerUiStaticFile) -> Asset {
    let body = SwaggerUi::static_files().iter().find(|(name, _)| *name == which).map_or(&[][..], |(_, body)| body);
    Asset { content_type, body: Bytes::from_static(body), cache_control: CACHE_FILE, csp: None }
}

/// What a page may load.
#[derive(Clone, Copy)]
enum Policy {
    /// Nothing but what stands in it, and calls to its own node.
    Strict,
    /// The files below `/docs/` too.
    Docs,
}

/// One HTML page before it is assembled.
struct Sheet<'a> {
    title: &'a str,
    class: &'a str,
    style: &'a [&'a str],
    /// Markup, already escaped where it came from the configuration.
    main: &'a str,
    script: &'a [&'a str],
    policy: Policy,
}

impl Sheet<'_> {
    fn assemble(&self, context: &PageContext) -> Asset {
        let style = self.style.concat();
        let script = self.script.concat();
        let warned = context.exposed_without_auth && self.class == "landing";
        let warning = if warned { include_str!("pages/warning.html") } else { "" };
        let mut shell = SHELL.replace("{{warning}}", warning);
        for class in ["landing", "tester", "guide", "docs"] {
            let mark = if class == self.class { " aria-current=\"page\"" } else { "" };
            shell = shell.replace(&format!(" aria-current-{class}"), mark);
        }
        let shell = fill(&shell, &[("title", self.title), ("class", self.class), ("version", context.version)]);
        // The parts with text of their own come last, so that nothing in them is taken for a gap to fill.
        let html = Template(&shell).with(&[("style", &style), ("main", self.main), ("script", &script)]);
        Asset {
            content_type: HTML,
            body: Bytes::from(html),
            cache_control: CACHE_PAGE,
            csp: Some(self.policy.header(&style, &script)),
        }
    }
}

impl Policy {
    /// The `Content-Security-Policy` of a page with this inline style and script (CSP 3, section 2.3.1: hash sources).
    fn header(self, style: &str, script: &str) -> String {
        let script = hash_source(script);
        let style = hash_source(style);
        let files = match self {
            Policy::Strict => "",
            Policy::Docs => "'self' ",
        };
        format!(
            "default-src 'none'; script-src {files}{script}; style-src {files}{style}; img-src 'self' data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    }
}

fn hash_source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Markup with gaps, `{{name}}`. A gap that is not named stays as it is.
struct Template<'a>(&'a str);

impl Template<'_> {
    /// Fills each gap once, in one pass from left to right: what is filled in is never searched for gaps.
    fn with(&self, values: &[(&str, &str)]) -> String {
        let mut out = String::with_capacity(self.0.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
        let mut rest = self.0;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let filled = after.split_once("}}").and_then(|(name, after)| {
                values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value, after))
            });
            match filled {
                Some((value, after)) => {
                    out.push_str(value);
                    rest = after;
                }
                None => {
                    out.push_str("{{");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

/// Fills the gaps of `template` with values as text: whatever they hold, they add no markup.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let escaped: Vec<(&str, String)> = values.iter().map(|(name, value)| (*name, escape(value))).collect();
    let values: Vec<(&str, &str)> = escaped.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Template(template).with(&values)
}

/// Text as HTML, in content as well as in a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> PageContext {
        PageContext {
            tls: false,
            domain: "relay.example".to_owned(),
            public_port: 8080,
            auth: false,
            exposed_without_auth: false,
            browser_only: false,
            readme_markdown: None,
            version: "1.2.3",
        }
    }

    fn text(context: &PageContext, page: Page) -> String {
        String::from_utf8(Pages::new(context).get(page).body.to_vec()).unwrap()
    }

    fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
        text.split_once(from).unwrap().1.split_once(to).unwrap().0
    }

    #[test]
    fn the_policy_allows_the_style_and_script_that_stand_in_the_page_and_no_other() {
        let pages = Pages::new(&context());
        for page in [Page::Landing, Page::Client, Page::Readme, Page::Docs] {
            let asset = pages.get(page);
            let html = std::str::from_utf8(&asset.body).unwrap();
            let csp = asset.csp.as_deref().unwrap();
            assert!(csp.starts_with("default-src 'none'; script-src "), "{csp}");
            assert!(csp.contains(&hash_source(between(html, "<script type=\"module\">", "</script>"))), "{page:?}");
            assert!(csp.contains(&hash_source(between(html, "<style>", "</style>"))), "{page:?}");
            assert!(!csp.contains("unsafe"), "{csp}");
            if page != Page::Docs {
                assert_eq!(html.matches("<script").count(), 1, "{page:?}");
            }
            assert_eq!(html.matches("<style").count(), 1, "{page:?}");
            assert!(!html.contains(" style=") && !html.contains(" onclick="), "{page:?}: the policy forbids it");
        }
    }

    #[test]
    fn no_page_names_another_host_to_load_from() {
        let pages = Pages::new(&context());
        for page in [Page::Landing, Page::Client, Page::Readme, Page::Docs] {
            let html = std::str::from_utf8(&pages.get(page).body).unwrap();
            for what in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "@import", "url("] {
                assert!(!html.contains(what), "{page:?} has {what}");
            }
        }
    }

    #[test]
    fn every_gap_is_filled_and_the_page_itself_is_marked() {
        let pages = Pages::new(&context());
        for page in [Page::Landing, Page::Client, Page::Readme, Page::Docs] {
            let html = std::str::from_utf8(&pages.get(page).body).unwrap();
            assert!(!html.contains("{{") && !html.contains("}}"), "{page:?}");
            assert!(html.contains(&format!("<a href=\"{}\" aria-current=\"page\">", page.path())), "{page:?}");
            assert_eq!(html.matches("aria-current=\"page\"").count(), 1, "{page:?}");
            assert!(html.contains("1.2.3"));
        }
    }

    #[test]
    fn examples_name_the_service_as_it_is_seen_outside() {
        let mut context = context();
        assert!(text(&context, Page::Landing).contains("ws://relay.example:8080</span>/channels/ID/connect"));
        assert!(text(&context, Page::Readme).contains("http://relay.example:8080/channels"));
        context.tls = true;
        assert!(text(&context, Page::Landing).contains("https://relay.example:8080</span>/channels"));
        context.public_port = 443;
        let guide = text(&context, Page::Readme);
        assert!(guide.contains("wss://relay.example/channels/") && !guide.contains("127.0.0.1:8080"));
        context.domain = "2001:db8::1".to_owned();
        assert!(text(&context, Page::Landing).contains("https://[2001:db8::1]</span>/channels"));
    }

    #[test]
    fn a_node_open_to_everyone_says_so_on_its_landing_page() {
        let mut context = context();
        assert!(!text(&context, Page::Landing).contains("class=\"warning\""));
        context.exposed_without_auth = true;
        assert!(text(&context, Page::Landing).contains("class=\"warning\""));
    }

    #[test]
    fn the_test_client_shows_the_token_field_and_the_landing_page_the_address_bar_where_they_serve() {
        let mut context = context();
        assert!(text(&context, Page::Client).contains("<details class=\"api\" >"));
        assert!(!text(&context, Page::Landing).contains("/channels/create"));
        context.auth = true;
        context.browser_only = true;
        assert!(text(&context, Page::Client).contains("<details class=\"api\" open>"));
        assert!(text(&context, Page::Landing).contains("/channels/create"));
    }

    #[test]
    fn configuration_adds_no_markup_and_is_not_searched_for_gaps() {
        let mut context = context();
        context.domain = "<script>x</script>{{version}}\"'".to_owned();
        let html = text(&context, Page::Landing);
        assert_eq!(html.matches("<script").count(), 1);
        assert!(html.contains("&lt;script&gt;x&lt;/script&gt;{{version}}&quot;&#39;"));
        assert_eq!(text(&context, Page::Readme).matches("<script").count(), 1);
    }

    #[test]
    fn an_operators_own_guide_is_shown_as_written_without_its_html() {
        let mut context = context();
        context.readme_markdown =
            Some("# Ours\n\n## {{text}}\n\nhttp://127.0.0.1:8080 {{script}} <script>alert(1)</script>".to_owned());
        let html = text(&context, Page::Readme);
        assert!(html.contains("<h1 id=\"ours\">Ours</h1>") && html.contains("http://127.0.0.1:8080 {{script}}"));
        assert!(html.contains("<a href=\"#text\">{{text}}</a>"));
        assert_eq!(html.matches("<script").count(), 1);
    }

    #[test]
    fn the_openapi_page_finds_its_files_and_nothing_else() {
        let pages = Pages::new(&context());
        let html = std::str::from_utf8(&pages.get(Page::Docs).body).unwrap();
        for name in ["swagger-ui.css", "swagger-ui-bundle.js"] {
            assert!(html.contains(&format!("`/docs/{name}${{query}}`")), "{name}");
            assert!(pages.docs_asset(name).unwrap().body.len() > 100_000, "{name}");
        }
        for name in ["", "index.html", "../openapi.json", "swagger-ui.css/", "Swagger-UI.css"] {
            assert!(pages.docs_asset(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn every_response_says_what_it_is_and_that_it_is_nothing_else() {
        let pages = Pages::new(&context());
        for page in Page::ALL {
            let headers: Vec<_> = pages.get(page).headers().collect();
            assert!(headers.contains(&("X-Content-Type-Options", "nosniff")), "{page:?}");
            assert!(headers.contains(&("Referrer-Policy", "no-referrer")), "{page:?}");
            let html = page != Page::OpenApi;
            assert_eq!(pages.get(page).content_type, if html { HTML } else { JSON });
            assert_eq!(html, headers.iter().any(|(name, _)| *name == "Content-Security-Policy"));
            for (name, value) in headers {
                assert!(value.is_ascii() && !value.contains(['\r', '\n']), "{name}: {value}");
            }
        }
    }

    #[test]
    fn a_clone_shares_every_body() {
        let pages = Pages::new(&context());
        let clone = pages.clone();
        assert_eq!(pages.get(Page::Client).body.as_ptr(), clone.get(Page::Client).body.as_ptr());
    }
}
