//! Commands as an operator types them, with the provider `local`.

use super::world::{Finished, World};

/// A set-up that needs nobody else.
pub fn local() -> World {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    world.set("RUSTY_PINCH_MODEL", "m");
    world
}

/// Runs a command that has to exit with `code`.
#[track_caller]
pub fn run(world: &World, arguments: &[&str], code: i32) -> Finished {
    let finished = world.run(arguments);
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
    finished
}
