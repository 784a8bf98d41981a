//! Holds a located tree against the JSON Schema that the raw types generate: unknown keys, missing keys, wrong kinds of
//! value, words that are none of the allowed. So the file's language has one source, the types in `raw`.

use serde_json::Value as Json;

use super::report::{Code, Report, Span, nearest};
use super::yaml::{Key, Node, Value};

/// Whether the file is the topology itself or a part that it includes, which need not be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    Included,
}

/// Report every place where the tree does not fit, and take those places out of it, so that the rest can be checked
/// further. False where nothing of it is left.
pub fn check(node: &mut Node, part: Part, schema: &Json, report: &mut Report) -> bool {
    Walk { root: schema, report }.node(node, schema, "the file", part)
}

struct Walk<'s, 'r> {
    root: &'s Json,
    report: &'r mut Report,
}

impl<'s> Walk<'s, '_> {
    /// Whether the value can stay. The tree's depth is bounded by the parser, so this recursion is too.
    fn node(&mut self, node: &mut Node, schema: &'s Json, what: &str, part: Part) -> bool {
        let schema = self.resolve(schema);
        if let Value::Null = node.value {
            self.null(node, schema, what)
        } else if let Some(words) = words(schema) {
            self.word(node, &words, what)
        } else {
            match kind(schema) {
                "object" => self.object(node, schema, what, part),
                "array" => self.array(node, schema, what),
                "integer" => self.scalar(node, what, "a whole number", |text| text.parse::<u64>().is_ok()),
                "boolean" => self.scalar(node, what, "true or false", |text| matches!(text, "true" | "false")),
                _ => self.scalar(node, what, "a text", |_| true),
            }
        }
    }

    /// Always false: what is at fault cannot stay.
    fn fault(&mut self, code: Code, span: Span, message: String, help: Option<String>) -> bool {
        match help {
            Some(help) => self.report.add_with_help(code, span, message, help),
            None => self.report.add(code, span, message),
        }
        false
    }

    fn null(&mut self, node: &Node, schema: &Json, what: &str) -> bool {
        if kind(schema) == "object" && schema.get("required").is_none() {
            return true;
        }
        let hash = self.hash_after(node.span);
        if let Some(span) = hash {
            let help = "an unquoted `#` begins a comment; write it in quotes, as \"#\" or \"line/#\"".to_owned();
            return self.fault(Code::UnquotedHash, span, format!("{what} has no value, only a comment"), Some(help));
        }
        self.fault(Code::WrongType, node.span, format!("{what} has no value"), None)
    }

    /// A `#` on the line of an empty value, with nothing else between the two.
    fn hash_after(&self, span: Span) -> Option<Span> {
        let file = self.report.files.get(usize::from(span.file.0))?;
        let start = usize::try_from(span.start).ok()?;
        let rest = file.text.get(start..)?.lines().next()?;
        let blank = rest.len() - rest.trim_start_matches([' ', '-', ':']).len();
        let before = file.text.get(..start)?.lines().next_back()?.trim_end();
        let at = match rest.get(blank..)?.starts_with('#') {
            true => start + blank,
            false if before.ends_with("- #") => file.text.get(..start)?.rfind('#')?,
            false => return None,
        };
        let at = u32::try_from(at).ok()?;
        Some(Span { start: at, end: at + 1, ..span })
    }

    fn object(&mut self, node: &mut Node, schema: &'s Json, what: &str, part: Part) -> bool {
        let Value::Map(entries) = &mut node.value else {
            let message = format!("{what} is {}, but keys with values belong here", name_of(&node.value));
            return self.fault(Code::WrongType, node.span, message, None);
        };
        if part == Part::Whole {
            self.missing_keys(node.span, entries, schema, what);
        }
        let known = schema.get("properties").and_then(Json::as_object);
        entries.retain_mut(|(key, value)| {
            let what = format!("`{}`", key.text);
            if let Some(schema) = known.and_then(|known| known.get(&key.text)) {
                return self.node(value, schema, &what, Part::Whole);
            }
            if let Some(schema) = schema.get("additionalProperties").filter(|schema| schema.is_object()) {
                return self.node(value, schema, &what, Part::Whole);
            }
            self.unknown_key(key, known.map(|known| known.keys()).into_iter().flatten().map(String::as_str))
        });
        true
    }

    fn unknown_key<'k>(&mut self, key: &Key, known: impl Iterator<Item = &'k str> + Clone) -> bool {
        let secret = ["password", "passwd", "secret", "token", "psk", "private_key", "key"];
        if secret.contains(&key.text.as_str()) && !known.clone().any(|word| word == key.text) {
            let help = "put it in a file of mode 0600 and name that: `password_file:` for a device, `keys:` for the \
                        network";
            let message = format!("`{}` would put a secret into this file", key.text);
            return self.fault(Code::SecretInFile, key.span, message, Some(help.to_owned()));
        }
        let help = match nearest(&key.text, known.clone()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.fault(Code::UnknownKey, key.span, format!("unknown key `{}`", key.text), Some(help))
    }

    fn missing_keys(&mut self, span: Span, entries: &[(Key, Node)], schema: &Json, what: &str) {
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !entries.iter().any(|(key, _)| key.text == name) {
                let start = Span { end: span.start, ..span };
                self.fault(Code::MissingKey, start, format!("{what} has no `{name}`"), None);
            }
        }
    }

    fn array(&mut self, node: &mut Node, schema: &'s Json, what: &str) -> bool {
        let Value::List(items) = &mut node.value else {
            let message = format!("{what} is {}, but a list belongs here", name_of(&node.value));
            let help = match &node.value {
                Value::Scalar { text, .. } => Some(format!("write [\"{text}\"]")),
                Value::Null | Value::List(_) | Value::Map(_) => None,
            };
            return self.fault(Code::WrongType, node.span, message, help);
        };
        if let Some(schema) = schema.get("items") {
            let what = format!("an item of {what}");
            items.retain_mut(|item| self.node(item, schema, &what, Part::Whole));
        }
        true
    }

    fn word(&mut self, node: &Node, words: &[&str], what: &str) -> bool {
        let Value::Scalar { text, .. } = &node.value else {
            let message = format!("{what} is {}, but one of these belongs here: {}", name_of(&node.value), list(words));
            return self.fault(Code::WrongType, node.span, message, None);
        };
        if words.contains(&text.as_str()) {
            return true;
        }
        let help = match nearest(text, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("one of {}", list(words)),
        };
        self.fault(Code::UnknownValue, node.span, format!("{what} cannot be `{text}`"), Some(help))
    }

    fn scalar(&mut self, node: &Node, what: &str, wanted: &str, fits: impl Fn(&str) -> bool) -> bool {
        let message = match &node.value {
            Value::Scalar { text, .. } if fits(text) => return true,
            Value::Scalar { text, .. } => format!("{what} is `{text}`, but {wanted} belongs here"),
            other @ (Value::Null | Value::List(_) | Value::Map(_)) => {
                format!("{what} is {}, but {wanted} belongs here", name_of(other))
            }
        };
        self.fault(Code::WrongType, node.span, message, None)
    }

    /// Follows references, and `anyOf` with null to its other side.
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        let mut schema = schema;
        // A schema of ours refers at most a few times in a row; the bound only keeps a mistake from looping.
        for _ in 0..8 {
            if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
                let path = target.trim_start_matches('#');
                schema = self.root.pointer(path).unwrap_or(&Json::Null);
            } else if let Some(choices) = schema.get("anyOf").and_then(Json::as_array) {
                schema = choices.iter().find(|choice| kind(choice) != "null").unwrap_or(&Json::Null);
            } else {
                break;
            }
        }
        schema
    }
}

/// The kind of value a schema wants; of several, the first that is not null.
fn kind(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(kind)) => kind,
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    }
}

/// The words that a schema allows, where it allows only certain ones.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let choices = schema.get("oneOf").and_then(Json::as_array)?;
    choices.iter().map(|choice| choice.get("const").and_then(Json::as_str)).collect()
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}
