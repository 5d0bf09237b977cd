//! What flags, environment, file and defaults come to.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::file::ConfigFile;
use crate::error::{Error, Result};
use crate::kubeconfig::Paths;
use crate::providers::ProviderName;

/// How the environment is read; a function, so that tests need not change the process's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What flags say. They go before everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--provider`.
    pub provider: Option<ProviderName>,
    /// `--cluster-name`.
    pub cluster_name: Option<String>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration file.
    pub file: ConfigFile,
    /// The profile in it.
    pub profile: String,
    /// What provides the management plane.
    pub provider: ProviderName,
    /// The name of the cluster that `kind` or `k3s` makes.
    pub cluster_name: String,
    /// The namespace of the management plane.
    pub namespace: String,
    /// The context of the management cluster, when something names one.
    pub context: Option<String>,
    /// The kubeconfig files.
    pub kubeconfig: Paths,
    /// The port that is asked for.
    pub port: Option<u16>,
    /// The data directory that is asked for.
    pub data_dir: Option<PathBuf>,
}

impl Settings {
    /// Resolves every setting on its own.
    pub fn resolve(overrides: &Overrides, environment: Environment<'_>) -> Result<Self> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let path = match overrides.config.clone().or_else(|| variable("KPLANE_CONFIG").map(PathBuf::from)) {
            Some(path) => path,
            None => ConfigFile::default_path(environment)?,
        };
        let file = ConfigFile::load(path)?;
        let profile = variable("KPLANE_PROFILE").unwrap_or_else(|| file.current_profile().to_owned());
        if !file.has_profile(&profile) {
            return Err(Error::new(format!("the configuration has no profile {profile:?}"))
                .hint(format!("profiles are in {}", file.path().display())));
        }
        let text = |name: &str, key: &[&str]| -> Result<Option<String>> {
            match variable(name) {
                Some(value) => Ok(Some(value)),
                None => file.text(&profile, key),
            }
        };
        let provider = match overrides.provider {
            Some(provider) => provider,
            None => match text("KPLANE_PROVIDER", &["provider"])? {
                Some(name) => name.parse()?,
                None => ProviderName::Local,
            },
        };
        let port = match (overrides.port, variable("KPLANE_PORT")) {
            (Some(port), _) => Some(port),
            (None, Some(value)) => Some(value.parse().map_err(|error| {
                Error::new(format!("KPLANE_PORT is no port: {value:?}")).caused_by(&error)
            })?),
            (None, None) => file.port(&profile, &["local", "port"])?,
        };
        let data_dir = match overrides.data_dir.clone() {
            Some(path) => Some(path),
            None => text("KPLANE_DATA_DIR", &["local", "dataDir"])?.map(PathBuf::from),
        };
        let explicit =
            overrides.kubeconfig.clone().or_else(|| variable("KPLANE_KUBECONFIG").map(PathBuf::from));
        let configured = file.text(&profile, &["kubeconfigPath"])?.map(PathBuf::from);
        Ok(Self {
            provider,
            cluster_name: match overrides.cluster_name.clone() {
                Some(name) => name,
                None => text("KPLANE_CLUSTER_NAME", &["clusterName"])?
                    .unwrap_or_else(|| "kplane-management".into()),
            },
            namespace: text("KPLANE_NAMESPACE", &["namespace"])?.unwrap_or_else(|| "kplane-system".into()),
            context: match overrides.context.clone() {
                Some(name) => Some(name),
                None => text("KPLANE_CONTEXT", &["managementContext"])?,
            },
            kubeconfig: Paths::new(explicit.as_deref(), configured.as_deref())?,
            port,
            data_dir,
            profile,
            file,
        })
    }

    /// The settings in force as the file would say them.
    pub fn view(&self) -> Value {
        json!({
            "apiVersion": "config.kplane.io/v1alpha1",
            "kind": "KplaneConfig",
            "currentProfile": self.profile,
            "profiles": {
                self.profile.as_str(): {
                    "provider": self.provider.as_str(),
                    "clusterName": self.cluster_name,
                    "namespace": self.namespace,
                    "kubeconfigPath": self.kubeconfig.default_file(),
                    "managementContext": self.context.clone().unwrap_or_else(|| self.provider_context()),
                    "local": {
                        "port": self.port.unwrap_or(crate::providers::DEFAULT_PORT),
                        "dataDir": self.data_dir,
                    },
                },
            },
        })
    }

    /// The context that the provider names its management cluster by.
    pub fn provider_context(&self) -> String {
        match self.provider {
            ProviderName::Local | ProviderName::Existing => crate::kubeconfig::MANAGEMENT_CONTEXT.into(),
            ProviderName::Kind => format!("kind-{}", self.cluster_name),
            ProviderName::K3s => format!("k3d-{}", self.cluster_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(overrides: Overrides, variables: &[(&str, &str)], text: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let overrides = Overrides {
            config: Some(path),
            kubeconfig: overrides.kubeconfig.clone().or(Some("/k".into())),
            ..overrides
        };
        let lookup =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::resolve(&overrides, &lookup)
    }

    const FILE: &str =
        "profiles: {default: {provider: kind, clusterName: mine, managementContext: c, local: {port: 9000}}}";

    #[test]
    fn flag_then_environment_then_file_then_default() {
        let flag =
            Overrides { provider: Some(ProviderName::Existing), port: Some(1), ..Overrides::default() };
        let variables = [("KPLANE_PROVIDER", "k3d"), ("KPLANE_PORT", "2"), ("KPLANE_CONTEXT", "e")];
        let all = settings(flag, &variables, FILE).unwrap();
        assert_eq!((all.provider, all.port), (ProviderName::Existing, Some(1)));
        let env = settings(Overrides::default(), &variables, FILE).unwrap();
        assert_eq!((env.provider, env.port, env.context.as_deref()), (ProviderName::K3s, Some(2), Some("e")));
        assert_eq!(env.cluster_name, "mine");
        let file = settings(Overrides::default(), &[], FILE).unwrap();
        assert_eq!(
            (file.provider, file.port, file.context.as_deref()),
            (ProviderName::Kind, Some(9000), Some("c"))
        );
        let none = settings(Overrides::default(), &[], "").unwrap();
        assert_eq!((none.provider, none.port, none.context), (ProviderName::Local, None, None));
        assert_eq!(none.cluster_name, "kplane-management");
    }

    #[test]
    fn a_partial_profile_loses_no_default() {
        let settings =
            settings(Overrides::default(), &[], "profiles: {default: {namespace: other}}").unwrap();
        assert_eq!(settings.namespace, "other");
        assert_eq!(settings.provider_context(), "kplane-management");
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(settings(Overrides::default(), &[("KPLANE_PROVIDER", "x")], "").is_err());
        assert!(settings(Overrides::default(), &[("KPLANE_PROFILE", "x")], "").is_err());
        assert!(settings(Overrides::default(), &[("KPLANE_PORT", "x")], "").is_err());
    }
}
