//! Durations as the custom resources write them: one whole number and one unit.

use std::time::Duration;

use continuum_domain::spec::SpecError;

const UNITS: [(&str, u128); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads one; the schema's pattern is the same rule.
pub(super) fn read(path: &str, text: &str) -> Result<Duration, SpecError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let read = number.parse::<u64>().ok().zip(factor);
    let milliseconds = read
        .and_then(|(number, factor)| u64::try_from(u128::from(number).checked_mul(factor)?).ok());
    milliseconds.map(Duration::from_millis).ok_or_else(|| SpecError {
        path: path.into(),
        problem: format!("{text:?} is no duration; write it as 500ms, 10s, 5m or 2h"),
    })
}

/// Writes one in the largest unit that holds it whole.
pub(super) fn write(path: &str, value: Duration) -> Result<String, SpecError> {
    if !value.subsec_nanos().is_multiple_of(1_000_000) {
        let problem = "parts of a millisecond cannot be said in a Continuum".into();
        return Err(SpecError { path: path.into(), problem });
    }
    let milliseconds = value.as_millis();
    if milliseconds == 0 {
        return Ok("0s".into());
    }
    let fits = |(_, factor): &&(&str, u128)| milliseconds.is_multiple_of(*factor);
    let (unit, factor) = UNITS.iter().find(fits).unwrap_or(&("ms", 1));
    Ok(format!("{}{unit}", milliseconds / factor))
}
