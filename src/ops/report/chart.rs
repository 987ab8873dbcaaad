//! Line charts as SVG.
//!
//! Colours are classes, so that the page decides them for light and dark. Nothing is told by colour alone: each task
//! has a mark of its own too, each series a dash, and every point a title with its numbers.

use std::fmt::Write;

use super::scale::Scale;

/// Room around the plot: for the ticks of y, for what stands right of it, above it, and for the ticks and name of x.
const LEFT: f64 = 50.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// The least distance of two labels, in pixels.
const LABEL_GAP: f64 = 14.0;

/// Colours that the page defines.
pub(super) const COLOURS: usize = 6;

const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];

/// A chart.
pub(super) struct Chart<'a> {
    /// What it shows, for those who do not see it.
    pub(super) title: &'a str,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Room right of the plot, for the names of reference lines.
    pub(super) right: f64,
    pub(super) x: Scale,
    pub(super) x_name: &'a str,
    pub(super) y: Scale,
    /// What follows the number at a tick of y.
    pub(super) y_suffix: &'a str,
    pub(super) lines: Vec<Line>,
    pub(super) references: Vec<Reference>,
}

/// One series.
pub(super) struct Line {
    pub(super) look: Look,
    pub(super) points: Vec<Point>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A line with marks: colour and mark say the task, the dash says the series.
    Marked { task: usize, series: usize },
    /// A line without marks; its points still have titles.
    Smooth,
    /// A thin pale line behind another one, without titles.
    Raw,
}

/// One point of a series.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) error: Option<f64>,
    /// What is shown when the pointer rests on it; none without one.
    pub(super) title: String,
    /// Whether a `select` chose it: a ring is drawn around it.
    pub(super) chosen: bool,
}

/// A horizontal line with a name: what a model outside the sweep has.
pub(super) struct Reference {
    pub(super) y: f64,
    pub(super) name: String,
    pub(super) title: String,
}

impl Chart<'_> {
    /// Returns the drawing.
    pub(super) fn svg(&self) -> String {
        let mut svg = Svg::default();
        let (width, height) = (self.width, self.height);
        svg.add(format_args!(
            "<svg class=\"chart\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             role=\"img\" aria-label=\"{}\">",
            escape(self.title)
        ));
        self.axes(&mut svg);
        self.draw_references(&mut svg);
        for line in &self.lines {
            self.draw_line(&mut svg, line);
        }
        svg.add(format_args!("</svg>"));
        svg.0
    }

    fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }

    fn end(&self) -> f64 {
        self.width - self.right
    }

    fn place_x(&self, x: f64) -> f64 {
        LEFT + self.x.along(x) * (self.end() - LEFT)
    }

    fn place_y(&self, y: f64) -> f64 {
        self.bottom() - self.y.along(y) * (self.bottom() - TOP)
    }

    fn axes(&self, svg: &mut Svg) {
        let (end, bottom) = (self.end(), self.bottom());
        for tick in &self.y.ticks {
            let y = self.place_y(*tick);
            svg.add(format_args!(
                "<line class=\"grid\" x1=\"{LEFT:.1}\" y1=\"{y:.1}\" x2=\"{end:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}{}</text>",
                LEFT - 8.0,
                y + 4.0,
                self.y.label(*tick),
                escape(self.y_suffix)
            ));
        }
        svg.add(format_args!(
            "<line class=\"axis\" x1=\"{LEFT:.1}\" y1=\"{bottom:.1}\" x2=\"{end:.1}\" y2=\"{bottom:.1}\"/>"
        ));
        for tick in &self.x.ticks {
            let x = self.place_x(*tick);
            svg.add(format_args!(
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                self.x.label(*tick)
            ));
        }
        svg.add(format_args!(
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, end),
            self.height - 8.0,
            escape(self.x_name)
        ));
    }

    fn draw_references(&self, svg: &mut Svg) {
        let end = self.end();
        let wanted: Vec<f64> = self.references.iter().map(|reference| self.place_y(reference.y)).collect();
        let labels = spread(&wanted, TOP, self.bottom());
        for ((reference, y), label) in self.references.iter().zip(&wanted).zip(labels) {
            svg.add(format_args!(
                "<g class=\"reference\"><title>{}</title>\
                 <line x1=\"{LEFT:.1}\" y1=\"{y:.1}\" x2=\"{end:.1}\" y2=\"{y:.1}\"/>\
                 <polyline class=\"lead\" points=\"{end:.1},{y:.1} {:.1},{label:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                escape(&reference.title),
                end + 8.0,
                end + 11.0,
                label + 4.0,
                escape(&shortened(&reference.name, ((self.right - 14.0) / 6.6) as usize))
            ));
        }
    }

    fn draw_line(&self, svg: &mut Svg, line: &Line) {
        let (class, dash) = match line.look {
            Look::Marked { task, series } => (format!("line c{}", task % COLOURS), DASHES[series % DASHES.len()]),
            Look::Smooth => ("line neutral".to_owned(), ""),
            Look::Raw => ("raw neutral".to_owned(), ""),
        };
        let mut path = String::new();
        for point in &line.points {
            let space = if path.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(path, "{space}{:.1},{:.1}", self.place_x(point.x), self.place_y(point.y));
        }
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        svg.add(format_args!("<polyline class=\"{class}\" points=\"{path}\"{dash}/>"));
        for point in &line.points {
            self.draw_point(svg, line.look, point);
        }
    }

    fn draw_point(&self, svg: &mut Svg, look: Look, point: &Point) {
        let (x, y) = (self.place_x(point.x), self.place_y(point.y));
        let (colour, mark) = match look {
            Look::Marked { task, .. } => (format!("c{}", task % COLOURS), mark(task, x, y)),
            Look::Smooth if !point.title.is_empty() => {
                ("neutral".to_owned(), format!("<circle class=\"touch\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>"))
            }
            Look::Smooth | Look::Raw => return,
        };
        svg.add(format_args!("<g class=\"point {colour}\"><title>{}</title>", escape(&point.title)));
        if let Some(error) = point.error.filter(|error| *error > 0.0) {
            let clip = |y: f64| self.place_y(y).clamp(TOP, self.bottom());
            let (high, low) = (clip(point.y + error), clip(point.y - error));
            let (left, right) = (x - 3.0, x + 3.0);
            svg.add(format_args!(
                "<path class=\"error\" d=\"M{x:.1} {high:.1}V{low:.1}M{left:.1} {high:.1}H{right:.1}\
                 M{left:.1} {low:.1}H{right:.1}\"/>"
            ));
        }
        if point.chosen {
            svg.add(format_args!(
                "<circle fill=\"none\" stroke=\"currentColor\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>"
            ));
        }
        svg.add(format_args!("{mark}</g>"));
    }
}

/// Returns a small drawing of how a series looks, for a legend.
pub(super) fn swatch(task: usize, series: usize) -> String {
    let (class, dash) = (task % COLOURS, DASHES[series % DASHES.len()]);
    format!(
        "<svg class=\"swatch\" width=\"34\" height=\"12\" aria-hidden=\"true\"><polyline class=\"line c{class}\" \
         points=\"1,6 33,6\" stroke-dasharray=\"{dash}\"/><g class=\"point c{class}\">{}</g></svg>",
        mark(task, 17.0, 6.0)
    )
}

fn mark(task: usize, x: f64, y: f64) -> String {
    match task % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>", x - 3.5, y - 3.5),
        2 => format!("<path d=\"M{x:.1} {:.1}l4.6 8h-9.2z\"/>", y - 5.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"/>", y - 5.0),
    }
}

/// Moves labels apart that would overlap, as little as needed and within the plot.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|left, right| wanted[*left].total_cmp(&wanted[*right]));
    let mut places = wanted.to_vec();
    let mut lowest = top;
    for label in &order {
        places[*label] = wanted[*label].max(lowest);
        lowest = places[*label] + LABEL_GAP;
    }
    let mut highest = bottom;
    for label in order.iter().rev() {
        places[*label] = places[*label].min(highest);
        highest = places[*label] - LABEL_GAP;
    }
    places
}

/// Returns the text, cut to `length` characters.
fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

/// Returns foreign text as it may stand in SVG and HTML, inside quotes too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[derive(Default)]
struct Svg(String);

impl Svg {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let places = spread(&[50.0, 52.0, 51.0], 10.0, 100.0);
        assert!(places[0] < places[2] && places[2] < places[1], "{places:?}");
        let close = spread(&[99.0, 98.0, 97.0], 10.0, 100.0);
        assert!(close.iter().all(|place| (10.0..=100.0).contains(place)), "{close:?}");
        for places in [places, close] {
            let mut sorted = places.clone();
            sorted.sort_by(f64::total_cmp);
            assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_GAP - 1e-9), "{places:?}");
        }
        assert_eq!(spread(&[20.0, 80.0], 10.0, 100.0), [20.0, 80.0]);
    }

    #[test]
    fn foreign_text_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&'\n"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39; ");
    }
}
