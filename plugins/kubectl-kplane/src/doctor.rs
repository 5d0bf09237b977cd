//! `doctor`: what keeps kplane from working, and what to do.

use kplane_crds::v1alpha1::{MANAGEMENT_PLANE_NAME, ManagementPlane};
use kplane_plugin_common::kubeconfig::Merged;
use kplane_plugin_common::providers::{ProviderName, cluster, local};
use kplane_plugin_common::wait::{Progress, readiness};
use kplane_plugin_common::{App, Error, Result};
use kube::api::Api;

/// Looks at every part, and ends with an error when one is not well.
pub async fn doctor(app: App) -> Result<()> {
    let mut report = Report { app: &app, failed: 0 };
    let file = &app.settings.file;
    report.add("configuration", Ok(file.path().display().to_string()));
    report.add("kubeconfig", Merged::load(&app.settings.kubeconfig).map(|merged| describe(&merged)));
    report.add("kubectl", program("kubectl"));
    if app.settings.provider == ProviderName::Local {
        let binary = local::find_binary();
        report.add("kplaned", binary.as_ref().map(|path| path.display().to_string()).map_err(Clone::clone));
        if let Ok(binary) = binary {
            report.add("version of kplaned", local::binary_version(&binary).map(|version| version.version));
        }
        report.add("process", process());
        if let Some(port) = local::free_port(&app).transpose() {
            report.add("port", port);
        }
        report.add("disk", local::disk(&app));
    } else {
        for check in cluster::checks(app.settings.provider, &app).await {
            report.add(&check.what, check.found);
        }
    }
    report.add("management plane", management(&app).await);
    match report.failed {
        0 => Ok(()),
        1 => Err(Error::new("1 check failed")),
        count => Err(Error::new(format!("{count} checks failed"))),
    }
}

struct Report<'a> {
    app: &'a App,
    failed: usize,
}

impl Report<'_> {
    fn add(&mut self, what: &str, found: Result<String>) {
        let printer = &self.app.printer;
        match found {
            Ok(found) => printer.data(&format!("{} {what}: {found}\n", printer.paint("32", "[ok]"))),
            Err(error) => {
                self.failed += 1;
                printer.data(&format!("{} {what}: {error}\n", printer.paint("31", "[failed]")));
                for line in error.details() {
                    printer.data(&format!("    {line}\n"));
                }
            }
        }
    }
}

fn describe(merged: &Merged) -> String {
    let files: Vec<String> = merged.files().iter().map(|file| file.display().to_string()).collect();
    if files.is_empty() { "none yet".into() } else { files.join(", ") }
}

fn program(name: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path)
        .map(|folder| folder.join(&file))
        .find(|file| file.is_file())
        .map(|file| file.display().to_string())
        .ok_or_else(|| {
            Error::new(format!("{name} is not on the PATH")).hint("install it to use control planes")
        })
}

fn process() -> Result<String> {
    let status = local::status()?;
    match (status.pid, status.info) {
        (Some(pid), Some(info)) => Ok(format!("running, pid {pid}, port {}", info.port)),
        (Some(pid), None) => Err(Error::new(format!("kplaned (pid {pid}) does not listen yet"))
            .hint(format!("its log is {}", status.state.log_file().display()))),
        (None, _) => {
            let error = Error::new("kplaned is not running").hint("start it with `kubectl kplane up`");
            Err(match local::log_tail(&status.state, 3) {
                Some(tail) => error.caused_by(&std::io::Error::other(format!("its log ends with\n{tail}"))),
                None => error,
            })
        }
    }
}

async fn management(app: &App) -> Result<String> {
    let management = app.management().await?;
    let plane = Api::<ManagementPlane>::all(management.client).get_opt(MANAGEMENT_PLANE_NAME).await?;
    let plane = plane
        .ok_or_else(|| Error::new("there is no ManagementPlane").hint("make it with `kubectl kplane up`"))?;
    let status = plane.status.unwrap_or_default();
    match readiness("the management plane", &status.conditions, plane.metadata.generation) {
        Progress::Done(()) => Ok(format!("ready at {}", status.endpoint.unwrap_or_default())),
        Progress::Waiting(why) => Err(Error::new("it is not ready").caused_by(&std::io::Error::other(why))),
        Progress::Failed(error) => Err(error),
    }
}
