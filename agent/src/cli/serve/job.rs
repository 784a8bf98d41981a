//! One run of the command behind a service.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longest answer: what the longest packet that a server takes by default has room for.
const REPLY_BYTES_MAX: u64 = 1 << 20;

pub struct Job {
    command: Vec<String>,
    payload: Vec<u8>,
    limit: Duration,
}

/// What goes back to whoever asked.
#[derive(Debug)]
pub struct Reply {
    pub payload: Vec<u8>,
    /// Why it is one of failure.
    pub error: Option<String>,
}

impl Reply {
    pub fn failed(why: String) -> Self {
        Self { payload: Vec::new(), error: Some(why) }
    }
}

/// A command and all that it started. When this is dropped they are ended.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Job {
    pub fn new(command: &[String], payload: Vec<u8>, limit: Duration) -> Self {
        Self { command: command.to_vec(), payload, limit }
    }

    /// Run the command to its end, or to that of its time. Dropped, it is ended.
    pub async fn run(self) -> Reply {
        let limit = self.limit;
        let name = self.command.first().cloned().unwrap_or_default();
        match timeout(limit, self.run_for_ever(&name)).await {
            Ok(reply) => reply,
            Err(_) => Reply::failed(format!("{name} took longer than {} s", limit.as_secs_f32())),
        }
    }

    async fn run_for_ever(self, name: &str) -> Reply {
        let mut command = Command::new(name);
        command.args(self.command.iter().skip(1)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // A group of its own: what is ended is ended with its children, and Ctrl-C is for us alone.
        command.process_group(0).kill_on_drop(true);
        let mut group = match command.spawn() {
            Ok(child) => Group(child),
            Err(error) => return Reply::failed(format!("cannot run {name}: {error}")),
        };
        let (stdin, stdout) = (group.0.stdin.take(), group.0.stdout.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input to the end may still answer.
                let _ = stdin.write_all(&self.payload).await;
            }
        };
        let mut payload = Vec::new();
        let listen = async {
            match stdout {
                Some(stdout) => stdout.take(REPLY_BYTES_MAX + 1).read_to_end(&mut payload).await,
                None => Ok(0),
            }
        };
        let ((), heard) = tokio::join!(feed, listen);
        if heard.is_err() {
            return Reply::failed(format!("cannot read what {name} prints"));
        }
        if payload.len() as u64 > REPLY_BYTES_MAX {
            return Reply::failed(format!("{name} printed more than {REPLY_BYTES_MAX} bytes"));
        }
        match group.0.wait().await {
            Ok(status) if status.success() => Reply { payload, error: None },
            Ok(status) => Reply { payload, error: Some(format!("{name} failed: {status}")) },
            Err(error) => Reply { payload, error: Some(format!("cannot wait for {name}: {error}")) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &[&str], payload: &[u8], limit: Duration) -> Reply {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Job::new(&command, payload.to_vec(), limit).run())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_the_command_prints_is_the_answer() {
        let big = vec![b'x'; 500_000];
        let reply = run(&["cat"], &big, LONG);
        assert_eq!((reply.payload.len(), reply.error), (big.len(), None));
        let deaf = run(&["echo", "hello"], &big, LONG);
        assert_eq!((deaf.payload, deaf.error), (b"hello\n".to_vec(), None));
    }

    #[test]
    fn a_command_that_fails_says_so_and_what_it_printed_is_kept() {
        let reply = run(&["sh", "-c", "echo half; exit 3"], b"", LONG);
        assert_eq!(reply.payload, b"half\n");
        assert!(reply.error.unwrap().contains("exit status: 3"));
        assert!(run(&["/no/such/command"], b"", LONG).error.unwrap().contains("cannot run"));
    }

    #[test]
    fn an_answer_that_is_too_long_is_none() {
        let reply = run(&["head", "-c", "2000000", "/dev/zero"], b"", LONG);
        assert!(reply.payload.is_empty() && reply.error.unwrap().contains("more than"));
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let reply = run(&["sh", "-c", &script], b"", Duration::from_millis(500));
        assert!(reply.error.unwrap().contains("took longer than 0.5 s"));
        let child = std::fs::read_to_string(&pid).unwrap();
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let start = std::time::Instant::now();
        while !ended() {
            assert!(start.elapsed() < LONG, "what the command started lives on");
            std::thread::yield_now();
        }
    }
}
