//! The `crd` subcommand: the CustomResourceDefinitions as YAML.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

const HEADER: &str = "# Generated from the types in crds/ by `kplane-controllers crd`; do not edit.\n";

/// The definitions as files: name and content.
fn files() -> anyhow::Result<Vec<(String, String)>> {
    kplane_crds::definitions()
        .into_iter()
        .map(|definition| {
            let names = &definition.spec.names;
            let file = format!("{}_{}.yaml", definition.spec.group, names.plural);
            // Through a Value: its keys are sorted, whatever the order of the fields.
            let value = serde_json::to_value(&definition)?;
            let yaml = serde_saphyr::to_string(&value).context("could not write YAML")?;
            Ok((file, format!("{HEADER}{yaml}")))
        })
        .collect()
}

/// Prints all definitions.
pub fn print() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (_, content) in files()? {
        writeln!(out, "---\n{}", content.trim_end())?;
    }
    Ok(())
}

/// Writes the files, or checks them.
pub fn write(folder: &Path, check: bool) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (name, content) in files()? {
        let path = folder.join(&name);
        if check {
            let current = std::fs::read_to_string(&path).unwrap_or_default();
            if current != content {
                stale.push(name);
            }
        } else {
            std::fs::create_dir_all(folder)?;
            std::fs::write(&path, content).with_context(|| format!("could not write {}", path.display()))?;
        }
    }
    if !stale.is_empty() {
        bail!(
            "these files are not up to date: {}; run `kplane-controllers crd --output {}`",
            stale.join(", "),
            folder.display()
        );
    }
    Ok(())
}
