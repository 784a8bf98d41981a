//! The file itself, this machine's place in it, and whether the service can read it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Machine, Symptom, fine, sick};

pub fn check(machine: &Machine) -> Vec<Symptom> {
    let file = machine.file.display();
    let Some(topology) = &machine.loaded.topology else {
        let problems = machine.loaded.report.problems().len();
        return vec![sick(format!("{file} cannot be used, problems: {problems}"), format!("hobnail check {file}"))];
    };
    let machines = topology.machines.len();
    let place = match &machine.assignment {
        Ok(assignment) => {
            fine(format!("this is {} in network {}, machines: {machines}", assignment.me, assignment.network))
        }
        Err(error) => sick(error.clone(), "say which machine this is: HOBNAIL_NAME=… in /etc/default/hobnail"),
    };
    [place].into_iter().chain(readable(machine)).collect()
}

fn readable(machine: &Machine) -> Option<Symptom> {
    let facts = fs::metadata(&machine.file).ok()?;
    let (uid, gid) = machine.service_user?;
    let bit = match (facts.uid() == uid, facts.gid() == gid) {
        (true, _) => 0o400,
        (false, true) => 0o040,
        (false, false) => 0o004,
    };
    let file = machine.file.display();
    let cure = format!("chmod a+r {file} (no secret stands in it)");
    (uid != 0 && facts.mode() & bit == 0).then(|| sick(format!("the service may not read {file}"), cure))
}
