//! Who may do what.

use continuum_control_api::access::{GlassView, GrantView, NewToken, TokenView, WhoAmI};
use continuum_domain::access::Selector;

use super::style::{Style, Tone};
use super::text::*;

fn scope(selector: &Selector) -> String {
    if selector.is_everything() { "everything".into() } else { selector.to_string() }
}

fn yes(said: bool) -> String {
    if said { "yes".into() } else { "no".into() }
}

/// `whoami`.
pub fn whoami(who: &WhoAmI, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, &one_line(&who.caller)));
    if who.person != who.caller {
        out.push_str(&format!("  for {}\n", one_line(&who.person)));
    }
    for group in &who.groups {
        out.push_str(&format!("  in {}\n", one_line(group)));
    }
    if who.holds.is_empty() {
        out.push_str("  holds nothing\n");
    }
    for holding in &who.holds {
        out.push_str(&format!("  {} over {}\n", holding.tier, scope(&holding.selector)));
    }
    match who.break_glass_until_ms {
        Some(until) => {
            let text = format!("the glass is broken until {}", time(until));
            out.push_str(&format!("  {}\n", style.paint(Tone::Bad, &text)));
        }
        None if who.may_break_glass => out.push_str("  may break the glass\n"),
        None => {}
    }
    out
}

/// `access grants`.
pub fn grants(all: &[GrantView]) -> String {
    if all.is_empty() {
        return "no grants\n".into();
    }
    let rows = all.iter().map(|view| {
        let grant = &view.grant;
        let subjects: Vec<String> =
            grant.subjects.iter().map(|subject| one_line(&subject.to_string())).collect();
        [
            grant.name.to_string(),
            grant.tier.to_string(),
            scope(&grant.selector),
            subjects.join(", "),
            yes(grant.break_glass),
            one_line(&view.actor),
        ]
    });
    table(["GRANT", "TIER", "OVER", "TO", "BREAK-GLASS", "BY"], rows)
}

/// `token list`.
pub fn tokens(all: &[TokenView]) -> String {
    if all.is_empty() {
        return "no tokens\n".into();
    }
    let rows = all.iter().map(|token| {
        [
            token.id.to_string(),
            token.name.to_string(),
            token.tier.to_string(),
            scope(&token.selector),
            one_line(&token.created_by),
            time(token.expires_ms),
        ]
    });
    table(["ID", "NAME", "TIER", "OVER", "BY", "UNTIL"], rows)
}

/// `token create`.
pub fn new_token(made: &NewToken) -> String {
    let token = &made.token;
    format!(
        "token {} ({}): {} over {}, until {}\nits secret is told this once:\n{}\n",
        token.name,
        token.id,
        token.tier,
        scope(&token.selector),
        time(token.expires_ms),
        made.secret
    )
}

/// One broken glass.
pub fn glass_line(view: &GlassView, style: Style) -> String {
    let text = format!(
        "the glass is broken by {} until {}: {}",
        one_line(&view.actor),
        time(view.until_ms),
        one_line(&view.reason)
    );
    format!("{}\n", style.paint(Tone::Bad, &text))
}

/// `break-glass`.
pub fn glass(all: &[GlassView], style: Style) -> String {
    if all.is_empty() {
        return "nobody's glass is broken\n".into();
    }
    all.iter().map(|view| glass_line(view, style)).collect()
}

#[cfg(test)]
mod tests {
    use continuum_domain::access::Tier;

    use super::*;

    #[test]
    fn who_asks_is_told_with_all_that_it_holds() {
        let mut who = WhoAmI {
            caller: "token/ci".into(),
            person: "user/ann".into(),
            groups: Vec::new(),
            holds: Vec::new(),
            may_break_glass: false,
            break_glass_until_ms: None,
        };
        let text = |who: &WhoAmI| whoami(who, Style::default());
        assert_eq!(text(&who), "token/ci\n  for user/ann\n  holds nothing\n");
        let selector = "env-type=test".parse().unwrap();
        who.holds.push(continuum_control_api::access::Holding { tier: Tier::Admin, selector });
        who.may_break_glass = true;
        let told = "token/ci\n  for user/ann\n  admin over env-type=test\n  may break the glass\n";
        assert_eq!(text(&who), told);
    }
}
