//! Floods below the level of requests: streams, frames, connections, and clients that take their time. Against each there is
//! a limit, and a quiet neighbour is served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kplane_tests::{Server, Store};
use rustls::{ClientConnection, StreamOwned};

use crate::exhaustion::bounded;
use crate::raw::{self, Identity};
use crate::world::{HOME, MAPS, World, config_map, holds, tenant};
use crate::{Attack, Outcome};

type Stream = StreamOwned<ClientConnection, TcpStream>;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags of HEADERS.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "streams that are reset at once",
        why: "HTTP/2 rapid reset: requests that cost their sender nothing",
        run: |w| {
            while_served(w, |w| {
                for _ in 0..3 {
                    let mut stream = open(w, &[])?;
                    let mut ended = false;
                    for number in 0..40_000_u32 {
                        let id = number * 2 + 1;
                        let mut frames = get(id, &format!("{HOME}{MAPS}"));
                        frames.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
                        ended = stream.write_all(&frames).is_err();
                        if ended {
                            break;
                        }
                    }
                    holds(ended, || "40,000 streams were begun and reset over one connection".into())?;
                }
                Ok(())
            })
        },
    },
    Attack {
        name: "headers that are continued without end",
        why: "a CONTINUATION flood: headers that are kept until they are whole, which they never are",
        run: |w| {
            while_served(w, |w| {
                let mut stream = open(w, &[])?;
                let head = request_block("GET", &format!("{HOME}{MAPS}"));
                stream.write_all(&frame(HEADERS, END_STREAM, 1, &head)).map_err(|e| e.to_string())?;
                // Literal headers, `x: y` again and again.
                let headers = [0, 1, b'x', 1, b'y'].repeat(3200);
                let mut sent = 0;
                while sent < 64 << 20 {
                    if stream.write_all(&frame(CONTINUATION, 0, 1, &headers)).is_err() {
                        return Ok(());
                    }
                    sent += headers.len();
                }
                Err("64 MiB of headers were taken in".into())
            })
        },
    },
    Attack {
        name: "pings and settings without end",
        why: "frames that must be answered, by a client that reads no answers",
        run: |w| {
            while_served(w, |w| {
                for (kind, payload) in [(PING, &[0_u8; 8][..]), (SETTINGS, &[0, 3, 0, 0, 0, 100][..])] {
                    let mut stream = open(w, &[])?;
                    let many = frame(kind, 0, 0, payload).repeat(1000);
                    // Until the server reads no more of what it cannot answer, or has had enough.
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_secs(3) && stream.write_all(&many).is_ok() {}
                }
                Ok(())
            })
        },
    },
    Attack {
        name: "frames that say nothing, over many connections",
        why: "work that no request is charged with",
        run: |w| {
            // A window that grows by nothing but one, again and again: nothing is answered, nothing is held.
            let many = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(1000);
            while_served(w, |w| {
                std::thread::scope(|scope| {
                    for _ in 0..20 {
                        scope.spawn(|| {
                            let Ok(mut stream) = open(w, &[]) else { return };
                            let begun = Instant::now();
                            while begun.elapsed() < Duration::from_secs(3) && stream.write_all(&many).is_ok()
                            {
                            }
                        });
                    }
                });
                Ok(())
            })
        },
    },
    Attack {
        name: "more streams than there may be",
        why: "one connection with any number of requests in it",
        run: |w| {
            // No window: no answer can be sent.
            let mut stream = open(w, &[0, 4, 0, 0, 0, 0])?;
            while_served(w, |_| {
                let mut frames = Vec::new();
                for number in 0..1000_u32 {
                    frames.extend(get(number * 2 + 1, &format!("{HOME}{MAPS}")));
                }
                // The server may have closed the connection meanwhile.
                let _ = stream.write_all(&frames);
                let refused = count(&mut stream, RST_STREAM, 1);
                holds(refused > 0, || "1000 streams were open at once over one connection".into())
            })
        },
    },
    Attack {
        name: "bodies that never come",
        why: "a request that holds a seat while its body is waited for",
        run: |w| {
            while_served(w, |w| {
                let mut held = Vec::new();
                for _ in 0..150 {
                    let Ok(mut stream) = w.attacker().connect("127.0.0.1") else { continue };
                    let head = format!(
                        "POST {HOME}{MAPS}?timeout=3s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{"
                    );
                    if stream.write_all(head.as_bytes()).is_ok() {
                        held.push(stream);
                    }
                }
                // The time of a request holds for its body too; an answer comes before the body has.
                let mut last = held.pop().ok_or("no connection was taken")?;
                let mut answer = [0; 12];
                last.read_exact(&mut answer).map_err(|e| format!("no answer: {e}"))?;
                let text = String::from_utf8_lossy(&answer).into_owned();
                holds(text == "HTTP/1.1 504", || text.clone())
            })
        },
    },
    Attack {
        name: "answers that nobody takes",
        why: "answers that are kept for a client that does not read",
        run: |w| {
            let definitions = format!("{HOME}/openapi/v2");
            let mut open = Vec::new();
            for _ in 0..30 {
                let Ok(mut stream) = w.attacker().connect("127.0.0.1") else { continue };
                if stream.write_all(&raw::request("GET", &definitions, &[], "")).is_ok() {
                    open.push(stream);
                }
            }
            while_served(w, |_| Ok(()))
        },
    },
    Attack {
        name: "watches that are begun and dropped",
        why: "what a watch costs to begin, and what it leaves behind",
        run: |w| {
            let watch = raw::request("GET", &format!("{HOME}{MAPS}?watch=true"), &[], "");
            while_served(w, |w| {
                for _ in 0..40 {
                    let (stream, answer) = w.attacker().begin(&watch);
                    holds(answer.code == 200, || answer.head.clone())?;
                    drop(stream);
                }
                Ok(())
            })
        },
    },
];

/// Does it, and serves the victim meanwhile and after it.
fn while_served(w: &World, attack: impl FnOnce(&World) -> Outcome + Send) -> Outcome {
    bounded(w, |w| {
        std::thread::scope(|scope| {
            let attack = scope.spawn(|| attack(w));
            while !attack.is_finished() {
                bounded(w, |_| Ok(()))?;
            }
            attack.join().unwrap_or_else(|_| Err("the attack itself failed; see above".into()))
        })
    })
}

/// A connection that speaks HTTP/2, with these settings.
fn open(w: &World, settings: &[u8]) -> Result<Stream, String> {
    let mut stream = w.attacker().http2().connect("127.0.0.1")?;
    // Who does not read what the server answers cannot write for long either.
    stream.sock.set_write_timeout(Some(Duration::from_secs(2))).map_err(|e| e.to_string())?;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    stream.write_all(&hello).map_err(|e| e.to_string())?;
    Ok(stream)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The headers of a request, in HPACK: indexed where there is an index, literal where there is none.
fn request_block(method: &str, path: &str) -> Vec<u8> {
    assert!(path.len() < 127, "a length of one byte");
    let mut out = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x87, 0x04, path.len() as u8];
    out.extend(path.as_bytes());
    out.extend([0x01, 1, b'a']);
    out
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request_block("GET", path))
}

/// Reads until so many frames of a type have come, or the end: how many there were. The end of the connection counts as one.
fn count(stream: &mut Stream, kind: u8, enough: usize) -> usize {
    let mut seen = 0;
    let mut head = [0; 9];
    while seen < enough {
        if stream.read_exact(&mut head).is_err() {
            return seen + 1;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).is_err() {
            return seen + 1;
        }
        assert!(head[3] != DATA || payload.is_empty(), "data without a window");
        if head[3] == kind || head[3] == GOAWAY {
            seen += 1;
        }
    }
    seen
}

/// One answered request over a connection that stays.
fn ask(identity: &Identity, vcp: &str) -> Result<Stream, String> {
    let mut stream = identity.connect("127.0.0.1")?;
    let head = format!("GET /clusters/{vcp}/control-plane/readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).map_err(|e| e.to_string())?;
    if &answer == b"HTTP/1.1 200 OK" {
        Ok(stream)
    } else {
        Err(String::from_utf8_lossy(&answer).into_owned())
    }
}

#[test]
fn the_connections_of_one_tenant_make_room_for_those_of_others() {
    let server = Server::start_with(Store::Embedded, &["--max-connections=40"]);
    for name in ["quiet", "loud"] {
        server.create_vcp(name);
    }
    let (quiet, loud) = (tenant(&server, "quiet"), tenant(&server, "loud"));
    let mut kept: Vec<Stream> = (0..5).map(|_| ask(&quiet, "quiet").expect("an answer")).collect();
    let mut flood = Vec::new();
    for _ in 0..200 {
        // Each is served: it is the oldest ones that go.
        flood.push(ask(&loud, "loud").expect("an answer"));
    }
    let begun = Instant::now();
    ask(&quiet, "quiet").expect("a new connection of the quiet one is served");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Those of the quiet one are still there.
    for stream in &mut kept {
        let head =
            "GET /clusters/quiet/control-plane/readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("a connection that is still there");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap_or_default();
        assert!(String::from_utf8_lossy(&rest).contains("HTTP/1.1 200 OK"), "{rest:?}");
    }
    // Of the loud one's only the last are.
    let mut open = 0;
    for stream in &mut flood {
        stream.sock.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        let mut rest = [0; 4096];
        open += usize::from(loop {
            match stream.read(&mut rest) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => {
                    break matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                }
            }
        });
    }
    assert!(open <= 40, "{open} connections of the loud one are open");
    // A write of the quiet one still goes through.
    server.client().vcp("quiet").post(MAPS, &config_map("after")).ok();
}
