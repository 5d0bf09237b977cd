//! A client that sends protobuf as client-go's typed clients do: the envelope, `DeleteOptions` in the group of the resource, watches in
//! frames. Its messages are written by hand from upstream's `generated.proto`, so that they do not rest on the server's own tables.

use kplane_tests::{Client, Server, Store};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ACCEPT: (&str, &str) = ("Accept", "application/vnd.kubernetes.protobuf,application/json");
const SENT: (&str, &str) = ("Content-Type", PROTOBUF);

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A field that is a text, a message or bytes.
fn bytes(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | 2, &mut out);
    varint(content.as_ref().len() as u64, &mut out);
    out.extend_from_slice(content.as_ref());
    out
}

/// A field that is a number or a boolean.
fn number(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3, &mut out);
    varint(value, &mut out);
    out
}

fn entry(number: u64, key: &str, value: &str) -> Vec<u8> {
    bytes(number, [bytes(1, key), bytes(2, value)].concat())
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [b"k8s\0".to_vec(), bytes(1, type_meta), bytes(2, raw), bytes(3, ""), bytes(4, "")].concat()
}

/// The fields of a message that have a length, with their numbers.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn read(message: &mut &[u8]) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let (first, rest) = message.split_first().expect("a number");
            *message = rest;
            n |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return n;
            }
            shift += 7;
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = read(&mut message);
        match tag & 7 {
            0 => {
                read(&mut message);
            }
            1 => message = &message[8..],
            2 => {
                let length = read(&mut message) as usize;
                let (content, rest) = message.split_at(length);
                found.push((tag >> 3, content.to_vec()));
                message = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

/// The first field of that number, down a path.
fn at(message: &[u8], path: &[u64]) -> Vec<u8> {
    path.iter().fold(message.to_vec(), |message, number| {
        fields(&message)
            .into_iter()
            .find(|(n, _)| n == number)
            .map(|(_, content)| content)
            .unwrap_or_default()
    })
}

fn text(message: &[u8], path: &[u64]) -> String {
    String::from_utf8(at(message, path)).expect("a text")
}

/// The kind and the message in an envelope.
fn opened(body: &[u8]) -> (String, Vec<u8>) {
    let body = body
        .strip_prefix(b"k8s\0")
        .unwrap_or_else(|| panic!("no envelope: {}", String::from_utf8_lossy(body)));
    (text(body, &[1, 2]), at(body, &[2]))
}

fn meta() -> Vec<u8> {
    bytes(1, [bytes(1, "proto"), entry(11, "by", "protobuf")].concat())
}

fn template() -> Vec<u8> {
    let container = [bytes(1, "c"), bytes(2, "busybox")].concat();
    [bytes(1, entry(11, "a", "b")), bytes(2, [bytes(2, container), bytes(3, "Never")].concat())].concat()
}

/// The group and version, the kind, the path of the collection, and what its message holds besides metadata.
fn kinds() -> Vec<(&'static str, &'static str, &'static str, Vec<u8>)> {
    // A Deployment restarts its pods always, which is the default.
    let pod_template = || {
        let container = [bytes(1, "c"), bytes(2, "busybox")].concat();
        [bytes(1, entry(11, "a", "b")), bytes(2, bytes(2, container))].concat()
    };
    let selector = || entry(1, "a", "b");
    vec![
        ("v1", "ConfigMap", "/api/v1/namespaces/default/configmaps", entry(2, "a", "b")),
        (
            "v1",
            "Secret",
            "/api/v1/namespaces/default/secrets",
            [entry(2, "a", "\u{1}b"), bytes(3, "Opaque")].concat(),
        ),
        ("v1", "ServiceAccount", "/api/v1/namespaces/default/serviceaccounts", Vec::new()),
        (
            "v1",
            "Service",
            "/api/v1/namespaces/default/services",
            bytes(2, [bytes(1, [bytes(1, "http"), number(3, 80)].concat()), entry(2, "a", "b")].concat()),
        ),
        ("v1", "Pod", "/api/v1/namespaces/default/pods", bytes(2, at(&template(), &[2]))),
        ("v1", "Node", "/api/v1/nodes", Vec::new()),
        (
            "apps/v1",
            "Deployment",
            "/apis/apps/v1/namespaces/default/deployments",
            bytes(2, [number(1, 0), bytes(2, selector()), bytes(3, pod_template())].concat()),
        ),
        (
            "batch/v1",
            "Job",
            "/apis/batch/v1/namespaces/default/jobs",
            bytes(2, [bytes(6, template()), number(10, 1)].concat()),
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            bytes(2, bytes(1, "me")),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            bytes(2, [bytes(1, [number(1, 1), bytes(3, "50%")].concat()), bytes(2, selector())].concat()),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            bytes(2, [bytes(1, "get"), bytes(2, ""), bytes(3, "pods")].concat()),
        ),
        (
            "scheduling.k8s.io/v1",
            "PriorityClass",
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            number(2, 1000),
        ),
        (
            "storage.k8s.io/v1",
            "StorageClass",
            "/apis/storage.k8s.io/v1/storageclasses",
            bytes(2, "example.com/x"),
        ),
    ]
}

fn life(a: &Client, api_version: &str, kind: &str, collection: &str, rest: &[u8]) {
    let path = format!("{collection}/proto");
    let body = envelope(api_version, kind, &[meta(), rest.to_vec()].concat());
    let made = a.raw("POST", collection, &[ACCEPT, SENT], &body);
    assert_eq!(
        (made.code, made.content_type.as_str()),
        (201, PROTOBUF),
        "{kind}: {}",
        String::from_utf8_lossy(&made.bytes)
    );
    let (named, message) = opened(&made.bytes);
    assert_eq!((named.as_str(), text(&message, &[1, 1]).as_str()), (kind, "proto"));
    let uid = text(&message, &[1, 5]);
    assert!(!uid.is_empty(), "{kind} has no uid");
    // An error comes as a Status, in protobuf too: its reason is field 4, its code not of this sort.
    let (named, status) = opened(&a.raw("POST", collection, &[ACCEPT, SENT], &body).bytes);
    assert_eq!((named.as_str(), text(&status, &[4]).as_str()), ("Status", "AlreadyExists"), "{kind}");

    let (_, read) = opened(&a.raw("GET", &path, &[ACCEPT], &[]).bytes);
    assert_eq!(text(&read, &[1, 5]), uid, "{kind}");
    let selected = format!("{collection}?labelSelector=by%3Dprotobuf");
    let (named, list) = opened(&a.raw("GET", &format!("{selected}&resourceVersion=0"), &[ACCEPT], &[]).bytes);
    assert_eq!(named, format!("{kind}List"));
    let items = fields(&list).into_iter().filter(|(number, _)| *number == 2).count();
    assert_eq!(items, 1, "{kind}");
    let version = text(&list, &[1, 2]);

    let watch_accept = ("Accept", "application/vnd.kubernetes.protobuf;stream=watch,application/json");
    let watched = format!("{selected}&watch=true&allowWatchBookmarks=true&resourceVersion={version}");
    let mut watch = a.open("GET", &watched, &[watch_accept], &[]);
    assert_eq!(
        (watch.code, watch.content_type.as_str()),
        (200, "application/vnd.kubernetes.protobuf;stream=watch"),
        "{kind}"
    );
    let merge = ("Content-Type", "application/merge-patch+json");
    let patch = br#"{"metadata":{"annotations":{"patched":"yes"}}}"#;
    let patched = a.raw("PATCH", &path, &[ACCEPT, merge], patch);
    assert_eq!(patched.code, 200, "{kind}: {}", String::from_utf8_lossy(&patched.bytes));
    // Controllers write to some kinds as well: the patch is seen when it comes.
    loop {
        let length = watch.exactly(4).try_into().map(u32::from_be_bytes).expect("a length");
        let event = watch.exactly(length as usize);
        let (named, object) = opened(&at(&event, &[2, 1]));
        assert_eq!((text(&event, &[1]).as_str(), named.as_str()), ("MODIFIED", kind));
        if fields(&at(&object, &[1]))
            .iter()
            .any(|(number, entry)| *number == 12 && text(entry, &[1]) == "patched")
        {
            break;
        }
    }
    let apply = |content_type: &str| {
        let config = format!(
            "{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"proto\",\"labels\":{{\"applied\":\"yes\"}}}}}}"
        );
        a.raw(
            "PATCH",
            &format!("{path}?fieldManager=me&force=true"),
            &[ACCEPT, ("Content-Type", content_type)],
            config.as_bytes(),
        )
    };
    let applied = apply("application/apply-patch+yaml");
    assert_eq!(applied.code, 200, "{kind}: {}", String::from_utf8_lossy(&applied.bytes));
    assert_eq!(apply("application/apply-patch+cbor").code, 415, "{kind}");

    // What was read is sent back whole.
    let (_, mut current) = opened(&applied.bytes);
    for attempt in 0.. {
        let put = a.raw("PUT", &path, &[ACCEPT, SENT], &envelope(api_version, kind, &current));
        if put.code == 200 {
            break;
        }
        assert!(put.code == 409 && attempt < 5, "{kind}: {}", String::from_utf8_lossy(&put.bytes));
        current = opened(&a.raw("GET", &path, &[ACCEPT], &[]).bytes).1;
    }

    // client-go names the options of a deletion in the group of the resource.
    let options = |dry: bool, grace: u64| {
        let mut options = [number(1, grace), bytes(4, "Background")].concat();
        if dry {
            options.extend(bytes(5, "All"));
        }
        envelope(api_version, "DeleteOptions", &options)
    };
    let dry = a.raw("DELETE", &path, &[ACCEPT, SENT], &options(true, 0));
    assert_eq!(dry.code, 200, "{kind}: {}", String::from_utf8_lossy(&dry.bytes));
    assert_eq!(a.raw("GET", &path, &[ACCEPT], &[]).code, 200, "{kind} is there after a dry run");
    let deleted = a.raw("DELETE", &path, &[ACCEPT, SENT], &options(false, 0));
    assert_eq!(deleted.code, 200, "{kind}: {}", String::from_utf8_lossy(&deleted.bytes));
    assert_eq!(a.raw("GET", &path, &[ACCEPT], &[]).code, 404, "{kind} is gone");
}

#[test]
fn protobuf_through_every_verb() {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    let a = server.client().vcp("a");
    for (api_version, kind, collection, rest) in kinds() {
        life(&a, api_version, kind, collection, &rest);
    }
    // A table has no protobuf form: the client's second choice is taken.
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1";
    let table = a.raw("GET", "/api/v1/namespaces", &[("Accept", table)], &[]);
    assert_eq!((table.code, table.content_type.as_str()), (200, "application/json"));
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let metadata = a.raw("GET", "/api/v1/namespaces", &[("Accept", metadata)], &[]);
    assert_eq!(opened(&metadata.bytes).0, "PartialObjectMetadataList");
    let wrong = a.raw("DELETE", "/api/v1/namespaces/x", &[ACCEPT, SENT], &envelope("v1", "ConfigMap", &[]));
    assert_eq!(wrong.code, 500, "options of another kind are refused");
}
