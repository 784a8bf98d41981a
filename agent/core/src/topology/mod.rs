//! The one file that describes a network: read, checked, and turned into a model that is valid by construction.

pub mod model;

pub use model::Topology;
