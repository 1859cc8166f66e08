//! Inputs other than the environment: the pod's identity, and the template directory.

pub mod pod;
pub mod templates;
