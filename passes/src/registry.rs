//! What pipelines can name: passes and named pipelines. Integrators add their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pass::Pass;

/// Passes and named pipelines by name.
#[derive(Clone, Default)]
pub struct Registry {
    passes: BTreeMap<&'static str, Arc<dyn Pass>>,
    pipelines: BTreeMap<String, (String, String)>,
}

impl Registry {
    /// Nothing at all.
    pub fn empty() -> Self {
        Registry::default()
    }

    /// Everything that ships: the passes of [`crate::passes::all`] and the files of `passes/pipelines`.
    pub fn standard() -> Self {
        let mut registry = Registry::empty();
        crate::passes::all().into_iter().for_each(|pass| registry.add_arc(pass));
        for (name, text) in crate::passes::PIPELINES {
            registry.add_pipeline(name, text);
        }
        registry
    }

    /// Adds a pass; one of the same name is replaced.
    pub fn add(&mut self, pass: impl Pass + 'static) {
        self.add_arc(Arc::new(pass));
    }

    fn add_arc(&mut self, pass: Arc<dyn Pass>) {
        self.passes.insert(pass.info().name, pass);
    }

    /// Adds a named pipeline: comment lines (`#`) say what it is for, the other lines together are its text.
    pub fn add_pipeline(&mut self, name: &str, file: &str) {
        let (comments, lines): (Vec<&str>, Vec<&str>) = file.lines().map(str::trim).partition(|l| l.starts_with('#'));
        let doc = comments.iter().map(|l| l.trim_start_matches('#').trim()).collect::<Vec<_>>().join("\n");
        self.pipelines.insert(name.to_owned(), (lines.concat(), doc));
    }

    /// The pass of that name.
    pub fn pass(&self, name: &str) -> Option<&Arc<dyn Pass>> {
        self.passes.get(name)
    }

    /// All passes, sorted by name.
    pub fn passes(&self) -> impl Iterator<Item = &Arc<dyn Pass>> {
        self.passes.values()
    }

    /// Text of a named pipeline.
    pub fn pipeline(&self, name: &str) -> Option<&str> {
        self.pipelines.get(name).map(|(text, _)| text.as_str())
    }

    /// What a named pipeline is for.
    pub fn pipeline_doc(&self, name: &str) -> Option<&str> {
        self.pipelines.get(name).map(|(_, doc)| doc.as_str())
    }

    /// All named pipelines with their text, sorted.
    pub fn pipelines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pipelines.iter().map(|(name, (text, _))| (name.as_str(), text.as_str()))
    }
}
