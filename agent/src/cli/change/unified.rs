//! Two sets of texts side by side, as `diff -u` and `git` show them.

use similar::TextDiff;

use crate::texts::{Text, Texts};

/// Empty where they are the same. The named files are compared with each other whatever they are called, and included
/// ones by where they are, seen from those; one that only one side has is all new or all gone.
pub fn diff(old: &Texts, new: &Texts) -> String {
    let mut places: Vec<&str> =
        [old, new].into_iter().flat_map(|texts| texts.files().iter().map(|f| place(texts, f))).collect();
    places.sort_unstable();
    places.dedup();
    let at = |texts: &Texts, wanted: &str| texts.files().iter().find(|file| place(texts, file) == wanted).cloned();
    places.into_iter().map(|place| of_one(at(old, place), at(new, place))).collect()
}

/// Nothing for the named file; for another its path as seen from the folder of that one.
fn place<'t>(texts: &Texts, file: &'t Text) -> &'t str {
    if file.name == texts.name() {
        return "";
    }
    let folder = texts.name().rsplit_once('/').map_or("", |(folder, _)| folder);
    file.name.strip_prefix(folder).map_or(file.name.as_str(), |inside| inside.trim_start_matches('/'))
}

fn of_one(old: Option<Text>, new: Option<Text>) -> String {
    let nothing = || Text { name: "/dev/null".to_owned(), text: String::new() };
    let (old, new) = (old.unwrap_or_else(nothing), new.unwrap_or_else(nothing));
    let diff = TextDiff::from_lines(&old.text, &new.text).unified_diff().to_string();
    if diff.is_empty() { diff } else { format!("--- {}\n+++ {}\n{diff}", old.name, new.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Texts {
        let files: Vec<_> =
            files.iter().map(|(name, text)| serde_json::json!({ "name": name, "text": text })).collect();
        serde_json::from_value(files.into()).unwrap()
    }

    #[test]
    fn only_what_differs_is_shown_wherever_the_files_are() {
        let old = texts(&[("/etc/t.yaml", "a\nb\nc\n"), ("/etc/more/x.yaml", "same\n"), ("/etc/old.yaml", "gone\n")]);
        let new = texts(&[("/home/u.yaml", "a\nB\nc\n"), ("/home/more/x.yaml", "same\n")]);
        assert_eq!(diff(&old, &old), "");
        assert_eq!(
            diff(&old, &new),
            "--- /etc/t.yaml\n+++ /home/u.yaml\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n\
             --- /etc/old.yaml\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n"
        );
    }
}
