//! The files of a topology as texts in memory: checked, edited and compared without touching those on the disk.

use std::path;

use hobnail_core::topology::report::SourceFile;
use hobnail_core::topology::{Edit, EditError, Loaded, Report, SecretFact, SecretFile, Surroundings, edit, load};
use serde::{Deserialize, Serialize};

use crate::topology_files::Disk;

/// The named file first, then those that it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts(Vec<Text>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Its path, as the topology was named and as that names others.
    pub name: String,
    pub text: String,
}

impl Texts {
    #[must_use]
    pub fn of(report: &Report) -> Self {
        Self(report.files.iter().map(|file| Text { name: file.name.clone(), text: file.text.clone() }).collect())
    }

    #[must_use]
    pub fn files(&self) -> &[Text] {
        &self.0
    }

    /// The path of the file that includes the others.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.first().map_or("", |file| file.name.as_str())
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|file| file.name.len() + file.text.len()).sum()
    }

    /// The same with paths that mean the same in every folder.
    #[must_use]
    pub fn absolute(&self) -> Self {
        let whole =
            |name: &str| path::absolute(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string());
        Self(self.0.iter().map(|file| Text { name: whole(&file.name), text: file.text.clone() }).collect())
    }

    /// Check these as if they were on the disk. A file that only a new `include` names is read from there.
    pub fn load(&self, disk: &mut Disk) -> Loaded {
        load(self.name(), &mut Overlay { texts: self, disk })
    }

    /// The same with these changes, made one after the other.
    pub fn edited(&self, edits: &[Edit]) -> Result<Self, EditError> {
        let mut files: Vec<SourceFile> =
            self.0.iter().map(|file| SourceFile { name: file.name.clone(), text: file.text.clone() }).collect();
        for change in edits {
            let edited = edit(&files, change)?;
            if let Some(file) = files.get_mut(edited.file) {
                file.text = edited.text;
            }
        }
        Ok(Self(files.into_iter().map(|file| Text { name: file.name, text: file.text }).collect()))
    }

    /// The same with another text in the named file.
    #[must_use]
    pub fn with_first(&self, text: String) -> Self {
        let mut files = self.0.clone();
        if let Some(first) = files.first_mut() {
            first.text = text;
        }
        Self(files)
    }

    /// Those whose text is another in `base`, or that are not there.
    pub fn differing<'t>(&'t self, base: &'t Self) -> impl Iterator<Item = &'t Text> {
        self.0.iter().filter(|file| !base.0.contains(file))
    }

    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|file| file.name == name).map(|file| file.text.as_str())
    }
}

struct Overlay<'a> {
    texts: &'a Texts,
    disk: &'a mut Disk,
}

impl Surroundings for Overlay<'_> {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        match self.texts.0.iter().find(|file| file.name == path) {
            Some(file) => Ok(file.text.clone().into_bytes()),
            None => self.disk.read(path),
        }
    }

    fn secret(&mut self, file: SecretFile<'_>) -> SecretFact {
        self.disk.secret(file)
    }

    fn me(&self) -> Option<&str> {
        self.disk.me()
    }
}
