//! How sure a score is, and whether two models differ (Miller 2024, arXiv 2411.00640).

mod bootstrap;
mod mean;
mod paired;

pub use bootstrap::{Bootstrap, bootstrap, bootstrap_clustered};
pub use mean::{Estimate, clustered, macro_mean, mean, pooled_error, proportion_interval, ratio};
pub use paired::{Comparison, compare, mcnemar};

#[cfg(test)]
mod tests;
