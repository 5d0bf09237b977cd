//! Paths, headers and handshakes that might be read as another control plane.

use crate::world::{HOME, MAPS, TARGET, VICTIM, World, answered, holds, refused};
use crate::{Attack, Outcome, raw};

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "the victim's path",
        why: "a certificate of one control plane may be good in all",
        run: |w| answered(&w.get(&format!("{VICTIM}{TARGET}")), 401),
    },
    Attack {
        name: "dot segments",
        why: "a path that is cleaned after it was routed",
        run: |w| all_refused(w, &["/clusters/attacker/control-plane/../../victim/control-plane"]),
    },
    Attack {
        name: "encoded dot segments",
        why: "dots that are decoded after routing",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/attacker/control-plane/%2e%2e/%2e%2e/victim/control-plane",
                    "/clusters/attacker/control-plane/%2E%2E/.%2e/victim/control-plane",
                    "/clusters/attacker/%2e%2e/victim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "encoded slashes",
        why: "slashes that are decoded after routing",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/attacker%2f..%2fvictim/control-plane",
                    "/clusters%2fvictim%2fcontrol-plane",
                    "/%2fclusters/victim/control-plane",
                    "/clusters/attacker/control-plane%2f..%2f..%2fvictim%2fcontrol-plane",
                ],
            )
        },
    },
    Attack {
        name: "escapes that are decoded twice",
        why: "a proxy and a server that both decode",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/attacker/control-plane/%252e%252e/%252e%252e/victim/control-plane",
                    "/clusters/attacker%252f..%252fvictim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "doubled slashes",
        why: "empty segments that shift what is where",
        run: |w| {
            all_refused(
                w,
                &[
                    "//clusters/victim/control-plane",
                    "/clusters//victim/control-plane",
                    "/clusters/victim//control-plane",
                    "//clusters//victim//control-plane//",
                    "/clusters/attacker/control-plane//clusters/victim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "a path below a path",
        why: "routing that is done again on what is left",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/attacker/control-plane/clusters/victim/control-plane",
                    "/clusters/attacker/control-plane/../victim/control-plane",
                    "/clusters/attacker/victim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "another case",
        why: "names that are compared without regard to case",
        run: |w| {
            all_refused(
                w,
                &[
                    "/Clusters/victim/control-plane",
                    "/clusters/VICTIM/control-plane",
                    "/clusters/Victim/Control-Plane",
                    "/CLUSTERS/victim/CONTROL-PLANE",
                ],
            )
        },
    },
    Attack {
        name: "matrix parameters",
        why: "a `;` that one reader cuts off and another does not",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/victim;x=attacker/control-plane",
                    "/clusters/attacker;/../victim/control-plane",
                    "/clusters/attacker/control-plane;/../../victim/control-plane",
                    "/clusters/victim/control-plane;a=b",
                ],
            )
        },
    },
    Attack {
        name: "backslashes",
        why: "a `\\` that is taken for a slash",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters\\victim\\control-plane",
                    "/clusters/attacker\\..\\victim/control-plane",
                    "/clusters/attacker%5c..%5cvictim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "zero bytes and controls",
        why: "names that end early in one of two places",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/victim%00/control-plane",
                    "/clusters/victim%00attacker/control-plane",
                    "/clusters/victim%0d%0a/control-plane",
                    "/clusters/%20victim/control-plane",
                    "/clusters/victim%09/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "overlong and foreign slashes",
        why: "bytes that only some decoders take for a slash or a dot",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/attacker%c0%af..%c0%afvictim/control-plane",
                    "/clusters/attacker%ef%bc%8f..%ef%bc%8fvictim/control-plane",
                    "/clusters/victim%e3%80%82/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "dots around the name",
        why: "names that are trimmed",
        run: |w| {
            all_refused(
                w,
                &[
                    "/clusters/victim./control-plane",
                    "/clusters/.victim/control-plane",
                    "/clusters/./victim/control-plane",
                    "/./clusters/victim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "absolute form",
        why: "a request line that names a host and a path of its own",
        run: |w| {
            all_refused(
                w,
                &[
                    "https://127.0.0.1/clusters/victim/control-plane",
                    "https://victim/clusters/victim/control-plane",
                    "http://attacker@127.0.0.1/clusters/victim/control-plane",
                ],
            )
        },
    },
    Attack {
        name: "an authority that names the victim",
        why: "hosts that choose a control plane although nobody asked for that",
        run: |w| {
            for host in ["victim", "victim.cluster.local", "victim.127.0.0.1"] {
                own_or_refused(&w.send("GET", &format!("{HOME}{TARGET}"), &[("Host", host)], ""))?;
                refused(&w.send("GET", &format!("https://{host}{TARGET}"), &[("Host", host)], ""))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a handshake that names the victim",
        why: "SNI that chooses a control plane although there is no domain for it",
        run: |w| {
            // The certificate does not cover such a name: the handshake or the path must refuse.
            let request = raw::request("GET", TARGET, &[("Host", "victim.example.test")], "");
            let answer = w.bytes_as("localhost", &request);
            holds(answer.code == 0 || (400..500).contains(&answer.code), || format!("{answer:?}"))
        },
    },
    Attack {
        name: "headers of reverse proxies",
        why: "a path that a header replaces",
        run: |w| {
            let theirs = format!("{VICTIM}{TARGET}");
            for header in [
                "X-Original-URL",
                "X-Rewrite-URL",
                "X-Forwarded-Uri",
                "X-Forwarded-Prefix",
                "X-Envoy-Original-Path",
                "X-Script-Name",
            ] {
                own_or_refused(&w.send("GET", &format!("{HOME}{TARGET}"), &[(header, &theirs)], ""))?;
                refused(&w.send("GET", &theirs, &[(header, &format!("{HOME}{TARGET}"))], ""))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a cluster in a header",
        why: "upstream can be told the control plane by a header",
        run: |w| {
            for header in ["X-Cluster", "X-Kplane-Cluster", "X-Kubernetes-Cluster", "X-Control-Plane"] {
                own_or_refused(&w.send("GET", &format!("{HOME}{TARGET}"), &[(header, "victim")], ""))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "headers of an authenticating proxy",
        why: "users that are taken from headers without a front proxy's certificate",
        run: |w| {
            let headers = [
                ("X-Remote-User", "kplane-admin"),
                ("X-Remote-Group", "system:masters"),
                ("X-Remote-Uid", "1"),
                ("X-Remote-Extra-Scopes", "root"),
            ];
            for path in
                [format!("{VICTIM}{TARGET}"), TARGET.to_owned(), format!("/clusters/*/control-plane{MAPS}")]
            {
                refused(&w.send("GET", &path, &headers, ""))?;
                refused(&w.stranger("GET", &path, &headers, ""))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "forwarded certificates and addresses",
        why: "trust in what a load balancer would say",
        run: |w| {
            let headers = [
                ("X-Forwarded-For", "127.0.0.1"),
                ("X-Real-IP", "127.0.0.1"),
                ("X-Forwarded-Client-Cert", "Subject=\"O=system:masters,CN=kplane-admin\""),
                ("Ssl-Client-Subject-Dn", "O=system:masters,CN=kplane-admin"),
            ];
            refused(&w.stranger("GET", &format!("{VICTIM}{TARGET}"), &headers, ""))?;
            refused(&w.send("GET", TARGET, &headers, ""))
        },
    },
    Attack {
        name: "another method in a header",
        why: "a GET that becomes a DELETE behind the authorizer",
        run: |w| {
            let headers = [("X-HTTP-Method-Override", "DELETE"), ("X-Method-Override", "DELETE")];
            refused(&w.send("GET", &format!("{VICTIM}{TARGET}"), &headers, ""))?;
            refused(&w.send("POST", &format!("{VICTIM}{TARGET}?_method=DELETE"), &headers, "{}"))
        },
    },
    Attack {
        name: "methods of proxies",
        why: "CONNECT and TRACE, OPTIONS of everything",
        run: |w| {
            for (method, target) in [
                ("CONNECT", "127.0.0.1:2379"),
                ("CONNECT", "victim:443"),
                ("TRACE", VICTIM),
                ("OPTIONS", "*"),
                ("PROPFIND", VICTIM),
            ] {
                let answer = w.send(method, target, &[], "");
                holds(answer.code == 0 || (400..600).contains(&answer.code), || {
                    format!("{method}: {answer:?}")
                })?;
            }
            Ok(())
        },
    },
    Attack {
        name: "fragments",
        why: "a `#` that ends the path for one reader only",
        run: |w| {
            own_or_refused(&w.get(&format!("{HOME}/api#/../../victim/control-plane{TARGET}")))?;
            refused(&w.get(&format!("/clusters/victim#/control-plane{TARGET}")))
        },
    },
    Attack {
        name: "the control plane in the query",
        why: "parameters that are taken for the path",
        run: |w| {
            for query in [
                "cluster=victim",
                "path=/clusters/victim/control-plane",
                "controlPlane=victim",
                "namespace=vault",
            ] {
                own_or_refused(&w.get(&format!("{HOME}{TARGET}?{query}")))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "the control plane by its identity",
        why: "the id in the keys, taken for a name",
        run: |w| {
            let uid = w.victim_uid.clone();
            refused(&w.get(&format!("/clusters/{uid}/control-plane{TARGET}")))?;
            refused(&w.get(&format!("/clusters/{}/control-plane{TARGET}", uid.replace('-', ""))))
        },
    },
    Attack {
        name: "all control planes at once",
        why: "the path that root's controllers read by",
        run: |w| {
            for all in ["*", "%2a", "%2A", "**", "_", "-", ".", "all"] {
                for path in ["/api/v1/configmaps", "/objects", "/api/v1/secrets?watch=true"] {
                    refused(&w.get(&format!("/clusters/{all}/control-plane{path}")))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "root without a path",
        why: "a certificate that is good where no control plane is named",
        run: |w| {
            for path in
                ["/api/v1/namespaces/default/configmaps", "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters"]
            {
                answered(&w.get(path), 401)?;
            }
            Ok(())
        },
    },
    Attack {
        name: "root by its name",
        why: "the control plane that administers the others has a path as well",
        run: |w| {
            for name in ["root", "Root", "root%20", "%72oot", "management"] {
                refused(&w.get(&format!(
                    "/clusters/{name}/control-plane/apis/tenancy.kplane.dev/v1alpha1/virtualclusters"
                )))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a request inside a request",
        why: "two lengths, of which each end believes another",
        run: |w| {
            let inner = format!("GET {VICTIM}{TARGET} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            for (length, coding) in [
                (4, "Transfer-Encoding: chunked"),
                (4, "Transfer-Encoding: xchunked"),
                (4, "Transfer-Encoding:\tchunked"),
            ] {
                let bytes = format!(
                    "POST {HOME}{MAPS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{coding}\r\n\r\n0\r\n\r\n{inner}"
                );
                let answer = w.bytes(bytes.as_bytes());
                holds(answer.code == 0 || (400..500).contains(&answer.code), || format!("{answer:?}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "old and broken HTTP",
        why: "requests without a host, or with two",
        run: |w| {
            for bytes in [
                format!("GET {VICTIM}{TARGET} HTTP/1.0\r\n\r\n"),
                format!("GET {VICTIM}{TARGET}\r\n\r\n"),
                format!("GET {HOME}/api HTTP/1.1\r\nHost: a\r\nHost: victim\r\n\r\n"),
                format!("GET  {VICTIM}{TARGET}  HTTP/1.1\r\nHost: a\r\n\r\n"),
                format!(
                    "GET {HOME}/api HTTP/1.1\r\nHost: a\r\n X-Folded: {VICTIM}\r\nConnection: close\r\n\r\n"
                ),
            ] {
                let answer = w.bytes(bytes.as_bytes());
                let fine = answer.code == 0 || answer.code == 200 || (400..500).contains(&answer.code);
                holds(fine, || format!("{bytes:?}: {answer:?}"))?;
            }
            Ok(())
        },
    },
];

/// None of these prefixes leads to the victim's ConfigMap.
fn all_refused(w: &World, prefixes: &[&str]) -> Outcome {
    for prefix in prefixes {
        refused(&w.get(&format!("{prefix}{TARGET}"))).map_err(|how| format!("{prefix}: {how}"))?;
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"planted"}}"#;
        refused(&w.send("POST", &format!("{prefix}{MAPS}"), &[], body))
            .map_err(|how| format!("POST {prefix}: {how}"))?;
    }
    Ok(())
}

/// The attacker has no such ConfigMap, so that what is its own is not found either.
fn own_or_refused(answer: &raw::Raw) -> Outcome {
    if answer.code == 200 && !answer.body.contains("\"flag\"") { Ok(()) } else { refused(answer) }
}
