//! Tools for the files around Curfew: [`lint`] and [`render`] for proxy configurations, [`migrate_annotations`] for the
//! annotations of Ingresses, and the [`compliance`] report.
//!
//! All functions take and return text. The caller reads and writes the files.

pub mod compliance;
pub mod lint;
pub mod migrate_annotations;
pub mod render;
mod yaml_node;

use curfew_core::{escape, policy, session, yaml};
