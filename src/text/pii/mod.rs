//! Personal data in text: e-mail addresses, IP addresses, French telephone numbers, bank accounts, social-security, company
//! and card numbers, found and replaced.
//!
//! E-mail and IP are datatrove's expressions. Numbers with a check digit count only if it is right. datatrove takes its
//! replacements in turn, so that its output depends on how the data was cut into files; here the hash of what is
//! replaced chooses, and one person stays one person.

mod numbers;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use xxhash_rust::xxh3::xxh3_64;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// An IPv4 address that anyone can reach.
    Ip,
    /// A telephone number in France.
    PhoneFr,
    /// The number of a bank account.
    Iban,
    /// A French social-security number.
    Nir,
    /// The number of a French company's seat, or of the company.
    Siret,
    /// The number of a payment card.
    Card,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [Kind::Email, Kind::Ip, Kind::PhoneFr, Kind::Iban, Kind::Nir, Kind::Siret, Kind::Card];

    /// Its name in settings and counts.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Ip => "ip",
            Kind::PhoneFr => "phone_fr",
            Kind::Iban => "iban",
            Kind::Nir => "nir",
            Kind::Siret => "siret",
            Kind::Card => "card",
        }
    }

    /// What stands in its place: no one's, and never found again.
    fn replacements(self) -> &'static [&'static str] {
        match self {
            // datatrove's.
            Kind::Email => &["email@example.com", "firstname.lastname@example.org"],
            Kind::Ip => &[
                "22.214.171.124",
                "126.96.36.199",
                "188.8.131.52",
                "184.108.40.206",
                "220.127.116.11",
                "18.104.22.168",
            ],
            // Numbers kept for fiction by the French regulator.
            Kind::PhoneFr => {
                &["01 99 00 12 34", "02 61 91 23 45", "03 53 01 34 56", "05 36 49 45 67", "06 39 98 56 78"]
            }
            Kind::Iban => &["FR00 0000 0000 0000 0000 0000 000"],
            Kind::Nir => &["0 00 00 00 000 000 00"],
            Kind::Siret => &["000 000 000 00000"],
            Kind::Card => &["0000 0000 0000 0000"],
        }
    }
}

/// Something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// Looks for some kinds of personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pii {
    kinds: Vec<Kind>,
    /// What is never taken for personal: whole findings, or the domains of addresses.
    allow: Vec<String>,
}

static EMAIL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let local = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    let label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
    let octet = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)";
    let literal = format!(r"\[(?:{octet}\.){{3}}(?:{octet}|[A-Za-z0-9-]*[A-Za-z0-9]:)\]");
    Regex::new(&format!(r"\b{local}(?:\.{local})*@(?:(?:{label}\.)+{label}|{literal})")).ok()
});

static IP: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let octet = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)";
    Regex::new(&format!(r"(?:{octet}\.){{3}}{octet}")).ok()
});

impl Pii {
    /// Looks for these kinds, but for what is allowed: `exemple.fr` is an address's domain, anything else a whole finding.
    pub fn new(kinds: &[Kind], allow: Vec<String>) -> Self {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        Self { kinds, allow }
    }

    /// What there is, in order and without overlap. Where two readings overlap the earlier counts, then the longer.
    pub fn find(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        for kind in &self.kinds {
            Self::find_kind(*kind, text, &mut found);
        }
        found.retain(|found| !self.is_allowed(found.kind, &text[found.start..found.end]));
        found.sort_by_key(|found| (found.start, usize::MAX - found.end, found.kind));
        let mut end = 0;
        found.retain(|found| {
            let free = found.start >= end;
            end = if free { found.end } else { end };
            free
        });
        found
    }

    fn find_kind(kind: Kind, text: &str, out: &mut Vec<Found>) {
        let bytes = text.as_bytes();
        let (pattern, sign) = match kind {
            Kind::Email => (&*EMAIL, b'@'),
            Kind::Ip => (&*IP, b'.'),
            _ => {
                numbers::find(kind, text, |start, end| out.push(Found { kind, start, end }));
                return;
            }
        };
        let Some(pattern) = pattern.as_ref().filter(|_| memchr::memchr(sign, bytes).is_some()) else { return };
        let fits = |text: &str| kind != Kind::Ip || is_public(text);
        let matches = pattern.find_iter(text).filter(|found| fits(found.as_str()));
        out.extend(matches.map(|found| Found { kind, start: found.start(), end: found.end() }));
    }

    fn is_allowed(&self, kind: Kind, found: &str) -> bool {
        let domain = found.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        let fits = |allowed: &String| {
            allowed == found || domain.as_ref().is_some_and(|domain| domain == &allowed.to_lowercase())
        };
        kind.replacements().contains(&found) || self.allow.iter().any(fits)
    }

    /// The text with what was found replaced, and what that was.
    pub fn mask<'t>(&self, text: &'t str) -> (Cow<'t, str>, Vec<Found>) {
        let found = self.find(text);
        if found.is_empty() {
            return (Cow::Borrowed(text), found);
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for Found { kind, start, end } in &found {
            let choices = kind.replacements();
            let choice = xxh3_64(&text.as_bytes()[*start..*end]) % choices.len() as u64;
            out.push_str(&text[at..*start]);
            out.push_str(choices[choice as usize]);
            at = *end;
        }
        out.push_str(&text[at..]);
        (Cow::Owned(out), found)
    }
}

/// What Python's `ipaddress` calls global: datatrove leaves other addresses alone.
fn is_public(address: &str) -> bool {
    let octet = |part: &str| part.parse().ok().filter(|_| part.len() == 1 || !part.starts_with('0'));
    let octets: Option<Vec<u8>> = address.split('.').map(octet).collect();
    let Some([a, b, c, d]) = octets.and_then(|octets| <[u8; 4]>::try_from(octets).ok()) else { return false };
    let private = matches!(
        (a, b, c, d),
        (0 | 10 | 127 | 240..=255, ..)
            | (100, 64..=127, ..)
            | (169, 254, ..)
            | (172, 16..=31, ..)
            | (192, 168, ..)
            | (192, 0, 2, _)
            | (192, 0, 0, 0..=7 | 170 | 171)
            | (198, 18 | 19, ..)
            | (198, 51, 100, _)
            | (203, 0, 113, _)
    );
    !private
}
