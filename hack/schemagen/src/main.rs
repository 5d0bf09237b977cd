//! Writes the table of built-in types that `kplane-schema` embeds: structure and descriptions from the Rust
//! bindings of Kubernetes, the rest from `facts.txt`.
//!
//! The file is made of two deflated texts, one after the other, behind the length of the first (32 bits,
//! little-endian): the structure, and the descriptions, line by line in the same order. Lines of the structure:
//!
//! ```text
//! T <name> <shape> <flags…>            a type
//! F <name> <number> <shape> <flags…>   a field of the type above
//! ```
//!
//! separated by tabs. Shapes: `s` text, `i` whole number, `n` number, `b` boolean, `o` object, `x` number or text,
//! `*` anything, `[` list of what follows, `{` map of what follows, `@3` the fourth type; `:` adds a format.

mod facts;
mod roots;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use facts::{Facts, TypeFacts};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value, json};

/// Generates the table of built-in types.
#[derive(Parser)]
struct Options {
    /// Only say whether the file on disk is what would be written.
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../apiserver/schema"));
    let facts_path = root.join("facts.txt");
    let facts = std::fs::read_to_string(&facts_path).with_context(|| facts_path.display().to_string())?;
    let generated = generate(&facts::parse(&facts)?)?;
    let path = root.join("src/generated/builtin.bin");
    if options.check {
        let same = std::fs::read(&path).is_ok_and(|there| there == generated);
        if !same {
            eprintln!("{} is out of date: run `cargo run -p schemagen`", path.display());
        }
        return Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    std::fs::create_dir_all(path.parent().context("a path without a folder")?)?;
    std::fs::write(&path, generated).with_context(|| path.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The definitions of the bindings, by name, with references as bare names.
fn definitions(facts: &BTreeMap<String, TypeFacts>) -> Result<BTreeMap<String, Value>> {
    let mut generator = schemars::generate::SchemaSettings::draft07().into_generator();
    roots::add_all(&mut generator);
    let mut out: BTreeMap<String, Value> =
        generator.definitions().iter().map(|(name, schema)| (name.clone(), schema.clone())).collect();
    for (name, of) in facts {
        if let Some(item) = of.own.get("of") {
            let list = list_of(name, item, of, &out)?;
            out.insert(name.clone(), list);
        }
    }
    for name in facts.keys() {
        if !out.contains_key(name) {
            bail!("facts are stated of {name}, which the bindings do not have");
        }
    }
    Ok(out)
}

/// A list type, which the bindings have as a generic one.
fn list_of(name: &str, item: &str, facts: &TypeFacts, all: &BTreeMap<String, Value>) -> Result<Value> {
    let like = all.get(item).with_context(|| format!("{name} is a list of {item}, which is unknown"))?;
    let text = |field: &str| facts.fields.get(field).map_or(Ok(None), |(_, facts)| facts.text());
    let mut items = json!({"type": "array", "items": {"$ref": format!("#/definitions/{item}")}});
    let mut metadata = json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"});
    for (field, schema) in [("items", &mut items), ("metadata", &mut metadata)] {
        if let Some(text) = text(field)? {
            schema["description"] = text.into();
        }
    }
    Ok(json!({
        "description": facts.own.text()?, "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": like["properties"]["apiVersion"], "kind": like["properties"]["kind"],
            "items": items, "metadata": metadata,
        },
    }))
}

fn generate(facts: &BTreeMap<String, TypeFacts>) -> Result<Vec<u8>> {
    let definitions = definitions(facts)?;
    let index: BTreeMap<&str, usize> =
        definitions.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let (mut structure, mut texts) = (String::new(), String::new());
    let none = TypeFacts::default();
    for (name, schema) in &definitions {
        let facts = facts.get(name).unwrap_or(&none);
        let fields = schema.get("properties").and_then(Value::as_object);
        let own = if fields.is_some() { "o".to_owned() } else { named_shape(name, schema, &index)? };
        line(&mut structure, &["T", name, &own], &type_flags(schema, &facts.own));
        text(&mut texts, schema, &facts.own)?;
        for (field, schema) in fields.unwrap_or(&Map::new()) {
            let (number, facts) = facts.fields.get(field).cloned().unwrap_or_default();
            let shape = shape(schema, &index).with_context(|| format!("{name}.{field}"))?;
            line(&mut structure, &["F", field, &number.to_string(), &shape], &field_flags(&facts)?);
            text(&mut texts, schema, &facts)?;
        }
        if let Some(stray) = facts.fields.keys().find(|field| fields.is_none_or(|f| !f.contains_key(*field)))
        {
            bail!("facts are stated of {name}.{stray}, which the bindings do not have");
        }
    }
    let structure = deflate(&structure)?;
    let mut out = u32::try_from(structure.len())?.to_le_bytes().to_vec();
    out.extend(structure);
    out.extend(deflate(&texts)?);
    Ok(out)
}

fn line(out: &mut String, columns: &[&str], flags: &[String]) {
    out.push_str(&columns.join("\t"));
    for flag in flags {
        out.push('\t');
        out.push_str(flag);
    }
    out.push('\n');
}

/// A description on one line.
fn text(out: &mut String, schema: &Value, facts: &Facts) -> Result<()> {
    let given = facts.text()?;
    let text = given.as_deref().or_else(|| schema.get("description").and_then(Value::as_str)).unwrap_or("");
    out.push_str(&text.replace('\\', "\\\\").replace('\n', "\\n"));
    out.push('\n');
    Ok(())
}

fn deflate(text: &str) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

fn type_flags(schema: &Value, facts: &Facts) -> Vec<String> {
    let mut out = Vec::new();
    let required = match facts.get("required") {
        Some(given) => given.to_owned(),
        // The bindings require `metadata`, which upstream does not.
        None => {
            let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).filter(|name| *name != "metadata").collect::<Vec<_>>().join(",")
        }
    };
    if !required.is_empty() {
        out.push(format!("r={required}"));
    }
    for (key, short) in [("gvk", "g"), ("map", "m"), ("unions", "u")] {
        if let Some(value) = facts.get(key) {
            out.push(format!("{short}={value}"));
        }
    }
    out
}

fn field_flags(facts: &Facts) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (key, value) in &facts.flags {
        out.push(match key.as_str() {
            "default" => format!("d={value}"),
            "published" => format!("p={value}"),
            "null" => "d=null".to_owned(),
            "pointer" => "*".to_owned(),
            "list" => format!("l={value}"),
            "map" => format!("m={value}"),
            "patch" => format!("s={value}"),
            "key" => format!("k={value}"),
            "text" => continue,
            other => bail!("{other:?} is no fact of a field"),
        });
    }
    Ok(out)
}

/// The shape of a type that has no fields.
fn named_shape(name: &str, schema: &Value, index: &BTreeMap<&str, usize>) -> Result<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    Ok(match last {
        "Quantity" | "IntOrString" => "x".to_owned(),
        // A schema, or something else: the schema's type is kept, for what is in it.
        "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
            let props = name.replace(last, "JSONSchemaProps");
            format!("*@{}", index.get(props.as_str()).context("JSONSchemaProps is missing")?)
        }
        "JSON" => "*".to_owned(),
        _ => shape(schema, index).with_context(|| name.to_owned())?,
    })
}

fn shape(schema: &Value, index: &BTreeMap<&str, usize>) -> Result<String> {
    let reference = schema.get("$ref").or_else(|| schema.get("allOf")?.get(0)?.get("$ref"));
    if let Some(reference) = reference.and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return Ok(format!("@{}", index.get(name).with_context(|| format!("{name} is not defined"))?));
    }
    if let Some(items) = schema.get("items") {
        return Ok(format!("[{}", shape(items, index)?));
    }
    if let Some(values) = schema.get("additionalProperties") {
        return Ok(format!("{{{}", shape(values, index)?));
    }
    let letter = match schema.get("type").and_then(Value::as_str) {
        Some("string") => "s",
        Some("integer") => "i",
        Some("number") => "n",
        Some("boolean") => "b",
        Some("object") => "o",
        Some(other) => bail!("a type {other:?}"),
        None => bail!("neither type nor reference: {schema}"),
    };
    Ok(match schema.get("format").and_then(Value::as_str) {
        Some(format) => format!("{letter}:{format}"),
        None => letter.to_owned(),
    })
}
