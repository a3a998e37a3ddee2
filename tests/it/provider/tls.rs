//! S14: who is trusted, what is sent to whom, and through which proxy. The product runs as a process, because trusted
//! certificates and proxies come from its environment.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;

use crate::support::certificates::Certificates;
use crate::support::fake_provider::API_KEY;
use crate::support::fake_proxy::FakeProxy;
use crate::support::raw_server::{Act, RawServer};
use crate::support::tls_server::{Manner, TlsServer};
use crate::support::waiting::spawn;
use crate::support::world::{Finished, World};

const TEXT: &str = "told in confidence";
const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

fn world(url: &str, streams: bool, settings: &[(&str, String)]) -> World {
    let mut world = World::asking(url);
    world.set_all(&[("REQUEST_RETRIES", "0"), ("STREAM", if streams { "true" } else { "false" })]);
    settings.iter().for_each(|(name, value)| world.set(name, value));
    world
}

/// One question; its class, or `ok`.
fn ask(world: &World) -> (String, Finished) {
    let finished = world.run(&["run", "--message", "hello"]);
    let turn = world.all_events("turn").pop().unwrap_or(Value::Null);
    let class = if finished.stdout == format!("{TEXT}\n") { "ok" } else { turn["error"].as_str().unwrap_or("none") };
    (class.to_owned(), finished)
}

struct Cell {
    name: &'static str,
    certificate: &'static str,
    versions: &'static [&'static SupportedProtocolVersion],
    manner: Manner,
    /// What `SSL_CERT_FILE` names: the authority, nothing that exists, or it is not set.
    trust: Trust,
    want: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Ours,
    Wrong,
    Unset,
}

#[rustfmt::skip]
const CELLS: [Cell; 11] = [
    Cell { name: "TLS 1.3", certificate: "good", versions: &[&TLS13], manner: Manner::Good, trust: Trust::Ours, want: "ok" },
    Cell { name: "TLS 1.2", certificate: "good", versions: &[&TLS12], manner: Manner::Good, trust: Trust::Ours, want: "ok" },
    Cell { name: "another host", certificate: "elsewhere", versions: BOTH, manner: Manner::Good, trust: Trust::Ours, want: "tls" },
    Cell { name: "expired", certificate: "expired", versions: BOTH, manner: Manner::Good, trust: Trust::Ours, want: "tls" },
    Cell { name: "self-signed", certificate: "selfsigned", versions: BOTH, manner: Manner::Good, trust: Trust::Ours, want: "tls" },
    Cell { name: "an authority that nobody knows", certificate: "good", versions: BOTH, manner: Manner::Good, trust: Trust::Unset, want: "tls" },
    Cell { name: "trusted certificates that are not there", certificate: "good", versions: BOTH, manner: Manner::Good, trust: Trust::Wrong, want: "tls" },
    Cell { name: "a handshake that is cut", certificate: "good", versions: BOTH, manner: Manner::CutHandshake, trust: Trust::Ours, want: "tls" },
    Cell { name: "a server without TLS", certificate: "good", versions: BOTH, manner: Manner::NoTls, trust: Trust::Ours, want: "tls" },
    Cell { name: "a handshake that never ends", certificate: "good", versions: BOTH, manner: Manner::Silent, trust: Trust::Ours, want: "connect" },
    Cell { name: "an answer that is cut", certificate: "good", versions: BOTH, manner: Manner::CutAnswer, trust: Trust::Ours, want: "stream_cut" },
];

/// Nothing of a request goes to whom is not trusted, and nothing at all goes in clear.
#[test]
fn only_a_trusted_server_is_told_anything() {
    let Some(certificates) = Certificates::new() else { return };
    let cells = CELLS.iter().flat_map(|cell| [(cell, false), (cell, true)]);
    let threads: Vec<_> = cells
        .map(|(cell, streams)| {
            let ((certificate, key), authority) = (certificates.server(cell.certificate), certificates.authority());
            spawn("tls cell", move || {
                let server = TlsServer::start((&certificate, &key), cell.versions, cell.manner, TEXT);
                let trusted = match cell.trust {
                    Trust::Ours => vec![("SSL_CERT_FILE", authority.to_string_lossy().into_owned())],
                    Trust::Wrong => vec![("SSL_CERT_FILE", "/no/such/file.pem".to_owned())],
                    Trust::Unset => Vec::new(),
                };
                let world = world(&server.url(), streams, &trusted);
                let (class, finished) = ask(&world);
                let name = format!("{} (stream: {streams})", cell.name);
                assert_eq!(class, cell.want, "{name}: {finished:?}");
                let was_told = matches!(cell.want, "ok" | "stream_cut");
                assert_eq!(server.request_count(), usize::from(was_told), "{name}");
                assert!(!server.saw_in_clear(API_KEY) && !server.saw_in_clear("hello"), "{name}: sent in clear");
                assert_eq!(world.all_events("turn")[0]["attempts"], 1, "{name}");
                let warned = finished.stderr.iter().any(|line| line.contains("SSL_CERT_FILE"));
                assert!(warned || cell.trust != Trust::Wrong, "{name}: nobody was warned: {finished:?}");
            })
        })
        .collect();
    let failures: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().err()).collect();
    assert!(failures.is_empty(), "{} cells: see above", failures.len());
}

#[test]
fn a_proxy_is_used_as_the_environment_says_and_hears_no_secret() {
    let Some(certificates) = Certificates::new() else { return };
    let start = |name: &str| {
        let (certificate, key) = certificates.server(name);
        TlsServer::start((&certificate, &key), BOTH, Manner::Good, TEXT)
    };
    let (good, expired) = (start("good"), start("expired"));
    let trusted = ("SSL_CERT_FILE", certificates.authority().to_string_lossy().into_owned());
    let through = |server: &TlsServer, proxy: &FakeProxy, more: &[(&'static str, String)]| {
        let settings = [&[trusted.clone(), ("HTTPS_PROXY", proxy.url())], more].concat();
        ask(&world(&server.url(), true, &settings)).0
    };
    let (open, shut) = (FakeProxy::start(true), FakeProxy::start(false));
    assert_eq!(through(&good, &open, &[]), "ok");
    assert_eq!(through(&expired, &open, &[]), "tls");
    assert_eq!(through(&good, &shut, &[]), "connect");
    assert_eq!((good.request_count(), expired.request_count()), (1, 0));
    let asked: Vec<String> = open.heads();
    let targets = [&good, &expired].map(|server| format!("CONNECT {} HTTP/1.1", server.address()));
    let lines: Vec<&str> = asked.iter().filter_map(|head| head.lines().next()).collect();
    assert_eq!(lines, targets, "{asked:?}");
    assert!(!asked.concat().contains(API_KEY), "{asked:?}");
    // Who is named in NO_PROXY is spoken to directly, and a dead proxy is no connection.
    assert_eq!(through(&good, &shut, &[("NO_PROXY", "127.0.0.1".to_owned())]), "ok");
    let dead = FakeProxy::start(true);
    let url = dead.url();
    drop(dead);
    assert_eq!(ask(&world(&good.url(), true, &[trusted.clone(), ("ALL_PROXY", url)])).0, "connect");
    // Plain HTTP on a private network goes the same way.
    let body = crate::support::fake_provider::completion(TEXT).to_string();
    let page = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let plain = RawServer::start(vec![Act::Send(page.into_bytes())]);
    assert_eq!(ask(&world(plain.url(), true, &[("http_proxy", open.url())])).0, "ok");
    assert_eq!(open.heads().len(), 3);
}

#[test]
fn plain_http_leaves_the_private_network_only_when_it_is_allowed() {
    let base = "http://provider.example.org/v1";
    let refused = world(base, true, &[]);
    let finished = refused.run(&["run", "--message", "hello"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.stderr.concat().contains("RUSTY_PINCH_ALLOW_INSECURE_HTTP"), "{finished:?}");
    // A proxy that refuses takes the place of the network, which tests do not use.
    let proxy = FakeProxy::start(false);
    let allow = ("RUSTY_PINCH_ALLOW_INSECURE_HTTP", "true".to_owned());
    assert_eq!(ask(&world(base, true, &[allow, ("HTTP_PROXY", proxy.url())])).0, "connect");
    assert_eq!(proxy.heads().len(), 1);
    let with_user = world("https://user:secret@provider.example.org/v1", true, &[]);
    let finished = with_user.run(&["run", "--message", "hello"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(!finished.stderr.concat().contains("secret@"), "{finished:?}");
}
