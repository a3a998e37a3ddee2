//! What the tests share: fake ends of every wire, a process under test, and the judge.
//!
//! Nothing here uses the product's code, so that a mistake in the product cannot hide behind the same mistake here; only
//! `torn_disk` speaks the product's `Storage` and `lanes` its messages, because those are the seams they stand in.
//! `waiting` is the only file that reads a clock, waits or starts a thread; `cases` is the only one that reads the
//! environment of the test run.
#![allow(dead_code, reason = "each test file uses its own part of what is offered here")]

pub mod cases;
pub mod certificates;
pub mod checker;
mod checker_chat;
mod checker_proof;
pub mod checker_traces;
mod checker_traces_proof;
pub mod command;
pub mod crew;
pub mod exposition;
pub mod fake_bridge;
pub mod fake_http;
pub mod fake_http_request;
pub mod fake_provider;
pub mod fake_proxy;
pub mod fake_telegram;
mod fakes_proof;
pub mod journal_text;
pub mod lanes;
pub mod loop_disk;
pub mod people;
pub mod raw_server;
pub mod report;
pub mod repository;
pub mod scene;
pub mod slope;
pub mod stretch;
pub mod tampering;
pub mod telegram_script;
pub mod telegram_server;
pub mod terminal;
pub mod tls_server;
pub mod torn_disk;
mod torn_file;
pub mod tracer;
pub mod waiting;
pub mod websocket_wire;
pub mod world;
