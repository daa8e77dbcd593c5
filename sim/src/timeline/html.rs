//! The page: the picture, and below it the events as text.

use super::Timeline;
use super::notes::{self, Kind};
use super::style::PAGE;
use super::svg::escape;

/// A page that needs nothing but itself.
pub(super) fn page(timeline: &Timeline<'_>) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    out.push_str(&format!("<title>{}</title>\n{PAGE}", escape(&timeline.headline())));
    out.push_str("<div class=\"picture\">\n");
    out.push_str(&timeline.svg());
    out.push_str("</div>\n<h2>Events</h2>\n<table>\n");
    for note in &timeline.recorded.notes {
        let Some(kind) = notes::kind(note) else { continue };
        out.push_str(&format!(
            "<tr{}><td>{:.3}</td><td>{}</td><td>{}</td></tr>\n",
            class(kind),
            note.at.as_secs_f64(),
            escape(&note.who),
            escape(&note.what)
        ));
    }
    for finding in &timeline.verdict.findings {
        out.push_str(&format!(
            "<tr class=\"bad\"><td></td><td>verdict</td><td>{}</td></tr>\n",
            escape(finding)
        ));
    }
    out.push_str("</table>\n</html>\n");
    out
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Wrong => " class=\"bad\"",
        Kind::Fault => " class=\"struck\"",
        Kind::Lease => " class=\"lease\"",
        Kind::Postgres | Kind::Other => "",
    }
}
