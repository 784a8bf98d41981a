//! The topology file as it is written: every key that it knows, once. The JSON Schema, the structural check and the
//! decoding all come from these types, and the comments here are the documentation of the keys.
//!
//! A new key goes here first, then into `model`, then into `check`, which turns one into the other.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::model::{Ack, Failback, Lane, WhenFull};
use super::report::Spanned;

/// A text and where it stands.
pub type Text = Spanned<String>;

/// One network of machines, for hobnail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["version", "network"]))]
pub struct RawTopology {
    /// The version of this file's language: 1. (Change: live.)
    pub version: Option<Spanned<u64>>,
    /// The network's name. Machines of another network are never let in. (Change: takes a restart.)
    pub network: Option<Text>,
    /// Other files whose machines, roles, topics and tests belong to this one, by their path from its folder. (Change: live.)
    pub include: Vec<Text>,
    /// How often machines tell each other that they live. (Change: live.)
    pub heartbeat: Option<Spanned<RawHeartbeat>>,
    /// When a machine goes back to a better broker. (Change: live.)
    pub failover: Option<Spanned<RawFailover>>,
    /// Which keys seal what leaves a machine. (Change: reconnects machines once the key goes that had proved their links; nobody while the old and the new key are both accepted.)
    pub keys: Option<Spanned<RawKeys>>,
    /// How much may wait for others to come back. (Change: live; `max` at the next start.)
    pub store: Option<Spanned<RawStore>>,
    /// Where every machine listens. (Change: reconnects those who came in by the door that moved.)
    pub doors: Option<Spanned<RawDoors>>,
    /// What every machine takes before it says no. (Change: live.)
    pub limits: Option<Spanned<RawLimits>>,
    /// What every machine may publish and subscribe to, unless it or its role says otherwise. (Change: live.)
    pub rights: Option<Spanned<RawRights>>,
    /// The machines that carry messages for others, best first. (Change: reconnects those whose broker moves, and a machine that becomes a broker or is one no more.)
    pub brokers: Named<RawBroker>,
    /// Rights that several machines share; `{name}` stands for the machine's name. (Change: live.)
    pub roles: Named<RawRights>,
    /// All other machines and devices; `press-[01..20]` names twenty. (Change: reconnects the one that changes kind.)
    pub clients: Named<RawClient>,
    /// How messages of certain topics are kept and sent; the first match wins. (Change: live.)
    pub topics: Vec<Spanned<RawTopic>>,
    /// What the rights above are meant to do, tried at every check. (Change: live.)
    pub tests: Vec<Spanned<RawTest>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHeartbeat {
    /// Time between two beats, such as 500ms.
    pub every: Option<Text>,
    /// Beats missed before a machine counts as gone, 2 to 100.
    pub miss: Option<Spanned<u64>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFailover {
    /// How long a better broker must have been back before machines return to it, such as 60s.
    pub hold_down: Option<Text>,
    /// Whether they return by themselves.
    pub failback: Option<Failback>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["active"]))]
pub struct RawKeys {
    /// The key that seals: `k2` stands for the file `k2.key` in the key directory.
    pub active: Option<Text>,
    /// Keys that still open, while they are being replaced.
    pub accept: Vec<Text>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawStore {
    /// Most that waits on this machine, such as 256MB; without it the smaller of 256MiB and 5 % of the free space.
    pub max: Option<Text>,
    /// What gives way when a queue or the store is full.
    pub when_full: Option<WhenFull>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDoors {
    /// Plain MQTT for the programs of this machine, on loopback; `off` for none. Default "127.0.0.1:1883".
    pub programs: Option<Text>,
    /// MQTT over WebSocket for the programs and pages of this machine, on loopback, such as "127.0.0.1:8083".
    pub websocket: Option<Text>,
    /// Web pages that may use the WebSocket door besides those that this machine serves itself, such as
    /// "https://dash.example:8443"; "null" stands for pages from files. Programs that are no browsers need none.
    pub origins: Option<Vec<Text>>,
    /// MQTT on a Unix socket: its path.
    pub unix: Option<Text>,
    /// MQTT for devices on the network, by password; brokers only.
    pub devices: Option<Spanned<RawDeviceDoor>>,
    /// The TCP port where other agents come in; brokers only. Default 8883.
    pub agents: Option<Spanned<u64>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["listen"]))]
pub struct RawDeviceDoor {
    /// Address and port, such as "0.0.0.0:8884".
    pub listen: Option<Text>,
    /// The certificate chain, PEM; read again when it changes.
    pub cert: Option<Text>,
    /// The certificate's private key, PEM, mode 0600.
    pub cert_key: Option<Text>,
    /// `plain: true` instead of a certificate: passwords and messages of devices cross the network readable.
    pub plain: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    /// Connections at all doors of one machine, 1 to 100000. Default 1000; at most one for each 512KiB that there is.
    pub connections: Option<Spanned<u64>>,
    /// Largest packet, up to 16MiB, such as 1MiB.
    pub packet: Option<Text>,
    /// Messages on their way to one subscriber and not yet acknowledged, 1 to 65535. Default 100.
    pub inflight: Option<Spanned<u64>>,
    /// Messages that wait for one session. Default 10000.
    pub queue: Option<Spanned<u64>>,
    /// Bytes that wait for one session. Default 16MiB.
    pub queue_bytes: Option<Text>,
    /// All queued and retained messages together. Default 128MiB; at most a quarter of the memory that there is.
    pub memory: Option<Text>,
    /// Retained messages. Default 10000.
    pub retained: Option<Spanned<u64>>,
    /// Bytes of retained messages. Default 16MiB; at most a sixteenth of the memory that there is.
    pub retained_bytes: Option<Text>,
    /// Subscriptions of all sessions together. Default 100000; fewer where their filters take 96MiB, or a sixteenth of
    /// the memory that there is.
    pub subscriptions: Option<Spanned<u64>>,
    /// Longest life of a session without a connection. Default 7d.
    pub session_expiry: Option<Text>,
    /// Longest keep alive of MQTT 5 clients, such as 60s; who asks for more, or for none, is told this one.
    pub keep_alive: Option<Text>,
}

/// What somebody may do. Once any list stands for a machine, what is not listed is refused.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRights {
    /// Topics that may be published to; `+` and `#` as in subscriptions.
    pub publish: Option<Vec<Text>>,
    /// Topics that may be subscribed to.
    pub subscribe: Option<Vec<Text>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["host"]))]
pub struct RawBroker {
    /// The name or address by which other machines reach this one.
    pub host: Option<Text>,
    /// The brokers that stand in for this one, best first; each ranks below it.
    pub backups: Vec<Text>,
    /// A name under `roles`.
    pub role: Option<Text>,
    /// Topics that this machine's programs may publish to.
    pub publish: Option<Vec<Text>>,
    /// Topics that this machine's programs may subscribe to.
    pub subscribe: Option<Vec<Text>>,
    /// Where this machine listens, over the network's `doors`.
    pub doors: Option<Spanned<RawDoors>>,
    /// This machine's store, over the network's `store`.
    pub store: Option<Spanned<RawStore>>,
    /// This machine's limits, over the network's `limits`.
    pub limits: Option<Spanned<RawLimits>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawClient {
    /// A name under `roles`.
    pub role: Option<Text>,
    /// Topics that this machine's programs, or this device, may publish to.
    pub publish: Option<Vec<Text>>,
    /// Topics that this machine's programs, or this device, may subscribe to.
    pub subscribe: Option<Vec<Text>>,
    /// The broker it prefers; without one, the best ranked.
    pub home: Option<Text>,
    /// `device: true`: plain MQTT by password, no agent on it.
    pub device: Option<bool>,
    /// The file that holds the device's password, as `hobnail passwd` writes it.
    pub password_file: Option<Text>,
    /// Where this machine listens, over the network's `doors`.
    pub doors: Option<Spanned<RawDoors>>,
    /// This machine's store, over the network's `store`.
    pub store: Option<Spanned<RawStore>>,
    /// This machine's limits, over the network's `limits`.
    pub limits: Option<Spanned<RawLimits>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["match"]))]
pub struct RawTopic {
    /// The topics that this line is about.
    #[serde(rename = "match")]
    pub matches: Option<Text>,
    /// When a publisher at QoS 1 or 2 is told that its message is kept.
    pub ack: Option<Ack>,
    /// How the message travels.
    pub lane: Option<Lane>,
    /// How long it is worth delivering, such as 7d.
    pub max_age: Option<Text>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["client", "publish"]))]
pub struct RawTest {
    /// Who publishes.
    pub client: Option<Text>,
    /// The topic it publishes to.
    pub publish: Option<Text>,
    /// Who may get it.
    pub delivered_to: Option<Vec<Text>>,
    /// `denied: true`: it may not be published at all.
    pub denied: Option<bool>,
}

/// A map in the order of the file, with the place of every name.
#[derive(Debug)]
pub struct Named<T>(pub Vec<(Text, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with what belongs to them")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }

        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
