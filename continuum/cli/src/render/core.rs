//! The control core.

use continuum_control_api::rest::CoreView;

use super::style::Style;
use super::text::*;

/// `core show`.
pub fn page(core: &CoreView, style: Style) -> String {
    let rows = core.members.iter().map(|member| {
        [
            member.name.clone(),
            member.id.to_string(),
            member.address.clone(),
            if member.voter { "voter" } else { "learner" }.into(),
            if member.leader { "leader" } else { NONE }.into(),
        ]
    });
    format!(
        "{}\nleader {}, term {}, applied {}; answered by {}\n",
        table(["NODE", "ID", "ADDRESS", "VOTES", "LEADS"], rows).trim_end(),
        style.words(&or_unknown(core.leader.as_ref())),
        core.term,
        or_unknown(core.applied),
        core.node
    )
}
