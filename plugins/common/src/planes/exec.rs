//! Credentials that a client fetches by itself: an exec plugin (`client.authentication.k8s.io/v1`) in the kubeconfig.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::credentials::{CredentialOptions, fetch};
use crate::app::{App, Management};
use crate::error::{Error, Result};
use crate::kubeconfig::Entry;

const API_VERSION: &str = "client.authentication.k8s.io/v1";

/// The same entry, with a user that asks this plugin for its credentials whenever it needs them.
pub fn entry(
    app: &App,
    management: &Management,
    options: &CredentialOptions,
    entry: &Entry,
) -> Result<Entry> {
    let command = std::env::current_exe()
        .map_err(|error| Error::new("the path of this program is not known").caused_by(&error))?;
    let mut args = vec!["credential".to_owned(), options.name.clone()];
    if let Some(role) = &options.role {
        args.extend(["--role".to_owned(), role.clone()]);
    }
    if let Some(duration) = &options.duration {
        args.extend(["--duration".to_owned(), duration.clone()]);
    }
    args.extend(["--context".to_owned(), management.context.clone()]);
    // In a file of its own the context of the management cluster is not at hand.
    if options.print {
        let file = app.settings.kubeconfig.default_file();
        args.extend(["--kubeconfig".to_owned(), file.display().to_string()]);
    }
    let user = json!({ "exec": {
        "apiVersion": API_VERSION,
        "command": command.display().to_string(),
        "args": args,
        "interactiveMode": "Never",
        "provideClusterInfo": false,
        "installHint": "kubectl-vcp fetches the credentials of virtual control planes of kplane; install it, or take new credentials with `kubectl vcp get-credentials`",
    }});
    Ok(Entry { cluster: entry.cluster.clone(), user })
}

/// Prints an `ExecCredential` with the credentials of the moment: what a kubeconfig's exec plugin is asked for.
pub async fn credential(app: &App, options: &CredentialOptions) -> Result<()> {
    let management = app.management().await?;
    let fetched = fetch(&management, options).await?;
    let document = exec_credential(&fetched.entry, fetched.expires.as_deref())?;
    app.printer.data(&format!("{document}\n"));
    Ok(())
}

fn exec_credential(entry: &Entry, expires: Option<&str>) -> Result<Value> {
    let pem = |field: &str| -> Result<String> {
        let missing = || Error::new(format!("the credentials have no {field}"));
        let bytes = STANDARD.decode(entry.user[field].as_str().ok_or_else(missing)?);
        let bytes = bytes.map_err(|error| missing().caused_by(&error))?;
        String::from_utf8(bytes).map_err(|error| missing().caused_by(&error))
    };
    let mut status = json!({
        "clientCertificateData": pem("client-certificate-data")?,
        "clientKeyData": pem("client-key-data")?,
    });
    if let Some(expires) = expires {
        status["expirationTimestamp"] = expires.into();
    }
    Ok(json!({ "apiVersion": API_VERSION, "kind": "ExecCredential", "status": status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_becomes_an_exec_credential() {
        let user = json!({
            "client-certificate-data": STANDARD.encode("cert"), "client-key-data": STANDARD.encode("key"),
        });
        let entry = Entry { cluster: json!({}), user };
        let made = exec_credential(&entry, Some("2030-01-01T00:00:00Z")).unwrap();
        assert_eq!(made["status"]["clientKeyData"], "key");
        assert_eq!(made["status"]["expirationTimestamp"], "2030-01-01T00:00:00Z");
        let without = Entry { cluster: json!({}), user: json!({"token": "x"}) };
        assert!(exec_credential(&without, None).is_err());
    }
}
