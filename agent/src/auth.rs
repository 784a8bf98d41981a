//! Whether a device's password is right. Argon2 takes its time, so it has its own thread and a short queue.
//!
//! The password file is read anew for every question, so a changed one counts at once. A user that does not exist costs
//! as much time as one that does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use hobnail_core::assign::Device;
use hobnail_core::broker::{ConnId, Principal, Verdict};
use hobnail_core::ids::Name;
use tokio::sync::mpsc;
use tracing::warn;

use crate::secrets::located;

/// Questions that wait for the thread; each takes some 20 ms, so more would wait longer than clients do. What comes
/// beyond is refused at once.
const QUESTIONS_MAX: usize = 32;
/// A PHC string has about 100 bytes; whatever is longer is not one.
const FILE_BYTES_MAX: u64 = 4096;

/// A device and where its password is.
pub struct Account {
    pub principal: Principal,
    pub password_file: Option<PathBuf>,
}

pub type Accounts = BTreeMap<Name, Account>;

struct Question {
    conn: ConnId,
    user: Box<str>,
    password: Box<[u8]>,
}

/// What the thread has found out.
pub struct Answer {
    pub conn: ConnId,
    pub verdict: Verdict,
}

/// The asking end of the thread.
pub struct Prover(SyncSender<Question>);

#[derive(Debug, thiserror::Error)]
enum PasswordFileError {
    #[error("the topology names no password file for it")]
    NotNamed,
    #[error("failed to read {0}: {1}")]
    Read(PathBuf, io::Error),
    #[error("{0} holds no argon2 password; write one with `hobnail passwd`")]
    NotPhc(PathBuf),
}

/// The devices of an assignment with their password files in `key_directory`.
#[must_use]
pub fn accounts(devices: &BTreeMap<Name, Device>, key_directory: &Path) -> Accounts {
    let account = |(name, device): (&Name, &Device)| {
        let password_file = device.password_file.as_ref().map(|file| key_directory.join(&**file));
        let principal = Principal { name: name.clone(), rights: device.rights.clone() };
        (name.clone(), Account { principal, password_file })
    };
    devices.iter().map(account).collect()
}

impl Prover {
    /// Start the thread. It ends when the `Prover` is dropped.
    pub fn start(accounts: Accounts) -> io::Result<(Self, mpsc::Receiver<Answer>)> {
        let (ask, questions) = sync_channel(QUESTIONS_MAX);
        let (answer, answers) = mpsc::channel(QUESTIONS_MAX);
        thread::Builder::new().name("passwords".into()).spawn(move || serve(&accounts, &questions, &answer))?;
        Ok((Self(ask), answers))
    }

    /// The answer comes later, or at once when too many wait.
    pub fn ask(&self, conn: ConnId, user: Box<str>, password: Box<[u8]>) -> Result<(), Verdict> {
        self.0.try_send(Question { conn, user, password }).map_err(|_| {
            warn!("a device has to try again: too many passwords are being looked at");
            Verdict::Busy
        })
    }
}

fn serve(accounts: &Accounts, questions: &Receiver<Question>, answers: &mpsc::Sender<Answer>) {
    let decoy = decoy();
    while let Ok(Question { conn, user, password }) = questions.recv() {
        let account = accounts.get(&*user);
        let stored = match account.map(read) {
            Some(Ok(stored)) => Some(stored),
            Some(Err(error)) => {
                warn!(device = %user, %error, "nobody can come in as this device");
                None
            }
            None => None,
        };
        let right = is_right(&password, stored.as_deref().unwrap_or(&decoy)) && stored.is_some();
        let verdict = match account.filter(|_| right) {
            Some(account) => Verdict::Welcome(account.principal.clone()),
            None => Verdict::Refused,
        };
        if answers.blocking_send(Answer { conn, verdict }).is_err() {
            return;
        }
    }
}

/// What an unknown user's password is held against, so that its refusal takes as long as any other.
fn decoy() -> String {
    let salt = SaltString::encode_b64(b"hobnail-no-such-user");
    let hash = salt.and_then(|salt| Argon2::default().hash_password(b"", &salt).map(|hash| hash.to_string()));
    hash.expect("a fixed salt of a legal length can always be hashed with")
}

fn read(account: &Account) -> Result<String, PasswordFileError> {
    let path = account.password_file.as_ref().ok_or(PasswordFileError::NotNamed)?;
    let mut text = String::new();
    File::open(located(path))
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| PasswordFileError::Read(path.clone(), error))?;
    let line = text.trim();
    match PasswordHash::new(line) {
        Ok(_) => Ok(line.to_owned()),
        Err(_) => Err(PasswordFileError::NotPhc(path.clone())),
    }
}

fn is_right(password: &[u8], stored: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|stored| Argon2::default().verify_password(password, &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use hobnail_core::broker::{Broker, Peer, Saved, Settings, Trust};
    use hobnail_core::rights::Rights;
    use hobnail_core::time::Now;
    use hobnail_core::topology::model::{Limits, WhenFull};

    use super::*;

    fn account(file: Option<PathBuf>) -> Accounts {
        let name = Name::new("plc-7").unwrap();
        let principal = Principal { name: name.clone(), rights: Rights::default() };
        BTreeMap::from([(name, Account { principal, password_file: file })])
    }

    fn any_conn() -> ConnId {
        let local = Principal { name: Name::new("solo").unwrap(), rights: Rights::default() };
        let settings = Settings {
            limits: Limits::default(),
            when_full: WhenFull::default(),
            local,
            devices: BTreeMap::new(),
            id_seed: 1,
            elsewhere: BTreeMap::new(),
            topics: Vec::new(),
            outward: false,
        };
        Broker::new(settings, Saved::default(), Now::ZERO)
            .handle_open(Peer { address: None, trust: Trust::Password }, Now::ZERO)
    }

    fn ask(accounts: Accounts, user: &str, password: &[u8]) -> bool {
        let (ask, questions) = sync_channel(1);
        let (answer, mut answers) = mpsc::channel(1);
        let conn = any_conn();
        ask.send(Question { conn, user: user.into(), password: password.into() }).unwrap();
        drop(ask);
        serve(&accounts, &questions, &answer);
        matches!(answers.try_recv().unwrap().verdict, Verdict::Welcome(_))
    }

    #[test]
    fn only_the_right_user_with_the_right_password_is_welcome() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plc-7.pw");
        let salt = SaltString::encode_b64(b"some salt of ours").unwrap();
        let hash = Argon2::default().hash_password(b"sesame", &salt).unwrap().to_string();
        std::fs::write(&file, hash + "\n").unwrap();
        let cases: [(&str, &[u8], bool); 4] = [
            ("plc-7", b"sesame", true),
            ("plc-7", b"Sesame", false),
            ("plc-7", b"", false),
            ("plc-8", b"sesame", false),
        ];
        for (user, password, welcome) in cases {
            assert_eq!(ask(account(Some(file.clone())), user, password), welcome, "{user} {password:?}");
        }
    }

    #[test]
    fn a_password_file_that_is_missing_or_nonsense_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let nonsense = folder.path().join("plain.pw");
        std::fs::write(&nonsense, "sesame\n").unwrap();
        for file in [None, Some(folder.path().join("missing.pw")), Some(nonsense)] {
            assert!(!ask(account(file.clone()), "plc-7", b"sesame"), "{file:?}");
            assert!(!ask(account(file), "plc-7", b""));
        }
    }

    #[test]
    fn an_unknown_user_cannot_come_in_with_the_decoys_password() {
        assert!(!ask(account(None), "nobody", b""));
    }
}
