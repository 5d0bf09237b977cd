//! What a command works with: the printer, the settings, and the management cluster.

use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::args::GlobalArgs;
use crate::config::{Overrides, Settings};
use crate::error::{Error, Result};
use crate::kubeconfig::{Entry, Merged, is_control_plane_server};
use crate::output::Output;
use crate::printer::Printer;
use crate::providers::ProviderName;

/// What every command has.
#[derive(Clone, Debug)]
pub struct App {
    /// The way to write.
    pub printer: Printer,
    /// What flags, environment and file come to.
    pub settings: Settings,
    /// The format of objects on stdout.
    pub output: Option<Output>,
}

/// The management cluster.
#[derive(Clone)]
pub struct Management {
    /// A client of it.
    pub client: Client,
    /// The context it was found by.
    pub context: String,
}

impl App {
    /// From the flags of a command.
    pub fn new(global: &GlobalArgs, output: Option<Output>) -> Result<Self> {
        Self::with(global, output, |_| {})
    }

    /// From the flags of a command that has more settings than the others.
    pub fn with(
        global: &GlobalArgs,
        output: Option<Output>,
        more: impl FnOnce(&mut Overrides),
    ) -> Result<Self> {
        let mut overrides = global.overrides();
        more(&mut overrides);
        let settings = Settings::resolve(&overrides, &|name| std::env::var(name).ok())?;
        let printer = Printer::new(global.quiet).structured(Output::is_structured(output));
        let show = |name: &str| settings.file.flag(&settings.profile, &["ui", name]);
        let plain = global.no_color || show("color")? == Some(false) || show("enabled")? == Some(false);
        let printer = if plain { printer.plain() } else { printer };
        Ok(Self { printer, settings, output })
    }

    /// The management cluster: what a flag, the environment or the configuration names, or else the provider's. It
    /// never is a control plane, whatever the current context is.
    pub async fn management(&self) -> Result<Management> {
        let merged = Merged::load(&self.settings.kubeconfig)?;
        let context = match &self.settings.context {
            Some(name) => {
                if merged.server(name).is_some_and(|server| is_control_plane_server(&server)) {
                    return Err(Error::new(format!(
                        "the context {name:?} is a control plane, not the management cluster"
                    ))
                    .hint("name the management cluster with --context, or leave it out"));
                }
                if !merged.names(crate::kubeconfig::Section::Contexts).contains(name) {
                    return Err(Error::new(format!("the kubeconfig has no context {name:?}"))
                        .hint("see those there are with `kubectl config get-contexts`"));
                }
                name.clone()
            }
            None => self.settings.provider_context(),
        };
        if merged.body(crate::kubeconfig::Section::Contexts, &context).is_some() {
            let client = client(merged.for_client(&context)?).await?;
            return Ok(Management { client, context });
        }
        // With another KUBECONFIG than at `up`, the local server still is the one of this user.
        if self.settings.provider == ProviderName::Local
            && let Some(entry) = crate::providers::local::administrator()?
        {
            let client = entry_client(&entry).await?;
            return Ok(Management { client, context });
        }
        Err(Error::new("there is no management plane")
            .caused_by(&std::io::Error::other(format!("the kubeconfig has no context {context:?}")))
            .hint("start one with `kubectl kplane up`, or name its cluster with --context"))
    }
}

/// A client of a kubeconfig's current context.
pub async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    let failed = || Error::new("the kubeconfig cannot be used");
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed().caused_by(&error))?;
    config.connect_timeout = Some(Duration::from_secs(10));
    Client::try_from(config).map_err(|error| failed().caused_by(&error))
}

/// A client of an entry.
pub async fn entry_client(entry: &Entry) -> Result<Client> {
    let kubeconfig = serde_json::from_value(entry.document("kplane"))
        .map_err(|error| Error::new("the kubeconfig is not valid").caused_by(&error))?;
    client(kubeconfig).await
}
