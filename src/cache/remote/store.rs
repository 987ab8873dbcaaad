//! From an address and settings to a store, and from its errors to words.
//!
//! Settings come in as pairs because the library reads no environment. TLS is rustls with ring; its provider is process
//! wide and must be chosen before the first client is built.

use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreScheme, RetryConfig};
use reqwest::Url;

use super::{CacheError, Remote};

/// How often a request is tried again, with growing waits between: some seconds in all.
const RETRIES: usize = 5;

/// How long a server may say nothing in the middle of an answer.
const SILENCE: Duration = Duration::from_mins(1);

type Opened = Result<Box<dyn ObjectStore>, Error>;

impl Remote {
    pub(super) fn open(url: &str, settings: &[(String, String)]) -> Result<Self, CacheError> {
        let refused = |problem: String| CacheError::NoRemote { url: without_secret(url), problem };
        let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        let (scheme, path) = ObjectStoreScheme::parse(&parsed).map_err(|error| refused(error.to_string()))?;
        // It fails if the process has one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut prefix = Path::parse(path).map_err(|error| refused(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store: Opened = match scheme {
            ObjectStoreScheme::Local => {
                let folder = parsed.to_file_path().map_err(|()| refused("it is no path on this system".to_owned()))?;
                prefix = Path::from_absolute_path(folder).map_err(|error| refused(error.to_string()))?;
                Ok(Box::new(LocalFileSystem::new()))
            }
            ObjectStoreScheme::AmazonS3 => amazon(url, settings),
            ObjectStoreScheme::GoogleCloudStorage => google(url, settings),
            ObjectStoreScheme::MicrosoftAzure => azure(url, settings),
            ObjectStoreScheme::Http => web(&parsed),
            _ => return Err(refused("luthflow knows no store of this kind".to_owned())),
        };
        let store = store.map_err(|error| refused(first_words(&error)))?;
        let can_list = !matches!(scheme, ObjectStoreScheme::Http);
        Ok(Self { url: without_secret(url), runtime, store, prefix, can_list, seen: std::sync::OnceLock::new() })
    }
}

fn amazon(url: &str, settings: &[(String, String)]) -> Opened {
    let mut builder = AmazonS3Builder::new().with_client_options(client()).with_retry(retry()).with_url(url);
    for (name, value) in named("AWS_", settings) {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Box::new(builder.build()?))
}

fn google(url: &str, settings: &[(String, String)]) -> Opened {
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(client()).with_retry(retry()).with_url(url);
    for (name, value) in named("GOOGLE_", settings) {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Box::new(builder.build()?))
}

fn azure(url: &str, settings: &[(String, String)]) -> Opened {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(client()).with_retry(retry()).with_url(url);
    for (name, value) in named("AZURE_", settings) {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Box::new(builder.build()?))
}

fn web(url: &Url) -> Opened {
    let options = client().with_allow_http(url.scheme() == "http");
    let server = &url.as_str()[..before_path(url.as_str())];
    Ok(Box::new(HttpBuilder::new().with_url(server).with_client_options(options).with_retry(retry()).build()?))
}

/// Returns where the path of an address begins.
fn before_path(url: &str) -> usize {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or(url.len(), |at| after_scheme + at)
}

/// Returns the settings whose names begin so, in lower case as the stores read them. Empty ones count as not given.
fn named<'a>(prefix: &'a str, settings: &'a [(String, String)]) -> impl Iterator<Item = (String, &'a str)> {
    let wanted = settings.iter().filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty());
    wanted.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
}

/// A large file takes as long as it takes: there is no limit on a whole request, only on silence.
fn client() -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_read_timeout(SILENCE)
        .with_connect_timeout(Duration::from_secs(10))
}

pub(super) fn retry() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(4), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: Duration::from_mins(2) }
}

/// Takes a password out of an address, for messages.
fn without_secret(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    if parsed.password().is_none() && parsed.query().is_none() {
        return url.to_owned();
    }
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.to_string()
}

/// Says whether the error means that there is no such bucket.
pub(super) fn says_no_bucket(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) || error.to_string().contains("NoSuchBucket")
}

/// Returns the words of an error without those of its causes, which follow in the chain.
pub(super) fn first_words(error: &Error) -> String {
    match error {
        Error::Generic { source, .. } | Error::NotFound { source, .. } => source.to_string(),
        Error::PermissionDenied { .. } => "access is denied (403)".to_owned(),
        Error::Unauthenticated { .. } => "it does not accept the credentials (401)".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn way_out(error: &Error) -> Option<&'static str> {
    match error {
        Error::PermissionDenied { .. } => Some("check that the credentials may do this, and that they are not expired"),
        Error::Unauthenticated { .. } => Some("set the credentials of the store, such as AWS_ACCESS_KEY_ID"),
        error if says_no_bucket(error) => Some("check the name of the bucket and the address of the server"),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Some("name what to pull: the store cannot list"),
        Error::Generic { .. } => Some("check the address and the network; what was transferred is not sent again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_stores_or_are_refused_with_a_reason() {
        let settings = [("AWS_REGION", "eu-west-1"), ("AWS_PAGER", "less"), ("AZURE_STORAGE_ACCOUNT_NAME", "me")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (url, prefix) in [
            ("file:///tmp/a%20b/store", "tmp/a%20b/store"),
            ("s3://bucket/some/prefix", "some/prefix"),
            ("gs://bucket", ""),
            ("az://container/x", "x"),
            ("https://host.example:8443/store/x", "store/x"),
        ] {
            let remote = Remote::open(url, &settings).unwrap();
            assert!(remote.prefix.as_ref() == prefix || url.contains("%20"), "{url}: {}", remote.prefix);
            assert_eq!(remote.url, url);
        }
        for url in ["", "no address", "ftp://host/x", "memory:///", "/tmp/store"] {
            let error = Remote::open(url, &[]).unwrap_err();
            assert!(matches!(error, CacheError::NoRemote { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(without_secret("https://me:secret@host/x?token=1"), "https://me@host/x");
        assert_eq!(without_secret("s3://bucket/x"), "s3://bucket/x");
    }
}
