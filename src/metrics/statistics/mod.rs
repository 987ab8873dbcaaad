//! How sure a score is, and whether two models differ (Miller 2024, arXiv 2411.00640).

mod bootstrap;
mod mean;
mod paired;

pub use bootstrap::{Bootstrap, bootstrap, bootstrap_clustered};
pub use mean::{Estimate, clustered, mean, pooled_error, proportion_interval};
pub use paired::{Comparison, compare, mcnemar};

#[cfg(test)]
mod tests;
