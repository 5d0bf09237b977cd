//! `/version`.

use serde_json::{Value, json};

/// The Kubernetes version whose behaviour is served. What follows the plus is ours: a build, not a pre-release, so that
/// version constraints of charts hold.
pub const GIT_VERSION: &str = concat!("v1.36.2+kplane.", env!("CARGO_PKG_VERSION"));

/// The body of `/version`.
pub fn info() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": option_env!("KPLANE_GIT_COMMIT").unwrap_or(""),
        "gitTreeState": "clean",
        "buildDate": option_env!("KPLANE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, arch()),
    })
}

/// The architecture as Go names it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
