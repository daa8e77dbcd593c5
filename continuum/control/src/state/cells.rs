//! Cells: what the core keeps as one acceptor of the witness.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use continuum_witness::{Cell, Tag};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CoreState, Reply};

/// Bytes, in base64 wherever they are written: as a list of numbers they would take four times the
/// room in log and snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Blob).map_err(serde::de::Error::custom)
    }
}

/// A cell as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellState {
    /// Names this content.
    pub tag: String,
    /// The content.
    pub content: Blob,
}

/// A conditional write of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellPut {
    /// The cell's key.
    pub key: String,
    /// The tag it must have; absent when there must be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The new content.
    pub content: Blob,
    /// Drawn by the proposer. It makes the tag one that a core founded anew never gives out, whose
    /// log positions begin again.
    pub nonce: String,
}

impl From<CellState> for Cell {
    fn from(state: CellState) -> Self {
        Cell { tag: Tag(state.tag), bytes: state.content.0 }
    }
}

impl CoreState {
    /// One cell.
    pub fn cell(&self, key: &str) -> Option<&CellState> {
        self.cells.get(key)
    }

    /// Keys of all cells that start with `prefix`.
    pub fn cell_keys(&self, prefix: &str) -> Vec<String> {
        self.cells.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Decides a write at log position `index`, which no other write has.
    pub(super) fn put_cell(&mut self, index: u64, put: CellPut) -> Reply {
        let CellPut { key, expected, content, nonce } = put;
        let current = self.cells.get(&key);
        if current.map(|cell| &cell.tag) != expected.as_ref() {
            return Reply::CellConflict(current.cloned());
        }
        let tag = format!("{index}.{nonce}");
        self.cells.insert(key, CellState { tag: tag.clone(), content });
        Reply::CellWritten(tag)
    }

    pub(super) fn delete_cell(&mut self, key: &str, expected: &str) -> Reply {
        let as_expected = self.cells.get(key).is_none_or(|cell| cell.tag == expected);
        if as_expected {
            self.cells.remove(key);
        }
        Reply::CellGone(as_expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(expected: Option<&str>, content: &[u8]) -> CellPut {
        CellPut {
            key: "probe/c".into(),
            expected: expected.map(str::to_owned),
            content: Blob(content.to_vec()),
            nonce: "n".into(),
        }
    }

    #[test]
    fn a_cell_is_replaced_and_removed_by_its_tag_only() {
        let mut state = CoreState::default();
        let written = |tag: &str| Reply::CellWritten(tag.into());
        assert_eq!(state.put_cell(7, put(None, b"1")), written("7.n"));
        assert_eq!(state.put_cell(8, put(Some("7.n"), b"2")), written("8.n"));
        let held = CellState { tag: "8.n".into(), content: Blob(b"2".to_vec()) };
        let refused = Reply::CellConflict(Some(held));
        assert_eq!(state.put_cell(9, put(Some("7.n"), b"3")), refused);
        assert_eq!(state.put_cell(9, put(None, b"3")), refused);
        assert_eq!(state.delete_cell("probe/c", "7.n"), Reply::CellGone(false));
        assert_eq!(state.delete_cell("probe/c", "8.n"), Reply::CellGone(true));
        assert_eq!(state.delete_cell("probe/c", "8.n"), Reply::CellGone(true));
        assert_eq!(state.put_cell(12, put(Some("8.n"), b"3")), Reply::CellConflict(None));
    }

    #[test]
    fn snapshots_carry_cells_and_old_ones_open_without() {
        let mut state = CoreState::default();
        let old = serde_json::to_string(&state).unwrap();
        assert!(!old.contains("cells"), "an older node reads what has no cells");
        assert_eq!(serde_json::from_str::<CoreState>(&old).unwrap(), state);
        state.put_cell(1, put(None, &[0, 255, 7]));
        let new = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<CoreState>(&new).unwrap(), state);
    }
}
