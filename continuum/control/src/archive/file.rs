//! Verifying a copy of the audit chain that somebody kept, without a server.

use std::io::{self, BufRead};

use continuum_control_api::rest::{AuditHead, AuditVerdict, ExportNote};

use super::line::{self, Walk};

/// Longest line that is read; no record comes near it.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a copy is, beside what was found in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// What was found.
    pub verdict: AuditVerdict,
    /// Records were chosen when it was made: only each one's own hash could be verified.
    pub picked: bool,
    /// Positions that the node did not have when it was made.
    pub missing: u64,
}

/// Why a copy could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Its names are pseudonyms, so its records have other content than was hashed.
    #[error(
        "names in it were replaced by pseudonyms: its hashes cannot be verified, those of the archive it was taken from can"
    )]
    Pseudonyms,
}

/// Verifies a copy as JSON Lines: an export, or a segment of an archive. It may begin anywhere.
pub fn verify(mut copy: impl BufRead) -> Result<Copy, CopyError> {
    let mut walk: Option<Walk> = None;
    let mut found = Copy::default();
    found.verdict.intact = true;
    loop {
        let mut text = Vec::new();
        let mut limited = io::Read::take(&mut copy, LINE_BYTES_MAX);
        if limited.read_until(b'\n', &mut text)? == 0 {
            return Ok(found);
        }
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        match serde_json::from_slice::<ExportNote>(line) {
            Ok(ExportNote::ContinuumAuditExport(header)) if header.personal_data_hashed => {
                return Err(CopyError::Pseudonyms);
            }
            Ok(ExportNote::ContinuumAuditExport(header)) => found.picked = header.picked,
            Ok(ExportNote::MissingRecords(gap)) => {
                found.missing += (gap.to + 1).saturating_sub(gap.from);
                walk = Some(Walk::after_unknown(gap.to));
            }
            Ok(ExportNote::DamagedRecord(index)) => {
                wrong(&mut found, index, format!("record {index} was damaged where it was kept"));
                return Ok(found);
            }
            Err(_) => {
                if !record(&mut found, &mut walk, line) {
                    return Ok(found);
                }
            }
        }
    }
}

/// Takes one record; whether all is well so far.
fn record(found: &mut Copy, walk: &mut Option<Walk>, line: &[u8]) -> bool {
    let stepped = match walk {
        Some(walk) if !found.picked => {
            walk.step(line).map_err(|fault| (fault.wrong, fault.problem))
        }
        _ => line::read(line).map_err(|problem| {
            let index = found.verdict.head.as_ref().map_or(1, |head| head.index + 1);
            (index, format!("record {index} {problem}"))
        }),
    };
    match stepped {
        Ok(record) => {
            let head = AuditHead { index: record.index, hash: record.hash };
            walk.get_or_insert_with(|| Walk::after(&head));
            found.verdict.records += 1;
            found.verdict.first.get_or_insert(head.index);
            found.verdict.head = Some(head);
            true
        }
        Err((index, problem)) => {
            wrong(found, index, problem);
            false
        }
    }
}

fn wrong(found: &mut Copy, index: u64, problem: String) {
    found.verdict.intact = false;
    found.verdict.wrong = Some(index);
    found.verdict.problem = Some(problem);
}

#[cfg(test)]
mod tests {
    use continuum_control_api::rest::{AuditGap, ExportHeader};

    use super::*;
    use crate::archive::tests::records;

    fn text(from: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for record in &records(9)[from..] {
            text.extend(line::of(record));
            text.push(b'\n');
        }
        text
    }

    fn note(note: &ExportNote) -> Vec<u8> {
        let mut line = serde_json::to_vec(note).unwrap();
        line.push(b'\n');
        line
    }

    fn header(picked: bool, personal_data_hashed: bool) -> ExportNote {
        ExportNote::ContinuumAuditExport(ExportHeader {
            node: "c1".into(),
            at_ms: 0,
            picked,
            personal_data_hashed,
            note: String::new(),
        })
    }

    #[test]
    fn an_honest_copy_is_intact_wherever_it_begins() {
        for from in 0..9 {
            let copy = [note(&header(false, false)), text(from)].concat();
            let found = verify(&copy[..]).unwrap();
            assert!(found.verdict.intact, "{found:?}");
            assert_eq!(found.verdict.records, 9 - from as u64);
        }
    }

    #[test]
    fn every_edited_byte_is_found_and_its_record_named() {
        let honest = text(0);
        let mut record = 1;
        for place in 0..honest.len() {
            let mut copy = honest.clone();
            copy[place] ^= 1;
            let found = verify(&copy[..]).unwrap();
            // The very last line may end without its newline, and with another byte it is not one.
            assert_eq!(found.verdict.wrong, Some(record), "byte {place}: {found:?}");
            record += u64::from(honest[place] == b'\n');
        }
    }

    #[test]
    fn a_removed_record_is_found_unless_the_copy_says_that_it_is_picked() {
        let mut lines: Vec<Vec<u8>> = records(9).iter().map(line::of).collect();
        lines.remove(4);
        let copy = lines.join(&b'\n');
        assert_eq!(verify(&copy[..]).unwrap().verdict.wrong, Some(5));
        let picked = [note(&header(true, false)), copy].concat();
        let found = verify(&picked[..]).unwrap();
        assert!(found.verdict.intact && found.picked, "{found:?}");
    }

    #[test]
    fn what_the_node_never_had_is_counted_and_pseudonyms_are_refused() {
        let gap = ExportNote::MissingRecords(AuditGap { from: 1, to: 3 });
        let copy = [note(&header(false, false)), note(&gap), text(3)].concat();
        let found = verify(&copy[..]).unwrap();
        assert!(found.verdict.intact, "{found:?}");
        assert_eq!((found.missing, found.verdict.first), (3, Some(4)));
        let hashed = [note(&header(false, true)), text(0)].concat();
        assert!(matches!(verify(&hashed[..]), Err(CopyError::Pseudonyms)));
    }
}
