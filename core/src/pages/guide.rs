//! Markdown to HTML for the API guide.
//!
//! Raw HTML in the Markdown is shown as text, and a link leads to the web, to a mail address or within the node; the text may be
//! an operator's own (`WRS_README_PATH`), and that may hold what others wrote. Headings get anchors.

use std::collections::BTreeMap;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::escape;

/// The guide in two parts of markup.
pub(super) struct Guide {
    /// List items that link to the sections (headings of the second level).
    pub(super) contents: String,
    /// The text.
    pub(super) text: String,
}

/// Renders Markdown (CommonMark with tables, strikethrough, task lists and footnotes). Cannot fail: any text is Markdown.
pub(super) fn render(markdown: &str) -> Guide {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS | Options::ENABLE_FOOTNOTES;
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).flat_map(tame).collect();
    let contents = anchor_headings(&mut events);
    let mut text = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut text, events.into_iter());
    Guide { contents, text }
}

/// Takes the teeth out of one event: raw HTML becomes text, and a dangerous link loses its target. What may be wider than a phone
/// becomes a region that scrolls, and can be reached by keyboard.
fn tame(event: Event<'_>) -> impl Iterator<Item = Event<'_>> {
    let (event, after) = match event {
        Event::Start(Tag::HtmlBlock) => (Event::Start(Tag::Paragraph), None),
        Event::End(TagEnd::HtmlBlock) => (Event::End(TagEnd::Paragraph), None),
        Event::Html(text) | Event::InlineHtml(text) => (Event::Text(text), None),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            (Event::Start(Tag::Link { link_type, dest_url: safe_target(dest_url), title, id }), None)
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            (Event::Start(Tag::Image { link_type, dest_url: safe_target(dest_url), title, id }), None)
        }
        Event::Start(Tag::CodeBlock(kind)) => (Event::Html(code_block(&kind)), None),
        Event::End(TagEnd::CodeBlock) => (Event::Html(CowStr::Borrowed("</code></pre>\n")), None),
        start @ Event::Start(Tag::Table(_)) => (Event::Html(CowStr::Borrowed(TABLE_OPENS)), Some(start)),
        end @ Event::End(TagEnd::Table) => (end, Some(Event::Html(CowStr::Borrowed("</div>\n")))),
        other => (other, None),
    };
    std::iter::once(event).chain(after)
}

const TABLE_OPENS: &str = "<div class=\"scroll\" role=\"group\" aria-label=\"Table\" tabindex=\"0\">";

fn code_block(kind: &CodeBlockKind<'_>) -> CowStr<'static> {
    let language = match kind {
        CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or("").to_owned(),
        CodeBlockKind::Indented => String::new(),
    };
    CowStr::from(format!("<pre tabindex=\"0\"><code data-language=\"{}\">", escape(&language)))
}

/// The link as it is where it leads to the web, to a mail address, or by path, query or fragment within this node; else nowhere.
/// Browsers drop blanks and control characters from a link before they read its scheme, so one that holds any has no safe scheme.
fn safe_target(url: CowStr<'_>) -> CowStr<'_> {
    let scheme = url.split(['/', '?', '#']).next().and_then(|head| head.split_once(':')).map(|(scheme, _)| scheme);
    let known = scheme.is_none_or(|scheme| SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)));
    if known && !url.chars().any(|c| c.is_control() || c.is_whitespace()) { url } else { CowStr::Borrowed("#") }
}

const SCHEMES: [&str; 5] = ["http", "https", "mailto", "ws", "wss"];

/// Gives every heading an id made of its text, and returns the list of the sections.
fn anchor_headings(events: &mut [Event<'_>]) -> String {
    let mut taken = BTreeMap::new();
    let mut contents = String::new();
    let mut open: Option<(usize, String)> = None;
    for at in 0..events.len() {
        match events.get(at) {
            Some(Event::Start(Tag::Heading { .. })) => open = Some((at, String::new())),
            Some(Event::Text(text) | Event::Code(text)) => {
                if let Some((_, title)) = &mut open {
                    title.push_str(text);
                }
            }
            Some(Event::End(TagEnd::Heading(level))) => {
                let level = *level;
                let Some((start, title)) = open.take() else { continue };
                let anchor = free_anchor(&title, &mut taken);
                if level == HeadingLevel::H2 {
                    contents.push_str(&format!("<li><a href=\"#{anchor}\">{}</a></li>\n", escape(&title)));
                }
                if let Some(Event::Start(Tag::Heading { id, .. })) = events.get_mut(start) {
                    *id = Some(CowStr::from(anchor));
                }
            }
            _ => {}
        }
    }
    contents
}

/// The text in lower case, words joined by hyphens; numbered when an earlier heading has the same.
/// `taken` holds every anchor given, each with the number that it tried last.
fn free_anchor(title: &str, taken: &mut BTreeMap<String, u32>) -> String {
    let words: Vec<String> =
        title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    let base = if words.is_empty() { "section".to_owned() } else { words.join("-") };
    let Some(mut number) = taken.get(&base).copied() else {
        taken.insert(base.clone(), 1);
        return base;
    };
    // Ends: each round tries another number, and only as many anchors are taken as there are headings.
    loop {
        number = number.saturating_add(1);
        let anchor = format!("{base}-{number}");
        if !taken.contains_key(&anchor) {
            taken.insert(anchor.clone(), 1);
            taken.insert(base, number);
            return anchor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_html_is_shown_as_text() {
        let guide = render("a <b onclick=x>b</b>\n\n<script>alert(1)</script>\n\n```html\n<i>\n```\n");
        assert!(
            !guide.text.contains("<script") && !guide.text.contains("<b ") && !guide.text.contains("<i>"),
            "{}",
            guide.text
        );
        assert!(guide.text.contains("&lt;script&gt;alert(1)"), "{}", guide.text);
        assert!(guide.text.contains("&lt;b onclick=x&gt;b"), "{}", guide.text);
    }

    #[test]
    fn an_attribute_cannot_be_left_by_what_stands_in_it() {
        let guide = render("```\"><script>\nx\n```\n\n[a](/x\"onclick=y 'ti\"tle')\n\n## A \"quoted\" <heading>\n");
        assert!(!guide.text.contains("<script"), "{}", guide.text);
        assert!(guide.text.contains("data-language=\"&quot;&gt;&lt;script&gt;\""), "{}", guide.text);
        assert!(!guide.text.contains("\"onclick"), "{}", guide.text);
        assert!(guide.contents.contains("A &quot;quoted&quot; "), "{}", guide.contents);
    }

    #[test]
    fn a_link_leads_to_the_web_to_mail_or_within_the_node() {
        for good in [
            "https://example.org/a:b",
            "HTTP://x",
            "mailto:a@example.org",
            "/client#id=a:b",
            "#patterns",
            "a/b:c",
            "?a:b",
        ] {
            assert_eq!(&*safe_target(CowStr::Borrowed(good)), good);
        }
        for bad in [
            "javascript:alert(1)",
            "JaVaScRiPt:x",
            "data:text/html,x",
            "vbscript:x",
            "java\nscript:x",
            "\u{1}javascript:x",
            " javascript:x",
        ] {
            assert_eq!(&*safe_target(CowStr::Borrowed(bad)), "#", "{bad:?}");
        }
        let guide = render("[a](javascript:alert(1)) [b](java&#10;script:x) ![c](data:x) <javascript:x>");
        assert!(!guide.text.contains("href=\"j") && !guide.text.contains("src=\"d"), "{}", guide.text);
    }

    #[test]
    fn every_heading_has_an_anchor_of_its_own_and_sections_are_listed() {
        let guide = render("# Top\n\n## Close codes\n\n## Close `codes`\n\n### Deep\n\n## Close codes 2\n\n## ???\n");
        for id in ["top", "close-codes", "close-codes-2", "deep", "close-codes-2-2", "section"] {
            assert_eq!(guide.text.matches(&format!(" id=\"{id}\"")).count(), 1, "{id} in {}", guide.text);
        }
        assert_eq!(guide.contents.matches("<li>").count(), 4);
        assert!(guide.contents.contains("<a href=\"#close-codes-2-2\">Close codes 2</a>"), "{}", guide.contents);
    }

    #[test]
    fn what_may_be_wide_can_be_scrolled_by_keyboard() {
        let guide = render("| a | b |\n|---|---|\n| 1 | 2 |\n\n    code\n");
        assert!(guide.text.contains("tabindex=\"0\"><table>"), "{}", guide.text);
        assert!(guide.text.contains("</table>\n</div>"), "{}", guide.text);
        assert!(guide.text.contains("<pre tabindex=\"0\"><code data-language=\"\">code"), "{}", guide.text);
    }
}
