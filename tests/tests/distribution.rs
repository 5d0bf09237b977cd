//! What a release holds: archives, checksums, manifests and the image, made of the programs under test, and installed as
//! users do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kplane_tests::{free_port, program};
use serde_json::Value;
use tempfile::TempDir;

/// The checkout.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a script of the shell; what it printed.
#[track_caller]
fn sh(script: &str, home: &Path) -> String {
    let output = Command::new("sh").args(["-euc", script]).env("HOME", home).output().expect("sh");
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{told}");
    told
}

/// A release of the programs under test, made once for all tests here.
fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        // Beside the programs, so that it is made anew and does not outlive the build.
        let folder = program("kplaned").parent().expect("a folder").join("release-under-test");
        let programs = folder.join("programs");
        std::fs::create_dir_all(&programs).expect("a folder");
        for name in ["kubectl-kplane", "kubectl-vcp", "kplaned", "kplane-apiserver", "kplane-controllers"] {
            let status = Command::new("strip")
                .arg("-o")
                .arg(programs.join(name))
                .arg(program(name))
                .status()
                .expect("strip, of binutils");
            assert!(status.success(), "strip {name}");
        }
        let script = format!(
            "{}/hack/release --compression 1 --programs {} --output {}",
            root().display(),
            programs.display(),
            folder.display()
        );
        sh(&script, &folder);
        folder
    })
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a manifest");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// What krew's own validation of a manifest asks for (`index/validation`).
fn check_krew_manifest(plugin: &Value, name: &str) {
    assert_eq!(plugin["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(plugin["kind"], "Plugin");
    assert_eq!(plugin["metadata"]["name"], name);
    let spec = &plugin["spec"];
    let version = spec["version"].as_str().expect("a version");
    let numbers: Vec<&str> = version.strip_prefix('v').expect("a v").split('.').collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|n| n.parse::<u32>().is_ok()), "{version}");
    let short = spec["shortDescription"].as_str().expect("a short description");
    assert!(!short.is_empty() && !short.contains(['\n', '\r']) && short.len() <= 50, "{short:?}");
    let platforms = spec["platforms"].as_array().expect("platforms");
    assert!(!platforms.is_empty());
    for platform in platforms {
        let labels = platform["selector"]["matchLabels"].as_object().expect("a selector");
        assert!(labels.keys().all(|key| key == "os" || key == "arch"), "{labels:?}");
        assert!(platform["uri"].as_str().is_some_and(|uri| uri.starts_with("https://")));
        let sum = platform["sha256"].as_str().expect("a checksum");
        assert!(sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()), "{sum}");
        assert_eq!(platform["bin"], format!("kubectl-{name}"));
        for file in platform["files"].as_array().expect("files") {
            assert!(file["from"].as_str().is_some_and(|from| !from.is_empty() && !from.contains("..")));
            assert_eq!(file["to"], ".");
        }
    }
}

/// Installs a plugin as `kubectl krew install --manifest --archive` does: the archive is unpacked, the files the manifest
/// names go to a folder of the version, and a link to the program goes to krew's folder of programs.
fn krew_install(name: &str, home: &Path) {
    let manifest = yaml(&release().join(format!("krew/{name}.yaml")));
    check_krew_manifest(&manifest, name);
    let platform = &manifest["spec"]["platforms"][0];
    let archive = platform["uri"].as_str().and_then(|uri| uri.rsplit('/').next()).expect("an archive");
    let archive = release().join(archive);
    let sum = sh(&format!("sha256sum {}", archive.display()), home);
    assert!(sum.starts_with(platform["sha256"].as_str().expect("a checksum")), "{sum}");
    let store =
        home.join(".krew/store").join(name).join(manifest["spec"]["version"].as_str().expect("a version"));
    let from: Vec<&str> =
        platform["files"].as_array().expect("files").iter().filter_map(|f| f["from"].as_str()).collect();
    let script = format!(
        "work=$(mktemp -d); tar -xzf {archive} -C $work; mkdir -p {store} $HOME/.krew/bin; cd $work; \
         for file in {files}; do mv $file {store}/; done; rm -r $work; \
         ln -s {store}/{bin} $HOME/.krew/bin/{bin}",
        archive = archive.display(),
        store = store.display(),
        files = from.join(" "),
        bin = platform["bin"].as_str().expect("a program"),
    );
    sh(&script, home);
}

/// One test: the release is made once.
#[test]
fn a_release_is_installed_as_users_do() {
    krew_installs_into_an_empty_home_and_no_network_is_needed();
    the_install_script_checks_what_it_installs();
    the_image_is_whole_and_runs_from_nothing();
}

fn krew_installs_into_an_empty_home_and_no_network_is_needed() {
    let home = tempfile::tempdir().expect("a home");
    krew_install("kplane", home.path());
    krew_install("vcp", home.path());
    let steps = format!(
        r#"
        export PATH="$HOME/.krew/bin:$PATH" XDG_STATE_HOME="$HOME/state" XDG_CONFIG_HOME="$HOME/config" KUBECONFIG="$HOME/kubeconfig"
        trap 'kubectl kplane down --delete-data --yes >/dev/null 2>&1 || true' EXIT
        kubectl kplane up --port {port}
        kubectl vcp create demo
        kubectl --context kplane-demo get ns
        kubectl kplane status
        kubectl vcp delete demo --destroy
        kubectl --context kplane-management apply -f {samples}
        kubectl --context kplane-management wait --for=condition=Ready controlplane/demo --timeout=60s
        kubectl kplane down
        kubectl kplane up --port {port}
        kubectl kplane down --delete-data --yes
        "#,
        port = free_port(),
        samples = root().join("config/samples").display(),
    );
    let told = sh(&alone(&steps, home.path()), home.path());
    for told_of in ["kube-system", "controlplane.controlplane.kplane.dev/demo created"] {
        assert!(told.contains(told_of), "{told}");
    }
}

/// The same script in a network of nothing but the machine itself, where that can be had.
fn alone(script: &str, home: &Path) -> String {
    // Whoever is not root becomes it in a namespace of users.
    let ways = ["unshare --net", "unshare --net --map-root-user"];
    let works = |way: &&str| {
        let tried = Command::new("sh").args(["-c", &format!("{way} ip link set lo up")]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.into_iter().find(works) else {
        eprintln!("not without a network: none can be had here (unshare --net)");
        return script.to_owned();
    };
    let file = home.join("steps");
    std::fs::write(&file, format!("ip link set lo up\n{script}")).expect("a script");
    format!("{way} sh -eu {}", file.display())
}

fn the_install_script_checks_what_it_installs() {
    let home = tempfile::tempdir().expect("a home");
    let folder = copy_of_release(home.path());
    let script = format!("KPLANE_RELEASE={} sh {}/install.sh", folder.display(), root().display());
    let told = sh(&alone(&script, home.path()), home.path());
    assert!(told.contains("kplane is installed"), "{told}");
    let version = sh("$HOME/.local/bin/kplane version --client && ls $HOME/.local/bin", home.path());
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    for name in ["kplaned", "kubectl_complete-vcp", "kplane-image-linux-", "kp"] {
        assert!(version.contains(name), "{name}: {version}");
    }

    // One byte more, and nothing is installed.
    let other = tempfile::tempdir().expect("a home");
    sh(&format!("for a in {}/*.tar.gz; do printf x >>$a; done", folder.display()), other.path());
    let output = Command::new("sh").args(["-c", &script]).env("HOME", other.path()).output().expect("sh");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("nothing was installed"), "{told}");
    assert!(!other.path().join(".local/bin/kplaned").exists());
}

/// A folder with links to the files of the release and a copy of its archive.
fn copy_of_release(home: &Path) -> PathBuf {
    let folder = home.join("release");
    sh(
        &format!(
            "mkdir -p {f}; cp {r}/*.tar.gz {r}/checksums.txt {f}/",
            f = folder.display(),
            r = release().display()
        ),
        home,
    );
    folder
}

fn the_image_is_whole_and_runs_from_nothing() {
    let home = TempDir::new().expect("a folder");
    let unpacked = home.path().join("image");
    sh(
        &format!(
            "mkdir -p {u}; tar -xf {r}/kplane-image-*.tar -C {u}",
            u = unpacked.display(),
            r = release().display()
        ),
        home.path(),
    );
    let json = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(unpacked.join(path)).expect(path)).expect("JSON")
    };
    let blob = |digest: &Value| {
        format!("blobs/sha256/{}", digest.as_str().expect("a digest").trim_start_matches("sha256:"))
    };
    // Each blob is what its name says.
    sh(
        &format!(
            "cd {}/blobs/sha256; for b in *; do echo \"$b  $b\" | sha256sum -c --quiet; done",
            unpacked.display()
        ),
        home.path(),
    );
    let index = json("index.json");
    let manifest = &index["manifests"][0];
    let name = manifest["annotations"]["io.containerd.image.name"].as_str().expect("a name");
    let deployment =
        std::fs::read_to_string(root().join("config/manager/deployment.yaml")).expect("the Deployment");
    assert!(deployment.contains(&format!("image: {name}")), "{name} is not the image that config/ names");
    assert!(deployment.contains("imagePullPolicy: IfNotPresent"));
    assert_eq!(json("manifest.json")[0]["RepoTags"][0], name);
    let manifest = json(&blob(&manifest["digest"]));
    let config = json(&blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    let layer = blob(&manifest["layers"][0]["digest"]);
    let rootfs = home.path().join("root");
    sh(
        &format!("mkdir -p {r}; tar -xzf {u}/{layer} -C {r}", r = rootfs.display(), u = unpacked.display()),
        home.path(),
    );
    let is_root = sh("id -u", home.path()).trim() == "0";
    for name in ["kplane-apiserver", "kplane-controllers"] {
        // Who is not root becomes it in a namespace of users, where there is no other user to be.
        let mut command = if is_root {
            let mut command = Command::new("chroot");
            command.arg("--userspec=65532:65532");
            command
        } else {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "chroot"]);
            command
        };
        let output = command
            .arg(&rootfs)
            .args([&format!("/usr/local/bin/{name}"), "--version"])
            .output()
            .expect("chroot");
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && told.contains(env!("CARGO_PKG_VERSION")), "{name}: {told}");
    }
    let bill: Value = serde_json::from_slice(
        &std::fs::read(rootfs.join("usr/share/doc/kplane/sbom.cdx.json")).expect("the bill of materials"),
    )
    .expect("JSON");
    let components = bill["components"].as_array().expect("components").iter();
    let names: BTreeSet<&str> = components.filter_map(|c| c["name"].as_str()).collect();
    assert!(names.contains("tokio") && names.contains("rustls") && !names.contains("proptest"), "{names:?}");
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let folder = TempDir::new().expect("a folder");
    let script = format!(
        r#"
        mkdir -p programs; for p in kubectl-kplane kubectl-vcp kplaned kplane-apiserver kplane-controllers; do echo "$p" >programs/$p; done
        {root}/hack/release --programs programs --output one >/dev/null
        {root}/hack/release --programs programs --output two >/dev/null
        cmp one/checksums.txt two/checksums.txt
        cd one && sha256sum -c --quiet checksums.txt
        "#,
        root = root().display()
    );
    sh(&format!("cd {}\n{script}", folder.path().display()), folder.path());
}
