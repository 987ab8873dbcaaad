//! When the next request may go out: limits of requests and of tokens a minute, a server that asks for a pause, a budget.
//!
//! Limits are kept by even spacing, not by a burst at the start of each minute, which servers that count in seconds
//! refuse. The tokens of a request are guessed when it goes out and put right when its answer is there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::EndpointError;

/// Limits of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<f64>,
    /// Tokens a minute.
    pub tpm: Option<f64>,
    /// Requests in all.
    pub requests: Option<u64>,
    /// Tokens in all.
    pub tokens: Option<u64>,
}

/// How the limits stand.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the next request may go out, in seconds since the beginning: by the number of requests, and by tokens.
    request: f64,
    token: f64,
    /// Until when the server wants to be left alone.
    pause: f64,
    requests: u64,
    tokens: u64,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, began: Instant::now(), state: Mutex::default() }
    }

    /// Takes a place in the row for a request of about `size` tokens; returns how long to wait for it. Fails if nothing may
    /// be spent any more.
    pub(super) fn reserve(&self, size: f64) -> Result<Duration, EndpointError> {
        let now = self.now();
        let mut state = self.lock();
        if let Some(most) = self.limits.requests.filter(|most| state.requests >= *most) {
            return Err(EndpointError::Budget { most, what: "requests" });
        }
        if let Some(most) = self.limits.tokens.filter(|most| state.tokens >= *most) {
            return Err(EndpointError::Budget { most, what: "tokens" });
        }
        state.requests += 1;
        let start = now.max(state.request).max(state.token).max(state.pause);
        state.request = start + self.limits.rpm.map_or(0.0, |rpm| 60.0 / rpm);
        state.token = state.token.max(now) + self.limits.tpm.map_or(0.0, |tpm| 60.0 * size / tpm);
        Ok(Duration::try_from_secs_f64(start - now).unwrap_or(Duration::MAX))
    }

    /// Says what an answer took in place of what was guessed.
    pub(super) fn took(&self, size: f64, tokens: u64) {
        let mut state = self.lock();
        state.tokens = state.tokens.saturating_add(tokens);
        state.token += self.limits.tpm.map_or(0.0, |tpm| 60.0 * (tokens as f64 - size) / tpm);
    }

    /// Sends nothing for a while, whoever asks.
    pub(super) fn pause(&self, wait: Duration) {
        let until = self.now() + wait.as_secs_f64();
        let mut state = self.lock();
        state.pause = state.pause.max(until);
    }

    /// Returns how long the server still wants to be left alone.
    pub(super) fn paused(&self) -> Duration {
        let now = self.now();
        Duration::try_from_secs_f64(self.lock().pause - now).unwrap_or_default()
    }

    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(pace: &Pace, size: f64) -> u64 {
        pace.reserve(size).unwrap().as_secs_f64().round() as u64
    }

    #[test]
    fn requests_are_spaced_and_tokens_put_right() {
        let pace = Pace::new(Limits { rpm: Some(6.0), ..Limits::default() });
        let waits: Vec<u64> = (0..3).map(|_| seconds(&pace, 1.0)).collect();
        assert_eq!(waits, [0, 10, 20]);
        let pace = Pace::new(Limits { tpm: Some(60.0), ..Limits::default() });
        assert!(pace.reserve(30.0).unwrap() < Duration::from_secs(1));
        assert_eq!(seconds(&pace, 0.0), 30);
        pace.took(30.0, 90);
        assert_eq!(seconds(&pace, 0.0), 90);
        pace.pause(Duration::from_secs(200));
        assert_eq!(seconds(&pace, 0.0), 200);
        assert!(pace.paused() > Duration::from_secs(199));
    }

    #[test]
    fn a_budget_ends() {
        let pace = Pace::new(Limits { requests: Some(2), tokens: Some(10), ..Limits::default() });
        assert!(pace.reserve(1.0).is_ok() && pace.reserve(1.0).is_ok());
        assert_eq!(pace.reserve(1.0).unwrap_err().to_string(), "the budget of 2 requests is spent");
        let pace = Pace::new(Limits { requests: None, tokens: Some(10), ..Limits::default() });
        pace.took(1.0, 10);
        assert_eq!(pace.reserve(1.0).unwrap_err().to_string(), "the budget of 10 tokens is spent");
    }
}
