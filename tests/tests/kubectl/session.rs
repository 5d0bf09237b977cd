//! Commands as a person would type them, and what they must answer. What goes wrong is told at the end, all at once.

use kplane_tests::{Kubectl, Output, Server, Store};

/// A control plane of the test's own, and what went wrong in it so far.
pub struct Session {
    pub kubectl: Kubectl,
    pub server: Server,
    failures: Vec<String>,
}

impl Session {
    pub fn new() -> Self {
        let server = Server::start(Store::Embedded);
        let kubectl = server.create_vcp("a");
        Self { kubectl, server, failures: Vec::new() }
    }

    /// Runs a command line.
    pub fn run(&self, line: &str) -> Output {
        self.run_with(line, "")
    }

    /// Runs a command line with something on standard input.
    pub fn run_with(&self, line: &str, input: &str) -> Output {
        let words = words(line);
        self.kubectl.run_with(&words.iter().map(String::as_str).collect::<Vec<_>>(), input)
    }

    /// The command succeeds and says this, on either stream.
    pub fn does(&mut self, line: &str, says: &str) {
        self.does_with(line, "", says);
    }

    /// The same, with something on standard input.
    pub fn does_with(&mut self, line: &str, input: &str, says: &str) {
        let output = self.run_with(line, input);
        let said = format!("{}{}", output.stdout, output.stderr);
        if !output.success || !said.contains(says) {
            self.failures.push(format!("kubectl {line}\n  must say: {says}\n  said: {said}"));
        }
    }

    /// The command succeeds and prints exactly this.
    pub fn shows(&mut self, line: &str, printed: &str) {
        let output = self.run(line);
        if !output.success || output.stdout.trim_end() != printed {
            self.failures.push(format!(
                "kubectl {line}\n  must print: {printed}\n  printed: {}{}",
                output.stdout, output.stderr
            ));
        }
    }

    /// The command fails and says this on standard error.
    pub fn refuses(&mut self, line: &str, says: &str) {
        self.refuses_with(line, "", says);
    }

    /// The same, with something on standard input.
    pub fn refuses_with(&mut self, line: &str, input: &str, says: &str) {
        let output = self.run_with(line, input);
        if output.success || !output.stderr.contains(says) {
            self.failures.push(format!(
                "kubectl {line}\n  must be refused: {says}\n  said: {}{}",
                output.stdout, output.stderr
            ));
        }
    }

    /// Something else that was expected.
    pub fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.failures.push(what.to_owned());
        }
    }

    /// A file in the folder of the test; its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.server.folder().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    /// Fails if anything went wrong.
    #[track_caller]
    pub fn end(self) {
        // What a command printed can be long; its beginning tells enough.
        let told = self.failures.iter().map(|failure| failure.chars().take(900).collect::<String>());
        let told: Vec<String> = told.collect();
        assert!(told.is_empty(), "{} failed:\n{}", told.len(), told.join("\n"));
    }
}

/// A line as a shell would split it: quotes group, and nothing else is special.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\n', None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
