//! Examples that can run offline are run: each ```` ```console ```` block of a document, in the order of the document, in
//! one world with the provider `local`. Lines behind `$ ` are commands for a shell, the others are what they print, errors
//! left out. `…` stands for anything within a line, and alone for any number of lines.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::support::command::local;
use crate::support::repository::{files, read, root};
use crate::support::world::World;

struct Example {
    command: String,
    want: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let blocks = text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut examples: Vec<Example> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push(Example { command: command.to_string(), want: Vec::new() }),
            (None, Some(example)) => example.want.push(line.to_string()),
            (None, None) => panic!("a block begins without a command: {line}"),
        }
    }
    examples
}

fn fits(want: &[String], got: &[&str]) -> bool {
    match want.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first == "…" => (0..=got.len()).any(|at| fits(rest, &got[at..])),
        Some((first, rest)) => {
            got.split_first().is_some_and(|(line, others)| line_fits(first, line) && fits(rest, others))
        }
    }
}

fn line_fits(want: &str, got: &str) -> bool {
    let Some((before, after)) = want.split_once('…') else { return want == got };
    let Some(rest) = got.strip_prefix(before) else { return false };
    let borders = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    borders.into_iter().any(|at| line_fits(after, &rest[at..]))
}

fn printed(world: &World, command: &str) -> String {
    let mut shell = world.command_of(Path::new("sh"), &["-c", command]);
    let output = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned()
}

/// The program is found by its name, as a reader finds it.
fn place() -> World {
    let mut world = local();
    world.set("RUSTY_PINCH_MODEL", "echo");
    let folder = world.path("bin");
    fs::create_dir(&folder).expect("made");
    std::os::unix::fs::symlink(World::product_path(), folder.join("rusty-pinch")).expect("linked");
    world.set("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display()));
    world
}

#[test]
fn examples_of_documents_print_what_they_say() {
    let mut count = 0;
    for path in files(&root().join("docs"), "md").into_iter().chain([root().join("README.md")]) {
        let world = place();
        for Example { command, want } in examples(&read(&path)) {
            let got = printed(&world, &command);
            let lines: Vec<&str> = got.lines().collect();
            assert!(fits(&want, &lines), "{}: $ {command}\nprints\n{got}\nand not\n{want:#?}", path.display());
            count += 1;
        }
    }
    assert!(count >= 10, "{count} examples");
}

#[test]
fn a_differing_line_does_not_fit() {
    let want = ["[".to_string(), "  a…c".to_string(), "…".to_string(), "]".to_string()];
    assert!(fits(&want, &["[", "  abc", "]"]) && fits(&want, &["[", "  ac", "x", "y", "]"]));
    for wrong in [&["[", "  ab", "]"][..], &["[", "  abc"], &["[", "]"], &[]] {
        assert!(!fits(&want, wrong), "{wrong:?}");
    }
}
