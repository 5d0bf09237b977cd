//! One kubeconfig file, as a value.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::output;

/// The fields that name files, relative to the kubeconfig's folder.
const FILE_FIELDS: [&str; 4] = ["certificate-authority", "client-certificate", "client-key", "tokenFile"];

/// A list of named entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Where servers are.
    Clusters,
    /// Who asks.
    Users,
    /// A cluster and a user under one name.
    Contexts,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Clusters, Self::Users, Self::Contexts];

    /// The field of the list.
    pub fn field(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Users => "users",
            Self::Contexts => "contexts",
        }
    }

    /// The field of the body of an entry.
    pub fn body(self) -> &'static str {
        match self {
            Self::Clusters => "cluster",
            Self::Users => "user",
            Self::Contexts => "context",
        }
    }

    /// The fields of an existing entry that stay when it is set anew: what the user added to ours.
    fn kept(self) -> &'static [&'static str] {
        match self {
            Self::Clusters => &["extensions", "proxy-url", "disable-compression"],
            Self::Users => &["extensions", "as", "as-uid", "as-groups", "as-user-extra"],
            Self::Contexts => &["extensions", "namespace"],
        }
    }
}

/// One kubeconfig file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    path: PathBuf,
    value: Map<String, Value>,
    existed: bool,
}

impl Document {
    /// Reads a file. One that does not exist, or is empty, holds nothing.
    pub fn load(path: PathBuf) -> Result<Self> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, value: Map::new(), existed: false })
            }
            Err(error) => {
                Err(Error::new(format!("cannot read the kubeconfig {}", path.display())).caused_by(&error))
            }
        }
    }

    /// Reads the text of a file.
    pub fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let broken = || Error::new(format!("the kubeconfig {} is not valid", path.display()));
        let leave = "it is left as it is; correct or move it, then try again";
        let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        let value = if empty {
            Value::Null
        } else {
            serde_saphyr::from_str(text).map_err(|error| broken().caused_by(&error).hint(leave))?
        };
        let wrong = |what: String| Err(broken().caused_by(&std::io::Error::other(what)).hint(leave));
        let value = match value {
            Value::Null => Map::new(),
            Value::Object(map) => map,
            _ => return wrong("it is no mapping".into()),
        };
        for section in Section::ALL {
            let field = section.field();
            match value.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::Array(entries)) => {
                    if let Some(index) = entries.iter().position(|entry| !entry["name"].is_string()) {
                        return wrong(format!("{field}[{index}] has no name"));
                    }
                }
                Some(_) => return wrong(format!("{field} is no list")),
            }
        }
        if value.get("current-context").is_some_and(|current| !current.is_string() && !current.is_null()) {
            return wrong("current-context is no string".into());
        }
        Ok(Self { path, value, existed: true })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file was there.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// The text of the file, as kubectl orders it.
    pub fn render(&self) -> Result<String> {
        let mut value = self.value.clone();
        for (field, default) in [("apiVersion", json!("v1")), ("kind", json!("Config"))] {
            value.entry(field).or_insert(default);
        }
        for field in ["clusters", "contexts", "users"] {
            value.entry(field).or_insert(Value::Null);
        }
        value.entry("current-context").or_insert_with(|| json!(""));
        output::yaml(&Value::Object(value))
    }

    /// The names of a section's entries.
    pub fn names(&self, section: Section) -> impl Iterator<Item = &str> {
        self.entries(section).iter().filter_map(|entry| entry["name"].as_str())
    }

    /// The body of an entry.
    pub fn body(&self, section: Section, name: &str) -> Option<&Value> {
        self.entries(section).iter().find(|entry| entry["name"] == name).map(|entry| &entry[section.body()])
    }

    /// The body of an entry, with the files it names made absolute.
    pub fn absolute_body(&self, section: Section, name: &str) -> Option<Value> {
        let mut body = self.body(section, name)?.clone();
        let folder = self.path.parent();
        for field in FILE_FIELDS {
            let Some(Value::String(file)) = body.get_mut(field) else { continue };
            if let Some(folder) = folder.filter(|_| !file.is_empty()) {
                *file = folder.join(&file).to_string_lossy().into_owned();
            }
        }
        Some(body)
    }

    /// Sets an entry's body. What the user may have added to an entry that is there stays.
    pub fn set(&mut self, section: Section, name: &str, body: &Value) {
        let list = self.value.entry(section.field()).or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        let Some(entries) = list.as_array_mut() else { return };
        match entries.iter_mut().find(|entry| entry["name"] == name) {
            Some(entry) => {
                let mut body = body.clone();
                for kept in section.kept() {
                    let old = entry[section.body()].get(kept);
                    if let (Some(old), Some(map)) = (old, body.as_object_mut()) {
                        map.entry(*kept).or_insert_with(|| old.clone());
                    }
                }
                entry[section.body()] = body;
            }
            None => entries.push(json!({ "name": name, (section.body()): body })),
        }
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&mut self, section: Section, name: &str) -> bool {
        let Some(entries) = self.value.get_mut(section.field()).and_then(Value::as_array_mut) else {
            return false;
        };
        let before = entries.len();
        entries.retain(|entry| entry["name"] != name);
        entries.len() != before
    }

    /// The current context, if one is set.
    pub fn current_context(&self) -> Option<&str> {
        self.value.get("current-context").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// Sets the current context, or unsets it.
    pub fn set_current_context(&mut self, name: Option<&str>) {
        self.value.insert("current-context".into(), json!(name.unwrap_or_default()));
    }

    fn entries(&self, section: Section) -> &[Value] {
        self.value.get(section.field()).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse("/home/a/.kube/config".into(), text).unwrap()
    }

    #[test]
    fn what_is_unknown_is_kept() {
        let text = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\nx-own: [1, {a: b}]\n\
                    clusters:\n- name: c\n  cluster: {server: https://c, weird: 1}\n  x: z\n\
                    users:\n- name: u\n  user: {exec: {command: aws, args: [\"1\", \"on\"]}}\ncontexts: null\n";
        let mut document = parse(text);
        document.set(Section::Clusters, "kplane-demo", &json!({"server": "https://d"}));
        let again = parse(&document.render().unwrap());
        assert_eq!(again.value["preferences"], json!({"colors": true}));
        assert_eq!(again.value["x-own"], json!([1, {"a": "b"}]));
        assert_eq!(again.entries(Section::Clusters)[0]["x"], "z");
        assert_eq!(again.body(Section::Users, "u").unwrap()["exec"]["args"], json!(["1", "on"]));
        assert_eq!(again.body(Section::Clusters, "kplane-demo").unwrap()["server"], "https://d");
    }

    #[test]
    fn a_users_namespace_survives_a_new_context() {
        let mut document =
            parse("contexts: [{name: k, context: {cluster: old, user: old, namespace: mine}}]");
        document.set(Section::Contexts, "k", &json!({"cluster": "k", "user": "k"}));
        let body = document.body(Section::Contexts, "k").unwrap();
        assert_eq!(body, &json!({"cluster": "k", "user": "k", "namespace": "mine"}));
    }

    #[test]
    fn broken_files_are_named_and_explained() {
        for (text, what) in [
            ("- a", "it is no mapping"),
            ("clusters: 1", "clusters is no list"),
            ("users: [{user: {}}]", "users[0] has no name"),
            ("current-context: [a]", "current-context is no string"),
        ] {
            let error = Document::parse("/x/config".into(), text).unwrap_err();
            assert!(error.message().contains("/x/config"), "{error:?}");
            assert!(format!("{error:?}").contains(what), "{error:?}");
        }
        assert!(Document::parse("/x/config".into(), "a: [b").is_err());
        assert!(Document::parse("/x/config".into(), "# nothing\n\n").is_ok());
    }

    #[test]
    fn files_are_relative_to_the_kubeconfig() {
        let document = parse("clusters: [{name: c, cluster: {certificate-authority: ca.crt}}]");
        let body = document.absolute_body(Section::Clusters, "c").unwrap();
        assert_eq!(body["certificate-authority"], "/home/a/.kube/ca.crt");
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9.-]{1,12}", "\\PC{0,12}", Just("true".to_owned()), Just("0x1".to_owned())]
    }

    fn body() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            text().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null)
        ];
        let nested = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z-]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-z-]{1,8}", nested, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Adding ours and removing it again gives back every other entry as it was, through the text.
        #[test]
        fn adding_and_removing_leaves_the_rest(
            others in prop::collection::btree_map("[a-z@.:/]{1,8}", body(), 0..4),
            ours in body(),
        ) {
            let mut document = parse("");
            for (name, body) in &others {
                document.set(Section::Users, name, body);
            }
            let before = document.clone();
            document.set(Section::Users, "kplane-demo", &ours);
            let mut again = parse(&document.render().unwrap());
            prop_assert_eq!(again.body(Section::Users, "kplane-demo"), Some(&ours));
            for (name, body) in &others {
                prop_assert_eq!(again.body(Section::Users, name), Some(body));
            }
            prop_assert!(again.remove(Section::Users, "kplane-demo"));
            prop_assert_eq!(again.entries(Section::Users), before.entries(Section::Users));
        }
    }
}
