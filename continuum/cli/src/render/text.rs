//! Small texts: ages, sizes, times, tables.

use std::fmt::Display;

use comfy_table::{Cell, Table};

/// What was not measured.
pub const UNKNOWN: &str = "unknown";
/// What does not apply.
pub const NONE: &str = "-";
/// Reports older than this are shown with their age.
pub const STALE_MS: u64 = 2_000;

/// A duration in milliseconds as people read it.
pub fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// A duration in milliseconds where the milliseconds count.
pub fn short(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { duration(ms) }
}

/// `0.4 s ago`.
pub fn ago(ms: u64) -> String {
    format!("{} ago", duration(ms))
}

/// A measured duration of a step.
pub fn took(us: u64) -> String {
    match us {
        0..1_000 => format!("0.{:02} ms", us / 10),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..10_000_000 => format!("{} ms", us / 1_000),
        _ => duration(us / 1_000),
    }
}

/// A number of bytes.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // In tenths of the unit, so that no float takes part.
    let (mut tenths, mut unit) = (u128::from(count) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Wall-clock milliseconds since 1970 as a time in UTC.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_else(|_| UNKNOWN.into())
}

/// Milliseconds between two wall-clock times, when the second is not before the first.
pub fn between(from_ms: i64, to_ms: i64) -> Option<u64> {
    to_ms.checked_sub(from_ms).and_then(|ms| u64::try_from(ms).ok())
}

/// The value, or `unknown`.
pub fn or_unknown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.into(), |value| value.to_string())
}

/// The text, or `-` where there is none.
pub fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.into() } else { one_line(text) }
}

/// Text from elsewhere on one line, without control characters.
pub fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Names in a row.
pub fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

/// A table without lines, columns two spaces apart, which greps and pastes well.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| Cell::new(one_line(&cell))));
    }
    let last = N.saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    table.trim_fmt()
}

/// Every line moved to the right.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(0), "0.0 s");
        assert_eq!(short(600), "600 ms");
        assert_eq!(short(60_000), "60 s");
        assert_eq!(duration(6_240), "6.2 s");
        assert_eq!(duration(119_999), "119 s");
        assert_eq!(duration(7_200_000), "2 h");
        assert_eq!(took(0), "0.00 ms");
        assert_eq!(took(42), "0.04 ms");
        assert_eq!(took(812), "0.81 ms");
        assert_eq!(took(4_250), "4.2 ms");
        assert_eq!(took(12_000_000), "12 s");
        assert_eq!(took(89_400), "89 ms");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(16 * 1024 * 1024), "16.0 MB");
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(one_line("a\u{1b}[31m\nb"), "a [31m b");
    }
}
