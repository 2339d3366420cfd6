//! The services that a binary can run, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use webbft_protocol::execution::Service;

use crate::core::CoreSetup;

type Run = Arc<dyn Fn(CoreSetup) -> anyhow::Result<()> + Send + Sync>;

/// A registry of services: what `service = "…"` in a configuration may say.
#[derive(Clone, Default)]
pub struct Services {
    by_name: BTreeMap<String, Run>,
}

impl Services {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service under a name; `initial` makes the state that it begins with, which must be
    /// the same at every replica. A second service of the same name replaces the first.
    #[must_use]
    pub fn add<S: Service>(
        mut self,
        name: impl Into<String>,
        initial: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let run: Run = Arc::new(move |setup| crate::core::run(setup, initial()));
        self.by_name.insert(name.into(), run);
        self
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The names in one line, for messages.
    pub(crate) fn list(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }

    /// What runs a replica of the service of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Run> {
        self.by_name.get(name).map(Arc::clone)
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
