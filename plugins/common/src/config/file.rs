//! The configuration file, `config.kplane.io/v1alpha1`. Keys that this version does not know are kept.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::kubeconfig;
use crate::output;

const API_VERSION: &str = "config.kplane.io/v1alpha1";
const KIND: &str = "KplaneConfig";

/// The file, as a value.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    value: Map<String, Value>,
}

impl ConfigFile {
    /// Where the file is unless one is named: `${XDG_CONFIG_HOME:-~/.config}/kplane/config.yaml`.
    pub fn default_path(environment: impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
        let absolute = |name| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .map(|base| base.join("kplane").join("config.yaml"))
            .ok_or_else(|| {
                Error::new("there is no home directory to find the configuration in")
                    .hint("name the file with --config")
            })
    }

    /// Reads the file; one that does not exist sets nothing.
    pub fn load(path: PathBuf) -> Result<Self> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, value: Map::new() })
            }
            Err(error) => {
                Err(Error::new(format!("cannot read the configuration {}", path.display())).caused_by(&error))
            }
        }
    }

    /// Reads the text of the file.
    pub fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let broken = || Error::new(format!("the configuration {} is not valid", path.display()));
        let value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(text).map_err(|error| broken().caused_by(&error))?
        };
        let value = match value {
            Value::Null => Map::new(),
            Value::Object(map) => map,
            _ => return Err(broken().caused_by(&std::io::Error::other("it is no mapping"))),
        };
        for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            if let Some(found) = value.get(field).filter(|found| *found != expected) {
                let what = format!("{field} is {found}, not {expected:?}");
                return Err(broken().caused_by(&std::io::Error::other(what)));
            }
        }
        Ok(Self { path, value })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The profile in force.
    pub fn current_profile(&self) -> &str {
        self.value.get("currentProfile").and_then(Value::as_str).unwrap_or("default")
    }

    /// Whether there is a profile of this name; that of the default needs no mention.
    pub fn has_profile(&self, profile: &str) -> bool {
        profile == "default" || self.value.get("profiles").is_some_and(|all| all.get(profile).is_some())
    }

    /// A text in a profile, by its path. Anything but a text, or nothing, is an error.
    pub fn text(&self, profile: &str, path: &[&str]) -> Result<Option<String>> {
        match self.lookup(profile, path) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(profile, path, "a text")),
        }
    }

    /// A port in a profile, by its path.
    pub fn port(&self, profile: &str, path: &[&str]) -> Result<Option<u16>> {
        match self.lookup(profile, path) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|port| u16::try_from(port).ok()) {
                Some(0) => Ok(None),
                Some(port) => Ok(Some(port)),
                None => Err(self.wrong(profile, path, "a port")),
            },
        }
    }

    /// Yes or no in a profile, by its path.
    pub fn flag(&self, profile: &str, path: &[&str]) -> Result<Option<bool>> {
        match self.lookup(profile, path) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(profile, path, "true or false")),
        }
    }

    /// Sets a value in a profile, by its path.
    pub fn set(&mut self, profile: &str, path: &[&str], value: Value) {
        let mut at = &mut self.value;
        for key in ["profiles", profile].iter().chain(&path[..path.len().saturating_sub(1)]) {
            let next = at.entry(*key).or_insert_with(|| json!({}));
            if !next.is_object() {
                *next = json!({});
            }
            let Some(map) = next.as_object_mut() else { return };
            at = map;
        }
        if let Some(last) = path.last() {
            at.insert((*last).to_owned(), value);
        }
    }

    /// Writes the file in one step, for its owner alone.
    pub fn save(&self) -> Result<()> {
        kubeconfig::replace(&self.path, &self.render()?)
    }

    /// The text of the file.
    pub fn render(&self) -> Result<String> {
        let mut value = self.value.clone();
        value.insert("apiVersion".into(), json!(API_VERSION));
        value.insert("kind".into(), json!(KIND));
        value.entry("currentProfile").or_insert_with(|| json!("default"));
        output::yaml(&Value::Object(value))
    }

    fn lookup(&self, profile: &str, path: &[&str]) -> Option<&Value> {
        let start = self.value.get("profiles")?.get(profile)?;
        path.iter().try_fold(start, |value, key| value.get(key))
    }

    fn wrong(&self, profile: &str, path: &[&str], expected: &str) -> Error {
        Error::new(format!("the configuration {} is not valid", self.path.display())).caused_by(
            &std::io::Error::other(format!("profiles.{profile}.{} is not {expected}", path.join("."))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile> {
        ConfigFile::parse("/c.yaml".into(), text)
    }

    #[test]
    fn unknown_keys_are_kept() {
        let mut file =
            parse("profiles: {default: {provider: kind, auth: {policy: managed}}}\nnew: [1]").unwrap();
        file.set("default", &["provider"], json!("local"));
        file.set("default", &["local", "port"], json!(9000));
        let again = parse(&file.render().unwrap()).unwrap();
        assert_eq!(again.value["new"], json!([1]));
        assert_eq!(again.value["profiles"]["default"]["auth"]["policy"], "managed");
        assert_eq!(again.text("default", &["provider"]).unwrap().as_deref(), Some("local"));
        assert_eq!(again.port("default", &["local", "port"]).unwrap(), Some(9000));
    }

    #[test]
    fn wrong_values_are_errors_that_name_file_and_field() {
        let file = parse("profiles: {default: {provider: [a], local: {port: 70000}}}").unwrap();
        let error = format!("{:?}", file.text("default", &["provider"]).unwrap_err());
        assert!(error.contains("/c.yaml") && error.contains("profiles.default.provider"), "{error}");
        assert!(file.port("default", &["local", "port"]).is_err());
        assert!(parse("apiVersion: v9").is_err());
        assert!(parse("- a").is_err());
        assert!(parse("").is_ok());
    }
}
