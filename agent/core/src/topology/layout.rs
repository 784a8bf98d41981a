//! The layout of a topology file: two spaces a level, no trailing space, one blank line at most. Comments, order and
//! words stay as they are.

/// How many spaces a level is indented by.
const STEP: usize = 2;

/// `text`, laid out. Applying it again changes nothing. It works on lines alone, so the caller compares the meaning
/// before and after where that matters.
#[must_use]
pub fn lay_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut levels: Vec<usize> = Vec::new();
    let mut open = Brackets::default();
    let mut waiting: Vec<&str> = Vec::new();
    let mut blank = false;
    for line in text.lines() {
        let line = line.trim_end();
        let body = line.trim_start();
        if body.is_empty() {
            blank |= !out.is_empty() || !waiting.is_empty();
            if !waiting.is_empty() {
                waiting.push("");
            }
            continue;
        }
        if body.starts_with('#') && open.depth == 0 {
            // A comment belongs to what follows it, and is indented with it.
            if blank && waiting.is_empty() {
                waiting.push("");
            }
            blank = false;
            waiting.push(body);
            continue;
        }
        let spaces = match open.depth {
            0 => level(&mut levels, line.len() - body.len()) * STEP,
            depth => (levels.len().saturating_sub(1) + depth - usize::from(body.starts_with([']', '}']))) * STEP,
        };
        let comments = std::mem::take(&mut waiting);
        let ends_blank = comments.last() == Some(&"");
        put(&mut out, comments, spaces);
        if blank && !ends_blank && !out.is_empty() && !out.ends_with("\n\n") && open.depth == 0 {
            out.push('\n');
        }
        blank = false;
        put_line(&mut out, body, spaces);
        open.take(body);
    }
    put(&mut out, waiting, 0);
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// Which level an indentation is.
fn level(levels: &mut Vec<usize>, indent: usize) -> usize {
    while levels.last().is_some_and(|last| *last > indent) {
        levels.pop();
    }
    if levels.last() != Some(&indent) {
        levels.push(indent);
    }
    levels.len() - 1
}

fn put(out: &mut String, comments: Vec<&str>, spaces: usize) {
    for comment in comments {
        if comment.is_empty() {
            if !out.is_empty() && !out.ends_with("\n\n") {
                out.push('\n');
            }
        } else {
            put_line(out, comment, spaces);
        }
    }
}

fn put_line(out: &mut String, body: &str, spaces: usize) {
    out.extend(std::iter::repeat_n(' ', spaces));
    out.push_str(body);
    out.push('\n');
}

/// How many `[` and `{` stand open at the end of a line, outside quotes and comments.
#[derive(Default)]
struct Brackets {
    depth: usize,
    quote: Option<char>,
}

impl Brackets {
    fn take(&mut self, line: &str) {
        let mut before = ' ';
        let mut escaped = false;
        for letter in line.chars() {
            match (self.quote, letter) {
                (Some('"'), '\\') if !escaped => {
                    escaped = true;
                    continue;
                }
                (Some(quote), letter) if letter == quote && !escaped => self.quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') if self.depth > 0 || matches!(before, ' ' | '[' | '{' | ',' | ':') => {
                    self.quote = Some(letter);
                }
                (None, '#') if before == ' ' => return,
                (None, '[' | '{') => self.depth += 1,
                (None, ']' | '}') => self.depth = self.depth.saturating_sub(1),
                (None, _) => {}
            }
            escaped = false;
            before = letter;
        }
        self.quote = None;
    }
}

#[cfg(test)]
mod tests;
