//! What the operator decided, checked once at start. The environment arrives as a value; nothing here reads the world.

// Who is asked, in which order.
pub mod chain;
// The accounts that Codex may use.
pub mod codex_accounts;
// What Codex gets of our environment.
pub mod codex_environment;
// What the operator decided about Codex.
pub mod codex_settings;
// Documents made from the table of variables.
pub mod document;
// `http://` and `https://` bases, and where plain HTTP is allowed.
pub mod endpoint;
// Changes to the text of a `.env` file.
pub mod env_edit;
// The grammar of `.env` files.
pub mod env_file;
// The health endpoint.
pub mod health_settings;
// Every variable, declared once.
pub mod keys;
// How much may be asked and spent.
pub mod limits;
// Credentials that change while they are in use, and all that is secret.
pub mod live_secret;
// What `setup` asks.
pub mod questions;
// Settings that fit and still surprise.
pub mod remarks;
// What becomes of secrets that changed.
pub mod rotation;
// Values that cannot be printed.
pub mod secret;
// Who may use a secret's file.
pub mod secret_file;
// The checked configuration.
pub mod settings;
// The variables and how they were found.
pub mod surroundings;
// What fits a kind.
pub mod values;
// Settings of the WhatsApp worker.
pub mod whatsapp_settings;
