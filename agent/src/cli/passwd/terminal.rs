//! Asking for a secret on a terminal, without showing it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::PASSWORD_BYTES_MAX;

/// The keys that mean something besides themselves.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACES: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;

/// The terminal with its echo off; dropped, it is as it was. Keys that would end the process come to us instead, so
/// that it never ends with the echo still off.
struct Hushed {
    terminal: File,
    before: Termios,
}

impl Hushed {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        // A terminal that has gone cannot be set right, and needs not be.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

pub fn ask(prompt: &str) -> anyhow::Result<Vec<u8>> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let terminal = terminal.context("there is no terminal to ask on; use --password-stdin")?;
    let mut hushed = Hushed::new(terminal).context("cannot turn the terminal's echo off")?;
    hushed.terminal.write_all(prompt.as_bytes())?;
    let answer = answer(&mut hushed.terminal);
    hushed.terminal.write_all(b"\n")?;
    answer
}

fn answer(terminal: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut secret = Vec::new();
    let mut key = [0];
    loop {
        if terminal.read(&mut key)? == 0 {
            bail!("the terminal has gone");
        }
        match key {
            [b'\n' | b'\r'] => return Ok(secret),
            [INTERRUPT | END] => bail!("given up; nothing was written"),
            [KILL_LINE] => secret.clear(),
            [key] if BACKSPACES.contains(&key) => erase(&mut secret),
            [_] if secret.len() >= PASSWORD_BYTES_MAX => bail!("a password has at most {PASSWORD_BYTES_MAX} bytes"),
            [key] => secret.push(key),
        }
    }
}

/// Take back one character, however many bytes it has.
fn erase(secret: &mut Vec<u8>) {
    while secret.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_as_a_terminal_takes_them() {
        for (typed, wanted) in [
            (&b"secret\n"[..], &b"secret"[..]),
            (b"sex\x7fcret\r", b"secret"),
            ("sé\x7fe\n".as_bytes(), b"se"),
            (b"wrong\x15right\n", b"right"),
        ] {
            assert_eq!(answer(&mut &typed[..]).unwrap(), wanted);
        }
    }

    #[test]
    fn an_interrupt_or_a_lost_terminal_gives_no_password() {
        for typed in [&b"abc\x03"[..], b"abc\x04", b"abc"] {
            assert!(answer(&mut &typed[..]).is_err());
        }
    }
}
