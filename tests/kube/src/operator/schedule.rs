//! Schedules of six fields, seconds first: `*`, `*/STEP` or a number for seconds, minutes and hours, and
//! `*` for the rest.

const DAY: i64 = 86_400;

fn fits(field: &str, value: i64) -> Option<bool> {
    if field == "*" {
        return Some(true);
    }
    if let Some(step) = field.strip_prefix("*/") {
        let step: i64 = step.parse().ok().filter(|step| *step > 0)?;
        return Some(value % step == 0);
    }
    Some(field.parse::<i64>().ok()? == value)
}

/// The first second after `at` that fits, in UTC; `None` where the schedule is not understood.
pub(super) fn next(schedule: &str, at: i64) -> Option<i64> {
    let fields: Vec<&str> = schedule.split(' ').collect();
    let [second, minute, hour, rest @ ..] = fields.as_slice() else { return None };
    if rest.len() != 3 || rest.iter().any(|field| *field != "*") {
        return None;
    }
    for time in at + 1..=at + DAY {
        let parts = [(second, time % 60), (minute, time / 60 % 60), (hour, time / 3_600 % 24)];
        let mut all = true;
        for (field, value) in parts {
            all &= fits(field, value)?;
        }
        if all {
            return Some(time);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_after_now() {
        assert_eq!(next("*/2 * * * * *", 10), Some(12));
        assert_eq!(next("0 0 2 * * *", 0), Some(7_200));
        assert_eq!(next("0 0 2 * * *", 7_200), Some(7_200 + DAY));
        assert_eq!(next("0 0 2 1 * *", 0), None);
        assert_eq!(next("nightly", 0), None);
    }
}
