//! Keys, passwords and certificates: there, sound, private, and readable by the service.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hobnail_core::assign::{Assignment, Door};

use super::{Machine, Symptom, fine, note, plain, sick};
use crate::keys::{self, KeyError};

pub fn check(machine: &Machine) -> Vec<Symptom> {
    let Ok(assignment) = &machine.assignment else { return Vec::new() };
    let mut symptoms: Vec<Symptom> = directory(machine).into_iter().collect();
    let keys: Vec<PathBuf> = key_names(assignment).map(|name| keys::path_of(&machine.key_directory, name)).collect();
    for path in &keys {
        match keys::load(path) {
            Ok(_) => symptoms.push(fine(format!("{} is a sound key", path.display()))),
            Err(KeyError::Unreadable { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
                symptoms.push(only_root(path));
            }
            Err(error) => symptoms.push(sick(error.to_string(), key_cure(path))),
        }
    }
    for path in other_secrets(assignment, &machine.key_directory) {
        symptoms.extend(private_file(&path));
    }
    let all = keys.into_iter().chain(other_secrets(assignment, &machine.key_directory));
    symptoms.extend(all.filter_map(|path| owner(machine, &path)));
    if symptoms.is_empty() {
        symptoms.push(fine("the topology asks for none on this machine"));
    }
    symptoms
}

fn key_names(assignment: &Assignment) -> impl Iterator<Item = &str> {
    let keys = assignment.keys.iter();
    keys.flat_map(|keys| [&keys.active].into_iter().chain(&keys.accept)).map(|name| name.as_str())
}

fn other_secrets(assignment: &Assignment, directory: &Path) -> Vec<PathBuf> {
    let passwords = assignment.devices.values().filter_map(|device| device.password_file.as_deref());
    let certificate_keys = assignment.doors.values().filter_map(|door| match door {
        Door::Tls { files, .. } => Some(&*files.key),
        Door::Tcp(_) | Door::Unix(_) | Door::Agents(_) => None,
    });
    passwords.chain(certificate_keys).map(|file| directory.join(file)).collect()
}

fn directory(machine: &Machine) -> Option<Symptom> {
    let facts = fs::metadata(&machine.key_directory).ok()?;
    let shown = machine.key_directory.display();
    let open = facts.mode() & 0o077 != 0;
    open.then(|| sick(format!("others can look into {shown}"), format!("chmod 700 {shown}")))
}

fn private_file(path: &Path) -> Option<Symptom> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(only_root(path)),
        Err(error) => Some(sick(
            format!("{shown}: {}", plain(&error)),
            "for a password `hobnail passwd FILE`; a certificate's key comes with the certificate",
        )),
        Ok(facts) if facts.mode() & 0o077 != 0 => {
            Some(sick(format!("others can read {shown}"), format!("chmod 600 {shown}")))
        }
        Ok(_) => None,
    }
}

fn only_root(path: &Path) -> Symptom {
    note(format!("{} is not for this user to look at", path.display()), "as root, hobnail doctor says more")
}

fn key_cure(path: &Path) -> String {
    let shown = path.display();
    format!(
        "scp the file from another machine of the network, then chmod 600 {shown}; the first of all: hobnail key new"
    )
}

/// The service reads its own files at each use, and root's as copies that systemd made at its start.
fn owner(machine: &Machine, path: &Path) -> Option<Symptom> {
    let (uid, gid) = machine.service_user?;
    let facts = fs::metadata(path).ok()?;
    let shown = path.display();
    let cure = format!("to have changes count at once: chown {uid}:{gid} {shown}");
    let text = format!("{shown} is not the service's own: a change of it counts from the next start");
    (facts.uid() != uid && uid != 0).then(|| note(text, cure))
}
