//! Requests that cost the server more than they cost the sender. After each the server must answer the victim at once.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{HOME, MAPS, TARGET, World, config_map, holds, refused};
use crate::{Attack, Outcome};

/// A request of one tenant may not keep the server busy for longer, by the clock and of the processor: what else runs on this
/// machine is not the server's fault.
const LONG: Duration = Duration::from_secs(20);
/// However busy the machine is.
const LONGEST: Duration = Duration::from_secs(120);
/// How much memory the server may have taken when all is over, in MiB: unoptimised builds take more.
const MEMORY: u64 = 700;

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "JSON nested without end",
        why: "a recursive decoder",
        run: |w| {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let body = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
                bounded(w, |w| refused(&w.send("POST", &format!("{HOME}{MAPS}"), &[], &body)))?;
                let patch = [("Content-Type", "application/merge-patch+json")];
                bounded(w, |w| refused(&w.send("PATCH", &format!("{HOME}{MAPS}/clusters"), &patch, &body)))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "YAML aliases",
        why: "a billion laughs",
        run: |w| {
            let mut yaml = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
            for level in 1..12 {
                let before = format!("*a{},", level - 1).repeat(10);
                yaml.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(',')));
            }
            let body = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: laughs}}\n{yaml}");
            let yaml_type = [("Content-Type", "application/yaml")];
            bounded(w, |w| refused(&w.send("POST", &format!("{HOME}{MAPS}"), &yaml_type, &body)))?;
            let apply = [("Content-Type", "application/apply-patch+yaml")];
            bounded(w, |w| {
                refused(&w.send("PATCH", &format!("{HOME}{MAPS}/laughs?fieldManager=m"), &apply, &body))
            })
        },
    },
    Attack {
        name: "YAML nested without end",
        why: "another recursive decoder",
        run: |w| {
            let yaml_type = [("Content-Type", "application/yaml")];
            for body in [
                format!("a: {}{}", "[".repeat(50_000), "]".repeat(50_000)),
                "- ".repeat(50_000),
                "{a: ".repeat(20_000),
            ] {
                bounded(w, |w| refused(&w.send("POST", &format!("{HOME}{MAPS}"), &yaml_type, &body)))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a body without end",
        why: "a body that is read whole before its size is known",
        run: |w| {
            bounded(w, |w| {
                let body = "x".repeat(4 << 20);
                refused(&w.send("POST", &format!("{HOME}{MAPS}"), &[], &body))
            })?;
            bounded(w, |w| {
                let Ok(mut stream) = w.attacker().connect("127.0.0.1") else { return Ok(()) };
                let head = format!(
                    "POST {HOME}{MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
                let mut sent = stream.write_all(head.as_bytes()).is_ok();
                let mut count = 0;
                while sent && count < 2000 {
                    sent = stream.write_all(chunk.as_bytes()).is_ok();
                    count += 1;
                }
                holds(count < 2000, || "125 MiB of a body were taken in".into())
            })
        },
    },
    Attack {
        name: "large objects",
        why: "objects beyond what the store takes",
        run: |w| {
            let mut map = config_map("large");
            map["data"] = json!({"a": "x".repeat(2_500_000)});
            bounded(w, |w| refused(&w.post(&format!("{HOME}{MAPS}"), &map)))
        },
    },
    Attack {
        name: "patches of many operations",
        why: "a JSON patch that copies what it copied",
        run: |w| {
            let json_patch = [("Content-Type", "application/json-patch+json")];
            let target = format!("{HOME}{MAPS}/clusters");
            let mut doubling = vec![json!({"op": "add", "path": "/data", "value": {"a": "x".repeat(1000)}})];
            for i in 0..60 {
                doubling.push(json!({"op": "copy", "from": "/data", "path": format!("/data/k{i}")}));
            }
            bounded(w, |w| refused(&w.send("PATCH", &target, &json_patch, &json!(doubling).to_string())))?;
            let many: Vec<Value> = (0..10_001)
                .map(|i| json!({"op": "add", "path": format!("/data/k{i}"), "value": "x"}))
                .collect();
            bounded(w, |w| refused(&w.send("PATCH", &target, &json_patch, &json!(many).to_string())))?;
            let long = "/a".repeat(200_000);
            let patch = json!([{"op": "test", "path": long, "value": 1}]).to_string();
            bounded(w, |w| refused(&w.send("PATCH", &target, &json_patch, &patch)))
        },
    },
    Attack {
        name: "protobuf that lies about its length",
        why: "a buffer that is made as large as a length says",
        run: |w| {
            let envelope = |raw: &[u8]| {
                let mut out = b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12".to_vec();
                varint(&mut out, raw.len() as u64);
                out.extend_from_slice(raw);
                out
            };
            // A length of nearly 2^63, one that overflows, groups, and a message within itself.
            let mut huge = vec![0x0a];
            varint(&mut huge, i64::MAX as u64);
            let mut over = vec![0x0a];
            varint(&mut over, u64::MAX);
            let mut nested: Vec<u8> = Vec::new();
            for _ in 0..5000 {
                let mut outer = vec![0x0a];
                varint(&mut outer, nested.len() as u64);
                outer.extend_from_slice(&nested);
                nested = outer;
            }
            let mut unended = vec![0x0a];
            unended.extend([0xff; 40]);
            for raw in [huge, over, nested, unended, vec![0x0b; 10_000], vec![0xff; 100]] {
                bounded(w, |w| refused(&send_protobuf(w, &envelope(&raw))))?;
            }
            for bytes in
                [b"k8s\0".to_vec(), b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec(), vec![0; 100]]
            {
                bounded(w, |w| refused(&send_protobuf(w, &bytes)))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "compressed bodies",
        why: "a body that grows a thousandfold when it is unpacked",
        run: |w| {
            let headers = [("Content-Encoding", "gzip"), ("Content-Type", "application/json")];
            bounded(w, |w| refused(&w.send("POST", &format!("{HOME}{MAPS}"), &headers, "\u{1f}\u{8b}")))
        },
    },
    Attack {
        name: "headers without end",
        why: "headers that are kept in memory",
        run: |w| {
            let many: String = (0..20_000).map(|i| format!("X-{i}: y\r\n")).collect();
            bounded(w, |w| {
                let bytes = format!("GET {HOME}/api HTTP/1.1\r\nHost: a\r\n{many}Connection: close\r\n\r\n");
                let answer = w.bytes(bytes.as_bytes());
                holds(answer.code == 0 || (400..500).contains(&answer.code), || format!("{}", answer.code))
            })?;
            let long = "y".repeat(3 << 20);
            bounded(w, |w| {
                let answer = w.send("GET", &format!("{HOME}/api"), &[("X-Long", &long)], "");
                holds(answer.code == 0 || (400..500).contains(&answer.code), || format!("{}", answer.code))
            })
        },
    },
    Attack {
        name: "long paths and queries",
        why: "a parser whose time grows with the square of the length",
        run: |w| {
            for path in ["/a".repeat(30_000), format!("/api/v1/{}", "%41".repeat(20_000)), "/".repeat(60_000)]
            {
                bounded(w, |w| {
                    let answer = w.get(&format!("{HOME}{path}"));
                    holds(answer.code != 500, || format!("{answer:?}"))
                })?;
            }
            for query in [
                format!("labelSelector={}", "a=b,".repeat(12_000)),
                format!("labelSelector=a%20in%20({})", "x,".repeat(20_000)),
                format!("fieldSelector={}", "metadata.name=a,".repeat(3_000)),
                "a=b&".repeat(12_000),
                "dryRun=All&".repeat(5_000),
            ] {
                bounded(w, |w| {
                    let answer = w.get(&format!("{HOME}{MAPS}?{query}"));
                    holds(answer.code != 500, || format!("{answer:?}"))
                })?;
            }
            Ok(())
        },
    },
    Attack {
        name: "many watches",
        why: "watches that cost memory and are never read",
        run: |w| {
            let request =
                crate::raw::request("GET", &format!("{HOME}/api/v1/configmaps?watch=true"), &[], "");
            let mut open = Vec::new();
            for _ in 0..200 {
                let Ok(mut stream) = w.attacker().connect("127.0.0.1") else { break };
                if stream.write_all(&request).is_ok() {
                    open.push(stream);
                }
            }
            bounded(w, |w| {
                for i in 0..50 {
                    w.post(&format!("{HOME}{MAPS}"), &config_map(&format!("watched-{i}")));
                }
                Ok(())
            })
        },
    },
    Attack {
        name: "lists of everything, again and again",
        why: "one tenant that keeps every thread busy",
        run: |w| {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            w.get(&format!("{HOME}/apis/rbac.authorization.k8s.io/v1/clusterroles"));
                        }
                    });
                }
                bounded(w, |_| Ok(()))
            })
        },
    },
    Attack {
        name: "connections that say nothing",
        why: "handshakes and headers that are never finished",
        run: |w| {
            let port = w.server.port();
            let mut open = Vec::new();
            for _ in 0..100 {
                open.extend(std::net::TcpStream::connect(("127.0.0.1", port)));
            }
            let mut half = Vec::new();
            for _ in 0..50 {
                let Ok(mut stream) = w.attacker().connect("127.0.0.1") else { continue };
                if stream.write_all(format!("GET {HOME}/api HTTP/1.1\r\nX: ").as_bytes()).is_ok() {
                    half.push(stream);
                }
            }
            bounded(w, |_| Ok(()))
        },
    },
    Attack {
        name: "TLS of old",
        why: "a handshake that is talked down to a broken version, or no TLS at all",
        run: |w| {
            let port = w.server.port();
            // A ClientHello that knows nothing newer than TLS 1.0 or 1.1, and plain HTTP.
            let hello = |minor: u8| {
                let mut hello = vec![0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, minor];
                hello.extend([7; 32]);
                hello.extend([0x00, 0x00, 0x04, 0xc0, 0x14, 0x00, 0x35, 0x01, 0x00]);
                hello
            };
            for bytes in
                [hello(1), hello(2), format!("GET {HOME}/api HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()]
            {
                let mut stream =
                    std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
                stream.set_read_timeout(Some(LONG)).map_err(|e| e.to_string())?;
                stream.write_all(&bytes).map_err(|e| e.to_string())?;
                let mut answer = Vec::new();
                // An end of the connection is as good as an alert.
                let _ = stream.read_to_end(&mut answer);
                let alert = answer.is_empty() || answer.first() == Some(&0x15);
                holds(alert, || format!("{}", String::from_utf8_lossy(&answer)))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "memory that is kept",
        why: "what all of this left behind in the server",
        run: |w| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", w.server.pid()))
                .map_err(|e| e.to_string())?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
            let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_| line.to_owned())?;
            println!("           the server holds {} MiB", kib / 1024);
            holds(kib / 1024 < MEMORY, || format!("the server holds {} MiB", kib / 1024))
        },
    },
];

/// The attack is over soon, and the victim is served meanwhile and after it.
pub fn bounded(w: &World, run: impl FnOnce(&World) -> Outcome) -> Outcome {
    soon(w, "the attack took", run)?;
    soon(w, "the victim waited for", |w| {
        w.admin.vcp("victim").get(TARGET).ok();
        Ok(())
    })
}

fn soon(w: &World, what: &str, run: impl FnOnce(&World) -> Outcome) -> Outcome {
    let (begun, used) = (Instant::now(), processor(w));
    run(w)?;
    let (took, used) = (begun.elapsed(), processor(w).saturating_sub(used));
    holds(took.min(used) < LONG && took < LONGEST, || format!("{what} {took:?}, {used:?} of the processor"))
}

/// How long the server has used the processor.
fn processor(w: &World) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", w.server.pid())).unwrap_or_default();
    // Behind the name of the program, which is in parentheses; in hundredths of a second, of its own and of the system for it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let hundredths: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * hundredths)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn send_protobuf(w: &World, bytes: &[u8]) -> crate::raw::Raw {
    let mut request = format!(
        "POST {HOME}{MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/vnd.kubernetes.protobuf\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    )
    .into_bytes();
    request.extend_from_slice(bytes);
    w.bytes(&request)
}
