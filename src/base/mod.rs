//! Words: the values that every other folder speaks. No I/O, no threads, no clock.

// The flag that ends waiting, and the way to wake what waits.
pub mod cancel;
// Instants and dates as plain numbers; the trait that asks for them.
pub mod clock;
// What a person says to the program and not to the model.
pub mod control;
// SHA-256.
pub mod digest;
// Names of turns, channels and sessions.
pub mod id;
// Limits of foreign JSON.
pub mod json_limits;
// Messages coming in, answers going out, and the work between them.
pub mod message;
// When something was written, for other processes.
pub mod moment;
// The name that was probably meant.
pub mod nearest;
// Whether trying again makes sense.
pub mod retry;
// Seeded randomness for jitter. Never for secrets.
pub mod rng;
// Small maps and sets.
pub mod sorted;
// Cutting text on borders a person would accept.
pub mod text;
