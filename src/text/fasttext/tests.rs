//! Files that lie, are cut off, or are damaged: never a panic, and never memory for what is not there.

use super::Model;
use super::dictionary::hash;

/// A model of three numbers a vector, put together by hand so that every byte of it can be changed.
#[derive(Clone)]
struct File {
    version: i32,
    /// dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate.
    header: [i32; 12],
    words: Vec<(String, i64, u8)>,
    /// The buckets that were kept.
    kept: Option<Vec<(i32, i32)>>,
    quantised: bool,
    /// Whether lengths were taken out of quantised rows.
    normed: bool,
    /// Of how many rows there are codes, where not of all.
    coded: Option<i64>,
    quantised_output: bool,
    rows: i64,
    output_rows: i64,
}

const DIM: i64 = 3;

impl File {
    /// Two words, two labels, four buckets.
    fn new(loss: i32) -> Self {
        let words =
            [("</s>", 9, 0), ("été", 4, 0), ("__label__fr", 5, 1), ("__label__en", 4, 1), ("__label__de", 2, 1)];
        Self {
            version: 12,
            header: [DIM as i32, 5, 5, 1, 5, 2, loss, 3, 4, 1, 3, 100],
            words: words.map(|(word, count, kind)| (word.to_owned(), count, kind)).to_vec(),
            kept: None,
            quantised: false,
            normed: true,
            coded: None,
            quantised_output: false,
            rows: 6,
            output_rows: 3,
        }
    }

    fn pruned() -> Self {
        Self { kept: Some(vec![(3, 0), (1, 1)]), quantised: true, rows: 4, ..Self::new(3) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let numbers = [793_712_314, self.version].into_iter().chain(self.header);
        numbers.for_each(|number| out.extend(number.to_le_bytes()));
        out.extend(1e-4_f64.to_le_bytes());
        let labels = self.words.iter().filter(|(_, _, kind)| *kind == 1).count();
        for number in [self.words.len(), self.words.len() - labels, labels] {
            out.extend((number as i32).to_le_bytes());
        }
        out.extend(20_i64.to_le_bytes());
        out.extend(self.kept.as_ref().map_or(-1, |kept| kept.len() as i64).to_le_bytes());
        for (word, count, kind) in &self.words {
            out.extend([word.as_bytes(), &[0], &count.to_le_bytes(), &[*kind]].concat());
        }
        for (bucket, row) in self.kept.iter().flatten() {
            out.extend([bucket.to_le_bytes(), row.to_le_bytes()].concat());
        }
        out.push(self.quantised.into());
        if self.quantised {
            self.quantised_rows(&mut out);
        } else {
            whole(self.rows, &mut out);
        }
        out.push(self.quantised_output.into());
        whole(self.output_rows, &mut out);
        out
    }

    /// Two pieces of two numbers and of one.
    fn quantised_rows(&self, out: &mut Vec<u8>) {
        let (rows, codes) = (self.rows, 2 * self.coded.unwrap_or(self.rows));
        out.push(self.normed.into());
        out.extend([rows, DIM].map(i64::to_le_bytes).as_flattened());
        out.extend((codes as i32).to_le_bytes());
        out.extend((0..codes).map(|i| (i * 37 % 256) as u8));
        out.extend([3, 2, 2, 1].map(i32::to_le_bytes).as_flattened());
        floats(3 * 256, out);
        if self.normed {
            out.extend((0..rows).map(|i| (i * 91 % 256) as u8));
            out.extend([1; 4].map(i32::to_le_bytes).as_flattened());
            floats(256, out);
        }
    }
}

fn whole(rows: i64, out: &mut Vec<u8>) {
    out.extend([rows, DIM].map(i64::to_le_bytes).as_flattened());
    floats(rows.min(5000) * DIM, out);
}

fn floats(count: i64, out: &mut Vec<u8>) {
    (0..count).for_each(|i| out.extend(((i * 7 % 11) as f32 / 5.0 - 1.0).to_le_bytes()));
}

fn read(bytes: &[u8]) -> Result<Model, String> {
    Model::read(bytes, bytes.len() as u64)
}

/// Reads a file and asks what can be read; says whether there was a model.
fn survives(bytes: &[u8]) -> bool {
    read(bytes).is_ok_and(|model| {
        for text in ["", "l'été est là\u{a0}!", "__label__fr été été"] {
            let labels = model.predict(text, 2);
            assert!(labels.len() <= 2 && labels.iter().all(|(_, score)| !score.is_nan()));
        }
        true
    })
}

fn files() -> [Vec<u8>; 4] {
    [File::new(3), File::new(1), File::new(4), File::pruned()].map(|file| file.bytes())
}

#[test]
fn files_that_are_cut_off_are_told() {
    for bytes in files() {
        assert!(survives(&bytes));
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).err().unwrap();
            assert!(error.starts_with("not a"), "{length}: {error}");
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let mut seed = 7_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for bytes in files() {
        let beginning = bytes.len().min(400);
        let everywhere = (0..beginning).flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|value| (at, value)));
        for (at, value) in everywhere.collect::<Vec<_>>() {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if survives(&damaged) { read += 1 } else { refused += 1 }
        }
        for _ in 0..500 {
            let mut damaged = bytes.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                damaged[at] = random(256) as u8;
            }
            survives(&damaged);
        }
    }
    // Both ends of what can happen were seen.
    assert!(read > 1000 && refused > 1000, "{read} {refused}");
}

/// Changes the file of [`File::new`] (or the pruned one) and returns what is said of it.
fn refused(file: &File, change: impl Fn(&mut File)) -> String {
    let mut changed = file.clone();
    change(&mut changed);
    read(&changed.bytes()).err().unwrap_or_else(|| "it was read".to_owned())
}

#[test]
fn what_is_not_read_is_told() {
    let (whole, pruned) = (File::new(3), File::pruned());
    let all = [
        refused(&whole, |file| file.version = 13),
        refused(&whole, |file| file.header[7] = 2),
        refused(&whole, |file| file.header[7] = 9),
        refused(&whole, |file| file.header[6] = 5),
        refused(&whole, |file| file.header[0] = 0),
        refused(&whole, |file| file.header[0] = 4),
        refused(&whole, |file| file.header[5] = 101),
        refused(&whole, |file| file.header[10] = i32::MAX),
        refused(&whole, |file| file.header[8] = 0),
        refused(&whole, |file| file.header[8] = i32::MAX),
        refused(&whole, |file| file.words.truncate(2)),
        refused(&whole, |file| file.words.swap(1, 2)),
        refused(&whole, |file| file.rows = 5),
        refused(&whole, |file| file.rows = i64::MAX / 2),
        refused(&whole, |file| file.rows = -1),
        refused(&whole, |file| file.output_rows = 2),
        refused(&whole, |file| file.kept = Some(Vec::new())),
        refused(&pruned, |file| file.kept = Some(vec![(3, 7)])),
        refused(&pruned, |file| file.kept = Some(vec![(-3, 0)])),
        refused(&pruned, |file| (file.normed, file.coded) = (false, Some(3))),
        refused(&pruned, |file| file.quantised_output = true),
        refused(&File::new(1), |file| file.words[2].1 = i64::MAX),
        refused(&File::new(1), |file| file.words[2].1 = -1),
    ];
    let cut = read(&whole.bytes()[..150]).err().unwrap();
    insta::assert_snapshot!(all.join("\n") + "\n" + &cut);
    // The last flag says something of quantised models alone; and rows may be quantised as they are.
    for file in [File { quantised_output: true, ..whole }, File { normed: false, ..pruned }] {
        assert!(survives(&file.bytes()));
    }
}

/// No size in a file takes memory that the file has not: each is set to the greatest number there is.
#[test]
fn sizes_are_not_believed() {
    for bytes in files() {
        for at in 0..bytes.len().min(400) - 8 {
            for size in [4, 8] {
                let mut lying = bytes.clone();
                lying[at..at + size].fill(0xff);
                lying[at + size - 1] = 0x7f;
                survives(&lying);
            }
        }
    }
}

/// Words that all want the same few places of the table would take time by their square.
#[test]
fn words_made_to_collide_are_refused() {
    let words = (0..).map(|i| format!("{i}")).filter(|word| hash(word.as_bytes()) & 0x3fff < 64);
    let mut file = File::new(3);
    file.words.splice(1..1, words.take(4300).map(|word| (word, 1, 0)));
    file.rows = 4306;
    assert!(refused(&file, |_| ()).contains("the words were made to collide"));
    file.words.drain(1..2000);
    assert!(survives(&file.bytes()));
}

/// The first version had no n-grams of characters in supervised models, whatever their header says.
#[test]
fn version_11_has_no_ngrams_of_characters() {
    let answer = |version, maxn| {
        let mut file = File::new(3);
        (file.version, file.header[5], file.header[10]) = (version, 1, maxn);
        let model = read(&file.bytes()).unwrap();
        model.predict("été aussi", 3).iter().map(|(label, score)| format!("{label} {score}")).collect::<Vec<_>>()
    };
    assert_eq!(answer(11, 3), answer(12, 0));
    assert_ne!(answer(11, 3), answer(12, 3));
}

/// A vector that is not a number gives no answer rather than a wrong one.
#[test]
fn what_is_not_a_number_has_no_answer() {
    for loss in [1, 3, 4] {
        let mut bytes = File::new(loss).bytes();
        let last = bytes.len() - 4 * 9;
        assert_eq!(read(&bytes).unwrap().predict("été", 3).len(), 3);
        for at in 0..9 {
            bytes[last + 4 * at..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        assert!(read(&bytes).unwrap().predict("été", 3).is_empty());
    }
}
