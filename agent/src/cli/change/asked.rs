//! What the running agent says of topologies: the one in force, those before it, and what came of a change.

use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::status::{AgentArgs, NoAnswer};
use crate::history::Entry;
use crate::texts::Texts;

/// The topology in force.
#[derive(Debug, Deserialize)]
pub struct InForce {
    pub texts: Texts,
    /// What the files held when the agent last read them.
    pub on_disk: Texts,
}

/// What another machine runs by.
#[derive(Debug, Deserialize)]
pub struct OfOther {
    pub texts: Texts,
}

pub fn in_force(agent: &AgentArgs) -> Result<InForce, Gone> {
    get(agent, "/v1/topology")
}

pub fn of_other(agent: &AgentArgs, machine: &str) -> Result<Texts, Gone> {
    get::<OfOther>(agent, &format!("/v1/topology/{machine}")).map(|other| other.texts)
}

pub fn entry(agent: &AgentArgs, number: u64) -> Result<Entry, Gone> {
    get(agent, &format!("/v1/history/{number}"))
}

/// No answer, or one that this version does not understand.
#[derive(Debug)]
pub enum Gone {
    Told(ExitCode),
    Nonsense(anyhow::Error),
}

impl From<NoAnswer> for Gone {
    fn from(no_answer: NoAnswer) -> Self {
        Self::Told(no_answer.end())
    }
}

impl Gone {
    pub fn end(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Told(code) => Ok(code),
            Self::Nonsense(error) => Err(error),
        }
    }
}

pub fn get<T: DeserializeOwned>(agent: &AgentArgs, target: &str) -> Result<T, Gone> {
    read(agent.ask("GET", target)?)
}

fn read<T: DeserializeOwned>(answer: serde_json::Value) -> Result<T, Gone> {
    serde_json::from_value(answer)
        .context("the agent's answer is not what this version expects")
        .map_err(Gone::Nonsense)
}
