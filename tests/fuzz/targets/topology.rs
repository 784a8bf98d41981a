//! Arbitrary bytes as a topology: no panic, no long wait, and never both a model and a problem.
#![no_main]

use hobnail_core::assign::assign;
use hobnail_core::plan::{apply, plan};
use hobnail_core::topology::report::Colour;
use hobnail_core::topology::{SecretFact, SecretFile, Surroundings, load};
use libfuzzer_sys::fuzz_target;

struct Bytes<'a>(&'a [u8]);

impl Surroundings for Bytes<'_> {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "root.yaml" => Ok(self.0.to_vec()),
            "part.yaml" => Ok(b"clients: { part: {} }\n".to_vec()),
            _ => Err("not there".to_owned()),
        }
    }

    fn secret(&mut self, file: SecretFile<'_>) -> SecretFact {
        match file {
            SecretFile::Key("missing") => SecretFact::Missing { path: "missing".to_owned() },
            SecretFile::Key("open") => SecretFact::Open { path: "open".to_owned(), mode: 0o644 },
            SecretFile::Key(_) | SecretFile::Password(_) | SecretFile::CertificateKey(_) => SecretFact::Fine,
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let loaded = load("root.yaml", &mut Bytes(bytes));
    assert_eq!(loaded.topology.is_some(), loaded.report.is_clean());
    let _ = loaded.report.render(Colour::Plain);
    let _ = loaded.report.json();
    let Some(topology) = loaded.topology else { return };
    for name in topology.machines.keys() {
        let Ok(wanted) = assign(&topology, name) else { continue };
        let steps = plan(None, &wanted);
        let again = plan(Some(&apply(wanted.clone(), &steps)), &wanted);
        assert!(again.is_empty());
    }
});
