//! Which traces are kept.

use continuum_domain::trace::TraceId;

/// Whether a trace is one of the one in `one_in` that are kept. The name decides, so that everybody who
/// knows it decides alike.
pub(super) fn keeps(trace: TraceId, one_in: u32) -> bool {
    let TraceId([.., a, b, c, d, e, f, g]) = trace;
    // The last seven bytes of a name are the ones that are random for certain.
    let number = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
    number.is_multiple_of(u64::from(one_in.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_kept() {
        let kept = |one_in| {
            let names = (0..10_000u128).map(|number| TraceId(number.to_be_bytes()));
            names.filter(|name| keeps(*name, one_in)).count()
        };
        assert_eq!(kept(1), 10_000);
        assert_eq!(kept(10), 1_000);
    }
}
