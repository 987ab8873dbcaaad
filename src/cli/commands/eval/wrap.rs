//! Text in lines that are not too long.

use console::measure_text_width;

/// Cuts text into lines of at most `width` columns, between words where there are any. Its own line breaks stay.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| one(&line.replace('\t', "    "), width.max(2))).collect()
}

fn one(line: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut now, mut columns) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let size = measure_text_width(word.trim_end_matches(' '));
        if columns > 0 && columns + size > width {
            lines.push(std::mem::take(&mut now));
            columns = 0;
        }
        // A word that is longer than a line is cut.
        for c in word.chars() {
            let size = measure_text_width(c.encode_utf8(&mut [0; 4]));
            if columns + size > width {
                if c == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut now));
                columns = 0;
            }
            now.push(c);
            columns += size;
        }
    }
    lines.push(now);
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrap("the old man looked", 8), ["the old", "man", "looked"]);
        assert_eq!(wrap("a\n\n  b", 8), ["a", "", "  b"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("日本語です", 4), ["日本", "語で", "す"]);
        assert!(wrap("", 4).is_empty());
    }
}
