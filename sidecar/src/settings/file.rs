//! The settings file: a flat YAML map.

use std::fmt;
use std::path::Path;

use super::Layers;

impl Layers {
    /// Adds the settings of the file at `path`, which `named_by` named.
    pub fn add_file(&mut self, named_by: &dyn fmt::Display, path: &Path) {
        self.refuse(named_by, &format!("{} is not read yet", path.display()));
    }
}
