//! `describe`: all that is known of a control plane, for people.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Event;
use kplane_crds::v1alpha1::ControlPlane;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{age_of, class, endpoint, read};
use crate::app::App;
use crate::error::Result;
use crate::kubeconfig::{Merged, Section, context_name};
use crate::table::Table;

/// Describes one control plane.
pub async fn describe(app: &App, name: &str) -> Result<()> {
    let management = app.management().await?;
    let plane = read(&management, name).await?;
    let uid = plane.uid().unwrap_or_default();
    let events: Api<Event> = Api::all(management.client.clone());
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let events = match events.list(&about).await {
        Ok(list) => list.items,
        Err(error) => {
            app.printer.warning(&format!("the events cannot be read: {}", crate::Error::from(error)));
            Vec::new()
        }
    };
    let contexts = Merged::load(&app.settings.kubeconfig)?.names(Section::Contexts);
    let context = context_name(name);
    let context = if contexts.contains(&context) { context } else { "<none>".into() };
    app.printer.data(&text(&plane, &context, &events));
    Ok(())
}

fn text(plane: &ControlPlane, context: &str, events: &[Event]) -> String {
    let or_none = |text: String| if text.is_empty() { "<none>".into() } else { text };
    let status = plane.status.clone().unwrap_or_default();
    let secret = status.kubeconfig_secret_ref.map(|reference| {
        format!("{}/{}", reference.namespace.unwrap_or_default(), reference.name.unwrap_or_default())
    });
    let policy = plane.spec.deletion_policy.map(|policy| format!("{policy:?}"));
    let labels: Vec<String> = plane.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let fields = [
        ("Name", plane.name_any()),
        ("Labels", or_none(labels.join(","))),
        ("Age", age_of(plane)),
        ("Mode", format!("{:?}", plane.spec.mode)),
        ("Class", or_none(class(plane))),
        ("Path", format!("/clusters/{}/control-plane", plane.cluster_path())),
        ("Endpoint", or_none(endpoint(plane))),
        ("Inside", or_none(status.endpoint.unwrap_or_default())),
        ("Deletion policy", policy.unwrap_or_else(|| "<by class>".into())),
        ("UID of the data", or_none(status.virtual_cluster_uid.unwrap_or_default())),
        ("Credentials", or_none(secret.unwrap_or_default())),
        ("Context", context.to_owned()),
    ];
    let mut out = String::new();
    for (field, value) in fields {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<18}{value}", format!("{field}:"));
    }
    let mut section = |head: &str, table: &Table| {
        if table.is_empty() {
            let _ = writeln!(out, "{:<18}<none>", format!("{head}:"));
            return;
        }
        let _ = writeln!(out, "{head}:");
        for line in table.render(true).lines() {
            let _ = writeln!(out, "  {line}");
        }
    };
    let mut conditions = Table::new(["type", "status", "reason", "message"]);
    for condition in status.conditions {
        conditions.row([condition.type_, condition.status, condition.reason, condition.message]);
    }
    section("Conditions", &conditions);
    let mut table = Table::new(["type", "reason", "age", "message"]);
    for event in events {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        table.row([text(&event.type_), text(&event.reason), age_of(event), text(&event.message)]);
    }
    section("Events", &table);
    out
}
