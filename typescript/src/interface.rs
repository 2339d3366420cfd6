//! Collects the types of a service, and writes them.

use std::any::TypeId;
use std::path::Path;
use std::{env, fs, io};

use ts_rs::{Config, TS, TypeVisitor};

/// The environment variable that makes [`Interface::check`] write the file: `WEBBFT_UPDATE_TYPESCRIPT=1`.
pub const UPDATE: &str = "WEBBFT_UPDATE_TYPESCRIPT";

/// Why an interface could not be written, or is not what the file says. The Rust types are to be
/// changed, or the file is to be written anew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A type given to [`Interface::operations`] is no enum tagged by `op`.
    #[error(
        "{0} has no operation: derive TS for an enum with struct variants and #[serde(tag = \"op\")]"
    )]
    NoOperation(String),
    /// An operation has no result.
    #[error("the operation {0:?} has no result: add .result::<…>([{0:?}])")]
    NoResult(String),
    /// A result is given for what is no operation.
    #[error("{0:?} has a result but is no operation: it is one of {1}")]
    NoSuchOperation(String, String),
    /// An operation has two results.
    #[error("the operation {0:?} has two results: name it in one .result() only")]
    TwoResults(String),
    /// Two types have the same name in TypeScript.
    #[error("there are two types named {0}: rename one by #[ts(rename = \"…\")]")]
    SameName(String),
    /// A type has no name of its own, so that nothing can be declared.
    #[error("{0} is declared nowhere in TypeScript: use a struct or enum that derives TS")]
    NotDeclared(String),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is not what the Rust types say.
    #[error("{path} is out of date; write it anew: {UPDATE}=1 cargo test{package} {interface}")]
    OutOfDate {
        /// Which file.
        path: String,
        /// ` -p` and the package of the test.
        package: String,
        /// The interface's name in small letters, to select the test by.
        interface: String,
    },
}

/// A service's operations, results, events and errors.
#[must_use]
pub struct Interface {
    name: String,
    config: Config,
    declared: Vec<Declared>,
    /// The types that hold operations, and the names of these.
    requests: Vec<(String, Vec<String>)>,
    results: Vec<(String, String)>,
    events: Vec<(String, String)>,
    problem: Option<Error>,
}

struct Declared {
    id: TypeId,
    name: String,
    text: String,
}

impl Interface {
    /// An interface of this name, which a page gives to `createClient`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            config: Config::new().with_large_int("number"),
            declared: Vec::new(),
            requests: Vec::new(),
            results: Vec::new(),
            events: Vec::new(),
            problem: None,
        }
    }

    /// The operations, or the queries: an enum tagged by `op`.
    pub fn operations<T: TS + 'static>(mut self) -> Self {
        let names = operations(&T::inline(&self.config));
        let name = self.declare::<T>();
        if names.is_empty() {
            self.fail(Error::NoOperation(name));
        } else {
            self.requests.push((name, names));
        }
        self
    }

    /// The result of these operations.
    pub fn result<T: TS + 'static>(mut self, operations: impl AsRef<[&'static str]>) -> Self {
        let name = self.declare::<T>();
        for operation in operations.as_ref() {
            if self.results.iter().any(|(known, _)| known == operation) {
                self.fail(Error::TwoResults((*operation).to_owned()));
            }
            self.results.push(((*operation).to_owned(), name.clone()));
        }
        self
    }

    /// The events of a topic; a `*` in it stands for any text.
    pub fn event<T: TS + 'static>(mut self, topic: &str) -> Self {
        let name = self.declare::<T>();
        self.events.push((topic.to_owned(), name));
        self
    }

    /// The errors: what a `WebBftError` of code `SERVICE` has in `detail`.
    pub fn error<T: TS + 'static>(mut self) -> Self {
        self.declare::<T>();
        self
    }

    /// The TypeScript.
    ///
    /// # Errors
    ///
    /// Where the types are not those of a service, see [`Error`].
    pub fn render(mut self) -> Result<String, Error> {
        // ts-rs gives dependencies in another order each time it is compiled.
        self.declared.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let mut known: Vec<&str> = Vec::new();
        for operation in self.requests.iter().flat_map(|(_, names)| names) {
            if !known.contains(&operation.as_str()) {
                known.push(operation);
            }
        }
        for (operation, _) in &self.results {
            if !known.contains(&operation.as_str()) {
                return Err(Error::NoSuchOperation(operation.clone(), known.join(", ")));
            }
        }

        let mut text =
            "// Written from the service's Rust types (webbft-typescript): change them, not this \
             file.\n"
                .to_owned();
        for declared in &self.declared {
            text.push_str(&format!("\n{}\n", declared.text));
        }
        let all: Vec<&str> = self.requests.iter().map(|(name, _)| name.as_str()).collect();
        text.push_str(&format!(
            "\n/** What an operation takes: its fields without its name. */\n\
             type Request<Op extends string, R = Extract<{}, {{ op: Op }}>> = R extends unknown\n  \
             ? keyof R extends 'op' ? Record<string, never> : Omit<R, 'op'>\n  : never;\n",
            all.join(" | ")
        ));
        text.push_str(&format!(
            "\n/** For `createClient<{name}>()`. */\nexport interface {name} {{\n  ops: {{\n",
            name = self.name
        ));
        for operation in known {
            let result = self.results.iter().find(|(name, _)| name == operation);
            let (_, result) = result.ok_or_else(|| Error::NoResult(operation.to_owned()))?;
            let key = key(operation);
            text.push_str(&format!(
                "    {key}: {{ req: Request<'{operation}'>; res: {result} }};\n"
            ));
        }
        text.push_str("  };\n  events: {\n");
        for (topic, event) in &self.events {
            text.push_str(&format!("    {}: {event};\n", key(topic)));
        }
        text.push_str("  };\n}\n");
        // ts-rs leaves a space where a field's comment begins on the next line.
        Ok(text.replace(" \n", "\n"))
    }

    /// Compares the file with the Rust types; with `WEBBFT_UPDATE_TYPESCRIPT=1` in the environment, writes
    /// it. For a test: `interface.check("page/poll.ts")` relative to the package, where `cargo test`
    /// runs.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfDate`] says how to write the file; the others are about the types or the disk.
    pub fn check(self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let interface = self.name.to_lowercase();
        let text = self.render()?;
        let shown = path.display().to_string();
        if env::var_os(UPDATE).is_some_and(|value| value == "1") {
            return fs::write(path, text).map_err(|source| Error::File { path: shown, source });
        }
        match fs::read_to_string(path) {
            Ok(found) if found == text => Ok(()),
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { path: shown, source })
            }
            _ => {
                let package = env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}"));
                let package = package.unwrap_or_default();
                Err(Error::OutOfDate { path: shown, package, interface })
            }
        }
    }

    fn fail(&mut self, problem: Error) {
        self.problem.get_or_insert(problem);
    }

    /// Declares a type and all that it is made of; its name.
    fn declare<T: TS + 'static>(&mut self) -> String {
        let name = T::name(&self.config);
        if T::output_path().is_none() {
            self.fail(Error::NotDeclared(name.clone()));
        } else {
            self.visit::<T>();
        }
        name
    }
}

impl std::fmt::Debug for Interface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interface").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TypeVisitor for Interface {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        let id = TypeId::of::<T>();
        if T::output_path().is_none() || self.declared.iter().any(|known| known.id == id) {
            return;
        }
        let name = T::ident(&self.config);
        if self.declared.iter().any(|known| known.name == name) {
            self.fail(Error::SameName(name));
            return;
        }
        let docs = T::docs().unwrap_or_default();
        let declaration = T::decl(&self.config).replace("Array<", "ReadonlyArray<");
        let text = format!("{docs}export {declaration}");
        self.declared.push(Declared { id, name, text });
        T::visit_dependencies(self);
    }
}

/// The names in a union of objects tagged by `op`, as ts-rs writes it.
fn operations(union: &str) -> Vec<String> {
    union
        .split(r#""op": ""#)
        .skip(1)
        .filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned()))
        .collect()
}

/// A name as the key of a TypeScript interface.
fn key(name: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '_';
    if name.contains('*') {
        format!("[topic: `{}`]", name.replace('*', "${string}"))
    } else if name.chars().all(plain) && !name.starts_with(|char: char| char.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

#[cfg(test)]
mod tests;
