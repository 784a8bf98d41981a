//! The one file that describes a network: read, checked, and turned into a model that is valid by construction.
//!
//! The road is straight: `load` reads the files, `yaml` makes a located tree of each, `structure` holds it against the
//! schema of `raw`, `de` turns it into the raw types, `check` into the `model`. Every problem on the way lands in one
//! `Report`. Back from a wish to a text leads `edit`, which changes a file and leaves all else in it as it is.

mod check;
mod de;
mod edit;
mod layout;
mod load;
pub mod model;
pub mod origin;
mod raw;
pub mod report;
mod structure;
#[cfg(test)]
pub mod tests;
mod yaml;

pub use check::{MACHINES_MAX, VERSION};
pub use edit::{Edit, EditError, Edited, Literal, Path, PathError, edit};
pub use layout::lay_out;
pub use load::{FILE_BYTES_MAX, Loaded, SecretFact, SecretFile, Surroundings, load, schema};
pub use model::Topology;
pub use report::Report;
