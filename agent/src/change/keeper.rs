//! Writes the topologies that have proved themselves into the history, one after the other and in their order.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, spawn_local};
use tracing::warn;

use crate::history::{Cause, History, Run};
use crate::texts::Texts;

/// Topologies that wait for the disk; who has one more to keep waits too, and holds back nobody else.
const WAITING_MAX: usize = 8;

/// A topology under which the agent is well.
#[derive(Clone)]
pub struct Good {
    pub cause: Cause,
    pub what: String,
    pub texts: Texts,
    pub fingerprint: Box<str>,
}

#[derive(Clone)]
pub struct Keeper(mpsc::Sender<Good>);

impl Keeper {
    #[must_use]
    pub fn start(history: History) -> Self {
        let (keeper, mut good) = mpsc::channel(WAITING_MAX);
        spawn_local(async move {
            while let Some(good) = good.recv().await {
                record(history.clone(), good).await;
            }
        });
        Self(keeper)
    }

    pub async fn keep(&self, good: Good) {
        // The writer lives as long as the agent: without it there is nothing to keep a topology for.
        let _ = self.0.send(good).await;
    }
}

async fn record(history: History, good: Good) {
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH);
    let at_ms = at_ms.ok().and_then(|since| u64::try_from(since.as_millis()).ok());
    let written = spawn_blocking(move || {
        let Good { cause, what, texts, fingerprint } = &good;
        history.record(&Run { at_ms, cause: *cause, what, fingerprint, texts })
    });
    match written.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%error, "the topology could not be kept as the last good one"),
        Err(error) => warn!(%error, "the topology could not be kept as the last good one"),
    }
}
