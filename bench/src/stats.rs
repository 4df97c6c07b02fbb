//! What is made of samples: percentiles, ratios with their intervals, and whether a run was too noisy to believe.

mod comparison;
mod noise;
mod random;
mod samples;

pub(crate) use comparison::{Interval, added, interval, ratio, ratio_of_added};
pub(crate) use noise::{Watch, drift, spread};
pub(crate) use random::Random;
pub(crate) use samples::Samples;
