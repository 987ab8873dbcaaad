//! The settings of steps that mend text and take personal data out of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StepParams;
use super::filter::FilterMode;

/// Mends damaged text: mojibake, HTML's entities, control characters, LaTeX's backslashes, white space.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixText {
    /// Which of ftfy's steps are taken.
    #[serde(default)]
    pub profile: FixProfile,
    /// When `&eacute;` and its like become characters. `auto` leaves messages with a fence of code alone, and lines from the
    /// first `<` on.
    #[serde(default, skip_serializing_if = "FixEntities::is_auto")]
    pub unescape_html: FixEntities,
    /// The Unicode form that the text gets in the end.
    #[serde(default)]
    pub form: FixForm,
    /// Whether doubled backslashes before LaTeX's commands are halved, four become two and three one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latex: bool,
    /// Whether lines of punctuation alone go, as datatrove's `SymbolLinesFormatter` takes them out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub symbol_lines: bool,
    /// Which white space is put in order; none when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<FixSpaces>,
    /// Whose messages are mended; everybody's when left out. Rows that are no chats are mended whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

impl StepParams for FixText {}

/// Which of ftfy's steps are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixProfile {
    /// Those that datatrove takes: encodings, entities, terminals' escapes and control characters. Quotes, ligatures, widths
    /// and line breaks stay as they were written.
    #[default]
    Datatrove,
    /// All of them.
    Ftfy,
    /// None.
    None,
}

/// When HTML's entities become characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixEntities {
    /// Where the text is not HTML and holds no code.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl FixEntities {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_auto(&self) -> bool {
        *self == FixEntities::Auto
    }
}

/// A Unicode normalisation form, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FixForm {
    /// Canonical composition.
    #[default]
    Nfc,
    /// Compatibility composition; `x²` becomes `x2`.
    Nfkc,
    /// The form it has.
    None,
}

/// White space to put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixSpaces {
    /// Carriage returns become line feeds.
    LineBreaks,
    /// White space at the end of lines goes, Markdown's two spaces for a line break among it.
    LineEnds,
    /// More than one empty line in a row becomes one.
    BlankLines,
    /// No-break spaces become spaces. French sets them before `;:!?`.
    NoBreak,
    /// White space before and after the text goes.
    Trim,
}

/// Finds personal data and replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pii {
    /// What is looked for; everything when left out.
    #[serde(default = "all_kinds")]
    pub types: Vec<PiiType>,
    /// What happens to what is found.
    #[serde(default)]
    pub action: PiiAction,
    /// What is not personal: whole findings, or domains of e-mail addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Whose messages are searched; everybody's when left out. Rows that are no chats are searched whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

impl StepParams for Pii {
    fn mistakes(&self) -> Vec<super::Mistake> {
        let mistake = || super::Mistake::new("types", "nothing is looked for").help("leave `types` out for everything");
        if self.types.is_empty() { vec![mistake()] } else { Vec::new() }
    }

    fn filter_mode(&self) -> FilterMode {
        if self.action == PiiAction::Flag { FilterMode::Flag } else { FilterMode::Drop }
    }
}

fn all_kinds() -> Vec<PiiType> {
    use PiiType::{Card, Email, Iban, Ip, Nir, PhoneFr, Siret};
    vec![Email, Ip, PhoneFr, Iban, Nir, Siret, Card]
}

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiType {
    /// E-mail addresses.
    Email,
    /// IPv4 addresses that anyone can reach.
    Ip,
    /// Telephone numbers in France.
    PhoneFr,
    /// Bank accounts (IBAN), by their check digits.
    Iban,
    /// French social-security numbers, by their key.
    Nir,
    /// French company numbers (SIRET, and SIREN in groups of three), by their check digit.
    Siret,
    /// Payment cards, by their check digit.
    Card,
}

/// What happens to personal data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiAction {
    /// It is replaced by something of the same kind that is no one's; the same by the same, everywhere.
    #[default]
    Mask,
    /// The row is dropped.
    Drop,
    /// The row stays, and `pii_email` or its like is added to its column `flags`.
    Flag,
}
