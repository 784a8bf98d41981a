//! Where machines listen: each door's address, and that no two doors of a machine want the same one.

use std::net::SocketAddr;

use crate::topology::load::{SecretFile, Surroundings};
use crate::topology::model::{DeviceDoor, Doors, TlsFiles};
use crate::topology::origin::Origins;
use crate::topology::raw::{RawDeviceDoor, RawDoors, Text};
use crate::topology::report::{Code, Report, Span, Spanned};

use super::{secret, units};

const PROGRAMS_DEFAULT: ([u8; 4], u16) = ([127, 0, 0, 1], 1883);
const AGENTS_DEFAULT: u16 = 8883;

/// What a machine is, as far as its doors care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// A broker that other machines have to reach.
    Broker,
    /// A broker alone in its network.
    Solo,
    Client,
}

/// A machine's doors: its own words over the network's.
pub fn doors(
    layers: [Option<&Spanned<RawDoors>>; 2],
    opener: Opener,
    surroundings: &mut dyn Surroundings,
    report: &mut Report,
) -> Doors {
    let mut doors = Doors {
        programs: Some(PROGRAMS_DEFAULT.into()),
        websocket: None,
        origins: Origins::default(),
        unix: None,
        devices: None,
        agents: (opener == Opener::Broker).then_some(AGENTS_DEFAULT),
    };
    let mut places: Vec<(&'static str, SocketAddr, Span)> = Vec::new();
    for raw in layers.into_iter().flatten() {
        layer(&raw.value, opener, &mut doors, &mut places, surroundings, report);
    }
    taken(&doors, &places, layers.into_iter().flatten().next_back().map(|raw| raw.span), report);
    doors
}

fn layer(
    raw: &RawDoors,
    opener: Opener,
    doors: &mut Doors,
    places: &mut Vec<(&'static str, SocketAddr, Span)>,
    surroundings: &mut dyn Surroundings,
    report: &mut Report,
) {
    if let Some(text) = &raw.programs {
        doors.programs = local(text, report);
        note(places, "programs", doors.programs, text.span);
    }
    if let Some(text) = &raw.websocket {
        doors.websocket = local(text, report);
        note(places, "websocket", doors.websocket, text.span);
    }
    if let Some(texts) = &raw.origins {
        doors.origins = Origins(texts.iter().filter_map(|text| units::origin(text, report)).collect());
    }
    if let Some(text) = &raw.unix {
        doors.unix = Some(text.value.as_str().into());
    }
    if let Some(port) = raw.agents.as_ref().filter(|_| opener != Opener::Client) {
        let port_number = units::number(port, 1..=65_535, report).and_then(|port| u16::try_from(port).ok());
        doors.agents = port_number.or(doors.agents);
        note(places, "agents", doors.agents.map(|port| ([0, 0, 0, 0], port).into()), port.span);
    }
    if let Some(raw) = raw.devices.as_ref().filter(|_| opener != Opener::Client) {
        doors.devices = device_door(raw, surroundings, report);
        note(places, "devices", doors.devices.as_ref().map(|door| door.listen), raw.span);
    }
}

fn note(places: &mut Vec<(&'static str, SocketAddr, Span)>, door: &'static str, at: Option<SocketAddr>, span: Span) {
    places.retain(|(other, ..)| *other != door);
    places.extend(at.map(|at| (door, at, span)));
}

/// A door without passwords: on loopback only.
fn local(text: &Text, report: &mut Report) -> Option<SocketAddr> {
    if text.value == "off" {
        return None;
    }
    let address = units::address(text, report)?;
    if !address.ip().is_loopback() {
        let message = format!("{address} would let anyone on the network in without a password");
        let help = "use 127.0.0.1 here; devices on the network come in by `doors: { devices: … }`";
        report.add_with_help(Code::ProgramDoorOpen, text.span, message, help);
        return None;
    }
    Some(address)
}

fn device_door(
    raw: &Spanned<RawDeviceDoor>,
    surroundings: &mut dyn Surroundings,
    report: &mut Report,
) -> Option<DeviceDoor> {
    let door = &raw.value;
    let listen = units::address(door.listen.as_ref()?, report)?;
    match (&door.cert, &door.cert_key, door.plain) {
        (Some(cert), Some(key), None | Some(false)) => {
            secret(SecretFile::CertificateKey(&key.value), key.span, surroundings, report);
            let files = TlsFiles { cert: cert.value.as_str().into(), key: key.value.as_str().into() };
            Some(DeviceDoor { listen, tls: Some(files) })
        }
        (None, None, Some(true)) => Some(DeviceDoor { listen, tls: None }),
        (None, None, None | Some(false)) => {
            let help = "name a certificate as `cert:` and its key as `cert_key:`, or write `plain: true`";
            report.add_with_help(
                Code::DeviceDoorOpen,
                raw.span,
                "passwords would cross the network readable by anyone",
                help,
            );
            None
        }
        (Some(_), _, _) | (None, Some(_), _) => {
            let message = "`cert` and `cert_key` go together, and without `plain`";
            report.add(Code::DeviceDoorOpen, raw.span, message);
            None
        }
    }
}

/// Two doors at one address. What the file does not say has its default, and no place of its own.
fn taken(doors: &Doors, places: &[(&str, SocketAddr, Span)], fallback: Option<Span>, report: &mut Report) {
    let all = [
        ("programs", doors.programs),
        ("websocket", doors.websocket),
        ("devices", doors.devices.as_ref().map(|door| door.listen)),
        ("agents", doors.agents.map(|port| ([0, 0, 0, 0], port).into())),
    ];
    for (index, (door, at)) in all.iter().enumerate() {
        for (other, other_at) in all.iter().skip(index + 1) {
            let (Some(at), Some(other_at)) = (at, other_at) else { continue };
            let same_host = at.ip() == other_at.ip() || at.ip().is_unspecified() || other_at.ip().is_unspecified();
            if at.port() != other_at.port() || at.port() == 0 || !same_host {
                continue;
            }
            let place = places.iter().rev().find(|(name, ..)| name == other || name == door);
            let Some(span) = place.map(|(_, _, span)| *span).or(fallback) else { continue };
            let message = format!("the doors `{door}` and `{other}` both want port {}", at.port());
            report.add(Code::PortTaken, span, message);
        }
    }
}
