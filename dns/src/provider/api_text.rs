//! TXT content as APIs spell it: quoted strings with escapes.

use crate::records::Text;

/// How a byte that is not printed is spelt: three digits behind a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// As zone files and PowerDNS have it.
    Decimal,
    /// As Route 53 has it.
    Octal,
}

/// A text as quoted strings.
pub(super) fn quoted(text: &Text, escape: Escape) -> String {
    let part = |part: &Vec<u8>| {
        let escaped: String = part
            .iter()
            .map(|byte| match byte {
                b'"' | b'\\' => format!("\\{}", char::from(*byte)),
                0x20..0x7f => char::from(*byte).to_string(),
                byte => match escape {
                    Escape::Decimal => format!("\\{byte:03}"),
                    Escape::Octal => format!("\\{byte:03o}"),
                },
            })
            .collect();
        format!("\"{escaped}\"")
    };
    text.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// The text of quoted strings. What is not quoted is taken as it stands.
pub(super) fn unquoted(content: &str, escape: Escape) -> Text {
    let radix = match escape {
        Escape::Decimal => 10,
        Escape::Octal => 8,
    };
    let mut parts = Vec::new();
    let mut part: Option<Vec<u8>> = None;
    let mut bytes = content.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match (&mut part, byte) {
            (None, b' ') => {}
            (None, b'"') => part = Some(Vec::new()),
            (None, byte) => {
                let rest = std::iter::once(byte).chain(bytes.by_ref()).collect();
                parts.push(rest);
            }
            (Some(open), b'"') => {
                parts.push(std::mem::take(open));
                part = None;
            }
            (Some(open), b'\\') => {
                let digits: Vec<u8> = bytes.clone().take(3).collect();
                let number = std::str::from_utf8(&digits).ok().filter(|_| digits.len() == 3);
                let number = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                if let Some(number) = number.and_then(|text| u8::from_str_radix(text, radix).ok()) {
                    open.push(number);
                    bytes.nth(2);
                } else {
                    open.extend(bytes.next());
                }
            }
            (Some(open), byte) => open.push(byte),
        }
    }
    parts.extend(part);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_server_spells_is_read() {
        for (content, due) in [
            (r#""v=spf1 -all""#, vec!["v=spf1 -all"]),
            (r#""a" "b""#, vec!["a", "b"]),
            (r#""a\"b\\c\032d""#, vec!["a\"b\\c d"]),
            (r#""""#, vec![""]),
            ("", vec![]),
            ("bare words", vec!["bare words"]),
            (r#""open"#, vec!["open"]),
        ] {
            let due: Text = due.into_iter().map(|part| part.as_bytes().to_vec()).collect();
            assert_eq!(unquoted(content, Escape::Decimal), due, "{content}");
        }
        assert_eq!(unquoted(r#""a\040b\303\251""#, Escape::Octal), [b"a b\xc3\xa9".to_vec()]);
    }

    proptest! {
        #[test]
        fn any_text_comes_back(
            text in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        ) {
            for escape in [Escape::Decimal, Escape::Octal] {
                prop_assert_eq!(&unquoted(&quoted(&text, escape), escape), &text);
            }
        }
    }
}
