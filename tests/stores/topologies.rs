//! The conformance suite on every topology.
