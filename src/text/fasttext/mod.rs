//! Supervised models of fastText (`.bin`, `.ftz`), read and asked as fastText's own C++ does it.
//!
//! The model is that of Joulin, Grave, Bojanowski and Mikolov, "Bag of Tricks for Efficient Text Classification" (2016): the vectors
//! of words, of their n-grams of characters and of n-grams of words are averaged, and the average is set against a vector for every
//! label. "FastText.zip" (2016) adds product quantisation and a dictionary of which the most useful part is kept. The layout of the
//! file and the arithmetic are those of fastText 0.9.2; answers are held against it to 1e-5 (`tests/fixtures/fasttext`).
//!
//! There is a reader of our own because the crate that was here before hashed n-grams of words otherwise, cut words at every white
//! space of Unicode, and allocated what a header asked for. Here no size is believed before the file is long enough for it.
//!
//! Left out: models of word vectors, which have no labels, and the threshold of `predict`, which is 0.

mod best;
mod dictionary;
mod header;
mod loss;
mod matrix;
mod source;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use dictionary::Dictionary;
use header::Header;
use loss::Loss;
use matrix::Matrix;
use source::Source;

/// Whether the file at `path` that is called `name` is named and begins as fastText's models are; no more of it is read.
pub fn is_model(name: &str, path: &Path) -> Result<bool, String> {
    if !Path::new(name).extension().is_some_and(|end| end == "ftz" || end == "bin") {
        return Ok(false);
    }
    let mut begins = Vec::new();
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    file.take(4).read_to_end(&mut begins).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(begins == header::MAGIC.to_le_bytes())
}

/// A model that gives labels to lines.
pub struct Model {
    dictionary: Dictionary,
    input: Matrix,
    output: Matrix,
    loss: Loss,
}

impl Model {
    /// Reads a model; the error names the file and says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        Self::read(BufReader::new(file), length).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reads a model of that many bytes.
    fn read(input: impl BufRead, length: u64) -> Result<Self, String> {
        let mut source = Source::new(input, length);
        let header = Header::read(&mut source)?;
        let dictionary = Dictionary::read(&mut source, &header)?;

        source.part("the vectors of words");
        let quantised = source.flag()?;
        if dictionary.is_pruned() && !quantised {
            return Err(
                "its dictionary is cut and its vectors are not quantised, which fastText refuses too".to_owned()
            );
        }
        let input = Matrix::read(&mut source, quantised, header.dim)?;
        input.check_rows(dictionary.rows())?;

        source.part("the vectors of labels");
        // The flag says what was asked for at quantisation, also in a model that was not quantised.
        let quantised_output = source.flag()? && quantised;
        let output = Matrix::read(&mut source, quantised_output, header.dim)?;
        output.check_rows(dictionary.labels.len() as u64)?;
        let loss = Loss::new(header.loss, &dictionary.label_counts)?;
        Ok(Self { dictionary, input, output, loss })
    }

    /// Returns all labels, as they stand in the file.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.dictionary.labels.iter().map(String::as_str)
    }

    /// Returns the likeliest `k` labels with their probabilities, the likeliest first. The text is one line: a line feed in it is a
    /// space. There is no answer for a text of which the model knows nothing, not even the end of a line, nor where a vector in the
    /// file is not a number.
    pub fn predict(&self, text: &str, k: usize) -> Vec<(&str, f32)> {
        let mut hidden = vec![0.0; self.input.dim()];
        let mut count = 0_u64;
        self.dictionary.each_row(text, |row| {
            self.input.add_row(row, &mut hidden);
            count += 1;
        });
        if count == 0 {
            return Vec::new();
        }
        let share = (1.0 / count as f64) as f32;
        for value in &mut hidden {
            *value *= share;
        }
        let best = self.loss.best(&self.output, self.dictionary.labels.len(), &hidden, k);
        best.into_iter().map(|(log, label)| (self.dictionary.labels[label].as_str(), log.exp())).collect()
    }
}
