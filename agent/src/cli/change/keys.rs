//! The keys of machines, roles and topic rules that have a flag, and the edits that flags come to. All other keys are
//! reached by their path.

use hobnail_core::topology::{Edit, Literal, Path};

/// The keys of a client.
#[derive(Debug, clap::Args)]
pub struct ClientKeys {
    #[command(flatten)]
    rights: Rights,
    /// A name under `roles`
    #[arg(long)]
    role: Option<String>,
    /// The broker it prefers
    #[arg(long, value_name = "BROKER")]
    home: Option<String>,
    /// It is a device: plain MQTT by password, without an agent
    #[arg(long)]
    device: bool,
    /// The file that holds the device's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
}

/// The keys of a broker.
#[derive(Debug, clap::Args)]
pub struct BrokerKeys {
    #[command(flatten)]
    rights: Rights,
    /// The name or address by which other machines reach it
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// A broker that stands in for it; may be given several times, best first
    #[arg(long = "backup", value_name = "BROKER")]
    backups: Vec<String>,
    /// A name under `roles`
    #[arg(long)]
    role: Option<String>,
}

/// What may be published and subscribed to.
#[derive(Debug, clap::Args)]
pub struct Rights {
    /// Topics that may be published to; may be given several times
    #[arg(long, value_name = "FILTER")]
    publish: Vec<String>,
    /// Topics that may be subscribed to; may be given several times
    #[arg(long, value_name = "FILTER")]
    subscribe: Vec<String>,
}

/// The keys of a topic rule.
#[derive(Debug, clap::Args)]
pub struct TopicKeys {
    /// When a publisher is told that its message is kept: memory, disk or replicated
    #[arg(long)]
    ack: Option<String>,
    /// How the message travels: memory, disk or urgent
    #[arg(long)]
    lane: Option<String>,
    /// How long it is worth delivering, such as 7d
    #[arg(long, value_name = "TIME")]
    max_age: Option<String>,
}

type Given = Vec<(String, Literal)>;

impl ClientKeys {
    pub fn given(&self) -> Given {
        let device = self.device.then(|| "true".to_owned());
        let mut given = Given::new();
        text(&mut given, "role", self.role.as_ref());
        given.extend(self.rights.given());
        text(&mut given, "home", self.home.as_ref());
        text(&mut given, "device", device.as_ref());
        text(&mut given, "password_file", self.password_file.as_ref());
        given
    }
}

impl BrokerKeys {
    pub fn given(&self) -> Given {
        let mut given = Given::new();
        text(&mut given, "host", self.host.as_ref());
        list(&mut given, "backups", &self.backups);
        text(&mut given, "role", self.role.as_ref());
        given.extend(self.rights.given());
        given
    }
}

impl Rights {
    pub fn given(&self) -> Given {
        let mut given = Given::new();
        list(&mut given, "publish", &self.publish);
        list(&mut given, "subscribe", &self.subscribe);
        given
    }
}

impl TopicKeys {
    pub fn given(&self) -> Given {
        let mut given = Given::new();
        text(&mut given, "ack", self.ack.as_ref());
        text(&mut given, "lane", self.lane.as_ref());
        text(&mut given, "max_age", self.max_age.as_ref());
        given
    }
}

fn text(given: &mut Given, key: &str, value: Option<&String>) {
    given.extend(value.map(|value| (key.to_owned(), Literal::text(value))));
}

fn list(given: &mut Given, key: &str, values: &[String]) {
    if !values.is_empty() {
        given.push((key.to_owned(), Literal::texts(values.iter().map(String::as_str))));
    }
}

/// Give an entry each of these keys.
pub fn set_each(section: &str, name: &str, given: Given) -> Vec<Edit> {
    let set = |(key, to): (String, Literal)| Edit::Set { at: Path::new([section, name, &key]), to };
    given.into_iter().map(set).collect()
}

/// A new entry with these keys.
pub fn add(section: &str, name: &str, given: Given) -> Vec<Edit> {
    vec![Edit::Add { at: Path::new([section, name]), to: Literal::Map(given) }]
}

pub fn add_topic(filter: &str, mut given: Given) -> Vec<Edit> {
    given.insert(0, ("match".to_owned(), Literal::text(filter)));
    vec![Edit::Add { at: Path::new(["topics"]), to: Literal::Map(given) }]
}

pub fn remove(section: &str, name: &str) -> Vec<Edit> {
    vec![Edit::Remove { at: Path::new([section, name]) }]
}
