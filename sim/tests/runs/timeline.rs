//! A timeline holds what happened in its run, and the same run gives the same bytes.

use std::time::Duration;

use continuum_sim::timeline::{Format, Timeline, tell};
use continuum_sim::trace::Noted;
use continuum_sim::{Watch, scenario};

/// The primary's region loses power: two epochs, two holders, one fault.
const STORY: &str = "primary-region-loses-power";

fn svg(broken: bool) -> String {
    let scenario = scenario::find(STORY).expect("the scenario exists");
    let (mut verdict, mut recorded) = tell(&scenario, Watch::default());
    assert!(verdict.is_ok(), "{:?}", verdict.findings);
    if broken {
        let what = "VIOLATION I1: <two> primaries".to_owned();
        recorded.notes.push(Noted { at: Duration::from_secs(5), who: "judge".into(), what });
        verdict.findings.push("I1: <two> primaries".into());
    }
    let what = format!("--scenario {STORY}");
    let timeline = Timeline { what: &what, recorded: &recorded, verdict: &verdict };
    let page = timeline.render(Format::Html);
    let svg = timeline.render(Format::Svg);
    assert!(page.contains(&svg), "the page shows the same picture");
    assert!(page.contains("fsn loses power for"), "and lists the events");
    for outside in ["src=", "href=", "<script", "@import"] {
        assert!(!page.contains(outside), "a page that needs {outside}");
    }
    svg
}

/// What is drawn in the lane of `name`.
fn lane<'a>(svg: &'a str, name: &str) -> &'a str {
    let (_, rest) = svg.split_once(&format!("<g id=\"lane-{name}\">")).expect("a lane");
    rest.split_once("</g>").map_or(rest, |(lane, _)| lane)
}

fn contains_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
}

/// One test, because a process runs one simulation at a time.
#[test]
fn a_timeline_holds_its_run() {
    let first = svg(false);
    contains_all(&first, &["--scenario primary-region-loses-power", ">OK</tspan>", "no acks"]);
    for quiet in ["w1", "c1", "c2", "c3"] {
        lane(&first, quiet);
    }
    let (fsn, hel) = (lane(&first, "fsn"), lane(&first, "hel"));
    contains_all(fsn, &[">epoch 1, created<", ">promote<", "stop at once", ">power off "]);
    contains_all(fsn, &["class=\"fault\"", "class=\"e1\"", "fsn acknowledged", "under epoch 1"]);
    contains_all(hel, &[">epoch 2, expired<", ">promote<", "hel acknowledged", "under epoch 2"]);
    assert!(!fsn.contains("under epoch 2") && !hel.contains("under epoch 1 ("), "each in its lane");
    assert!(!hel.contains("class=\"fault\""), "nothing struck hel");
    assert!(!first.contains("VIOLATION"), "nothing is wrong");

    assert_eq!(svg(false), first, "the same run gives the same bytes");

    let wrong = svg(true);
    contains_all(&wrong, &[">WRONG</tspan>", ">I1: &lt;two&gt; primaries</text>"]);
    let told = "<title>5.00 s: VIOLATION I1: &lt;two&gt; primaries</title>";
    let line = |line: &str| line.starts_with("<line class=\"wrongline\"") && line.contains(told);
    assert!(wrong.lines().any(line), "no red line through all lanes");
}
