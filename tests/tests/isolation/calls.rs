//! Calls that the server makes because a tenant says so: webhooks and aggregated APIs, aimed at what they must not reach.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::world::{CRDS, HOME, World, definition, holds};
use crate::{Attack, Outcome};

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "webhooks to this machine",
        why: "a call from inside, to whatever listens on loopback",
        run: |w| {
            let bait = Bait::new();
            let port = bait.port;
            for url in [
                format!("https://127.0.0.1:{port}/"),
                format!("https://localhost:{port}/"),
                format!("https://0.0.0.0:{port}/"),
                format!("https://[::1]:{port}/"),
                format!("https://[::ffff:127.0.0.1]:{port}/"),
                format!("https://127.1:{port}/"),
                format!("https://2130706433:{port}/"),
                format!("https://0x7f000001:{port}/"),
            ] {
                hooked(w, &json!({"url": url})).map_err(|how| format!("{url}: {how}"))?;
            }
            bait.untouched()
        },
    },
    Attack {
        name: "webhooks to the server itself",
        why: "a call that comes from the server, and may be trusted by it",
        run: |w| {
            let port = w.server.port();
            for path in
                ["/clusters/victim/control-plane/api/v1/namespaces/default/configmaps/flag", "/metrics", "/"]
            {
                hooked(w, &json!({"url": format!("https://127.0.0.1:{port}{path}")}))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "webhooks to metadata services",
        why: "link-local addresses that give out credentials of the machine",
        run: |w| {
            for host in ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "metadata.google.internal"] {
                hooked(w, &json!({"url": format!("https://{host}/latest/meta-data/")}))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "webhooks by a Service",
        why: "a Service that is a name of something else",
        run: |w| {
            let bait = Bait::new();
            let services = format!("{HOME}/api/v1/namespaces/default/services");
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere"},
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": bait.port}]},
            });
            let made = w.post(&services, &service);
            holds(made.code == 201, || format!("{made:?}"))?;
            hooked(w, &json!({"service": {"namespace": "default", "name": "elsewhere", "port": bait.port}}))?;
            hooked(w, &json!({"service": {"namespace": "default", "name": "kubernetes", "port": 443}}))?;
            hooked(w, &json!({"service": {"namespace": "default", "name": "nobody", "port": 443}}))?;
            bait.untouched()
        },
    },
    Attack {
        name: "an aggregated API on this machine",
        why: "an APIService whose server is the server, or a neighbour of it",
        run: |w| {
            let bait = Bait::new();
            let service = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.steal.example"},
                "spec": {
                    "group": "steal.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                    "insecureSkipTLSVerify": true,
                    "service": {"namespace": "default", "name": "elsewhere", "port": bait.port},
                },
            });
            let made = w.post(&format!("{HOME}/apis/apiregistration.k8s.io/v1/apiservices"), &service);
            holds(made.code == 201, || format!("{made:?}"))?;
            let answer = w.get(&format!("{HOME}/apis/steal.example/v1/things"));
            let gone = w.send(
                "DELETE",
                &format!("{HOME}/apis/apiregistration.k8s.io/v1/apiservices/v1.steal.example"),
                &[],
                "",
            );
            holds(gone.code == 200, || format!("{gone:?}"))?;
            holds(answer.code >= 400, || format!("{answer:?}"))?;
            bait.untouched()
        },
    },
    Attack {
        name: "conversion on this machine",
        why: "a conversion webhook is called by whoever reads",
        run: |w| {
            let bait = Bait::new();
            let mut crd = definition("convert.example", "converts", "Convert");
            let mut second = crd["spec"]["versions"][0].clone();
            second["name"] = json!("v2");
            second["storage"] = json!(false);
            crd["spec"]["versions"] = json!([crd["spec"]["versions"][0], second]);
            crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"], "clientConfig": {"url": format!("https://127.0.0.1:{}/", bait.port)},
            }});
            let made = w.post(&format!("{HOME}{CRDS}"), &crd);
            holds(made.code == 201, || format!("{made:?}"))?;
            let at =
                |version: &str| format!("{HOME}/apis/convert.example/{version}/namespaces/default/converts");
            kplane_tests::eventually("the kind", std::time::Duration::from_secs(10), || {
                w.get(&at("v1")).code == 200
            });
            let object =
                json!({"apiVersion": "convert.example/v1", "kind": "Convert", "metadata": {"name": "c"}});
            let made = w.post(&at("v1"), &object);
            holds(made.code == 201, || format!("{made:?}"))?;
            let answer = w.get(&format!("{}/c", at("v2")));
            holds(answer.code >= 400, || format!("{answer:?}"))?;
            bait.untouched()
        },
    },
];

/// Something that listens, and should not be called.
struct Bait {
    listener: TcpListener,
    port: u16,
}

impl Bait {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let port = listener.local_addr().expect("its address").port();
        Self { listener, port }
    }

    fn untouched(&self) -> Outcome {
        holds(self.listener.accept().is_err(), || "it was called".into())
    }
}

/// A webhook that is to be asked, and whose failure is to be a refusal: from the very first request on.
fn hooked(w: &World, client: &Value) -> Outcome {
    let hook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "aimed"},
        "webhooks": [{
            "name": "aimed.attacker.example", "clientConfig": client, "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["limitranges"]}],
        }],
    });
    let made = w.post(&format!("{HOME}{HOOKS}"), &hook);
    if (400..500).contains(&made.code) {
        return Ok(());
    }
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "hooked"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]},
    });
    let answer = w.post(&format!("{HOME}{RANGES}"), &range);
    let gone = w.send("DELETE", &format!("{HOME}{HOOKS}/aimed"), &[], "");
    holds(gone.code == 200, || format!("{gone:?}"))?;
    holds(answer.code >= 400, || format!("the webhook failed, and the object was taken: {answer:?}"))
}
