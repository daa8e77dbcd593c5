//! Draws a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::state::View;

/// Words that a line is coloured by; the first that is in it counts.
const WORDS: [(&str, Color); 9] = [
    ("blocked", Color::Red),
    ("failed", Color::Red),
    ("fenced", Color::Red),
    ("unknown", Color::Magenta),
    ("at risk", Color::Yellow),
    ("running", Color::Cyan),
    ("protected", Color::Green),
    ("primary", Color::Green),
    ("done", Color::Green),
];

fn style_of(line: &str) -> Style {
    let found = WORDS.iter().find(|(word, _)| line.contains(word));
    found.map_or_else(Style::default, |(_, colour)| Style::default().fg(*colour))
}

/// The first line to be drawn, so that the chosen one is on the screen.
fn first(view: &View, height: usize) -> usize {
    match view.chosen {
        Some(chosen) if chosen >= height => chosen + 1 - height,
        Some(_) => 0,
        None => view.from,
    }
}

/// Draws it: a head, the page, the keys.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
    let [head, page, keys] = Layout::vertical(rows).areas(frame.area());
    let strong = Style::default().add_modifier(Modifier::BOLD);
    let head_style = if view.is_old { strong.fg(Color::White).bg(Color::Red) } else { strong };
    frame.render_widget(Paragraph::new(view.head.as_str()).style(head_style), head);
    let from = first(view, usize::from(page.height));
    let lines: Vec<Line<'_>> = view
        .lines
        .iter()
        .enumerate()
        .skip(from)
        .take(usize::from(page.height))
        .map(|(number, line)| {
            let style = style_of(line);
            let chosen = view.chosen == Some(number);
            let style = if chosen { style.add_modifier(Modifier::REVERSED) } else { style };
            Line::styled(line.as_str(), style)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), page);
    let dim = Style::default().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(view.keys).style(dim), keys);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(view: &View) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(30, 5)).expect("a terminal");
        terminal.draw(|frame| draw(frame, view)).expect("drawn");
        let buffer = terminal.backend().buffer().clone();
        let row = |y| (0..30).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..5).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn view(chosen: Option<usize>, from: usize) -> View {
        let lines = (0..9).map(|number| format!("pair-{number} protected")).collect();
        View { head: "fleet".into(), is_old: false, lines, chosen, from, keys: "q quit" }
    }

    #[test]
    fn the_chosen_line_is_on_the_screen() {
        let shown = drawn(&view(Some(7), 0));
        let rows = ["pair-5 protected", "pair-6 protected", "pair-7 protected"];
        assert_eq!(shown, [&["fleet"][..], &rows[..], &["q quit"][..]].concat());
        assert_eq!(drawn(&view(Some(0), 0))[1], "pair-0 protected");
        assert_eq!(drawn(&view(None, 4))[1], "pair-4 protected");
    }

    #[test]
    fn trouble_has_its_colour_before_what_is_well() {
        assert_eq!(style_of("shop  blocked  primary").fg, Some(Color::Red));
        assert_eq!(style_of("shop  unknown  primary").fg, Some(Color::Magenta));
        assert_eq!(style_of("shop").fg, None);
    }
}
