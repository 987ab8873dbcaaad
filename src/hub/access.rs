//! How the hub is reached and who asks, as the environment says it for every program that talks to a hub.
//!
//! The token is the one secret in this program. It is kept in a type that shows nothing, and leaves it only as the header
//! of a request to the endpoint itself.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;

/// The hub, where no other is named.
const ENDPOINT: &str = "https://huggingface.co";
/// How long a server may be silent.
const SILENCE: u64 = 20;
/// How long it may be for those who can do without an answer.
const HASTY_SILENCE: Duration = Duration::from_secs(3);
/// The longest token file that is read.
const LONGEST_TOKEN: u64 = 4096;

/// How the hub is reached and who asks.
#[derive(Debug, Clone)]
pub struct Access {
    pub(super) endpoint: String,
    pub(super) token: Option<Token>,
    /// Whether the network may not be used.
    pub offline: bool,
    pub(super) silence: Duration,
    /// Whether one try is enough: for those who only look, and can do without.
    pub(super) hasty: bool,
}

/// A secret.
#[derive(Clone)]
pub(super) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Token {
    /// Returns the value of the header that shows it.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::of_environment(&|_| None)
    }
}

impl Access {
    /// Reads the variables that `huggingface_hub` reads; `look` looks one up.
    pub fn of_environment(look: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = look(name)?.into_string().ok()?.trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let truth = |name: &str| {
            text(name).is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true"))
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').to_owned();
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| {
            let quiet = truth("HF_HUB_DISABLE_IMPLICIT_TOKEN");
            if quiet { None } else { token_in(&token_file(look)?) }
        });
        // One that cannot stand in a header is none.
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())).map(Token);
        let offline = ["HF_HUB_OFFLINE", "LUTHFLOW_FROZEN"].into_iter().any(truth);
        let seconds = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|value| value.parse().ok());
        let silence = Duration::from_secs(seconds.unwrap_or(SILENCE).clamp(1, 3600));
        Self { endpoint, token, offline, silence, hasty: false }
    }

    /// Asks once and waits a few seconds at most.
    pub fn make_haste(&mut self) {
        self.hasty = true;
        self.silence = self.silence.min(HASTY_SILENCE);
    }

    /// Says whether one try is enough.
    pub fn is_hasty(&self) -> bool {
        self.hasty
    }

    /// Refuses to use the network where that is not wanted.
    pub(super) fn demand_network(&self, for_what: &str) -> Result<(), HubError> {
        if !self.offline {
            return Ok(());
        }
        let help =
            "run it once without `--frozen` and without HF_HUB_OFFLINE, or commit the lockfile of a run that had it";
        Err(HubError::new(format!("{for_what} is not here, and the network may not be used")).help(help))
    }
}

/// Returns where the token of this user lies.
fn token_file(look: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| look(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = folder("HF_TOKEN_PATH") {
        return Some(file);
    }
    let home = folder("HF_HOME").or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")));
    let home = home.or_else(|| folder("HOME").map(|home| home.join(".cache/huggingface")));
    home.map(|home| home.join("token"))
}

fn token_in(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs_err::File::open(path).ok()?.take(LONGEST_TOKEN).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(variables: &[(&str, &str)]) -> Access {
        let look =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        Access::of_environment(&look)
    }

    #[test]
    fn a_token_is_found_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("token"), "hf_file\n").unwrap();
        let home = dir.path().to_str().unwrap();
        let header = |access: &Access| access.token.as_ref().map(Token::header);
        assert_eq!(header(&access(&[("HF_HOME", home)])).unwrap(), "Bearer hf_file");
        let both = access(&[("HF_HOME", home), ("HF_TOKEN", " hf_word ")]);
        assert_eq!(header(&both).unwrap(), "Bearer hf_word");
        assert!(!format!("{both:?}").contains("hf_word"));
        assert!(header(&access(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")])).is_none());
        assert!(header(&access(&[("HF_TOKEN", "a\nb")])).is_none());
        assert!(access(&[("HF_HUB_OFFLINE", "ON")]).offline && !access(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert_eq!(access(&[("HF_ENDPOINT", "http://x:1/")]).endpoint, "http://x:1");
    }
}
