//! The rules themselves: a parsed file in, a line a fault out.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::Source;

/// What the core may not name, as paths. A prefix of a path counts.
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::sync",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::hash::RandomState",
    "tokio",
    "rand",
    "getrandom",
    "ring::rand",
    "Instant::now",
    "SystemTime::now",
    "thread::spawn",
    "thread::sleep",
];

/// Macros that talk to the outside.
const IMPURE_MACROS: &[&str] = &["println", "eprintln", "print", "eprint", "dbg"];

/// What each room of the core may import from the others. A room that is not listed fails.
const CORE_ROOMS: &[(&str, &[&str])] = &[
    ("lib", &[]),
    ("ids", &[]),
    ("time", &[]),
    ("topic", &[]),
    ("rights", &["topic"]),
    ("topology", &["ids", "topic", "rights"]),
    ("assign", &["ids", "topic", "rights", "topology"]),
    ("plan", &["ids", "topic", "rights", "topology", "assign"]),
    ("caution", &["ids", "topology"]),
    ("mqtt", &["topic", "time"]),
    ("envelope", &["ids", "topic", "topology", "mqtt"]),
    ("health", &[]),
    ("home", &["ids", "time", "topology"]),
    ("hlc", &["time"]),
    ("stream", &["time", "topology", "envelope"]),
    ("frame", &["topic", "topology", "envelope", "hlc", "stream"]),
    ("interest", &["topic"]),
    ("keep", &[]),
    ("promise", &["time", "topic", "topology", "mqtt"]),
    ("broker", &["ids", "time", "topic", "rights", "topology", "mqtt", "promise", "keep"]),
    (
        "node",
        &[
            "ids", "time", "topic", "rights", "topology", "assign", "mqtt", "envelope", "home", "hlc", "stream",
            "frame", "interest", "promise", "keep", "broker",
        ],
    ),
    ("agent", &["ids", "time", "keep", "broker", "node"]),
];

pub fn purity(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for path in used_paths(&source.file).into_iter().chain(written_paths(&source.text)) {
        let plain = path.trim_start_matches("::");
        if IMPURE.iter().any(|bad| plain == *bad || plain.strip_prefix(bad).is_some_and(|rest| rest.starts_with("::")))
        {
            faults.push(format!("{}: the core may not name `{plain}`", source.path));
        }
    }
    for name in IMPURE_MACROS {
        if written_paths(&source.text).contains(&format!("{name}!")) {
            faults.push(format!("{}: the core may not talk with `{name}!`", source.path));
        }
    }
    faults
}

pub fn core_imports(source: &Source) -> Vec<String> {
    let Some(inside) = source.path.strip_prefix("agent/core/src/") else {
        return Vec::new();
    };
    if source.is_test() {
        return Vec::new();
    }
    let room = inside.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = CORE_ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: `{room}` has no line in CORE_ROOMS: say what it may import", source.path)];
    };
    let mut faults = Vec::new();
    for path in used_paths(&source.file).into_iter().chain(written_paths(&source.text)) {
        let Some(target) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else {
            continue;
        };
        let known = CORE_ROOMS.iter().any(|(name, _)| *name == target);
        if known && target != room && !allowed.contains(&target) {
            faults.push(format!("{}: `{room}` may not import `{target}`", source.path));
        }
    }
    faults
}

/// The command line calls the shell, never the other way round.
pub fn shell_imports(source: &Source) -> Vec<String> {
    let inside = source.path.strip_prefix("agent/src/").unwrap_or(&source.path);
    if inside.starts_with("cli") || matches!(inside, "lib.rs" | "main.rs") || source.is_test() {
        return Vec::new();
    }
    let paths = used_paths(&source.file).into_iter().chain(written_paths(&source.text));
    paths
        .filter(|path| path.starts_with("crate::cli"))
        .map(|path| format!("{}: may not import `{path}`", source.path))
        .collect()
}

pub fn sizes(source: &Source, file_lines_max: usize, fn_lines_max: usize) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = source.text.lines().count();
    if lines > file_lines_max {
        faults.push(format!("{}: {lines} lines, at most {file_lines_max}", source.path));
    }
    let mut functions = Functions(Vec::new());
    functions.visit_file(&source.file);
    for (name, lines, flat_match) in functions.0 {
        if lines > fn_lines_max && !flat_match {
            faults.push(format!("{}: `{name}` has {lines} lines, at most {fn_lines_max}", source.path));
        }
    }
    faults
}

pub fn wildcard_arms(source: &Source) -> Vec<String> {
    let mut arms = WildcardArms(Vec::new());
    arms.visit_file(&source.file);
    arms.0.into_iter().map(|line| format!("{}:{line}: a `_` arm hides the cases it stands for", source.path)).collect()
}

pub fn bare_allows(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| {
            line.trim_start().starts_with(concat!("#", "[allow(")) || line.contains(concat!("#!", "[allow("))
        })
        .map(|(index, _)| format!("{}:{}: use #[expect(…, reason = \"…\")]", source.path, index + 1))
        .collect()
}

/// Functions with their length and whether their body is one flat `match`.
struct Functions(Vec<(String, usize, bool)>);

impl Functions {
    fn note(&mut self, name: &syn::Ident, block: &syn::Block) {
        let lines = block.span().end().line.saturating_sub(block.span().start().line).saturating_sub(1);
        let last_is_match = matches!(block.stmts.last(), Some(syn::Stmt::Expr(syn::Expr::Match(_), _)));
        self.0.push((name.to_string(), lines, last_is_match && block.stmts.len() <= 4));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}

/// Lines with a `_` arm in a `match` whose other arms are not all literals, numbers or strings.
struct WildcardArms(Vec<usize>);

impl<'ast> Visit<'ast> for WildcardArms {
    fn visit_expr_match(&mut self, item: &'ast syn::ExprMatch) {
        let wild = |arm: &&syn::Arm| matches!(arm.pat, syn::Pat::Wild(_)) && arm.guard.is_none();
        let named = item.arms.iter().filter(|arm| !wild(arm)).any(|arm| names_a_variant(&arm.pat));
        for arm in item.arms.iter().filter(wild) {
            if named {
                self.0.push(arm.span().start().line);
            }
        }
        syn::visit::visit_expr_match(self, item);
    }
}

fn names_a_variant(pat: &syn::Pat) -> bool {
    let of_enum = |path: &syn::Path| {
        let mut segments = path.segments.iter().map(|segment| segment.ident.to_string());
        let last = segments.next_back().unwrap_or_default();
        let prefixed = segments.next().is_some();
        prefixed && last.chars().any(char::is_lowercase)
    };
    if let syn::Pat::Or(either) = pat {
        return either.cases.iter().any(names_a_variant);
    }
    if let syn::Pat::Path(path) = pat {
        return of_enum(&path.path);
    }
    if let syn::Pat::TupleStruct(tuple) = pat {
        return of_enum(&tuple.path) || tuple.elems.iter().any(names_a_variant);
    }
    if let syn::Pat::Struct(fields) = pat {
        return of_enum(&fields.path);
    }
    if let syn::Pat::Tuple(tuple) = pat {
        return tuple.elems.iter().any(names_a_variant);
    }
    matches!(pat, syn::Pat::Reference(inner) if names_a_variant(&inner.pat))
}

/// Every path that a `use` brings in, groups spread out.
fn used_paths(file: &syn::File) -> Vec<String> {
    struct Uses(Vec<String>);
    impl<'ast> Visit<'ast> for Uses {
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            let mut open = vec![(String::new(), &item.tree)];
            while let Some((prefix, tree)) = open.pop() {
                match tree {
                    syn::UseTree::Path(path) => open.push((format!("{prefix}{}::", path.ident), &path.tree)),
                    syn::UseTree::Name(name) => self.0.push(format!("{prefix}{}", name.ident)),
                    syn::UseTree::Rename(name) => self.0.push(format!("{prefix}{}", name.ident)),
                    syn::UseTree::Glob(_) => self.0.push(format!("{prefix}*")),
                    syn::UseTree::Group(group) => open.extend(group.items.iter().map(|tree| (prefix.clone(), tree))),
                }
            }
        }
    }
    let mut uses = Uses(Vec::new());
    uses.visit_file(file);
    uses.0
}

/// Every `a::b::c` written anywhere, in macros too, and every macro name with its `!`; comments and strings aside.
fn written_paths(text: &str) -> Vec<String> {
    let stream: TokenStream = text.parse().expect("parsed before");
    let (mut open, mut found) = (vec![stream], Vec::new());
    while let Some(stream) = open.pop() {
        let mut path = String::new();
        for token in stream {
            match token {
                TokenTree::Group(group) => {
                    open.push(group.stream());
                    found.push(std::mem::take(&mut path));
                }
                TokenTree::Ident(ident) => {
                    if !path.ends_with("::") {
                        found.push(std::mem::take(&mut path));
                    }
                    path.push_str(&ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => path.push(':'),
                TokenTree::Punct(punct) if punct.as_char() == '!' && !path.is_empty() => {
                    found.push(format!("{path}!"));
                    path.clear();
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => found.push(std::mem::take(&mut path)),
            }
        }
        found.push(path);
    }
    found.retain(|path| !path.is_empty());
    found
}
