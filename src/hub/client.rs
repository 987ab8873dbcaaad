//! Requests: redirects followed by hand, tries again with growing waits, and errors that say what to do.
//!
//! Redirects are followed here and not by the HTTP library because of the token: it goes to the endpoint, by scheme, host
//! and port, and to nobody that the endpoint points at.

use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::{Access, HubError};

/// How often a request is tried that gets nowhere.
pub(super) const TRIES: u32 = 6;
/// How many redirects are followed.
const REDIRECTS: usize = 8;
/// The first wait before a new try, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// The largest answer of the API that is read.
const LARGEST_ANSWER: u64 = 64 << 20;

/// Someone who asks.
pub struct Client<'a> {
    agent: Agent,
    pub(super) access: &'a Access,
    stop: &'a (dyn Fn() -> bool + Sync),
}

/// An answer's beginning.
pub(super) type Answer = Response<Body>;

/// What is asked for, for messages.
pub(super) struct Asked<'a> {
    /// `the data set a/b`.
    pub(super) what: String,
    /// Where a person asks for access; empty for what is on no hub.
    pub(super) page: &'a str,
}

impl<'a> Client<'a> {
    /// Returns a client; `stop` is asked while it waits.
    pub fn new(access: &'a Access, stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("luthflow/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(access.silence))
            .timeout_resolve(Some(access.silence))
            .timeout_recv_response(Some(access.silence))
            .timeout_per_read(Some(access.silence))
            .build();
        Self { agent: config.into(), access, stop }
    }

    /// Asks for an address, with tries again, and hands the answer to `read`. What `read` says may pass is tried again
    /// too.
    pub(super) fn ask<T>(
        &self,
        url: &str,
        asked: &Asked<'_>,
        read: impl Fn(Answer) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        self.access.demand_network(&asked.what)?;
        let mut tries = 0;
        loop {
            let result = self.once(url, 0, asked).and_then(&read);
            match result {
                Err(error) if error.may_pass() && tries + 1 < TRIES && !self.access.hasty => {
                    self.wait(&error, tries)?;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Asks for an address and returns the text of the answer, and where the next page of it lies.
    pub(super) fn text(&self, url: &str, asked: &Asked<'_>) -> Result<(String, Option<String>), HubError> {
        self.ask(url, asked, |mut answer| {
            let next = next_page(answer.headers());
            let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
            Ok((text.map_err(|error| failed(&asked.what, url, &error))?, next))
        })
    }

    /// Asks once for an address, from byte `from` on.
    pub(super) fn once(&self, url: &str, from: u64, asked: &Asked<'_>) -> Result<Answer, HubError> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.access.token.as_ref().filter(|_| same_origin(&url, &self.access.endpoint)) {
                request = request.header("Authorization", token.header());
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| failed(&asked.what, &url, &error))?;
            let status = answer.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                    Ok(answer)
                } else {
                    Err(refused(&answer, asked, self.access))
                };
            }
            let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = redirected(&url, to)
                .ok_or_else(|| HubError::new(format!("{}: a redirect leads nowhere", asked.what)))?;
        }
        Err(HubError::new(format!("{}: more than {REDIRECTS} redirects in a row", asked.what)))
    }

    /// Waits before a new try.
    pub(super) fn wait(&self, error: &HubError, tries: u32) -> Result<(), HubError> {
        let wait = error.wait().unwrap_or(FIRST_WAIT * 2_u32.pow(tries.min(8)));
        if wait > LONGEST_WAIT {
            let text = format!("{error}, and asks to come back in {} seconds", wait.as_secs());
            return Err(HubError::new(text).help("run again then; what was fetched stays"));
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if (self.stop)() {
                return Err(HubError::new("interrupted"));
            }
            std::thread::sleep(Duration::from_millis(50).min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }
}

/// Says whether both addresses lead to the same server.
fn same_origin(one: &str, other: &str) -> bool {
    let origin = |text: &str| {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_lowercase();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_lowercase(), port))
    };
    origin(one).is_some() && origin(one) == origin(other)
}

/// Returns where a redirect leads. Nothing leads from a secure place to an open one.
fn redirected(from: &str, to: &str) -> Option<String> {
    let uri: Uri = from.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let to = match to {
        "" => return None,
        to if to.starts_with("//") => format!("{scheme}:{to}"),
        to if to.starts_with('/') => format!("{scheme}://{authority}{to}"),
        to if to.contains("://") => to.to_owned(),
        _ => return None,
    };
    let secure = |url: &str| url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    let open = to.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
    (secure(&to) || open && !secure(from)).then_some(to)
}

/// Reads `Link: <url>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get("link")?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0.to_owned())
}

/// Says what a status means here.
fn refused(answer: &Answer, asked: &Asked<'_>, access: &Access) -> HubError {
    let (what, status) = (&asked.what, answer.status().as_u16());
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let gated = header("x-error-code") == Some("GatedRepo");
    let hub = !asked.page.is_empty();
    match status {
        401 | 403 if hub && gated => {
            let help = format!("ask for access on the page {}, then set HF_TOKEN to a token of yours", asked.page);
            HubError::new(format!("{what} is gated: its owner lets in who asked ({status})")).help(help)
        }
        401 if hub && access.token.is_none() => HubError::new(format!("{what} is private or not there (401)"))
            .help("check the name; for a private one set HF_TOKEN to a token that may read it"),
        401 if hub => HubError::new(format!("the hub does not accept the token, or {what} is not there (401)"))
            .help("make a new token on the hub, and set HF_TOKEN to it; check the name too"),
        401 | 403 if hub => HubError::new(format!("the token may not read {what} (403)")).help(format!(
            "look at the page {}: ask for access there, or use a token with the right to read",
            asked.page
        )),
        401 | 403 => HubError::new(format!("{what} may not be read ({status})"))
            .help("only addresses that anybody may read can be fetched"),
        404 | 410 => HubError::absent(format!("{what} is not there ({status})")),
        408 | 425 | 429 | 500..=599 => {
            let seconds = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            let why = match status {
                429 => "too many requests (429)".to_owned(),
                503 => "the server is not available (503)".to_owned(),
                status => format!("the server failed ({status})"),
            };
            let help = "run again later; what was fetched stays. A token (HF_TOKEN) has a higher limit";
            HubError::passing(format!("{what}: {why}")).help(help).after(seconds)
        }
        _ => HubError::new(format!("{what}: the server answers {status}")).help("is it a hub? See HF_ENDPOINT"),
    }
}

/// Says what an error on the way means.
pub(super) fn failed(what: &str, url: &str, error: &ureq::Error) -> HubError {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    match error {
        ureq::Error::HostNotFound => HubError::passing(format!("{what}: there is no host `{host}`"))
            .help("check the network, and HF_ENDPOINT if it is set"),
        ureq::Error::Timeout(_) => HubError::passing(format!("{what}: `{host}` does not answer in time"))
            .help("check the network; HF_HUB_DOWNLOAD_TIMEOUT sets the seconds"),
        ureq::Error::ConnectionFailed => HubError::passing(format!("{what}: no connection to `{host}`"))
            .help("check the network, and HF_ENDPOINT if it is set"),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            HubError::new(format!("{what}: `{host}` cannot prove who it is: {error}"))
                .help("check the clock, and whether something between here and there opens connections")
        }
        ureq::Error::BodyExceedsLimit(limit) => {
            HubError::new(format!("{what}: the answer of `{host}` has more than {limit} bytes"))
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            HubError::new(format!("{what}: the address of `{host}` cannot be used: {error}")).help("check HF_ENDPOINT")
        }
        ureq::Error::Io(error) if tls(error) => {
            HubError::new(format!("{what}: `{host}` cannot prove who it is: {error}"))
                .help("check the clock, and whether something between here and there opens connections")
        }
        ureq::Error::Io(error) => HubError::passing(format!("{what}: the connection to `{host}` broke: {error}"))
            .help("check the network, and HF_ENDPOINT if it is set"),
        error => HubError::passing(format!("{what}: `{host}` speaks no HTTP that is understood: {error}"))
            .help("is it a hub? See HF_ENDPOINT"),
    }
}

fn tls(error: &std::io::Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("certificate") || text.contains("tls") || text.contains("corrupt message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_one_scheme_host_and_port() {
        assert!(same_origin("https://Hub.co/a", "https://hub.co:443"));
        for other in ["http://hub.co/a", "https://hub.co:8443/a", "https://hub.co.evil.org/a", "https://x@evil.org/a"] {
            assert!(!same_origin(other, "https://hub.co"), "{other}");
        }
    }

    #[test]
    fn redirects_stay_secure() {
        assert_eq!(redirected("https://a/b?c", "/d").unwrap(), "https://a/d");
        assert_eq!(redirected("http://a:1/b", "http://b:2/c").unwrap(), "http://b:2/c");
        assert_eq!(redirected("https://a/b", "https://c/d").unwrap(), "https://c/d");
        for to in ["http://a/b", "", "file:///etc/passwd", "ftp://a/b", "d"] {
            assert_eq!(redirected("https://a/b", to), None, "{to}");
        }
    }
}
