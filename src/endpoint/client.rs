//! One request until there is an answer, or a reason why there is none.
//!
//! Tried again is what may go well the next time: a server that is busy or broken (408, 425, 429, 5xx), a time-out, a broken
//! connection, an answer cut short. Not tried again is what will fail the same way. Redirects are not followed: the key
//! goes to the address that the user wrote and nowhere else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::Agent;

use super::pace::{Limits, Pace};
use super::{EndpointError, Reply, Request, Store, Trouble};

/// The largest answer that is read, in bytes.
const LARGEST: u64 = 64 << 20;
/// How much of what a server says about an error is told, in characters.
const TOLD: usize = 300;
/// The longest pause between two tries.
const LONGEST_PAUSE: f64 = 60.0;
/// The longest pause that a server may ask for; one that wants more has to be asked another day.
const LONGEST_WISH: Duration = Duration::from_mins(10);
/// How often is looked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address, up to `/v1`.
    pub url: String,
    /// The key of the service. An error is the name of the variable that should hold it; nothing is sent then.
    pub key: Result<Option<String>, String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How often it is tried again.
    pub retries: u32,
    /// The first pause before that, in seconds.
    pub backoff: f64,
    /// How often is asked anew after an answer that is not accepted.
    pub invalid_retries: u32,
    /// What may be spent, and how fast.
    pub limits: Limits,
    /// Whether nothing may be sent.
    pub offline: bool,
    /// How many requests go out at once.
    pub concurrency: usize,
}

/// What was sent and paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Requests that went out.
    pub sent: u64,
    /// Those among them that had failed before.
    pub retried: u64,
    /// Answers that the store had.
    pub stored: u64,
    /// Tokens of prompts that were sent and answered.
    pub prompt_tokens: u64,
    /// Tokens of those answers.
    pub completion_tokens: u64,
}

#[derive(Debug, Default)]
struct Counters([AtomicU64; 5]);

/// A server with a store before it.
#[derive(Debug)]
pub struct Client<'a> {
    agent: Agent,
    address: String,
    settings: Settings,
    store: &'a Store,
    pace: Pace,
    counters: Counters,
    cancelled: &'a AtomicBool,
}

/// What a single try came to.
struct Failed {
    trouble: Trouble,
    /// How long the server wants to be left alone.
    wish: Option<Duration>,
}

impl<'a> Client<'a> {
    /// Returns a client that looks into `store` before it sends anything.
    pub fn new(settings: Settings, store: &'a Store, cancelled: &'a AtomicBool) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(settings.timeout))
            .max_idle_connections(settings.concurrency)
            .max_idle_connections_per_host(settings.concurrency)
            .user_agent(concat!("luthflow/", env!("CARGO_PKG_VERSION")))
            .build();
        let address = format!("{}/chat/completions", settings.url.trim_end_matches('/'));
        let pace = Pace::new(settings.limits);
        let (agent, counters) = (Agent::new_with_config(config), Counters::default());
        Self { agent, address, settings, store, pace, counters, cancelled }
    }

    /// Returns the answer that the store has, if it is accepted.
    pub fn stored(
        &self,
        request: &Request,
        accept: &dyn Fn(&Reply) -> Result<(), String>,
    ) -> Result<Option<Reply>, EndpointError> {
        let found = self.store.get(&request.key())?.filter(|reply| accept(reply).is_ok());
        self.counters.add(2, u64::from(found.is_some()));
        Ok(found)
    }

    /// Asks the server, and keeps the answer once it is accepted. For what the store does not have.
    pub fn ask(
        &self,
        request: &Request,
        accept: &dyn Fn(&Reply) -> Result<(), String>,
    ) -> Result<Reply, EndpointError> {
        if self.settings.offline {
            return Err(EndpointError::Offline);
        }
        if let Err(name) = &self.settings.key {
            return Err(EndpointError::NoKey { name: name.clone() });
        }
        let (key, body) = (request.key(), request.body());
        let (mut failures, mut invalid) = (0, 0);
        loop {
            self.wait(self.pace.reserve(request.size())?)?;
            self.counters.add(0, 1);
            self.counters.add(1, u64::from(failures + invalid > 0));
            let failed = match self.send(&body) {
                Ok(reply) => {
                    self.pace.took(request.size(), reply.tokens());
                    self.counters.add(3, reply.prompt_tokens);
                    self.counters.add(4, reply.completion_tokens);
                    match accept(&reply) {
                        Ok(()) => {
                            self.store.put(&key, &reply)?;
                            return Ok(reply);
                        }
                        Err(why) if invalid == self.settings.invalid_retries => {
                            return Err(EndpointError::One(Trouble::NoAnswer(why)));
                        }
                        Err(_) => {
                            invalid += 1;
                            continue;
                        }
                    }
                }
                Err(failed) => failed,
            };
            if !may_go_well(&failed.trouble) || failures == self.settings.retries {
                return Err(given_up(failed.trouble));
            }
            if let Some(wish) = failed.wish {
                self.pace.pause(wish.min(LONGEST_WISH));
            } else {
                self.wait(self.backoff(failures, key.as_bytes()[0]))?;
            }
            failures += 1;
        }
    }

    /// Returns what was sent so far.
    pub fn account(&self) -> Account {
        let [sent, retried, stored, prompt_tokens, completion_tokens] =
            self.counters.0.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        Account { sent, retried, stored, prompt_tokens, completion_tokens }
    }

    fn send(&self, body: &str) -> Result<Reply, Failed> {
        let mut post = self.agent.post(&self.address).header("content-type", "application/json");
        if let Ok(Some(key)) = &self.settings.key {
            post = post.header("authorization", format!("Bearer {key}"));
        }
        let failed = |trouble| Failed { trouble, wish: None };
        let mut response = post.send(body).map_err(|error| failed(trouble(&error)))?;
        let status = response.status().as_u16();
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let wish = header.and_then(|text| retry_after(text, SystemTime::now()));
        let read = response.body_mut().with_config().limit(LARGEST).read_to_vec();
        if status != 200 {
            let said = self.told(&read.unwrap_or_default());
            return Err(Failed { trouble: Trouble::Status { status, said }, wish });
        }
        let bytes = read.map_err(|error| failed(trouble(&error)))?;
        Reply::read(&bytes).map_err(|why| failed(Trouble::NoAnswer(why)))
    }

    /// Returns the beginning of what a server said, on one line and without the key, which some repeat.
    fn told(&self, bytes: &[u8]) -> String {
        let said: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let said = ["/error/message", "/message", "/error", "/detail"]
            .iter()
            .find_map(|place| said.pointer(place)?.as_str().map(str::to_owned))
            .unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
        let mut said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Ok(Some(key)) = &self.settings.key {
            said = said.replace(key.as_str(), "***");
        }
        said.chars().take(TOLD).collect()
    }

    /// The pause before a try: twice as long each time, and a little more or less, so that requests that failed together do
    /// not come back together.
    fn backoff(&self, failures: u32, chance: u8) -> Duration {
        let pause = self.settings.backoff * 2f64.powi(failures.min(30) as i32);
        let spread = 0.75 + 0.5 * f64::from(chance) / 255.0;
        Duration::try_from_secs_f64(pause.min(LONGEST_PAUSE) * spread).unwrap_or_default()
    }

    /// Waits, and as long as the server wants to be left alone.
    fn wait(&self, time: Duration) -> Result<(), EndpointError> {
        let began = std::time::Instant::now();
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(EndpointError::Interrupted);
            }
            let left = time.saturating_sub(began.elapsed()).max(self.pace.paused());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

impl Counters {
    fn add(&self, which: usize, count: u64) {
        self.0[which].fetch_add(count, Ordering::Relaxed);
    }
}

fn trouble(error: &ureq::Error) -> Trouble {
    match error {
        ureq::Error::Timeout(_) => Trouble::Slow,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Trouble::Slow,
        other => Trouble::Connection(other.to_string()),
    }
}

/// Says whether the same request may go well another time.
fn may_go_well(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
        Trouble::Slow | Trouble::Connection(_) | Trouble::NoAnswer(_) => true,
    }
}

/// Says whether all other requests would fail like this one.
fn given_up(trouble: Trouble) -> EndpointError {
    match trouble {
        Trouble::Status { status: 300..=399 | 401..=405 | 429, .. } | Trouble::Connection(_) => {
            EndpointError::All(trouble)
        }
        _ => EndpointError::One(trouble),
    }
}

/// Reads `Retry-After`: seconds, or a date as HTTP writes it.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    // `Wed, 21 Oct 2015 07:28:00 GMT`
    let [_, day, month, year, time, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok().filter(|year| (1970..10_000).contains(year))?);
    let [hour, minute, second] = time.split(':').map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>()[..] else {
        return None;
    };
    // Years begin in March, so that the day that some have more comes last.
    let shifted = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = (365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + of_year).checked_sub(719_468)?;
    let at = UNIX_EPOCH + Duration::from_secs(((days * 24 + hour?) * 60 + minute?) * 60 + second?);
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_how_long_to_wait() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_400);
        let wait = |text| retry_after(text, now).map(|wait| wait.as_secs_f64());
        assert_eq!(wait("2"), Some(2.0));
        assert_eq!(wait(" 0.5 "), Some(0.5));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(80.0));
        assert_eq!(wait("Wed, 21 Oct 2015 07:20:00 GMT"), Some(0.0));
        assert_eq!(wait("Thu, 29 Feb 2024 00:00:00 GMT"), Some((1_709_164_800u64 - 1_445_412_400) as f64));
        for text in ["", "-1", "soon", "Wed, 21 Okt 2015 07:28:00 GMT", "Wed, 0 Oct 2015 07:28:00 GMT", "NaN", "inf"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
