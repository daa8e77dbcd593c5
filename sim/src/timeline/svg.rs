//! Writing SVG: elements, attributes, escaping. The same calls give the same bytes.

use std::fmt::Write as _;

/// A document under way.
#[derive(Debug, Default)]
pub(super) struct Svg {
    out: String,
    open: Vec<&'static str>,
}

/// One attribute.
pub(super) enum Value<'a> {
    /// A position or a length.
    Number(f64),
    /// Words.
    Words(&'a str),
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(words: &'a str) -> Self {
        Value::Words(words)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(words: &'a String) -> Self {
        Value::Words(words)
    }
}

/// Attributes of an element, in the order in which they are written.
pub(super) type Attributes<'a> = &'a [(&'static str, Value<'a>)];

impl Svg {
    /// Opens an element; [`Svg::close`] ends it.
    pub fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.begin(tag, attributes);
        self.out.push_str(">\n");
        self.open.push(tag);
    }

    /// Ends the element that was opened last.
    pub fn close(&mut self) {
        if let Some(tag) = self.open.pop() {
            self.out.push_str(&format!("</{tag}>\n"));
        }
    }

    /// An element without content; with `title`, a text that shows while the pointer is on it.
    pub fn leaf(&mut self, tag: &'static str, attributes: Attributes<'_>, title: &str) {
        self.begin(tag, attributes);
        if title.is_empty() {
            self.out.push_str("/>\n");
        } else {
            self.out.push_str(&format!("><title>{}</title></{tag}>\n", escape(title)));
        }
    }

    /// A rectangle.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), title: &str) {
        let place = [
            ("class", class.into()),
            ("x", x.into()),
            ("y", y.into()),
            ("width", w.into()),
            ("height", h.into()),
        ];
        self.leaf("rect", &place, title);
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64), title: &str) {
        let place = [
            ("class", class.into()),
            ("x1", from.0.into()),
            ("y1", from.1.into()),
            ("x2", to.0.into()),
            ("y2", to.1.into()),
        ];
        self.leaf("line", &place, title);
    }

    /// A shape of SVG path commands, relative to a place.
    pub fn path(&mut self, class: &str, (x, y): (f64, f64), commands: &str, title: &str) {
        let d = format!("M{} {}{commands}", number(x), number(y));
        self.leaf("path", &[("class", class.into()), ("d", Value::Words(&d))], title);
    }

    /// Words; `class` also says how they are anchored.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), words: &str) {
        if words.is_empty() {
            return;
        }
        let place = [("class", class.into()), ("x", x.into()), ("y", y.into())];
        self.begin("text", &place);
        self.out.push_str(&format!(">{}</text>\n", escape(words)));
    }

    /// Words, and others right behind them, however wide the first ones are.
    pub fn two_texts(&mut self, first: (&str, &str), then: (&str, &str), (x, y): (f64, f64)) {
        self.begin("text", &[("class", first.0.into()), ("x", x.into()), ("y", y.into())]);
        self.out.push_str(&format!(">{} ", escape(first.1)));
        self.begin("tspan", &[("dx", 8.0.into()), ("class", then.0.into())]);
        self.out.push_str(&format!(">{}</tspan></text>\n", escape(then.1)));
    }

    /// What must stand as it is: definitions and style.
    pub fn raw(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// The document.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn begin(&mut self, tag: &str, attributes: Attributes<'_>) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            let written = match value {
                Value::Number(value) => write!(self.out, " {name}=\"{}\"", number(*value)),
                Value::Words(words) => write!(self.out, " {name}=\"{}\"", escape(words)),
            };
            written.expect("a string takes everything");
        }
    }
}

/// A tenth of a pixel is enough, and short.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let short = text.strip_suffix(".0").unwrap_or(&text);
    if short == "-0" { "0".into() } else { short.to_owned() }
}

/// Text as XML and HTML take it, between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            // XML has no way to write these at all.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let text = escape("<a href=\"x\">'&'</a>\u{7}");
        assert_eq!(text, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;\u{fffd}");
        let mut svg = Svg::default();
        svg.text("label", (0.0, 0.0), "a < b");
        svg.leaf("rect", &[("class", "\"><script>".into())], "x & y");
        let out = svg.finish();
        assert!(out.contains(">a &lt; b</text>"), "{out}");
        assert!(out.contains("class=\"&quot;&gt;&lt;script&gt;\""), "{out}");
        assert!(out.contains("<title>x &amp; y</title>"), "{out}");
    }

    #[test]
    fn numbers_are_short_and_never_minus_nothing() {
        let numbers = [1.0, 1.25, -0.04, 1_234.56, 0.06].map(number);
        assert_eq!(numbers, ["1", "1.2", "0", "1234.6", "0.1"]);
    }

    #[test]
    fn what_is_open_is_closed_in_order() {
        let mut svg = Svg::default();
        svg.open("svg", &[("width", 10.0.into())]);
        svg.open("g", &[]);
        svg.line("tick", (0.0, 1.0), (2.0, 3.5), "");
        let line = "<line class=\"tick\" x1=\"0\" y1=\"1\" x2=\"2\" y2=\"3.5\"/>";
        assert_eq!(svg.finish(), format!("<svg width=\"10\">\n<g>\n{line}\n</g>\n</svg>\n"));
    }
}
