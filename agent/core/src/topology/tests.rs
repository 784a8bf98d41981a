//! A topology for the tests of others.

use super::report::Colour;
use super::{Loaded, SecretFact, SecretFile, Surroundings, Topology, load};

/// One file that includes nothing; its keys and certificates are not looked at.
struct Alone<'a>(&'a str);

impl Surroundings for Alone<'_> {
    fn read(&mut self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }

    fn secret(&mut self, _file: SecretFile<'_>) -> SecretFact {
        SecretFact::NotLooked
    }
}

/// What is wrong with it, if anything is, fails the test.
pub fn parse(yaml: &str) -> Topology {
    let Loaded { topology, report } = load("t.yaml", &mut Alone(yaml));
    topology.unwrap_or_else(|| panic!("{yaml}\n{}", report.render(Colour::Plain)))
}
