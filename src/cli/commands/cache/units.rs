//! Ages and sizes as people write them on the command line.

use std::time::Duration;

const AGES: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

const SIZES: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

/// Reads `30d`, `12h`, `2w`.
pub(in crate::cli) fn age(text: &str) -> Result<Duration, String> {
    let seconds = read(text, &AGES).ok_or("write a number and a unit: 45m, 12h, 30d, 2w")?;
    Ok(Duration::from_secs(seconds))
}

/// Reads `50GB`, `1.5GiB`, `1000`.
pub(in crate::cli) fn size(text: &str) -> Result<u64, String> {
    let plain = text.parse().ok();
    plain.or_else(|| read(text, &SIZES)).ok_or("write a number and a unit: 500MB, 50GB, 1.5GiB".to_owned())
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    let value = number * unit as f64;
    // A float becomes the nearest whole number that fits; what is no size at all is refused.
    (number >= 0.0 && value.is_finite()).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read_or_refused() {
        assert_eq!(age("30d"), Ok(Duration::from_hours(30 * 24)));
        assert_eq!(age("1.5h"), Ok(Duration::from_mins(90)));
        assert_eq!((size("50GB"), size("1.5 GiB"), size("12")), (Ok(50_000_000_000), Ok(1_610_612_736), Ok(12)));
        for bad in ["", "d", "-1d", "1y", "infd", "nan d"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        assert!(size("1XB").is_err() && size("-5MB").is_err() && size("GB").is_err());
    }
}
