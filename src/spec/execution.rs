//! How a node is to be run, as opposed to what it makes: `needs`, `retries`, `timeout`. Never part of a key.

use std::time::Duration;

/// How a node is to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Execution {
    /// What it takes of the machine while it runs.
    pub needs: Needs,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// How long one try may take; as long as it likes when nothing is said.
    pub timeout: Option<Duration>,
}

/// What a node takes of the machine while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Cores, and so threads. When nothing is said, the scheduler shares them out.
    pub cpu: Option<u32>,
    /// GPUs.
    pub gpu: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// Reads an amount of memory: `16GB`, `512MiB`, `1e9`.
pub fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
    ];
    let wrong = || format!("`{text}` is no amount of memory; write `16GB` or `512MiB`");
    amount(text, &UNITS).filter(|bytes| *bytes >= 1.0 && *bytes < 1e18).map(|bytes| bytes as u64).ok_or_else(wrong)
}

/// Reads a duration: `90s`, `15m`, `2h`, `1d`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 5] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let wrong = || format!("`{text}` is no duration; write `90s`, `15m`, `2h` or `1d`");
    let seconds = amount(text, &UNITS).filter(|seconds| *seconds > 0.0 && *seconds < 1e10);
    seconds.map(Duration::from_secs_f64).ok_or_else(wrong)
}

/// Reads a number with a unit behind it; the first unit that fits counts.
fn amount(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let unit = units.iter().find_map(|(name, factor)| Some((text.strip_suffix(name)?, factor)));
    let (number, factor) = unit.map_or((text, 1.0), |(number, factor)| (number, *factor));
    number.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!(bytes("16GB"), Ok(16_000_000_000));
        assert_eq!(bytes("1.5 KiB"), Ok(1536));
        assert_eq!(bytes("1e9"), Ok(1_000_000_000));
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "GB", "-1GB", "1PB", "inf", "nanGB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
