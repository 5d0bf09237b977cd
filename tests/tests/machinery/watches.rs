//! Watches: where they begin, how they end, in which form.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kplane_tests::{Kubectl, Next, version};

use crate::*;

#[test]
fn watches_begin_where_the_table_says() {
    let (a, _server) = setup();
    let first = version(&a.post(CONFIG_MAPS, &config_map("one", "x")).ok());
    a.post(CONFIG_MAPS, &config_map("two", "x")).ok();
    let selected = format!("{CONFIG_MAPS}?labelSelector=set%3Dx");
    // Unset, 0: what is there, as additions. A version: what came after it.
    for (query, expected) in [
        // First, before more has come.
        (format!("&resourceVersion={first}"), vec!["two"]),
        (String::new(), vec!["one", "two"]),
        ("&resourceVersion=0".to_owned(), vec!["one", "two"]),
        ("&sendInitialEvents=false&resourceVersionMatch=NotOlderThan".to_owned(), vec![]),
    ] {
        let watch = a.watch(&format!("{selected}{query}"));
        for name in expected {
            watch.expect("ADDED", name);
        }
        assert!(matches!(watch.within(Duration::from_millis(100)), Next::Nothing), "{query}");
        a.merge(&format!("{CONFIG_MAPS}/two"), &json!({ "data": { "at": query } })).ok();
        watch.expect("MODIFIED", "two");
    }
    // The list as a watch: a bookmark says when it is complete, to those who take bookmarks.
    let list = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let watch = a.watch(&format!("{selected}{list}&allowWatchBookmarks=true"));
    watch.expect("ADDED", "one");
    watch.expect("ADDED", "two");
    let (kind, object) = watch.next();
    assert_eq!(
        (kind.as_str(), &object["metadata"]["annotations"]["k8s.io/initial-events-end"]),
        ("BOOKMARK", &json!("true"))
    );
    assert!(version(&object) > first);
    let watch = a.watch(&format!("{selected}{list}"));
    watch.expect("ADDED", "one");
    watch.expect("ADDED", "two");
    assert!(matches!(watch.within(Duration::from_millis(100)), Next::Nothing));
    // What cannot be asked for.
    for bad in [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
    ] {
        a.get(&format!("{CONFIG_MAPS}?watch=true&{bad}")).refused(422);
    }
    a.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=abc")).refused(400);
}

#[test]
fn watches_end_when_they_should() {
    let (a, _server) = setup();
    let begun = Instant::now();
    let watch = a.watch(&format!("{CONFIG_MAPS}?timeoutSeconds=1&labelSelector=set%3Dx"));
    assert!(matches!(watch.within(Duration::from_secs(20)), Next::End));
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[test]
fn the_deprecated_paths_watch_as_well() {
    let (a, _server) = setup();
    a.post(CONFIG_MAPS, &config_map("one", "x")).ok();
    a.post(CONFIG_MAPS, &config_map("two", "y")).ok();
    let path = |rest: &str| format!("/api/v1/watch/{rest}");
    let watch = a.watch(&path("namespaces/default/configmaps?labelSelector=set%3Dx"));
    watch.expect("ADDED", "one");
    let watch = a.watch(&path("namespaces/default/configmaps/two"));
    watch.expect("ADDED", "two");
    a.merge(&format!("{CONFIG_MAPS}/one"), &json!({ "data": { "a": "b" } })).ok();
    a.merge(&format!("{CONFIG_MAPS}/two"), &json!({ "data": { "a": "b" } })).ok();
    watch.expect("MODIFIED", "two");
    let watch = a.watch(&path("configmaps?labelSelector=set%3Dy"));
    watch.expect("ADDED", "two");
}

/// The events of a watch in some form, one line each.
fn lines(a: &Client, path: &str, accept: &str) -> Vec<Value> {
    let text = a.get_as(path, accept).text;
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

#[test]
fn tables_and_metadata_are_watched() {
    let (a, _server) = setup();
    for name in ["one", "two"] {
        a.post(CONFIG_MAPS, &config_map(name, "x")).ok();
    }
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=set%3Dx&timeoutSeconds=1");
    let table = lines(&a, &path, "application/json;as=Table;v=v1;g=meta.k8s.io");
    let [first, second] = table.as_slice() else { panic!("{table:?}") };
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    // Said once.
    assert!(second["object"]["columnDefinitions"].is_null(), "{second}");
    let metadata = lines(&a, &path, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    assert_eq!(metadata.len(), 2);
    assert_eq!(metadata[0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(metadata[0]["object"].get("data"), None);
    // YAML has no stream.
    let answer = a.get_as(&path, "application/yaml");
    assert_eq!(answer.code, 406, "{}", answer.text);
    assert!(answer.text.contains("application/json;stream=watch"), "{}", answer.text);
}

/// A WebSocket through `kubectl proxy`, by hand.
struct WebSocket {
    stream: BufReader<TcpStream>,
    answer: Vec<String>,
    proxy: Child,
}

impl WebSocket {
    fn connect(kubectl: &Kubectl, path: &str, headers: &str) -> Self {
        let mut proxy = kubectl
            .command(&["proxy", "--port=0", "--append-server-path"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut line = String::new();
        let output = proxy.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("what it says");
        let address = line.trim().rsplit(' ').next().expect("its address");
        let mut stream = TcpStream::connect(address).expect("the proxy");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut stream = BufReader::new(stream);
        let mut answer = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("an answer");
            if line.trim().is_empty() {
                break;
            }
            answer.push(line.trim().to_lowercase());
        }
        Self { stream, answer, proxy }
    }

    /// The next frame: its opcode and what it holds.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a frame");
        let length = match head[1] {
            126 => {
                let mut long = [0; 2];
                self.stream.read_exact(&mut long).expect("its length");
                usize::from(u16::from_be_bytes(long))
            }
            short => usize::from(short),
        };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("its content");
        (head[0] & 0xf, body)
    }

    fn event(&mut self) -> Value {
        let (opcode, body) = self.frame();
        assert_eq!(opcode, 1, "text");
        serde_json::from_slice(&body).expect("an event")
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

#[test]
fn a_watch_may_be_a_websocket() {
    let (a, server) = setup();
    let kubectl = server.vcp("a");
    a.post(CONFIG_MAPS, &config_map("one", "x")).ok();
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=set%3Dx");
    let origin = "Origin: http://localhost\r\n";
    let mut socket =
        WebSocket::connect(&kubectl, &path, &format!("{origin}Sec-WebSocket-Protocol: binary.k8s.io\r\n"));
    assert!(socket.answer[0].contains("101"), "{:?}", socket.answer);
    // The key of RFC 6455's example, and its answer.
    for header in
        ["sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=", "sec-websocket-protocol: binary.k8s.io"]
    {
        assert!(socket.answer.iter().any(|line| line == header), "{header}: {:?}", socket.answer);
    }
    let event = socket.event();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("one")));
    a.merge(&format!("{CONFIG_MAPS}/one"), &json!({ "data": { "a": "b" } })).ok();
    a.delete(&format!("{CONFIG_MAPS}/one")).ok();
    assert_eq!(socket.event()["type"], "MODIFIED");
    assert_eq!(socket.event()["type"], "DELETED");
    // It is closed in good order when its time is over.
    let mut short = WebSocket::connect(&kubectl, &format!("{path}&timeoutSeconds=1"), origin);
    assert_eq!(short.frame().0, 8);
    // A page of nobody's may not open one.
    let refused = WebSocket::connect(&kubectl, &path, "");
    assert!(refused.answer[0].contains("403"), "{:?}", refused.answer);
}
