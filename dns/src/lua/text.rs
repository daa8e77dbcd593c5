//! Lua source as PowerDNS carries it: tokens, packed into quoted segments.

/// Longest segment, in bytes: longer ones are cut wherever 255 falls when a zone is transferred.
const SEGMENT_BYTES_MAX: usize = 255;
/// Longest literal, in bytes, so that no token is longer than a segment.
const LITERAL_BYTES_MAX: usize = 120;

/// Lua source as tokens. Between two of them white space changes nothing, so a segment may end
/// after any: servers before 5.0 join segments with a space, newer ones with nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source(Vec<String>);

impl Source {
    /// Adds one token, as it stands.
    pub fn token(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(text.into());
        self
    }

    /// Adds a string expression whose value is `value`.
    ///
    /// Neither `"` nor `\` can appear in a segment: the server ends a segment at the first, and
    /// hands the second on to Lua as two. What is not plain is spelled by its bytes' numbers.
    pub fn string(&mut self, value: &str) -> &mut Self {
        let mut rest = value.as_bytes();
        let mut first = true;
        while first || !rest.is_empty() {
            if !first {
                self.token("..");
            }
            first = false;
            let plain = rest.iter().take(LITERAL_BYTES_MAX).take_while(|byte| is_plain(**byte));
            let length = plain.count();
            if length > 0 || rest.is_empty() {
                let text: String = rest[..length].iter().map(|byte| char::from(*byte)).collect();
                self.token(format!("'{text}'"));
                rest = &rest[length..];
            } else {
                self.token(format!("string.char({})", rest[0]));
                rest = &rest[1..];
            }
        }
        self
    }

    /// Adds a list in braces; `item` adds one element.
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.token("{");
        for (index, value) in items.into_iter().enumerate() {
            if index > 0 {
                self.token(",");
            }
            item(self, value);
        }
        self.token("}")
    }

    /// The source in quoted segments, each as full as it gets.
    pub fn segments(&self) -> Vec<String> {
        let mut segments = vec![String::new()];
        for token in &self.0 {
            let last = segments.len() - 1;
            if segments[last].len() + token.len() > SEGMENT_BYTES_MAX {
                segments.push(token.clone());
            } else {
                segments[last].push_str(token);
            }
        }
        segments
    }
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && !matches!(byte, b'\'' | b'"' | b'\\')
}
