//! Texts that begin alike, as the paths of a tree: what a stretch of tokens is shared by is read once for all of them.
//!
//! The tree is never built. With the texts in order, those that share a beginning stand side by side, and what they share
//! is what the first and the last of them share; so a node is two ranges, and its children are found when they are needed.

use std::cmp::Ordering;
use std::ops::Range;

use super::Continuation;

/// A context and what is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// Which request it is.
    pub(super) index: usize,
    context: &'a [u32],
    continuation: &'a [u32],
    /// Whether tokens at its beginning had to go.
    pub(super) truncated: bool,
}

impl<'a> Text<'a> {
    /// Returns the text of a request whose continuation has tokens. If the model reads fewer tokens than it has, those at
    /// its beginning are left out.
    pub(super) fn new(index: usize, request: &'a Continuation, most: usize) -> Self {
        let Continuation { context, continuation } = request;
        // The last token is never read.
        let room = (most + 1).saturating_sub(continuation.len());
        let left_out = context.len().saturating_sub(room);
        Self { index, context: &context[left_out..], continuation, truncated: left_out > 0 }
    }

    fn len(&self) -> usize {
        self.context.len() + self.continuation.len()
    }

    /// Returns how many tokens are asked about.
    pub(super) fn asked(&self) -> usize {
        self.continuation.len()
    }

    fn token(&self, place: usize) -> u32 {
        match place.checked_sub(self.context.len()) {
            None => self.context[place],
            Some(place) => self.continuation[place],
        }
    }

    fn tokens(&self, places: Range<usize>) -> impl Iterator<Item = &'a u32> + use<'a> {
        self.context.iter().chain(self.continuation).skip(places.start).take(places.len())
    }

    /// Compares tokens one by one, slices first: most of two contexts is often the same.
    fn order(&self, other: &Self) -> Ordering {
        let both = self.context.len().min(other.context.len());
        let rest = |text: &Self| text.tokens(both..text.len());
        self.context[..both].cmp(&other.context[..both]).then_with(|| rest(self).cmp(rest(other)))
    }

    /// Whether the token after this place is asked about.
    fn asks(&self, row: usize) -> bool {
        row + 1 >= self.context.len()
    }
}

/// Texts in order.
#[derive(Debug)]
pub(super) struct Tree<'a>(Vec<Text<'a>>);

/// A stretch of tokens that some texts share from a place on at which other texts left them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Its texts, by their places in the order.
    pub(super) texts: Range<usize>,
    /// Its tokens, by their places in the texts.
    pub(super) rows: Range<usize>,
    /// The first place after which any of its texts asks for the token.
    asks_from: usize,
}

/// A token that some texts have at a place, and these texts.
pub(super) type Branch = (u32, Range<usize>);

impl<'a> Tree<'a> {
    pub(super) fn new(mut texts: Vec<Text<'a>>) -> Self {
        texts.sort_by(|a, b| a.order(b).then(a.index.cmp(&b.index)));
        Self(texts)
    }

    /// Returns the nodes at the beginning of all texts.
    pub(super) fn roots(&self) -> Vec<Node> {
        self.branches(0..self.0.len(), 0).into_iter().filter_map(|branch| self.grow(branch, 0)).collect()
    }

    /// Returns the nodes that a node's texts go on with.
    pub(super) fn children(&self, node: &Node) -> Vec<Node> {
        let end = node.rows.end;
        self.branches(node.texts.clone(), end).into_iter().filter_map(|branch| self.grow(branch, end)).collect()
    }

    /// Whether no text has tokens to read after a node.
    pub(super) fn is_leaf(&self, node: &Node) -> bool {
        self.0[node.texts.clone()].iter().all(|text| text.len() == node.rows.end + 1)
    }

    /// Returns the tokens that texts have at a place, all of which have one there and share all before it.
    fn branches(&self, texts: Range<usize>, place: usize) -> Vec<Branch> {
        let mut from = texts.start;
        let groups = self.0[texts].chunk_by(|a, b| a.token(place) == b.token(place));
        let branch = |group: &[Text<'_>]| {
            from += group.len();
            (group[0].token(place), from - group.len()..from)
        };
        groups.map(branch).collect()
    }

    /// Returns the node that begins with a branch's token, if any of its texts has tokens after it: a last token is asked
    /// about and not read.
    fn grow(&self, (_, texts): Branch, start: usize) -> Option<Node> {
        // Those that end with the token are first.
        let ended = self.0[texts.clone()].partition_point(|text| text.len() == start + 1);
        let texts = texts.start + ended..texts.end;
        let (first, last) = (self.0[texts.clone()].first()?, self.0[texts.clone()].last()?);
        let pairs = first.tokens(start..first.len()).zip(last.tokens(start..last.len()));
        let shared = start + pairs.take_while(|(a, b)| a == b).count();
        // The first is the shortest if it is no longer than what is shared.
        let end = shared.min(first.len() - 1);
        let asks_from = self.0[texts.clone()].iter().map(|text| text.context.len() - 1).min()?;
        Some(Node { texts, rows: start..end, asks_from })
    }

    /// Returns some tokens of a node.
    pub(super) fn tokens(&self, node: &Node, rows: Range<usize>) -> Vec<u32> {
        self.0[node.texts.start].tokens(rows).copied().collect()
    }

    /// Returns what is asked for after some tokens of a node: the place of the token before, and who asks.
    pub(super) fn asked(&self, node: &Node, rows: Range<usize>) -> Vec<(usize, Branch)> {
        let mut asked = Vec::new();
        for row in rows.start.max(node.asks_from)..rows.end {
            if row + 1 < node.rows.end {
                asked.push((row, (self.0[node.texts.start].token(row + 1), node.texts.clone())));
            } else {
                let branches = self.branches(node.texts.clone(), row + 1).into_iter();
                let wanted = |(_, texts): &Branch| self.0[texts.clone()].iter().any(|text| text.asks(row));
                asked.extend(branches.filter(wanted).map(|branch| (row, branch)));
            }
        }
        asked
    }

    /// Returns those of some texts that ask for the token after a place.
    pub(super) fn asking(&self, texts: Range<usize>, row: usize) -> impl Iterator<Item = &Text<'a>> {
        self.0[texts].iter().filter(move |text| text.asks(row))
    }

    /// Returns how many tokens are to be read.
    pub(super) fn size(&self) -> usize {
        let mut open = self.roots();
        let mut size = 0;
        while let Some(node) = open.pop() {
            size += node.rows.len();
            open.extend(self.children(&node));
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn requests() -> impl Strategy<Value = Vec<Continuation>> {
        let tokens = |least| prop::collection::vec(0..3u32, least..6);
        let request = (tokens(1), tokens(1)).prop_map(|(context, continuation)| Continuation { context, continuation });
        prop::collection::vec(request, 0..12)
    }

    proptest! {
        /// Every beginning that some text needs is read once, and every text gets all that it asks for.
        #[test]
        fn what_is_shared_is_read_once_and_all_that_is_asked_is_found(requests in requests(), most in 5..12usize) {
            let texts = requests.iter().enumerate().map(|(index, request)| Text::new(index, request, most));
            let tree = Tree::new(texts.collect());
            let needed: BTreeSet<Vec<u32>> = tree.0.iter()
                .flat_map(|text| (1..text.len()).map(|end| text.tokens(0..end).copied().collect()))
                .collect();
            prop_assert_eq!(tree.size(), needed.len());
            let mut found: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
            let mut open = tree.roots();
            while let Some(node) = open.pop() {
                prop_assert!(!node.rows.is_empty());
                prop_assert_eq!(tree.is_leaf(&node), tree.children(&node).is_empty());
                for (row, (token, texts)) in tree.asked(&node, node.rows.clone()) {
                    let mut asking = tree.asking(texts, row).peekable();
                    prop_assert!(asking.peek().is_some());
                    for text in asking {
                        prop_assert_eq!(text.token(row + 1), token);
                        found[text.index].push(token);
                    }
                }
                open.extend(tree.children(&node));
            }
            for (request, found) in requests.iter().zip(found) {
                prop_assert_eq!(&request.continuation, &found);
            }
        }

        #[test]
        fn a_text_that_is_too_long_loses_its_beginning(context in 1..9usize, continuation in 1..6usize, most in 5..9usize) {
            let request = Continuation {
                context: (0..context as u32).collect(),
                continuation: (100..100 + continuation as u32).collect(),
            };
            let text = Text::new(0, &request, most);
            let whole: Vec<u32> = request.context.iter().chain(&request.continuation).copied().collect();
            let kept = &whole[whole.len().saturating_sub(most + 1)..];
            prop_assert_eq!(text.tokens(0..text.len()).copied().collect::<Vec<_>>(), kept);
            prop_assert_eq!(text.truncated, whole.len() > most + 1);
        }
    }
}
