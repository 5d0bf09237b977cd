//! The contexts of control planes: taken out of the kubeconfig by `down`, put back and kept right by `up`.

use std::path::PathBuf;

use kplaned_state::StateDir;
use serde_json::{Value, json};

use crate::app::{App, Management};
use crate::error::{Error, Result};
use crate::kubeconfig::{self, MANAGEMENT_CONTEXT, Section, control_plane_of};
use crate::planes;

fn file(state: &StateDir) -> PathBuf {
    state.root().join("contexts.json")
}

/// Removes the contexts that lead to this server, by any of its addresses, and remembers those of control planes.
pub(super) fn remove(app: &App, state: &StateDir, servers: &[String]) -> Result<()> {
    let ours = |address: &str| {
        servers.iter().any(|server| {
            let rest = address.strip_prefix(server.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let (removed, current) = kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        let mut names = Vec::new();
        let mut current = None;
        for (name, address) in edit.contexts() {
            let named = name == MANAGEMENT_CONTEXT || control_plane_of(&name).is_some();
            if !named || !address.as_deref().is_some_and(ours) {
                continue;
            }
            if edit.remove_entry(&name).was_current {
                current = Some(name.clone());
            }
            names.push(name);
        }
        Ok((names, current))
    })?;
    let mut kept = remembered(state)?;
    kept.names.extend(removed.iter().filter(|name| *name != MANAGEMENT_CONTEXT).cloned());
    kept.names.sort();
    kept.names.dedup();
    if current.is_some() {
        kept.current = current;
    }
    let text = json!({ "contexts": kept.names, "current": kept.current }).to_string();
    kubeconfig::replace(&file(state), &text)?;
    for name in removed {
        app.printer.result(&format!("context {name:?} removed"));
    }
    Ok(())
}

/// What `down` took out.
#[derive(Debug, Default)]
struct Remembered {
    names: Vec<String>,
    current: Option<String>,
}

fn remembered(state: &StateDir) -> Result<Remembered> {
    let path = file(state);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Remembered::default()),
        Err(error) => return Err(Error::new(format!("cannot read {}", path.display())).caused_by(&error)),
    };
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(format!("{} is not valid", path.display())).caused_by(&error))?;
    let names = value["contexts"].as_array().into_iter().flatten();
    Ok(Remembered {
        names: names.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        current: value["current"].as_str().map(str::to_owned),
    })
}

/// Forgets what was taken out.
pub(super) fn forget(state: &StateDir) -> Result<()> {
    match std::fs::remove_file(file(state)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("cannot remove {}", file(state).display())).caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// Puts back what `down` took out, and sets right what leads to this server by credentials that have changed.
pub(super) async fn restore(app: &App, state: &StateDir, management: &Management) -> Result<()> {
    let merged = kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    let kept = remembered(state)?;
    let mut names = kept.names;
    names.extend(merged.names(Section::Contexts).into_iter().filter(|name| control_plane_of(name).is_some()));
    names.sort();
    names.dedup();
    let mut entries = Vec::new();
    for name in names {
        // A control plane that is gone, or not ready yet, keeps nobody from the others.
        match planes::credentials::of_context(management, &name).await {
            Ok(Some(entry)) => entries.push((name, entry)),
            Ok(None) => {}
            Err(error) => app.printer.warning(&format!("the context {name:?} was left as it is: {error}")),
        }
    }
    kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        for (name, entry) in &entries {
            edit.set_entry(name, entry);
        }
        let current = kept.current.filter(|name| {
            edit.current_context().is_none_or(|now| now == MANAGEMENT_CONTEXT)
                && edit.contexts().iter().any(|(known, _)| known == name)
        });
        if let Some(current) = current {
            edit.set_current_context(&current);
        }
        Ok(())
    })?;
    forget(state)
}
