//! Everything that is wrong with a topology, told all at once: where, what, and what to do.

use std::fmt::Write as _;

use serde::Serialize;

/// Most problems kept; the rest are only counted.
pub const PROBLEMS_MAX: usize = 200;
/// Longest piece of a source line shown, in characters.
const SHOWN_CHARS_MAX: usize = 160;

/// Which of the files read: 0 is the one named on the command line, the others were included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u16);

/// A stretch of one file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// The text of one file, by the name that messages call it.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub name: String,
    pub text: String,
}

#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    pub span: Span,
    pub message: String,
    pub help: Option<String>,
}

/// The files of one topology and all that was found wrong in them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub files: Vec<SourceFile>,
    problems: Vec<Problem>,
    /// Found beyond `PROBLEMS_MAX`.
    pub dropped: usize,
}

/// What is wrong, as a word that stays the same from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    AliasRefused,
    BackupCycle,
    BackupOutranks,
    BadAddress,
    BadDuration,
    BadFilter,
    BadHost,
    BadName,
    BadOrigin,
    BadRange,
    BadSize,
    DeviceDoorMissing,
    DeviceDoorOpen,
    DeviceKey,
    DeviceWithoutPassword,
    DuplicateAddress,
    DuplicateKey,
    DuplicateName,
    DuplicateSetting,
    Empty,
    IncludeCycle,
    KeyFileBad,
    KeyFileMissing,
    KeyFileOpen,
    KeyRepeated,
    MissingKey,
    MissingUnit,
    NoBroker,
    NotUtf8,
    OutOfRange,
    PortTaken,
    ProgramDoorOpen,
    RightUnheard,
    RuleShadowed,
    SecretInFile,
    TabIndentation,
    TestFailed,
    TestImpossible,
    TooDeep,
    TooLarge,
    Truncated,
    UnknownBroker,
    UnknownKey,
    UnknownMachine,
    UnknownRole,
    UnknownValue,
    UnknownVariable,
    UnknownVersion,
    UnquotedHash,
    Unreachable,
    Unreadable,
    WrongType,
    YamlSyntax,
}

impl Code {
    /// Every code, in the order of their names.
    pub const ALL: &[Self] = &[
        Self::AliasRefused,
        Self::BackupCycle,
        Self::BackupOutranks,
        Self::BadAddress,
        Self::BadDuration,
        Self::BadFilter,
        Self::BadHost,
        Self::BadName,
        Self::BadOrigin,
        Self::BadRange,
        Self::BadSize,
        Self::DeviceDoorMissing,
        Self::DeviceDoorOpen,
        Self::DeviceKey,
        Self::DeviceWithoutPassword,
        Self::DuplicateAddress,
        Self::DuplicateKey,
        Self::DuplicateName,
        Self::DuplicateSetting,
        Self::Empty,
        Self::IncludeCycle,
        Self::KeyFileBad,
        Self::KeyFileMissing,
        Self::KeyFileOpen,
        Self::KeyRepeated,
        Self::MissingKey,
        Self::MissingUnit,
        Self::NoBroker,
        Self::NotUtf8,
        Self::OutOfRange,
        Self::PortTaken,
        Self::ProgramDoorOpen,
        Self::RightUnheard,
        Self::RuleShadowed,
        Self::SecretInFile,
        Self::TabIndentation,
        Self::TestFailed,
        Self::TestImpossible,
        Self::TooDeep,
        Self::TooLarge,
        Self::Truncated,
        Self::UnknownBroker,
        Self::UnknownKey,
        Self::UnknownMachine,
        Self::UnknownRole,
        Self::UnknownValue,
        Self::UnknownVariable,
        Self::UnknownVersion,
        Self::UnquotedHash,
        Self::Unreachable,
        Self::Unreadable,
        Self::WrongType,
        Self::YamlSyntax,
    ];

    /// `UnknownBroker` is written `unknown-broker`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

/// One problem as `--json` tells it.
#[derive(Debug, Serialize)]
pub struct ProblemJson<'a> {
    pub code: String,
    pub file: &'a str,
    pub line: usize,
    pub column: usize,
    pub message: &'a str,
    pub help: Option<&'a str>,
}

/// Whether a rendered report may carry terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Ansi,
}

impl Report {
    pub fn add(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.push(code, span, message.into(), None);
    }

    pub fn add_with_help(&mut self, code: Code, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(code, span, message.into(), Some(help.into()));
    }

    fn push(&mut self, code: Code, span: Span, message: String, help: Option<String>) {
        // A range or a role says a thing once for every machine that it stands for; once is enough to read.
        if self.problems.iter().any(|known| known.code == code && known.span == span && known.message == message) {
            return;
        }
        if self.problems.len() >= PROBLEMS_MAX {
            self.dropped += 1;
        } else {
            self.problems.push(Problem { code, span, message, help });
        }
    }

    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// In the order of the files and the places in them.
    #[must_use]
    pub fn problems(&self) -> Vec<&Problem> {
        let mut sorted: Vec<&Problem> = self.problems.iter().collect();
        sorted.sort_by_key(|problem| (problem.span, problem.code));
        sorted
    }

    /// The text of a span, empty where the span lies outside its file.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        let text = self.files.get(usize::from(span.file.0)).map_or("", |file| file.text.as_str());
        text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    #[must_use]
    pub fn json(&self) -> Vec<ProblemJson<'_>> {
        self.problems()
            .into_iter()
            .map(|problem| {
                let place = self.place(problem.span);
                ProblemJson {
                    code: problem.code.name(),
                    file: place.file,
                    line: place.line,
                    column: place.column,
                    message: &problem.message,
                    help: problem.help.as_deref(),
                }
            })
            .collect()
    }

    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let mut out = String::new();
        for problem in self.problems() {
            self.render_one(problem, colour, &mut out);
        }
        let count = self.problems.len() + self.dropped;
        if self.dropped > 0 {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "… and {} more", self.dropped);
        }
        if count > 0 {
            let _ = writeln!(out, "{count} problem{}", if count == 1 { "" } else { "s" });
        }
        out
    }

    fn render_one(&self, problem: &Problem, colour: Colour, out: &mut String) {
        let (red, bold, blue, off) = match colour {
            Colour::Plain => ("", "", "", ""),
            Colour::Ansi => ("\x1b[1;31m", "\x1b[1m", "\x1b[34m", "\x1b[0m"),
        };
        let place = self.place(problem.span);
        let code = problem.code.name();
        let head = format!("{}:{}:{}", place.file, place.line, place.column);
        let _ = writeln!(out, "{bold}{head}{off}: {red}error[{code}]{off}: {bold}{}{off}", problem.message);
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        if !place.text.is_empty() {
            let (mut shown, lead, width) = place.excerpt();
            if problem.code == Code::SecretInFile {
                // The value stands right behind the key, and reports end up in logs.
                shown = shown.chars().take(lead + width).chain(": …".chars()).collect();
            }
            let _ = writeln!(out, "{blue}{number} |{off} {shown}");
            let _ = writeln!(out, "{blue}{margin} |{off} {}{red}{}{off}", " ".repeat(lead), "^".repeat(width));
        }
        if let Some(help) = &problem.help {
            let _ = writeln!(out, "{margin} {blue}help:{off} {help}");
        }
        out.push('\n');
    }

    fn place(&self, span: Span) -> Place<'_> {
        let Some(file) = self.files.get(usize::from(span.file.0)) else {
            return Place { file: "?", line: 1, column: 1, text: "", width: 1 };
        };
        let start = floor_char(&file.text, span.start as usize);
        let before = file.text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let text = file.text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let column = file.text.get(line_start..start).map_or(1, |lead| lead.chars().count() + 1);
        let end = floor_char(&file.text, (span.end as usize).max(start));
        let marked = file.text.get(start..end).and_then(|marked| marked.lines().next()).unwrap_or("");
        Place { file: &file.name, line, column, text, width: marked.trim_end().chars().count().max(1) }
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

struct Place<'a> {
    file: &'a str,
    line: usize,
    /// In characters, from 1.
    column: usize,
    text: &'a str,
    width: usize,
}

impl Place<'_> {
    /// The line made safe to print and cut to a window around the marked place, where the mark begins in it, and how
    /// wide the mark is.
    fn excerpt(&self) -> (String, usize, usize) {
        let mark = self.column - 1;
        let skip = mark.saturating_sub(SHOWN_CHARS_MAX / 2);
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = self.text.chars().skip(skip).take(SHOWN_CHARS_MAX).map(printable).collect();
        let lead = mark - skip;
        let room = shown.chars().count().saturating_sub(lead).max(1);
        (shown.trim_end().to_owned(), lead, self.width.min(room))
    }
}

/// The known word nearest to `given`, where one is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > 64 {
        return None;
    }
    let allowed = 1 + given.chars().count() / 4;
    let mut scored: Vec<(usize, &str)> =
        known.into_iter().map(|word| (strsim::damerau_levenshtein(given, word), word)).collect();
    scored.sort_unstable();
    scored.first().filter(|(distance, _)| *distance <= allowed).map(|(_, word)| *word)
}
