//! How often a pair whose holder lives is moved all the same, by disturbance and `suspect_after`.

use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_chaos::ledger::{Move, write_gap};

use crate::disturbance::Disturbance;
use crate::stand::{self, WHOLE_LIMIT, WRITE_LIMIT};

/// What one disturbance did under one `suspect_after`.
struct Cell {
    moves: u64,
    lasted: Duration,
    gap: Duration,
}

pub async fn run(
    lasts: Duration,
    suspect_after: &[Duration],
    only: &str,
) -> Result<(String, bool), Error> {
    let disturbances: Vec<Disturbance> =
        Disturbance::ALL.into_iter().filter(|kind| kind.name().contains(only)).collect();
    let mut rows: Vec<String> =
        disturbances.iter().map(|kind| format!("| {} |", kind.name())).collect();
    let mut head = String::from("| disturbance of a living holder |");
    let mut rule = String::from("|---|");
    let mut held = true;
    for value in suspect_after {
        head.push_str(&format!(" {} ms |", value.as_millis()));
        rule.push_str("---|");
        let mut options = stand::options(true);
        options.suspect_after = *value;
        let mut lab = Lab::start(options).await?;
        for (kind, row) in disturbances.iter().zip(&mut rows) {
            let (cell, good) = once(&mut lab, *kind, lasts).await?;
            held &= good;
            row.push_str(&format!(
                " {} in {:.0} s; {:.1} s |",
                cell.moves,
                cell.lasted.as_secs_f64(),
                cell.gap.as_secs_f64()
            ));
        }
        lab.stop().await?;
    }
    rows.splice(0..0, [head, rule]);
    Ok((rows.join("\n"), held))
}

async fn once(lab: &mut Lab, kind: Disturbance, lasts: Duration) -> Result<(Cell, bool), Error> {
    let (holder, other, before) = stand::sides(&lab.wait_healthy(WHOLE_LIMIT).await?)?;
    lab.start_workload(stand::WRITERS).await?;
    lab.wait_acknowledged(None, WRITE_LIMIT).await?;
    lab.wait_hot(&other, WHOLE_LIMIT).await?;
    stand::undisturbed().await;
    let at = lab.clock.now();
    let running = kind.begin(lab, &holder).await?;
    tokio::time::sleep(lasts).await;
    running.end(lab).await;
    let lasted = lab.clock.now().since(at);
    lab.wait_acknowledged(None, WRITE_LIMIT).await?;
    let (now, _, after) = stand::sides(&lab.wait_healthy(WHOLE_LIMIT).await?)?;
    stand::undisturbed().await;
    let step = Move { at, from: lab.address(&holder)?, to: lab.address(&other)? };
    let moves = if now == holder { Vec::new() } else { vec![step] };
    let judged = lab.judge(&moves, None).await?;
    // There and back again is judged by what was lost alone: one move cannot describe it.
    let violations = match after.0.saturating_sub(before.0) {
        0 | 1 => judged.verdict.violations(),
        _ => judged.verdict.tally.lost.iter().map(|row| format!("I2: {row:?} is lost")).collect(),
    };
    let gap = write_gap(&judged.attempts, at, None).map_or(Duration::MAX, |gap| gap.length());
    let cell = Cell { moves: after.0.saturating_sub(before.0), lasted, gap };
    eprintln!(
        "{}, suspect_after {:?}: {} moves in {:?}, longest gap {:?}, {} acknowledged, {} lost",
        kind.name(),
        lab.options.suspect_after,
        cell.moves,
        cell.lasted,
        cell.gap,
        judged.verdict.tally.acknowledged,
        judged.verdict.tally.lost.len()
    );
    for violation in &violations {
        eprintln!("BROKEN  {}: {violation}", kind.name());
    }
    Ok((cell, violations.is_empty()))
}
