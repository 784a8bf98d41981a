//! Messages on standard output.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use hobnail_core::mqtt::packet::Publish;
use jiff::Zoned;

use super::format::{Format, PrintError};
use super::json;

#[derive(Clone, Debug)]
pub enum Shape {
    Payload,
    Verbose,
    Json,
    Format(Format),
}

/// Writes messages in one shape; they leave with [`Self::flush`], or when there are many.
pub struct Printer {
    shape: Shape,
    line_end: &'static [u8],
    out: BufWriter<Stdout>,
    nobody_reads: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Printed {
    Whole,
    /// Something of it could not be printed.
    Partly(String),
    /// Whoever read our output has gone.
    NobodyReads,
}

impl Printer {
    pub fn new(shape: Shape, line_end: bool) -> Self {
        let line_end: &[u8] = if line_end { b"\n" } else { b"" };
        Self { shape, line_end, out: BufWriter::with_capacity(64 * 1024, io::stdout()), nobody_reads: false }
    }

    pub fn print(&mut self, message: &Publish<'_>) -> anyhow::Result<Printed> {
        let printed = self.shape.print(&mut self.out, self.line_end, message);
        match printed {
            Ok(()) if self.nobody_reads => Ok(Printed::NobodyReads),
            Ok(()) => Ok(Printed::Whole),
            Err(PrintError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::NobodyReads),
            Err(PrintError::Io(error)) => Err(error.into()),
            Err(why @ (PrintError::NotJson(_) | PrintError::NotNumber { .. })) => {
                self.out.write_all(self.line_end)?;
                Ok(Printed::Partly(why.to_string()))
            }
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match self.out.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.nobody_reads = true;
                Ok(())
            }
            done => done,
        }
    }

    #[must_use]
    pub fn nobody_reads(&self) -> bool {
        self.nobody_reads
    }
}

impl Shape {
    fn print(&self, out: &mut impl Write, line_end: &[u8], message: &Publish<'_>) -> Result<(), PrintError> {
        match self {
            // An empty message has nothing to show.
            Self::Payload if message.payload.is_empty() => return Ok(()),
            Self::Payload => out.write_all(message.payload)?,
            Self::Verbose if message.payload.is_empty() && line_end.is_empty() => return Ok(()),
            Self::Verbose if message.payload.is_empty() => write!(out, "{} (null)", message.topic)?,
            Self::Verbose => {
                write!(out, "{} ", message.topic)?;
                out.write_all(message.payload)?;
            }
            Self::Json => json::print(out, message, &Zoned::now(), json::Payload::Lossless)?,
            Self::Format(format) => format.print(out, message)?,
        }
        Ok(out.write_all(line_end)?)
    }
}
