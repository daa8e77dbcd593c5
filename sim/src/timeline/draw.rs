//! Puts the lanes in their places.

use std::cmp::Reverse;
use std::time::Duration;

use super::Timeline;
use super::flags::{Flag, flags};
use super::header::{header, legend};
use super::lanes::{Lane, Lease, Mark, Member, Role, Running, Sign, Span, lanes, seconds};
use super::notes;
use super::scale::{Scale, Wish, stack, width};
use super::style::{DEFINITIONS, EPOCH_COLOURS, STYLE};
use super::svg::Svg;

/// Where time begins; names stand left of it.
pub(super) const LEFT: f64 = 150.0;
const MARGIN: f64 = 24.0;
/// Least width of the part that shows time.
const PLOT_MIN: f64 = 1_150.0;
/// What a simulated second gets at least.
const SECOND_MIN: f64 = 9.0;

const LABEL: f64 = 11.0;
const LABEL_ROW: f64 = 14.0;
const SYMBOL_ROW: f64 = 15.0;
const LEASE_ROW: f64 = 18.0;
const ROLE_ROW: f64 = 9.0;
const ACKS_ROW: f64 = 26.0;
const FAULT_ROW: f64 = 17.0;
const PADDING: f64 = 5.0;
/// Rows of labels a lane may have; what does not fit keeps its mark and its hover text.
const LABEL_ROWS: usize = 6;
/// Distance of two signs of one instant.
const SYMBOL: f64 = 10.0;
/// A column of acknowledgements is at least this wide.
const COLUMN: f64 = 4.0;

struct Canvas<'a> {
    timeline: &'a Timeline<'a>,
    scale: Scale,
    slice: Duration,
    /// Behind everything.
    back: Svg,
    front: Svg,
    y: f64,
    /// Most acknowledgements in one slice, of all regions.
    most: u64,
}

/// The picture, as SVG.
pub(super) fn picture(timeline: &Timeline<'_>) -> String {
    let end = timeline.recorded.end;
    let plot = (end.as_secs_f64() * SECOND_MIN).max(PLOT_MIN);
    let scale = Scale::new(LEFT, plot, end);
    let slice = scale.slice(COLUMN);
    let lanes = lanes(timeline.recorded, slice);
    let most = lanes.iter().filter_map(|lane| lane.member.as_ref()).flat_map(Member::columns);
    let most = most.map(|(_, count)| count).max().unwrap_or(0);
    let (back, front) = (Svg::default(), Svg::default());
    let mut canvas = Canvas { timeline, scale, slice, back, front, y: 0.0, most };
    canvas.y = header(&mut canvas.front, timeline, scale.right, 26.0) + 18.0;
    legend(&mut canvas.front, canvas.y);
    canvas.y += 16.0;
    canvas.moments();
    let top = canvas.y + 16.0;
    canvas.axis(top - 4.0);
    canvas.y = top;
    canvas.clients();
    for (index, lane) in lanes.iter().enumerate() {
        canvas.lane(lane, index % 2 == 0);
    }
    canvas.uprights(top);
    let bottom = canvas.y + 14.0;
    canvas.axis(bottom);
    canvas.finish(bottom + 12.0)
}

impl Member {
    /// Acknowledgements by slice of time, all epochs together.
    fn columns(&self) -> Vec<(u64, u64)> {
        let mut columns: Vec<(u64, u64)> = Vec::new();
        for ((index, _), count) in &self.acknowledged {
            match columns.last_mut() {
                Some((last, sum)) if last == index => *sum += count,
                _ => columns.push((*index, *count)),
            }
        }
        columns
    }
}

impl Canvas<'_> {
    fn finish(self, height: f64) -> String {
        let width = self.scale.right + MARGIN;
        let mut svg = Svg::default();
        let size = format!("0 0 {width:.0} {height:.0}");
        let attributes = [
            ("xmlns", "http://www.w3.org/2000/svg".into()),
            ("width", width.into()),
            ("height", height.into()),
            ("viewBox", (&size).into()),
        ];
        svg.open("svg", &attributes);
        svg.raw(STYLE);
        svg.raw(DEFINITIONS);
        svg.rect("back", (0.0, 0.0), (width, height), "");
        svg.raw(&self.back.finish());
        svg.raw(&self.front.finish());
        svg.finish()
    }

    fn axis(&mut self, y: f64) {
        for tick in self.scale.ticks() {
            let x = self.scale.x(Duration::from_secs(tick));
            self.front.text("tick", (x, y), &format!("{tick} s"));
        }
    }

    /// What concerns the whole world, above the lanes.
    fn moments(&mut self) {
        let timeline = self.timeline;
        let marks = notes::world(&timeline.recorded.notes);
        self.labels(&marks, 18.0);
    }

    /// Labels in rows, each with a line down to `foot` below them.
    fn labels(&mut self, marks: &[Mark], foot: f64) {
        let flags = self.flags(marks);
        let texts: Vec<String> = flags.iter().map(|flag| flag.text(LABEL)).collect();
        let wishes: Vec<Wish> =
            flags.iter().zip(&texts).map(|(flag, text)| self.flag(flag.at, text)).collect();
        let rows = stack(&wishes, LABEL_ROWS);
        let used = rows.iter().flatten().max().map_or(0, |most| most + 1);
        let bottom = self.y + LABEL_ROW * count(used);
        for (((flag, text), wish), row) in flags.iter().zip(&texts).zip(&wishes).zip(rows) {
            let Some(row) = row else { continue };
            let y = bottom - LABEL_ROW * count(row) - 3.0;
            let x = self.scale.x(flag.at);
            let (line, class) = match flag.sign {
                Sign::Wrong => ("wrongline", "label wrongtext"),
                _ => ("stem", "label"),
            };
            self.front.line(line, (x, y - 8.0), (x, bottom + foot), "");
            self.front.text(class, (wish.from + 4.0, y), text);
        }
        self.y = bottom;
    }

    /// The place of a label at an instant: right of it, or left where the picture ends.
    fn flag(&self, at: Duration, text: &str) -> Wish {
        let (x, space) = (self.scale.x(at), width(text, LABEL) + 4.0);
        let fits = x + space <= self.scale.right + MARGIN;
        let from = if fits { x } else { x - space - 4.0 };
        Wish { from, to: from + space, stem: Some(x) }
    }

    /// The lines that run through all lanes.
    fn uprights(&mut self, top: f64) {
        let (timeline, bottom) = (self.timeline, self.y);
        for tick in self.scale.ticks() {
            let x = self.scale.x(Duration::from_secs(tick));
            self.back.line("grid", (x, top), (x, bottom), "");
        }
        for mark in notes::world(&timeline.recorded.notes) {
            let x = self.scale.x(mark.at);
            if mark.sign == Sign::Wrong {
                self.front.line("wrongline", (x, top), (x, bottom), &mark.title);
            } else {
                self.back.line("moment", (x, top), (x, bottom), &mark.title);
            }
        }
    }

    /// What all clients together saw: acknowledgements, or none for a while.
    fn clients(&mut self) {
        let (y, height) = (self.y + PADDING, 14.0);
        self.front.text("name", (14.0, y + 11.0), "clients");
        self.front.text("row", (LEFT - 8.0, y + 11.0), "acknowledged");
        let silences = self.timeline.silences();
        if let Some(first) = self.timeline.acknowledged().min() {
            let x = self.scale.x(first);
            let whole = (self.scale.right - x, height);
            self.front.rect("steady", (x, y), whole, "clients are acknowledged");
        }
        for (from, to) in silences {
            let (x, end) = (self.scale.x(from), self.scale.x(to));
            let span = format!("{:.1} s", (to - from).as_secs_f64());
            let text = format!("no acks {span}");
            let title = format!("{text} ({} to {} s)", seconds(from), seconds(to));
            self.front.rect("gap", (x, y), (end - x, height), &title);
            let fits = [text, span].into_iter().find(|text| width(text, LABEL) + 8.0 <= end - x);
            self.words_on(&fits.unwrap_or_default(), (x + 4.0, y + 11.0));
        }
        self.y = y + height + PADDING;
    }

    /// Words on a hatched ground.
    fn words_on(&mut self, text: &str, (x, y): (f64, f64)) {
        if !text.is_empty() {
            self.front.rect("over", (x - 2.0, y - 9.5), (width(text, LABEL) + 2.0, 12.0), "");
            self.front.text("label", (x, y), text);
        }
    }

    fn lane(&mut self, lane: &Lane, tinted: bool) {
        let top = self.y;
        self.front.open("g", &[("id", (&format!("lane-{}", lane.name)).into())]);
        self.y += PADDING;
        self.marks(lane);
        if let Some(member) = &lane.member {
            self.leases(&member.leases);
            self.running(&member.running);
            self.acknowledged(&lane.name, member);
        }
        self.spans(&lane.spans, lane.member.is_some());
        self.y = self.y.max(top + 20.0) + PADDING;
        self.front.text("name", (14.0, top + 17.0), &lane.name);
        self.front.text("small", (60.0, top + 17.0), lane.about);
        self.front.close();
        let (width, height) = (self.scale.right + MARGIN, self.y - top);
        if tinted {
            self.back.rect("lane", (0.0, top), (width, height), "");
        }
        self.back.line("rule", (0.0, self.y), (width, self.y), "");
    }

    fn row(&mut self, name: &str, height: f64) -> f64 {
        let y = self.y;
        self.front.text("row", (LEFT - 8.0, y + height / 2.0 + 3.0), name);
        self.y += height + 2.0;
        y
    }

    /// Labels above, signs below them, each label joined to its sign.
    fn marks(&mut self, lane: &Lane) {
        self.labels(&lane.marks, SYMBOL_ROW / 2.0);
        let signs = self.y + SYMBOL_ROW / 2.0;
        let mut last: Option<(f64, Sign)> = None;
        for mark in &lane.marks {
            let x = self.scale.x(mark.at);
            // Different signs at one instant stand side by side, or none could be told.
            let place = match last {
                Some((before, sign)) if sign != mark.sign => x.max(before + SYMBOL),
                _ => x,
            };
            symbol(&mut self.front, mark.sign, (place, signs), &mark.title);
            last = Some((place, mark.sign));
        }
        if lane.member.is_some() || !lane.marks.is_empty() {
            self.y = signs + SYMBOL_ROW / 2.0;
        }
    }

    /// Labels from right to left, so that their lines run down beside the words; where not all
    /// find room, mere facts come last.
    fn flags(&self, marks: &[Mark]) -> Vec<Flag> {
        let mut flags = flags(marks, &self.scale);
        flags.sort_by_key(|flag| Reverse(flag.at));
        let wishes: Vec<Wish> =
            flags.iter().map(|flag| self.flag(flag.at, &flag.text(LABEL))).collect();
        let rows = stack(&wishes, LABEL_ROWS);
        if flags.iter().zip(rows).any(|(flag, row)| flag.sign != Sign::Other && row.is_none()) {
            flags.sort_by_key(|flag| (flag.sign == Sign::Other, Reverse(flag.at)));
        }
        flags
    }

    fn leases(&mut self, leases: &[Lease]) {
        if leases.is_empty() {
            return;
        }
        let y = self.row("lease", LEASE_ROW);
        for lease in leases {
            let (x, end) = (self.scale.x(lease.from), self.scale.x(lease.to));
            let class = format!("e{}", lease.epoch % EPOCH_COLOURS);
            let by = lease.by.as_ref().map_or(String::new(), |by| format!(", {by}"));
            let text = format!("epoch {}{by}", lease.epoch);
            let when = format!("{} to {} s", seconds(lease.from), seconds(lease.to));
            let size = ((end - x).max(1.5), LEASE_ROW);
            self.front.rect(&class, (x, y), size, &format!("{text} ({when})"));
            // A short bar still has room for the number.
            let short = [text, format!("epoch {}", lease.epoch), lease.epoch.to_string()];
            let fits = short.iter().find(|text| width(text, 12.0) + 8.0 <= end - x);
            self.front.text("inbar", (x + 5.0, y + 13.0), fits.map_or("", String::as_str));
        }
    }

    fn running(&mut self, running: &[Running]) {
        let y = self.row("PostgreSQL", ROLE_ROW);
        for one in running {
            let (x, end) = (self.scale.x(one.from), self.scale.x(one.to));
            let (class, words) = match one.role {
                Role::Primary => ("primary", "PostgreSQL runs as primary"),
                Role::Standby => ("standby", "PostgreSQL runs as standby"),
            };
            let title = format!("{words} ({} to {} s)", seconds(one.from), seconds(one.to));
            self.front.rect(class, (x, y), ((end - x).max(0.5), ROLE_ROW), &title);
        }
    }

    fn acknowledged(&mut self, name: &str, member: &Member) {
        if member.acknowledged.is_empty() && member.leases.is_empty() {
            return;
        }
        let y = self.row("acks", ACKS_ROW);
        let bottom = y + ACKS_ROW;
        let (mut last, mut below) = (u64::MAX, 0.0);
        for ((index, epoch), acks) in &member.acknowledged {
            let from = self.slice * u32::try_from(*index).unwrap_or(u32::MAX);
            let to = from + self.slice;
            let (x, end) = (self.scale.x(from), self.scale.x(to));
            let height = ACKS_ROW * share(*acks, self.most);
            if *index != last {
                (last, below) = (*index, 0.0);
            }
            let class = format!("e{}", epoch % EPOCH_COLOURS);
            let title = format!(
                "{name} acknowledged {acks}, promoted under epoch {epoch} ({} to {} s)",
                seconds(from),
                seconds(to)
            );
            let place = (x, bottom - below - height);
            self.front.rect(&class, place, ((end - x - 0.6).max(0.6), height), &title);
            below += height;
        }
        self.back.line("stem", (self.scale.left, bottom), (self.scale.right, bottom), "");
        let most = format!("at most {} in {} ms", self.most, self.slice.as_millis());
        self.front.text("row", (LEFT - 8.0, bottom + 1.0), &most);
    }

    /// Faults in rows; only lanes with other rows need to say which these are.
    fn spans(&mut self, spans: &[Span], named: bool) {
        let edges = |span: &Span| {
            let (x, end) = (self.scale.x(span.from), self.scale.x(span.to));
            let space = width(&span.label, LABEL) + 6.0;
            let inside = end - x >= space + 4.0;
            let left = !inside && end + space > self.scale.right + MARGIN;
            match (inside, left) {
                (true, _) => (Wish::bar(x, end), x + 5.0),
                (false, false) => (Wish::bar(x, end + space), end + 5.0),
                (false, true) => (Wish::bar(x - space, end), x - space + 1.0),
            }
        };
        let places: Vec<(Wish, f64)> = spans.iter().map(edges).collect();
        let wishes: Vec<Wish> = places.iter().map(|(wish, _)| *wish).collect();
        let rows = stack(&wishes, usize::MAX);
        let top = self.y + 2.0;
        for ((span, (_, words)), row) in spans.iter().zip(&places).zip(&rows) {
            let y = top + FAULT_ROW * count(row.unwrap_or(0));
            let (x, end) = (self.scale.x(span.from), self.scale.x(span.to));
            self.front.rect("fault", (x, y), ((end - x).max(2.0), FAULT_ROW - 3.0), &span.title);
            if *words > x && *words < end {
                self.words_on(&span.label, (*words, y + 11.0));
            } else {
                self.front.text("label", (*words, y + 11.0), &span.label);
            }
        }
        if let Some(most) = rows.iter().flatten().max() {
            let name = if named { "faults" } else { "" };
            self.front.text("row", (LEFT - 8.0, top + 11.0), name);
            self.y = top + FAULT_ROW * count(most + 1);
        }
    }
}

/// A sign at its place.
pub(super) fn symbol(svg: &mut Svg, sign: Sign, place: (f64, f64), title: &str) {
    let (class, commands) = match sign {
        Sign::Wrong => ("wrong", "m0 6 l-5.5 -10 h11 z"),
        Sign::Fence => ("fence", "m-4 -4 l8 8 m0 -8 l-8 8"),
        Sign::Promote => ("promote", "m0 -6 l5.5 10 h-11 z"),
        Sign::Stop => ("stop", "m-4 -4 h8 v8 h-8 z"),
        Sign::Fault => ("order", "m0 -5.5 l5 5.5 l-5 5.5 l-5 -5.5 z"),
        Sign::Other => ("other", "m-3.5 0 a3.5 3.5 0 1 0 7 0 a3.5 3.5 0 1 0 -7 0 z"),
    };
    svg.path(class, place, commands, title);
}

fn count(rows: usize) -> f64 {
    f64::from(u32::try_from(rows).unwrap_or(u32::MAX))
}

fn share(part: u64, whole: u64) -> f64 {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(part) / number(whole.max(1))
}
