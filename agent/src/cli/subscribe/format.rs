//! The output formats of `hobnail sub`: Mosquitto's `%`, `@` and `\` escapes, parsed once, printed per message.

use std::io::{self, Write};

use hobnail_core::mqtt::packet::Publish;
use hobnail_core::mqtt::props::{self, Prop};
use jiff::Zoned;
use jiff::fmt::strtime;

use super::json::{self, Payload};

/// Widest field that a format may ask for.
const WIDTH_MAX: usize = 10_000;
/// Digits behind the point where `%f` and `%d` do not say.
const DIGITS: usize = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(Field, Layout),
    /// A `strftime` escape of one letter.
    Time(String),
    Nanos,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layout {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    TopicAlias,
    ContentType,
    Correlation,
    Double,
    Expiry,
    PayloadFormat,
    Float,
    IsoTime,
    Json,
    JsonRaw,
    Length,
    Id,
    UserProperties,
    Payload,
    Qos,
    ResponseTopic,
    Retain,
    SubscriptionId,
    Topic,
    UnixTime,
    Hex,
    HexUpper,
    Percent,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("the format ends in the middle of an escape")]
    Unfinished,
    #[error("the format has no escape %{0}")]
    Field(char),
    #[error("the format has no escape \\{0}")]
    Backslash(char),
    #[error("the format has no escape @{0}")]
    Time(char),
    #[error("the format asks for a field wider than {WIDTH_MAX}")]
    TooWide,
}

/// Why a message could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What was printed before it stays printed.
    #[error("message payload is not valid JSON on topic {0}")]
    NotJson(String),
    #[error("the payload has {bytes} bytes where the format wants a number of {wanted}")]
    NotNumber { bytes: usize, wanted: usize },
}

impl Format {
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            let piece = match letter {
                '%' => {
                    let layout = Layout::parse(&mut rest)?;
                    let letter = rest.next().ok_or(FormatError::Unfinished)?;
                    Piece::Field(Field::of(letter).ok_or(FormatError::Field(letter))?, layout)
                }
                '@' => match rest.next().ok_or(FormatError::Unfinished)? {
                    '@' => Piece::Text(b"@".to_vec()),
                    'N' => Piece::Nanos,
                    letter => Piece::Time(time_escape(letter)?),
                },
                '\\' => {
                    let letter = rest.next().ok_or(FormatError::Unfinished)?;
                    plain.push(backslash(letter).ok_or(FormatError::Backslash(letter))?);
                    continue;
                }
                letter => {
                    plain.push(letter);
                    continue;
                }
            };
            flush(&mut plain, &mut pieces);
            pieces.push(piece);
        }
        flush(&mut plain, &mut pieces);
        Ok(Self(pieces))
    }

    pub fn print(&self, out: &mut impl Write, message: &Publish<'_>) -> Result<(), PrintError> {
        let now = Zoned::now();
        for piece in &self.0 {
            match piece {
                Piece::Text(bytes) => out.write_all(bytes)?,
                Piece::Time(escape) => out.write_all(strftime(escape, &now).as_bytes())?,
                Piece::Nanos => write!(out, "{:09}", now.subsec_nanosecond())?,
                Piece::Field(field, layout) => field.print(out, layout, message, &now)?,
            }
        }
        Ok(())
    }
}

/// What C's `strftime` means by a letter in its own locale, in the words of the library at hand.
fn time_escape(letter: char) -> Result<String, FormatError> {
    let escape = match letter {
        'c' => "%a %b %e %H:%M:%S %Y".to_owned(),
        'r' => "%I:%M:%S %p".to_owned(),
        'x' => "%m/%d/%y".to_owned(),
        'X' => "%H:%M:%S".to_owned(),
        'Q' => return Err(FormatError::Time(letter)),
        letter => format!("%{letter}"),
    };
    // What cannot be written now never can.
    strtime::format(&escape, &Zoned::now()).map_err(|_unknown| FormatError::Time(letter))?;
    Ok(escape)
}

fn flush(plain: &mut String, pieces: &mut Vec<Piece>) {
    if !plain.is_empty() {
        pieces.push(Piece::Text(std::mem::take(plain).into_bytes()));
    }
}

fn backslash(letter: char) -> Option<char> {
    Some(match letter {
        '\\' => '\\',
        '0' => '\0',
        'a' => '\x07',
        'e' => '\x1b',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ => return None,
    })
}

/// Local time in one of C's formats; each was tried when the format was parsed.
fn strftime(escape: &str, now: &Zoned) -> String {
    strtime::format(escape, now).unwrap_or_default()
}

impl Layout {
    fn parse(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Self, FormatError> {
        let left = rest.next_if_eq(&'-').is_some();
        let zeros = rest.next_if_eq(&'0').is_some();
        let width = number(rest)?.unwrap_or(0);
        let precision = match rest.next_if_eq(&'.') {
            Some(_) => Some(number(rest)?.unwrap_or(0)),
            None => None,
        };
        Ok(Self { left, zeros, width, precision })
    }

    fn pad(&self, out: &mut impl Write, count: usize, with: u8) -> io::Result<()> {
        (0..count).try_for_each(|_| out.write_all(&[with]))
    }

    /// Text, cut to the precision and filled up to the width with blanks.
    fn text(&self, out: &mut impl Write, text: &[u8]) -> io::Result<()> {
        let text = text.get(..self.precision.unwrap_or(text.len()).min(text.len())).unwrap_or_default();
        self.filled(out, text, b' ')
    }

    /// A number, filled up to the width with blanks or zeros.
    fn number(&self, out: &mut impl Write, number: &str) -> io::Result<()> {
        self.filled(out, number.as_bytes(), if self.zeros { b'0' } else { b' ' })
    }

    fn filled(&self, out: &mut impl Write, text: &[u8], with: u8) -> io::Result<()> {
        let missing = self.width.saturating_sub(text.len());
        if self.left {
            out.write_all(text)?;
            return self.pad(out, missing, b' ');
        }
        self.pad(out, missing, with)?;
        out.write_all(text)
    }

    /// What is not there: as wide as it would be.
    fn absent(&self, out: &mut impl Write) -> io::Result<()> {
        self.pad(out, self.width, if self.zeros { b'0' } else { b' ' })
    }

    /// Payload bytes through `write`, `size` characters each; the width cuts as well as fills.
    fn payload<W: Write>(&self, out: &mut W, payload: &[u8], size: usize, upper: bool) -> io::Result<()> {
        let shown = if self.width > 0 { payload.len().min(self.width / size) } else { payload.len() };
        let payload = payload.get(..shown).unwrap_or_default();
        let missing = self.width.saturating_sub(payload.len() * size);
        if !self.left {
            self.pad(out, missing, if self.zeros { b'0' } else { b' ' })?;
        }
        match (size, upper) {
            (1, _) => out.write_all(payload)?,
            (_, false) => payload.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?,
            (_, true) => payload.iter().try_for_each(|byte| write!(out, "{byte:02X}"))?,
        }
        if self.left { self.pad(out, missing, b' ') } else { Ok(()) }
    }
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, FormatError> {
    let mut value = None;
    while let Some(digit) = rest.peek().and_then(|letter| letter.to_digit(10)) {
        rest.next();
        let digit = usize::try_from(digit).unwrap_or_default();
        let sum = value.unwrap_or(0usize) * 10 + digit;
        if sum > WIDTH_MAX {
            return Err(FormatError::TooWide);
        }
        value = Some(sum);
    }
    Ok(value)
}

impl Field {
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'A' => Self::TopicAlias,
            'C' => Self::ContentType,
            'D' => Self::Correlation,
            'd' => Self::Double,
            'E' => Self::Expiry,
            'F' => Self::PayloadFormat,
            'f' => Self::Float,
            'I' => Self::IsoTime,
            'j' => Self::Json,
            'J' => Self::JsonRaw,
            'l' => Self::Length,
            'm' => Self::Id,
            'P' => Self::UserProperties,
            'p' => Self::Payload,
            'q' => Self::Qos,
            'R' => Self::ResponseTopic,
            'r' => Self::Retain,
            'S' => Self::SubscriptionId,
            't' => Self::Topic,
            'U' => Self::UnixTime,
            'x' => Self::Hex,
            'X' => Self::HexUpper,
            '%' => Self::Percent,
            _ => return None,
        })
    }

    fn print(
        self,
        out: &mut impl Write,
        layout: &Layout,
        message: &Publish<'_>,
        now: &Zoned,
    ) -> Result<(), PrintError> {
        let written = match self {
            Self::Percent => out.write_all(b"%"),
            Self::TopicAlias => optional(out, layout, message.topic_alias.map(|alias| alias.get().into())),
            Self::Expiry => optional(out, layout, message.expiry_s),
            Self::PayloadFormat => optional(out, layout, numeric(message, props::PAYLOAD_FORMAT)),
            Self::SubscriptionId => optional(out, layout, numeric(message, props::SUBSCRIPTION_ID)),
            Self::ContentType => match message.props.text(props::CONTENT_TYPE) {
                Some(text) => layout.text(out, text.as_bytes()),
                None => layout.pad(out, layout.width, b' '),
            },
            Self::ResponseTopic => match message.props.text(props::RESPONSE_TOPIC) {
                Some(text) => layout.text(out, text.as_bytes()),
                None => Ok(()),
            },
            Self::Correlation => out.write_all(message.props.binary(props::CORRELATION_DATA).unwrap_or_default()),
            Self::UserProperties => {
                let pairs: Vec<String> = message.props.user().map(|(key, value)| format!("{key}:{value}")).collect();
                out.write_all(pairs.join(" ").as_bytes())
            }
            Self::IsoTime => layout.text(out, strftime("%Y-%m-%dT%H:%M:%S%z", now).as_bytes()),
            Self::UnixTime => write!(out, "{}.{:09}", now.timestamp().as_second(), now.subsec_nanosecond()),
            Self::Json => json::print(out, message, now, Payload::Escaped),
            Self::JsonRaw => {
                let Some(raw) = json::minified(message.payload) else {
                    return Err(PrintError::NotJson(message.topic.to_owned()));
                };
                json::print(out, message, now, Payload::Raw(&raw))
            }
            Self::Length => layout.number(out, &message.payload.len().to_string()),
            Self::Id => layout.number(out, &message.id.map_or(0, |id| id.0.get()).to_string()),
            Self::Payload => layout.payload(out, message.payload, 1, false),
            Self::Hex => layout.payload(out, message.payload, 2, false),
            Self::HexUpper => layout.payload(out, message.payload, 2, true),
            Self::Qos => write!(out, "{}", message.qos as u8),
            Self::Retain => write!(out, "{}", u8::from(message.retain)),
            Self::Topic => layout.text(out, message.topic.as_bytes()),
            Self::Float => float(out, layout, read(message.payload).map(f32::from_le_bytes)?.into()),
            Self::Double => float(out, layout, read(message.payload).map(f64::from_le_bytes)?),
        };
        Ok(written?)
    }
}

fn numeric(message: &Publish<'_>, wanted: u8) -> Option<u32> {
    message.props.iter().find(|prop| prop.id() == wanted).and_then(|prop| match prop {
        Prop::Byte(_, value) => Some(value.into()),
        Prop::Two(_, value) => Some(value.into()),
        Prop::Four(_, value) | Prop::Varint(_, value) => Some(value),
        Prop::Text(..) | Prop::Binary(..) | Prop::Pair(..) => None,
    })
}

fn optional(out: &mut impl Write, layout: &Layout, value: Option<u32>) -> io::Result<()> {
    match value {
        Some(value) => layout.number(out, &value.to_string()),
        None => layout.absent(out),
    }
}

/// The payload as the bytes of one number, least significant byte first.
fn read<const N: usize>(payload: &[u8]) -> Result<[u8; N], PrintError> {
    payload.try_into().map_err(|_size| PrintError::NotNumber { bytes: payload.len(), wanted: N })
}

fn float(out: &mut impl Write, layout: &Layout, value: f64) -> io::Result<()> {
    layout.number(out, &format!("{value:.*}", layout.precision.unwrap_or(DIGITS)))
}
