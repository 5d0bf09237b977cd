//! What `kubectl-kplane` writes and changes, by running it beside a kplaned that serves a small management cluster.

#[path = "../../common/testing/fake.rs"]
mod fake;

use std::path::{Path, PathBuf};

use fake::{Fake, User};
use kplaned_state::{Info, Lock, StateDir};

/// Not a test: what a script called `kplaned` runs, in a process of its own.
#[test]
#[ignore = "run by the scripts that the tests below write"]
fn fake_kplaned() {
    let words = std::env::var("FAKE_KPLANED").expect("the words of the command line");
    let words: Vec<&str> = words.split(' ').collect();
    let ["run", "--data-dir", data_dir, "--port", port] = words[..] else { panic!("{words:?}") };
    let state = StateDir::from_env().unwrap();
    let _lock = Lock::acquire(&state).unwrap();
    let (data_dir, port) = (PathBuf::from(data_dir), port.parse().unwrap());
    kplaned_state::create_private_dir(&data_dir).unwrap();
    kplaned_state::write_data_format(&data_dir).unwrap();
    Fake::default().serve(port);
    let text = format!(
        "clusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
         users: [{{name: c, user: {{token: t}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\ncurrent-context: c\n"
    );
    std::fs::write(data_dir.join("admin.kubeconfig"), text).unwrap();
    let version = "0.1.0".into();
    state.write_info(&Info { version, port, data_format: 1, data_dir, pid: std::process::id() }).unwrap();
    loop {
        std::thread::park();
    }
}

/// A user with the plugin, and a kplaned beside it.
struct Machine {
    user: User,
    plugin: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let user = User::new();
        let folder = user.home.path().join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        let plugin = folder.join("kubectl-kplane");
        std::fs::copy(env!("CARGO_BIN_EXE_kubectl-kplane"), &plugin).unwrap();
        let this = Self { user, plugin };
        this.kplaned("0.1.0", 1);
        this
    }

    /// Writes the program that is found beside the plugin.
    fn kplaned(&self, version: &str, format: u32) {
        let test = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{{\"version\":\"{version}\",\"dataFormat\":{format}}}'; exit; fi\n\
             FAKE_KPLANED=\"$*\" exec '{}' --ignored --exact fake_kplaned --nocapture\n",
            test.display()
        );
        let path = self.plugin.with_file_name("kplaned");
        std::fs::write(&path, script).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn run(&self, words: &[&str]) -> fake::Run {
        self.user.run(&self.plugin, words)
    }

    fn state(&self) -> StateDir {
        StateDir::at(self.user.home.path().join(".local/state/kplane"))
    }

    fn port(&self) -> u16 {
        self.state().info().unwrap().unwrap().port
    }

    fn data(&self) -> PathBuf {
        self.state().default_data_dir()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(Some(pid)) = self.state().running() {
            let _ = kplaned_state::kill(pid);
        }
    }
}

/// A port that is free now. `up` is asked for it, since other tests take the default one.
fn free_port() -> String {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port().to_string()
}

#[cfg(unix)]
#[test]
fn up_down_and_up_again() {
    let machine = Machine::new();
    let port = free_port();
    let ready = format!(
        "management plane is ready at https://127.0.0.1:{port}\n\
         next, create a control plane:\n  kubectl vcp create demo\n"
    );
    machine.run(&["up", "--port", &port]).wrote(&ready);
    let pid = machine.state().running().unwrap();
    assert!(pid.is_some());
    let config = machine.user.read(".kube/config");
    assert!(config.contains("current-context: kplane-management"), "{config}");
    assert!(machine.user.read(".config/kplane/config.yaml").contains("provider: local"));

    machine.run(&["up"]).wrote(&ready);
    assert_eq!(machine.state().running().unwrap(), pid, "up again changes nothing");

    machine.run(&["cc", "demo", "-q"]).wrote("");
    let clusters = machine.run(&["get", "clusters"]).stdout;
    assert!(clusters.contains("kplane-demo"), "{clusters}");
    assert_eq!(machine.run(&["status"]).code, Some(0));
    machine
        .run(&["config", "use-context", "management"])
        .wrote("Switched to context \"kplane-management\".\n");

    machine
        .run(&["get-credentials", "management", "--set-current=false"])
        .wrote("context \"kplane-management\" set\n");

    let down = machine.run(&["down"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    assert!(down.stdout.starts_with("kplaned stopped\n"), "{down:?}");
    assert!(down.stdout.contains("context \"kplane-demo\" removed\n"), "{down:?}");
    assert!(down.stdout.contains("remain in ~/.local/state/kplane/data"), "{down:?}");
    assert!(!machine.user.read(".kube/config").contains("kplane-"));
    assert_eq!(machine.state().running().unwrap(), None);

    machine.run(&["up"]).wrote(&ready);
    assert_eq!(machine.port().to_string(), port, "the port is remembered");
}

#[cfg(unix)]
#[test]
fn after_a_crash_up_starts_again() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "--port", &free_port()]).code, Some(0));
    let pid = machine.state().running().unwrap().unwrap();
    kplaned_state::kill(pid).unwrap();
    while machine.state().running().unwrap() == Some(pid) {
        std::thread::yield_now();
    }
    assert_eq!(machine.run(&["up"]).code, Some(0));
    assert_ne!(machine.state().running().unwrap(), Some(pid));
}

#[cfg(unix)]
#[test]
fn an_older_one_is_restarted_and_newer_data_refused() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "--port", &free_port()]).code, Some(0));
    let pid = machine.state().running().unwrap();
    machine.kplaned("0.2.0", 1);
    assert_eq!(machine.run(&["up"]).code, Some(0));
    assert_ne!(machine.state().running().unwrap(), pid);
    assert_eq!(machine.run(&["down"]).code, Some(0));

    std::fs::write(machine.data().join("format"), "9\n").unwrap();
    let refused = machine.run(&["up"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("has format 9, and this version knows formats up to 1"), "{refused:?}");
}

#[cfg(unix)]
#[test]
fn data_is_lost_only_when_that_is_said() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "--port", &free_port()]).code, Some(0));
    let unasked = machine.run(&["down", "--delete-data"]);
    unasked.failed(
        "error: --delete-data loses all control planes, and nobody is there to ask\n\
         hint: add --yes to go on without asking\n",
    );
    assert!(machine.state().running().unwrap().is_some() && machine.data().exists());
    assert_eq!(machine.run(&["down", "--delete-data", "--yes"]).code, Some(0));
    assert!(!machine.data().exists());
    assert_eq!(machine.state().info().unwrap(), None);
}

#[cfg(unix)]
#[test]
fn a_port_that_is_asked_for_and_taken_is_an_error() {
    let machine = Machine::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    machine.run(&["up", "--port", &port]).failed(&format!(
        "error: port {port} is taken by another program\n\
         hint: ask for another with --port, or leave it out to take the next free one\n"
    ));
}

#[cfg(unix)]
#[test]
fn one_that_does_not_start_tells_why() {
    let machine = Machine::new();
    let script = "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{\"version\":\"0.1.0\",\"dataFormat\":1}'; exit; fi\n\
                  echo the disk is full >&2; exit 3\n";
    std::fs::write(machine.plugin.with_file_name("kplaned"), script).unwrap();
    machine.run(&["up", "--port", &free_port()]).failed(
        "error: kplaned did not start (exit status: 3)\n  caused by: the disk is full\n\
         hint: its log is ~/.local/state/kplane/kplaned.log\n",
    );
}

#[test]
fn what_does_not_run_is_told() {
    let machine = Machine::new();
    let status = machine.run(&["status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.contains("kplaned.running: false"), "{status:?}");
    assert!(status.stderr.contains("hint: start it with `kubectl kplane up`"), "{status:?}");
    let doctor = machine.run(&["doctor"]);
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.stdout.contains("[failed] process: kplaned is not running\n"), "{doctor:?}");
    machine.run(&["up", "--provider", "kind"]).failed(
        "error: kind is not on the PATH\nhint: install it, from https://kind.sigs.k8s.io\n\
         hint: or run without it: `kubectl kplane up --provider local`\n",
    );
}

#[test]
fn the_configuration_is_kept_and_shown() {
    let machine = Machine::new();
    machine.user.write(".config/kplane/config.yaml", "profiles: {default: {auth: {policy: managed}}}\n");
    machine.run(&["config", "set-provider", "k3d"]).wrote("provider set to k3s\n");
    let text = machine.user.read(".config/kplane/config.yaml");
    assert!(text.contains("policy: managed") && text.contains("provider: k3s"), "{text}");
    let view = machine.run(&["config", "view"]).stdout;
    assert!(view.contains("managementContext: k3d-kplane-management"), "{view}");
    let wrong = machine.run(&["config", "set-provider", "docker"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("docker"), "{wrong:?}");
}

#[cfg(unix)]
#[test]
fn names_decide_what_help_says() {
    let machine = Machine::new();
    let usage = |program: &Path| machine.user.run(program, &["--help"]).stdout;
    assert!(usage(&machine.plugin).contains("Usage: kubectl kplane "));
    let kp = machine.plugin.with_file_name("kp");
    std::os::unix::fs::symlink(&machine.plugin, &kp).unwrap();
    assert!(usage(&kp).contains("Usage: kp "));
    let complete = machine.plugin.with_file_name("kubectl_complete-kplane");
    machine.run(&["completion", "install"]);
    assert_eq!(machine.user.run(&complete, &["get", ""]).stdout, "clusters\n:4\n");
    assert!(machine.run(&["completion", "bash"]).stdout.contains("kubectl-kplane"));
}
