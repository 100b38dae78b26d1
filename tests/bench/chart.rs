//! A bar chart of requests per second, as SVG, for light and dark pages.

use std::fmt::Write;

/// The requests of one kind that each server answered in a second.
pub struct Group {
    pub title: String,
    pub bars: Vec<(String, f64)>,
}

const WIDTH: f64 = 760.0;
const BARS_LEFT: f64 = 210.0;
const BAR_WIDTH_MAX: f64 = 460.0;
const BAR_HEIGHT: f64 = 22.0;
const BAR_GAP: f64 = 6.0;
const TITLE_HEIGHT: f64 = 34.0;
const GROUP_GAP: f64 = 14.0;
/// Readable on white and on black.
const INK: &str = "#6b7785";
const OURS: &str = "#2f81f7";
const OTHERS: &str = "#9aa4af";

/// Draws `groups` below each other, each on a scale of its own: a save is compared with saves.
/// The bars called `ours` stand out.
pub fn draw(groups: &[Group], ours: &str) -> String {
    let mut body = String::new();
    let mut top = 0.0;
    for group in groups {
        draw_group(&mut body, group, ours, top);
        top += TITLE_HEIGHT + group.bars.len() as f64 * (BAR_HEIGHT + BAR_GAP) + GROUP_GAP;
    }
    let height = top - GROUP_GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"14\" fill=\"{INK}\">\n\
         {body}</svg>\n"
    )
}

fn draw_group(body: &mut String, Group { title, bars }: &Group, ours: &str, top: f64) {
    let most = bars.iter().map(|(_, figure)| *figure).fold(f64::MIN_POSITIVE, f64::max);
    let baseline = top + 20.0;
    line(body, format_args!(r#"<text x="0" y="{baseline}" font-weight="bold">{title}</text>"#));
    for (number, (name, figure)) in bars.iter().enumerate() {
        let y = top + TITLE_HEIGHT + number as f64 * (BAR_HEIGHT + BAR_GAP);
        let middle = y + BAR_HEIGHT / 2.0 + 5.0;
        let width = (figure / most * BAR_WIDTH_MAX).max(1.0);
        let (fill, weight) = if name == ours { (OURS, "bold") } else { (OTHERS, "normal") };
        let label = BARS_LEFT - 10.0;
        line(
            body,
            format_args!(
                r#"<text x="{label}" y="{middle}" text-anchor="end" font-weight="{weight}">{name}</text>"#
            ),
        );
        line(
            body,
            format_args!(
                r#"<rect x="{BARS_LEFT}" y="{y}" width="{width:.0}" height="{BAR_HEIGHT}" rx="2" fill="{fill}"/>"#
            ),
        );
        let end = BARS_LEFT + width.round() + 8.0;
        let figure = rounded(*figure);
        line(
            body,
            format_args!(r#"<text x="{end}" y="{middle}" font-weight="{weight}">{figure}</text>"#),
        );
    }
}

fn line(body: &mut String, text: std::fmt::Arguments) {
    writeln!(body, "{text}").expect("a string takes all");
}

/// To the hundred, as in `84,600`: more digits would differ in the next run.
pub fn rounded(figure: f64) -> String {
    let hundreds = (figure / 100.0).round() as u64;
    match hundreds / 10 {
        0 => format!("{}", hundreds * 100),
        thousands => format!("{thousands},{}00", hundreds % 10),
    }
}
