//! Streams as servers write them (tests/it/corpus/streams), each with its oddities: comments while it waits, usage in a
//! place of its own, text in parts, reasoning beside the text, errors in the middle, no last word. Written after the
//! documentation and the source of each server; read here as they came, and in packets of every small size.

use std::path::Path;
use std::time::Duration;

use rusty_pinch::provider::openai::Streams;

use super::matrix::attempt;
use crate::support::fake_provider::UPSTREAM_CANARY;
use crate::support::raw_server::{Act, RawServer};

const TEXT: &str = "A heron is a bird.";
const COUNTED: Result<Option<u64>, &str> = Ok(Some(6));
const UNCOUNTED: Result<Option<u64>, &str> = Ok(None);

/// The tokens of the answer, or the class.
#[rustfmt::skip]
const STREAMS: [(&str, Result<Option<u64>, &str>); 15] = [
    ("openai", COUNTED), ("azure", COUNTED), ("openrouter", COUNTED), ("groq", COUNTED), ("ollama", COUNTED), ("llama-cpp", COUNTED), ("vllm", COUNTED),
    ("mistral", COUNTED), ("gateway", UNCOUNTED),
    ("openrouter-error", Err("server")), ("llama-cpp-error", Err("stream_cut")), ("llama-cpp-context", Err("context_length")), ("vllm-error", Err("server")),
    ("litellm-error", Err("rate_limited")), ("cut", Err("stream_cut")),
];

#[test]
fn the_streams_of_every_server_are_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus/streams");
    assert_eq!(std::fs::read_dir(&folder).expect("the corpus is there").count(), STREAMS.len());
    for (name, want) in STREAMS {
        let body = std::fs::read(folder.join(format!("{name}.sse"))).expect("a stream of the corpus");
        for size in [1, 2, 3, 7, body.len()] {
            let mut acts = vec![Act::Send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            )];
            acts.extend(
                body.chunks(size)
                    .map(|chunk| Act::Send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())),
            );
            acts.push(Act::Send(b"0\r\n\r\n".to_vec()));
            let server = RawServer::start(acts);
            let outcome = attempt(server.url(), Streams::Counted, Duration::from_secs(10), Duration::from_secs(20));
            let shown = format!("{:?}", outcome.result);
            let got = match &outcome.result {
                Ok(done) => {
                    assert_eq!(done.text, TEXT, "{name} in packets of {size}");
                    Ok(done.output_tokens)
                }
                Err(error) => Err(error.class.name()),
            };
            assert_eq!(got, want, "{name} in packets of {size}: {shown}");
            assert!(!shown.contains(UPSTREAM_CANARY), "{name}: {shown}");
        }
    }
}
