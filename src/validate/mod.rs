//! `whatsapp validate`: the checklist WA-01 to WA-18 against the real worker, which runs as a child process of ours, and a
//! bridge: a simulated one, the real program with WhatsApp's side scripted, or the operator's own with a person at the phone.

// What a check asks of a bridge.
pub mod bridge;
// The list, and who passes.
pub mod checklist;
// The document made from the list.
pub mod document;
// Checks that take long, or kill.
pub mod endurance;
// What is written down.
pub mod evidence;
// What became of messages.
pub mod judge;
// Checks of the link.
pub mod links;
// The operator's own bridge.
pub mod live;
// Checks of single messages.
pub mod messages;
// The folder and the environment of one worker.
pub mod place;
// The real bridge, its other side scripted.
pub mod program;
// All of it, in order.
pub mod run;
// The bridge that is built in.
pub mod simulated;
// A worker, a bridge, and what a check does with them.
pub mod stage;
// A server that nobody can trust.
pub mod untrusted;
