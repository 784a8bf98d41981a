//! What an operator must see: a closed list of findings, each with a code to look for, a text, and a cure.
//!
//! This judges nothing by itself: whoever knows the figures makes the finding. A finding holds no payload and no secret.

use std::fmt;

use serde::Serialize;

/// How bad it is. The order is the order in which findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Something does not work, or messages are lost.
    Problem,
    /// It works, but not for long, or not as the file says.
    Warning,
    /// Worth knowing.
    Note,
}

/// What can be found. The words of `word` are a promise to scripts; a new one may come, none changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    NoHome,
    KeyUnknown,
    EnvelopeRefused,
    OutboxFull,
    VersionRefused,
    Twins,
    MachineOffline,
    BrokerUnlinked,
    SecondLinkMissing,
    LinkSuspect,
    TopologyDrift,
    LinkFaults,
    NotBestHome,
    Behind,
    VersionDrift,
    Strangers,
    MessagesDropped,
    Qos0Dropped,
    MemoryFull,
    MemoryNearlyFull,
    RetainedRefused,
    ConnectionsFull,
    ConnectionsNearlyFull,
    MemoryOnly,
    DiskDegraded,
    DiskFull,
    DiskDamaged,
    NotRestored,
    DeadLetters,
    DeadlinesMissed,
    DoorWaiting,
    SafeMode,
    LastGoodTopology,
    ReloadRefused,
    RolledBack,
    ConfirmNeeded,
    RestartNeeded,
    NotSaved,
    WrongPasswords,
    ForeignPages,
    RightsRefused,
    ProtocolErrors,
}

impl Code {
    pub const ALL: &[Self] = &[
        Self::NoHome,
        Self::KeyUnknown,
        Self::EnvelopeRefused,
        Self::OutboxFull,
        Self::VersionRefused,
        Self::Twins,
        Self::MachineOffline,
        Self::BrokerUnlinked,
        Self::SecondLinkMissing,
        Self::LinkSuspect,
        Self::TopologyDrift,
        Self::LinkFaults,
        Self::NotBestHome,
        Self::Behind,
        Self::VersionDrift,
        Self::Strangers,
        Self::MessagesDropped,
        Self::Qos0Dropped,
        Self::MemoryFull,
        Self::MemoryNearlyFull,
        Self::RetainedRefused,
        Self::ConnectionsFull,
        Self::ConnectionsNearlyFull,
        Self::MemoryOnly,
        Self::DiskDegraded,
        Self::DiskFull,
        Self::DiskDamaged,
        Self::NotRestored,
        Self::DeadLetters,
        Self::DeadlinesMissed,
        Self::DoorWaiting,
        Self::SafeMode,
        Self::LastGoodTopology,
        Self::ReloadRefused,
        Self::RolledBack,
        Self::ConfirmNeeded,
        Self::RestartNeeded,
        Self::NotSaved,
        Self::WrongPasswords,
        Self::ForeignPages,
        Self::RightsRefused,
        Self::ProtocolErrors,
    ];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NoHome => "no-home",
            Self::KeyUnknown => "key-unknown",
            Self::EnvelopeRefused => "envelope-refused",
            Self::OutboxFull => "outbox-full",
            Self::VersionRefused => "version-refused",
            Self::Twins => "twins",
            Self::MachineOffline => "machine-offline",
            Self::BrokerUnlinked => "broker-unlinked",
            Self::SecondLinkMissing => "second-link-missing",
            Self::LinkSuspect => "link-suspect",
            Self::TopologyDrift => "topology-drift",
            Self::LinkFaults => "link-faults",
            Self::NotBestHome => "not-best-home",
            Self::Behind => "behind",
            Self::VersionDrift => "version-drift",
            Self::Strangers => "strangers",
            Self::MessagesDropped => "messages-dropped",
            Self::Qos0Dropped => "qos0-dropped",
            Self::MemoryFull => "memory-full",
            Self::MemoryNearlyFull => "memory-nearly-full",
            Self::RetainedRefused => "retained-refused",
            Self::ConnectionsFull => "connections-full",
            Self::ConnectionsNearlyFull => "connections-nearly-full",
            Self::MemoryOnly => "memory-only",
            Self::DiskDegraded => "disk-degraded",
            Self::DiskFull => "disk-full",
            Self::DiskDamaged => "disk-damaged",
            Self::NotRestored => "not-restored",
            Self::DeadLetters => "dead-letters",
            Self::DeadlinesMissed => "deadlines-missed",
            Self::DoorWaiting => "door-waiting",
            Self::SafeMode => "safe-mode",
            Self::LastGoodTopology => "last-good-topology",
            Self::ReloadRefused => "reload-refused",
            Self::RolledBack => "rolled-back",
            Self::ConfirmNeeded => "confirm-needed",
            Self::RestartNeeded => "restart-needed",
            Self::NotSaved => "not-saved",
            Self::WrongPasswords => "wrong-passwords",
            Self::ForeignPages => "foreign-pages",
            Self::RightsRefused => "rights-refused",
            Self::ProtocolErrors => "protocol-errors",
        }
    }

    #[must_use]
    pub fn grade(self) -> Grade {
        match self {
            Self::NoHome | Self::KeyUnknown | Self::EnvelopeRefused | Self::OutboxFull => Grade::Problem,
            Self::VersionRefused | Self::Twins => Grade::Problem,
            Self::MachineOffline
            | Self::BrokerUnlinked
            | Self::SecondLinkMissing
            | Self::LinkSuspect
            | Self::TopologyDrift
            | Self::Strangers
            | Self::LinkFaults => Grade::Warning,
            Self::NotBestHome | Self::Behind | Self::VersionDrift => Grade::Note,
            Self::MessagesDropped | Self::MemoryFull | Self::RetainedRefused | Self::ConnectionsFull => Grade::Problem,
            Self::MemoryOnly | Self::DiskDegraded | Self::DiskFull => Grade::Problem,
            Self::DiskDamaged | Self::NotRestored | Self::DeadLetters => Grade::Warning,
            Self::DeadlinesMissed
            | Self::ReloadRefused
            | Self::RolledBack
            | Self::SafeMode
            | Self::LastGoodTopology => Grade::Problem,
            Self::MemoryNearlyFull | Self::ConnectionsNearlyFull | Self::DoorWaiting => Grade::Warning,
            Self::ConfirmNeeded | Self::RestartNeeded | Self::WrongPasswords | Self::ForeignPages => Grade::Warning,
            Self::Qos0Dropped | Self::RightsRefused | Self::ProtocolErrors | Self::NotSaved => Grade::Note,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(self) -> &'static str {
        match self {
            Self::NoHome => {
                "look whether a broker runs, its agent port is open from here, and it has the same key (`hobnail key show` on both) and network name: the log tells what each dial came to"
            }
            Self::KeyUnknown => {
                "`hobnail key show` on both machines: put the key that is missing into the key directory here, and name it under keys.accept"
            }
            Self::EnvelopeRefused => {
                "a machine that holds a key of the network changes or forges messages: look for one that was taken over or whose memory fails, then replace the key"
            }
            Self::OutboxFull => {
                "other machines have been away for longer than the store holds: bring them back, or raise store.max"
            }
            Self::VersionRefused => {
                "another agent is too old or too new: install the same version of hobnail on all machines"
            }
            Self::Twins => {
                "one of the two was copied from the other, card and all: give it a name of its own with --name, and an entry in the topology"
            }
            Self::MachineOffline => {
                "look at its power and its network; if it is gone for good, take it out of the topology"
            }
            Self::BrokerUnlinked => {
                "look whether it runs, and whether its agent port is open from here: `hobnail ping NAME`"
            }
            Self::SecondLinkMissing => "if the home dies, messages wait: bring a second broker back",
            Self::LinkSuspect => "beats are missing: look at the network between the two machines",
            Self::TopologyDrift => "put the same topology file on every machine, then `systemctl reload hobnail` there",
            Self::LinkFaults => "another program speaks at the agent port, or versions differ: the log names it",
            Self::NotBestHome => {
                "nothing, where failback is auto: it goes back once the better broker has been sound for hold_down; else `hobnail promote NAME`"
            }
            Self::Behind => {
                "nothing: it catches up with the other brokers; if that does not end, look at the network between them"
            }
            Self::Strangers => {
                "a machine of this network with another key (`hobnail key show` there), or somebody who should not reach this port: the log names an address"
            }
            Self::VersionDrift => "install the same version of hobnail on all machines when it suits",
            Self::MessagesDropped => {
                "a subscriber is slower than its publishers, or away: make it faster, end its session, \
                 or raise limits.queue or limits.queue_bytes"
            }
            Self::Qos0Dropped => {
                "a subscriber is slower than its publishers: make it faster, or use QoS 1 where it matters"
            }
            Self::MemoryFull | Self::MemoryNearlyFull => {
                "end durable sessions that nobody uses, or raise limits.memory if the machine has more"
            }
            Self::RetainedRefused => {
                "clear retained messages nobody needs, or raise limits.retained and limits.retained_bytes"
            }
            Self::ConnectionsFull | Self::ConnectionsNearlyFull => {
                "find the program that opens many connections, or raise limits.connections"
            }
            Self::MemoryOnly => {
                "let the agent's user write to its state folder, then restart the agent; where there is no disk, give the topics that must flow `ack: memory`"
            }
            Self::DiskDegraded => {
                "look what the system says of the disk (`journalctl -k -p err`, `hobnail doctor`); once it takes writes, service goes on by itself"
            }
            Self::DiskFull => "make room: `df`, `journalctl --vacuum-size=50M`; service goes on by itself",
            Self::DiskDamaged => {
                "nothing now: what the other brokers have is fetched again; if it comes back, the card is dying: replace it"
            }
            Self::NotRestored => {
                "nothing, where a device was taken out of the topology: its session goes with it; else the disk lost something: `hobnail doctor disk`"
            }
            Self::DeadLetters => {
                "`hobnail dead list` names the client and the topic: mend the client, then `hobnail dead requeue NUMBER`, or `hobnail dead drop NUMBER`"
            }
            Self::DeadlinesMissed => "the machine is overloaded: look for what else uses its processor (`top`)",
            Self::DoorWaiting => "the machine does not have that address yet: look at `ip address`, or edit the door",
            Self::SafeMode => {
                "write a topology that has a place for this machine: it is in force as soon as it is written"
            }
            Self::LastGoodTopology => {
                "`hobnail check FILE` shows what is wrong with the file; mended, it is in force at once"
            }
            Self::ConfirmNeeded => {
                "`hobnail reload --dry-run` shows what it would do; `hobnail reload --confirm` if that is meant, else mend the file"
            }
            Self::ReloadRefused => "`hobnail check FILE` shows what is wrong; the old topology is in force until then",
            Self::RolledBack => {
                "`hobnail diff` shows the edit: look at the address of the brokers and at the keys; it is tried again once it is mended or confirmed, and when no broker can be reached without it either"
            }
            Self::NotSaved => "`hobnail save` writes them; `hobnail diff` shows them; a restart forgets them",
            Self::RestartNeeded => "restart this agent when it suits: `systemctl restart hobnail`",
            Self::WrongPasswords => "a device has an old password, or somebody guesses: the log names the addresses",
            Self::ForeignPages => {
                "if the page may talk to this machine's programs, put its origin under doors.origins: the log names it; \
                 else somebody here visits a page that tries to"
            }
            Self::RightsRefused => "a program uses a topic it may not: `hobnail explain` shows the rights that apply",
            Self::ProtocolErrors => "a client breaks MQTT's rules and is cut off: HOBNAIL_LOG=debug names it",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// One thing that was found, in the figures of this moment. The order is the order in which they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub grade: Grade,
    pub code: Code,
    pub text: String,
    pub cure: &'static str,
}

impl Finding {
    #[must_use]
    pub fn new(code: Code, text: String) -> Self {
        Self { grade: code.grade(), code, text, cure: code.cure() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_word_of_its_own_and_a_cure() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
        assert!(
            words.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')),
            "{words:?}"
        );
        assert!(Code::ALL.iter().all(|code| !code.cure().is_empty() && !code.cure().ends_with('.')));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[test]
    fn problems_come_first() {
        let mut findings: Vec<Finding> =
            Code::ALL.iter().rev().map(|code| Finding::new(*code, String::new())).collect();
        findings.sort();
        assert!(findings.windows(2).all(|pair| pair[0].grade <= pair[1].grade));
        assert_eq!(findings[0].grade, Grade::Problem);
    }
}
