//! Tools for the files around Curfew: [`lint`] and [`render`] for proxy configurations, and the [`compliance`] report.
//!
//! All functions take and return text. The caller reads and writes the files.

pub mod compliance;
pub mod lint;
pub mod render;
mod yaml_node;

use curfew_core::{policy, session, yaml};
