//! What a page draws, as far as it is text: every glyph, its place, and how far it reaches.
//!
//! Colours, pictures and clipping are passed over. Invisible text counts: it is how recognised text lies under a scan.

use std::collections::BTreeMap;
use std::rc::Rc;

use lopdf::content::{Content, Operation};
use lopdf::{DecompressError, Dictionary, Document, Error, Object, ObjectId, Stream};

use super::font::{Font, is_named};

/// What all that a file draws may unpack to.
const MOST_BYTES: usize = 2 << 30;
/// What a page, or a form on it, may unpack to.
const LARGEST_CONTENT: usize = 64 << 20;
/// The most operations of a file, and what a form counts as: it has a stream to unpack.
const MOST_OPERATIONS: u64 = 50_000_000;
const FORM_OPERATIONS: u64 = 500;
/// The most glyphs of a page.
const MOST_GLYPHS: usize = 1_000_000;
/// What a font counts as beside its table.
const FONT_BYTES: usize = 1 << 20;
/// How deep forms may lie in forms, saved states in saved states, and pages in the tree.
const DEEPEST: usize = 64;

/// A glyph on a page.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    /// What it means.
    pub(super) text: String,
    /// Where its baseline begins.
    pub(super) at: (f64, f64),
    /// Where the pen is after it.
    pub(super) end: (f64, f64),
    /// How high a line of it is.
    pub(super) size: f64,
}

/// A mapping of places: `x' = a x + c y + e`, `y' = b x + d y + f`.
#[derive(Debug, Clone, Copy)]
struct Matrix([f64; 6]);

impl Matrix {
    const SAME: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// This one first, and then `next`.
    fn then(self, next: Self) -> Self {
        let ([a, b, c, d, e, f], [ha, hb, hc, hd, he, hf]) = (self.0, next.0);
        Self([
            a * ha + b * hc,
            a * hb + b * hd,
            c * ha + d * hc,
            c * hb + d * hd,
            e * ha + f * hc + he,
            e * hb + f * hd + hf,
        ])
    }

    fn shift(x: f64, y: f64) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y])
    }

    fn origin(self) -> (f64, f64) {
        (self.0[4], self.0[5])
    }

    fn read(operands: &[Object]) -> Option<Self> {
        let mut numbers = [0.0; 6];
        for (number, operand) in numbers.iter_mut().zip(operands.get(..6)?) {
            *number = f64::from(operand.as_float().ok()?);
        }
        Some(Self(numbers))
    }
}

#[derive(Clone)]
struct State {
    place: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    between: f64,
    between_words: f64,
    stretch: f64,
    leading: f64,
    rise: f64,
}

/// What is done to read the pages of a file, and what was done so far.
pub(super) struct Work<'a> {
    document: &'a Document,
    /// By the place of their description in memory, which decides nothing but whether one is read twice.
    fonts: BTreeMap<usize, Rc<Font>>,
    bytes: usize,
    operations: u64,
    glyphs: Vec<Glyph>,
}

impl<'a> Work<'a> {
    /// Begins with a file.
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, fonts: BTreeMap::new(), bytes: 0, operations: 0, glyphs: Vec::new() }
    }

    /// Returns what a page draws, in its order.
    pub(super) fn page(&mut self, page: ObjectId) -> Result<Vec<Glyph>, String> {
        let content = self.document.get_page_content_with_limit(page, self.bytes_left());
        let content = content.map_err(|_| too_much())?;
        self.bytes += content.len();
        self.draw(&content, self.resources(page), Matrix::SAME, 0)?;
        Ok(std::mem::take(&mut self.glyphs))
    }

    fn bytes_left(&self) -> usize {
        LARGEST_CONTENT.min(MOST_BYTES.saturating_sub(self.bytes))
    }

    /// Returns what a page names fonts and forms by: its own, or that of what it lies in.
    fn resources(&self, page: ObjectId) -> Option<&'a Dictionary> {
        let mut node = self.document.get_dictionary(page).ok()?;
        for _ in 0..DEEPEST {
            if let Ok(resources) = node.get_deref(b"Resources", self.document).and_then(Object::as_dict) {
                return Some(resources);
            }
            node = node.get_deref(b"Parent", self.document).and_then(Object::as_dict).ok()?;
        }
        None
    }

    fn draw(
        &mut self,
        content: &[u8],
        resources: Option<&'a Dictionary>,
        place: Matrix,
        depth: usize,
    ) -> Result<(), String> {
        let mut pen = Pen {
            state: State {
                place,
                font: None,
                size: 0.0,
                between: 0.0,
                between_words: 0.0,
                stretch: 1.0,
                leading: 0.0,
                rise: 0.0,
            },
            saved: Vec::new(),
            line: Matrix::SAME,
            text: Matrix::SAME,
        };
        // What cannot be read ends the page; what was drawn before it stays.
        for operation in Content::<Vec<Operation>>::decode_iter(content).map_while(Result::ok) {
            self.operations += 1;
            if self.operations > MOST_OPERATIONS || self.glyphs.len() > MOST_GLYPHS {
                return Err(too_much());
            }
            let Operation { operator, operands } = &operation;
            match &**operator {
                "Tf" => self.choose_font(&mut pen, operands, resources),
                "Do" => self.form(&pen, operands, resources, depth)?,
                "Tj" => pen.show(operands.first(), &mut self.glyphs),
                "TJ" => pen.show_all(operands.first(), &mut self.glyphs),
                "'" => {
                    pen.next_line(0.0, -pen.state.leading);
                    pen.show(operands.first(), &mut self.glyphs);
                }
                "\"" => {
                    if let [words, letters, ..] = operands.as_slice() {
                        pen.state.between_words = number(words).unwrap_or(0.0);
                        pen.state.between = number(letters).unwrap_or(0.0);
                    }
                    pen.next_line(0.0, -pen.state.leading);
                    pen.show(operands.get(2), &mut self.glyphs);
                }
                operator => pen.set(operator, operands),
            }
        }
        Ok(())
    }

    fn choose_font(&mut self, pen: &mut Pen, operands: &[Object], resources: Option<&'a Dictionary>) {
        let [name, size, ..] = operands else { return };
        pen.state.size = number(size).unwrap_or(0.0);
        let document = self.document;
        let fonts = resources.and_then(|resources| resources.get_deref(b"Font", document).ok()?.as_dict().ok());
        let font = fonts.zip(name.as_name().ok());
        let font = font.and_then(|(fonts, name)| fonts.get_deref(name, document).ok()?.as_dict().ok());
        pen.state.font = font.map(|font| {
            let known = self.fonts.entry(std::ptr::from_ref(font) as usize);
            Rc::clone(known.or_insert_with(|| {
                let font = Font::read(font, document);
                self.bytes += FONT_BYTES + font.unpacked;
                Rc::new(font)
            }))
        });
    }

    /// Draws a form: a page within the page.
    fn form(
        &mut self,
        pen: &Pen,
        operands: &[Object],
        resources: Option<&'a Dictionary>,
        depth: usize,
    ) -> Result<(), String> {
        let document = self.document;
        let named = resources.and_then(|resources| resources.get_deref(b"XObject", document).ok()?.as_dict().ok());
        let named = named.zip(operands.first().and_then(|name| name.as_name().ok()));
        let form = named.and_then(|(named, name)| named.get_deref(name, document).ok()?.as_stream().ok());
        let is_form = |stream: &&Stream| is_named(&stream.dict, b"Subtype", b"Form");
        let Some(form) = form.filter(is_form).filter(|_| depth < DEEPEST) else { return Ok(()) };
        let content = match form.get_plain_content_with_limit(self.bytes_left()) {
            Ok(content) => content,
            Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => return Err(too_much()),
            Err(_) => return Ok(()),
        };
        self.bytes += content.len();
        self.operations += FORM_OPERATIONS;
        let matrix = form.dict.get_deref(b"Matrix", document).and_then(Object::as_array).ok();
        let matrix = matrix.and_then(|matrix| Matrix::read(matrix)).unwrap_or(Matrix::SAME);
        let own = form.dict.get_deref(b"Resources", document).and_then(Object::as_dict).ok();
        self.draw(&content, own.or(resources), matrix.then(pen.state.place), depth + 1)
    }
}

fn too_much() -> String {
    "it draws more than any page does".into()
}

fn number(object: &Object) -> Option<f64> {
    object.as_float().ok().map(f64::from)
}

/// Where text is written, and how.
struct Pen {
    state: State,
    saved: Vec<State>,
    line: Matrix,
    text: Matrix,
}

impl Pen {
    fn set(&mut self, operator: &str, operands: &[Object]) {
        let first = operands.first().and_then(number);
        let two = first.zip(operands.get(1).and_then(number));
        match (operator, first, two) {
            ("q", ..) if self.saved.len() < DEEPEST * DEEPEST => self.saved.push(self.state.clone()),
            ("Q", ..) => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            ("cm", ..) => {
                let place = Matrix::read(operands).unwrap_or(Matrix::SAME);
                self.state.place = place.then(self.state.place);
            }
            ("BT", ..) => (self.line, self.text) = (Matrix::SAME, Matrix::SAME),
            ("Tc", Some(between), _) => self.state.between = between,
            ("Tw", Some(between), _) => self.state.between_words = between,
            ("Tz", Some(percent), _) => self.state.stretch = percent / 100.0,
            ("TL", Some(leading), _) => self.state.leading = leading,
            ("Ts", Some(rise), _) => self.state.rise = rise,
            ("Td", _, Some((x, y))) => self.next_line(x, y),
            ("TD", _, Some((x, y))) => {
                self.state.leading = -y;
                self.next_line(x, y);
            }
            ("T*", ..) => self.next_line(0.0, -self.state.leading),
            ("Tm", ..) => {
                if let Some(matrix) = Matrix::read(operands) {
                    (self.line, self.text) = (matrix, matrix);
                }
            }
            _ => {}
        }
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.line = Matrix::shift(x, y).then(self.line);
        self.text = self.line;
    }

    fn show_all(&mut self, parts: Option<&Object>, glyphs: &mut Vec<Glyph>) {
        for part in parts.and_then(|parts| parts.as_array().ok()).into_iter().flatten() {
            match number(part) {
                Some(back) => self.advance(-back / 1000.0 * self.state.size * self.state.stretch),
                None => self.show(Some(part), glyphs),
            }
        }
    }

    fn show(&mut self, text: Option<&Object>, glyphs: &mut Vec<Glyph>) {
        let Some(mut bytes) = text.and_then(|text| text.as_str().ok()) else { return };
        let Some(font) = self.state.font.clone() else { return };
        while let Some(drawn) = font.next(&mut bytes) {
            let State { place, size, stretch, rise, between, between_words, .. } = self.state;
            let here = Matrix([size * stretch, 0.0, 0.0, size, 0.0, rise]).then(self.text).then(place);
            // What stands between letters is no part of them.
            let end = Matrix::shift(drawn.width, 0.0).then(here).origin();
            let words = if drawn.is_space { between_words } else { 0.0 };
            self.advance((drawn.width * size + between + words) * stretch);
            let height = here.0[2].hypot(here.0[3]);
            glyphs.push(Glyph { text: drawn.text, at: here.origin(), end, size: height });
        }
    }

    fn advance(&mut self, by: f64) {
        self.text = Matrix::shift(by, 0.0).then(self.text);
    }
}
