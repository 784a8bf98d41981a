//! Where to connect and as whom: the flags that `pub` and `sub` share, with Mosquitto's letters.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use hobnail_core::mqtt::packet::{QoS, Version};
use hobnail_core::mqtt::props;
use hobnail_core::topic;

use super::Usage;
use super::properties::{Properties, Stage};
use crate::client::{Address, Hello, HelloWill, NameCheck, Packets, Route, Secret, Tls};

const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;
/// A session that never expires.
const FOREVER: u32 = u32::MAX;

#[derive(Debug, clap::Args)]
pub struct ConnectArgs {
    /// Host to connect to [default: 127.0.0.1]
    #[arg(short = 'h', long, value_name = "HOST")]
    host: Option<String>,
    /// Port to connect to [default: 1883, with TLS 8883]
    #[arg(short, long)]
    port: Option<u16>,
    /// Connect through this Unix socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port", "url"])]
    unix: Option<PathBuf>,
    /// All in one: mqtt(s)://[user[:password]@]host[:port]/topic
    #[arg(short = 'L', long, conflicts_with_all = ["host", "port", "user"])]
    url: Option<String>,
    /// Leave from this address of this machine
    #[arg(short = 'A', value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// User name
    #[arg(short, long = "username", value_name = "USER")]
    user: Option<String>,
    /// Password
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", allow_hyphen_values = true)]
    password: Option<String>,
    /// Client id [default: the server chooses one]
    #[arg(short, long, value_name = "ID", conflicts_with = "id_prefix")]
    id: Option<String>,
    /// Client id: this, then the process id
    #[arg(short = 'I', long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Keep alive, in seconds; 0 for none
    #[arg(short, long, default_value_t = 60, value_name = "SECONDS")]
    keepalive: u16,
    /// Keep the session of this client id when the connection ends
    #[arg(short = 'c', long = "disable-clean-session")]
    keep_session: bool,
    /// How long the server keeps the session, in seconds; -1 for ever
    #[arg(short = 'x', long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = session_expiry)]
    session_expiry_interval: Option<u32>,
    /// Version of MQTT
    #[arg(short = 'V', long, default_value = "5", value_name = "VERSION", value_parser = version)]
    protocol_version: Version,
    /// A property of MQTT 5: -D PACKET NAME VALUE, or -D PACKET user-property NAME VALUE
    #[arg(short = 'D', long, num_args = 3..=4, value_names = ["PACKET", "NAME", "VALUE", "VALUE2"])]
    property: Vec<String>,
    /// Topic of the message that the server publishes should this client vanish
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    #[arg(long, value_name = "PAYLOAD", requires = "will_topic", allow_hyphen_values = true)]
    will_payload: Option<String>,
    #[arg(long, value_name = "QOS", requires = "will_topic", default_value = "0", value_parser = qos)]
    will_qos: QoS,
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Use TLS, and trust these authorities (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    cafile: Option<PathBuf>,
    /// Use TLS, and trust the authorities of the system
    #[arg(long, help_heading = "TLS", conflicts_with = "cafile")]
    tls_use_os_certs: bool,
    /// Our certificate, where the server asks for one (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "cert")]
    key: Option<PathBuf>,
    /// Do not check that the server's certificate is for this host
    #[arg(long, help_heading = "TLS")]
    insecure: bool,
    /// Taken for the sake of scripts: small packets never wait here
    #[arg(long, hide = true)]
    nodelay: bool,
    /// Tell the packets as they go by, on stderr
    #[arg(short, long)]
    debug: bool,
    /// No messages about errors
    #[arg(long)]
    pub quiet: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub route: Route,
    pub hello: Hello,
    pub packets: Packets,
    pub properties: Properties,
    /// The topic of `-L`.
    pub url_topic: Option<String>,
}

impl ConnectArgs {
    /// `matches` are the command's own, to tell one `-D` from the next.
    pub fn settle(&self, command: &str) -> Result<Settings, Usage> {
        let url = self.url.as_deref().map(Url::parse).transpose()?;
        let properties = Properties::parse(&self.property_words())?;
        if !self.property.is_empty() && self.protocol_version != Version::V5 {
            return Err(Usage("-D needs MQTT 5".into()));
        }
        let hello = self.hello(command, url.as_ref(), &properties)?;
        let tls = self.tls(url.as_ref());
        let port = if tls.is_some() { PORT_TLS } else { PORT };
        let address = match (&self.unix, &url) {
            (Some(path), _) => Address::Unix(path.clone()),
            (None, Some(url)) => Address::Tcp { host: url.host.clone(), port: url.port.unwrap_or(port) },
            (None, None) => Address::Tcp {
                host: self.host.clone().unwrap_or_else(|| "127.0.0.1".into()),
                port: self.port.unwrap_or(port),
            },
        };
        Ok(Settings {
            route: Route { address, tls, bind: self.bind },
            hello,
            packets: if self.debug { Packets::Told } else { Packets::Silent },
            properties,
            url_topic: url.and_then(|url| url.topic),
        })
    }

    /// The words of each `-D`: four where it is a user property, else three.
    fn property_words(&self) -> Vec<Vec<String>> {
        let (mut rest, mut found) = (self.property.as_slice(), Vec::new());
        while !rest.is_empty() {
            let count = if rest.get(1).is_some_and(|name| name == "user-property") { 4 } else { 3 };
            let (words, after) = rest.split_at(count.min(rest.len()));
            found.push(words.to_vec());
            rest = after;
        }
        found
    }

    fn hello(&self, command: &str, url: Option<&Url>, properties: &Properties) -> Result<Hello, Usage> {
        let version = self.protocol_version;
        let client_id = match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            (None, None) if version == Version::V31 => format!("hobnail-{command}-{}", std::process::id()),
            (None, None) => String::new(),
        };
        if self.keep_session && self.id.is_none() && self.id_prefix.is_none() {
            return Err(Usage("-c keeps the session of a client id: name it with -i".into()));
        }
        let user = self.user.clone().or_else(|| url.and_then(|url| url.user.clone()));
        let password = self.password.clone().or_else(|| url.and_then(|url| url.password.clone()));
        if password.is_some() && user.is_none() && version != Version::V5 {
            return Err(Usage("-P needs -u before MQTT 5".into()));
        }
        let connect = &properties.connect;
        let kept = self.keep_session.then_some(FOREVER);
        let expiry = self.session_expiry_interval.or(connect.number(props::SESSION_EXPIRY)).or(kept);
        let info = connect.all.as_props();
        Ok(Hello {
            version,
            client_id,
            clean_start: !self.keep_session,
            keep_alive_s: self.keepalive,
            user,
            password: password.map(|text| Secret(text.into_bytes())),
            will: self.will(&properties.will)?,
            session_expiry_s: expiry,
            receive_max: connect.two(props::RECEIVE_MAX).and_then(NonZeroU16::new),
            packet_bytes_max: connect.number(props::PACKET_BYTES_MAX),
            topic_alias_max: connect.two(props::TOPIC_ALIAS_MAX).unwrap_or(0),
            request_response_info: connect.number(props::REQUEST_RESPONSE_INFO) == Some(1),
            request_problem_info: connect.number(props::REQUEST_PROBLEM_INFO) != Some(0),
            auth_method: info.text(props::AUTH_METHOD).map(str::to_owned),
            auth_data: info.binary(props::AUTH_DATA).map(<[u8]>::to_vec),
            user_props: connect.users.clone(),
        })
    }

    fn will(&self, stage: &Stage) -> Result<Option<HelloWill>, Usage> {
        let Some(topic) = self.will_topic.clone() else {
            return Ok(None);
        };
        topic::check_name(&topic).map_err(|wrong| Usage(format!("--will-topic {topic:?}: {wrong}")))?;
        Ok(Some(HelloWill {
            topic,
            payload: self.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: self.will_qos,
            retain: self.will_retain,
            delay_s: stage.number(props::WILL_DELAY).unwrap_or(0),
            expiry_s: stage.number(props::MESSAGE_EXPIRY),
            props: stage.all.clone(),
        }))
    }

    fn tls(&self, url: Option<&Url>) -> Option<Tls> {
        let wanted = self.cafile.is_some() || self.tls_use_os_certs || url.is_some_and(|url| url.tls);
        wanted.then(|| Tls {
            authorities: self.cafile.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
            names: if self.insecure { NameCheck::Off } else { NameCheck::Strict },
        })
    }
}

/// `mqtt(s)://[user[:password]@]host[:port]/topic`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    tls: bool,
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: Option<u16>,
    topic: Option<String>,
}

impl Url {
    fn parse(text: &str) -> Result<Self, Usage> {
        let wrong = |what: &str| Usage(format!("-L {what}; it is mqtt(s)://[user[:password]@]host[:port]/topic"));
        let (tls, rest) = match (text.strip_prefix("mqtt://"), text.strip_prefix("mqtts://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(wrong("starts with mqtt:// or mqtts://")),
        };
        let (authority, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(login, at)| (Some(login), at));
        let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let port = port.map(str::parse).transpose().map_err(|_not| wrong("has a port that is not a number"))?;
        let (user, password) =
            match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
                Some((user, password)) => (Some(user.to_owned()), password.map(str::to_owned)),
                None => (None, None),
            };
        let topic = Some(topic.to_owned()).filter(|topic| !topic.is_empty());
        Ok(Self { tls, user, password, host: host.to_owned(), port, topic })
    }
}

pub fn qos(text: &str) -> Result<QoS, String> {
    match text {
        "0" => Ok(QoS::AtMostOnce),
        "1" => Ok(QoS::AtLeastOnce),
        "2" => Ok(QoS::ExactlyOnce),
        _ => Err("QoS is 0, 1 or 2".into()),
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text.strip_prefix("mqttv").unwrap_or(text) {
        "31" => Ok(Version::V31),
        "311" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        _ => Err("it is 5, 311 or 31 (or mqttv5, mqttv311, mqttv31)".into()),
    }
}

fn session_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(FOREVER),
        _ => text.parse().map_err(|_not| "a number of seconds, or -1 for ever".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse("mqtts://me:s:ecret@[::1]:99/a/b").unwrap();
        let wanted = Url {
            tls: true,
            user: Some("me".into()),
            password: Some("s:ecret".into()),
            host: "::1".into(),
            port: Some(99),
            topic: Some("a/b".into()),
        };
        assert_eq!(url, wanted);
        let plain = Url::parse("mqtt://hub").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.topic, plain.tls), ("hub", None, None, false));
    }

    #[test]
    fn a_url_of_another_kind_is_refused() {
        for text in ["http://hub/a", "mqtt:///a", "mqtt://hub:port/a", "hub"] {
            assert!(Url::parse(text).is_err(), "taken: {text}");
        }
    }
}
