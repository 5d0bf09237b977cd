//! `config`: the settings, and the current context.

use std::time::Duration;

use kplane_plugin_common::kubeconfig::{self, MANAGEMENT_CONTEXT, Merged, Section, control_plane_of};
use kplane_plugin_common::planes::use_control_plane;
use kplane_plugin_common::{App, Error, Result};

use crate::args::{ConfigCommand, DataOutput};
use crate::commands::print;

/// Does what is asked.
pub async fn run(app: &App, command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::UseContext { name } => use_context(app, &name).await,
        ConfigCommand::SetProvider { name } => {
            let mut file = app.settings.file.clone();
            file.set(&app.settings.profile, &["provider"], name.as_str().into());
            file.save()?;
            app.printer.result(&format!("provider set to {}", name.as_str()));
            Ok(())
        }
        ConfigCommand::View { output } => {
            print(app, output.unwrap_or(DataOutput::Yaml), &app.settings.view())
        }
    }
}

/// A context by its own name, by that of a control plane, or the management cluster's.
async fn use_context(app: &App, name: &str) -> Result<()> {
    let merged = Merged::load(&app.settings.kubeconfig)?;
    let known = merged.names(Section::Contexts);
    let management = app.settings.context.clone().unwrap_or_else(|| app.settings.provider_context());
    let context = match name {
        "management" | MANAGEMENT_CONTEXT => management,
        name if name.starts_with("kplane-") && known.iter().any(|known| known == name) => name.to_owned(),
        name => {
            return use_control_plane(app, control_plane_of(name).unwrap_or(name), Duration::from_secs(60))
                .await;
        }
    };
    if !known.contains(&context) {
        return Err(Error::new(format!("the kubeconfig has no context {context:?}"))
            .hint("start the management plane with `kubectl kplane up`"));
    }
    kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        edit.set_current_context(&context);
        Ok(())
    })?;
    app.printer.result(&format!("Switched to context \"{context}\"."));
    Ok(())
}
