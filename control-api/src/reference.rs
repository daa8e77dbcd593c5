//! The reference as one page: plain HTML without a script, for a browser at the end of a slow line
//! and for `curl | less` alike.

use std::fmt::Write as _;

use crate::openapi::problems;
use crate::problem::kinds_html;
use crate::rest::API;
use crate::routes::{Endpoint, Need, Place, endpoints};

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Continuum: API reference</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1, h2, h3 { line-height: 1.2 } h3 { margin-top: 2.5rem } nav a { margin-right: 1rem }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f3f4f6; border-radius: 3px }
code { padding: .1rem .25rem } pre { padding: .75rem; overflow-x: auto }
.method { display: inline-block; min-width: 4.5rem; font-weight: 600 }
dt { margin-top: .75rem } table { border-collapse: collapse } td { padding: .15rem .75rem .15rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #ddd } code, pre { background: #24272d } a { color: #8ab4f8 } }
</style></head><body>
"#;

const INTRODUCTION: &str = r##"<h1>Continuum: API reference</h1>
<p>Everything below <code>/api/v1</code>. The same as a document for generators and tools: <a href="openapi.json">openapi.json</a>.</p>
<h2 id="use">How to call it</h2>
<p>Callers are known by a client certificate of the role <code>operator</code>, or by <code>Authorization: Bearer</code> with a token; with both, the token decides. What a route takes is said with it. Any control node takes any request; one that does not lead carries it to the leader. With
<code>NODE</code> as <code>host:port</code> of a node's API and <code>TLS</code> as a directory with the certificate, its key and the authority:</p>
<pre>call() { curl --silent --show-error --cacert $TLS/ca.pem --cert $TLS/cert.pem --key $TLS/key.pem \
    --connect-to ::$NODE https://core-1.core.continuum.internal/api/v1"$@"; }
call /status
call /pairs/shop/switchover --json '{"to": "hel", "reason": "CHG-4711"}'
call /operations/op-...</pre>
<p>The name in the URL is the node's, as in its certificate.</p>
<ul>
<li><b>Changes</b> take a header <code>Idempotency-Key</code>: draw one for each change, and repeat the request with it as often as needed. It takes effect once, and is answered alike for a day.</li>
<li><b>Specs</b> have versions. <code>ETag</code> names one, <code>If-Match</code> makes a change only on top of it.</li>
<li><b>Lists</b> come in pages; the header <code>Link</code> names the next one.</li>
<li><b>Errors</b> are problem details (RFC 9457) with a stable <a href="#codes">code</a>; <code>retryable</code> says whether the same request may succeed later.</li>
<li><b>Ages and unknowns</b>: whatever is reported carries its age in milliseconds. What is not known is absent or <code>null</code>, never 0 and never well.</li>
</ul>
"##;

/// The page.
pub(crate) fn page() -> String {
    let mut out = String::from(HEAD);
    out.push_str(INTRODUCTION);
    let endpoints = endpoints();
    out.push_str("<h2 id=\"routes\">Routes</h2>\n<table>\n");
    for endpoint in &endpoints {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            out,
            "<tr><td><a href=\"#{}\"><code>{} {}</code></a></td><td>{}</td></tr>",
            endpoint.id, endpoint.method, endpoint.path, endpoint.summary
        );
    }
    out.push_str("</table>\n");
    let mut tag = "";
    for endpoint in &endpoints {
        if endpoint.tag != tag {
            tag = endpoint.tag;
            let _infallible = writeln!(out, "<h2>{tag}</h2>");
        }
        section(endpoint, &mut out);
    }
    out.push_str("<h2 id=\"codes\">Codes of errors</h2>\n");
    out.push_str(&kinds_html());
    out.push_str("</body></html>\n");
    out
}

fn section(endpoint: &Endpoint, out: &mut String) {
    let Endpoint { method, path, id, summary, details, .. } = endpoint;
    let _infallible = writeln!(
        out,
        "<h3 id=\"{id}\"><code><span class=\"method\">{method}</span>{API}{path}</code></h3>\n\
         <p>{summary}. {}</p>",
        code(details)
    );
    let _infallible = writeln!(out, "<p>{}</p>", takes(endpoint));
    let mut command = format!("call {path}");
    if *method != "GET" && *method != "POST" {
        let _infallible = write!(command, " -X {method}");
    }
    if !endpoint.example.is_empty() {
        let _infallible = write!(command, " --json '{}'", endpoint.example);
    }
    let _infallible = writeln!(out, "<pre>{}</pre>\n<table>", escape(&command));
    for answer in &endpoint.answers {
        let (status, means) = (answer.status, answer.means);
        let _infallible = writeln!(out, "<tr><td><code>{status}</code></td><td>{means}</td></tr>");
    }
    for (status, codes) in problems(endpoint) {
        let links: Vec<String> =
            codes.iter().map(|code| format!("<a href=\"#{code}\">{code}</a>")).collect();
        let _infallible =
            writeln!(out, "<tr><td><code>{status}</code></td><td>{}</td></tr>", links.join(", "));
    }
    out.push_str("</table>\n");
}

/// Who may call it.
fn takes(endpoint: &Endpoint) -> String {
    if endpoint.is_open() {
        return "Open to everybody.".to_owned();
    }
    let one = |need: &Need| {
        let tier = match need.place {
            Place::Own => "everybody who is known".to_owned(),
            place => format!("<code>{}</code> over {}", need.tier, place.label()),
        };
        if need.when.is_empty() { tier } else { format!("with <i>{}</i> {tier}", need.when) }
    };
    let cases: Vec<String> = endpoint.needs().iter().map(one).collect();
    format!("Takes {}.", cases.join("; "))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Words between backticks as code.
fn code(text: &str) -> String {
    let mut out = String::new();
    for (number, part) in escape(text).split('`').enumerate() {
        if number % 2 == 1 {
            let _infallible = write!(out, "<code>{part}</code>");
        } else {
            out.push_str(part);
        }
    }
    out
}
