//! The environment and the files it names, read once at start into a value: process variables, the `.env` file, files
//! named by `NAME_FILE`, and systemd credentials. The only reader of all of them.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::config::env_file;
use crate::config::keys::{Environment, Kind, Source, known_names};
use crate::sys::files;

/// Largest `.env` file accepted.
const ENV_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Largest secret file accepted.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where settings of an installed package are.
const SYSTEM_FILE: &str = "/etc/rusty-pinch/rusty-pinch.env";

/// Reads everything.
///
/// # Errors
/// A file that is named and cannot be read, or does not parse, is a configuration failure with its line.
pub fn read() -> Result<Environment, Failure> {
    let mut environment = process_variables();
    if let Some(path) = env_file_path(&environment)? {
        add_env_file(&mut environment, &path)?;
    }
    add_secret_files(&mut environment)?;
    Ok(environment)
}

/// Variables that are not UTF-8 are nothing that we could use.
pub fn process_variables() -> Environment {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the process environment")]
    let variables = env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, (value.into_string().ok()?, Source::Environment))))
        .collect()
}

fn env_file_path(environment: &Environment) -> Result<Option<PathBuf>, Failure> {
    if let Some((named, _)) = environment.get("RUSTY_PINCH_ENV_FILE").filter(|(named, _)| !named.trim().is_empty()) {
        return Ok(Some(PathBuf::from(named.trim())));
    }
    for candidate in [".env", SYSTEM_FILE].map(Path::new) {
        match candidate.try_exists() {
            Ok(true) => return Ok(Some(candidate.to_owned())),
            Ok(false) => {}
            // There may be settings that we must not go without.
            Err(error) => return Err(unreadable(candidate, &error)),
        }
    }
    Ok(None)
}

fn add_env_file(environment: &mut Environment, path: &Path) -> Result<(), Failure> {
    let bytes = files::read_bounded(path, ENV_FILE_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| configuration(path, "is not UTF-8 text"))?;
    let entries = env_file::parse(&text, &|name| environment.get(name).map(|(value, _)| value.clone()))
        .map_err(|error| configuration(path, &error.to_string()))?;
    for entry in entries {
        environment.entry(entry.name).or_insert((entry.value, Source::EnvFile { line: entry.line }));
    }
    Ok(())
}

/// A secret's file beats its variable; a file named by the operator beats a credential.
fn add_secret_files(environment: &mut Environment) -> Result<(), Failure> {
    let credentials = environment.get("CREDENTIALS_DIRECTORY").map(|(folder, _)| PathBuf::from(folder));
    for (name, _) in known_names().filter(|(_, kind)| matches!(kind, Kind::Secret)) {
        let named = environment.get(&format!("{name}_FILE")).map(|(path, _)| path.trim().to_owned());
        if let Some(path) = named.filter(|path| !path.is_empty()) {
            environment.insert(name.to_owned(), (secret(Path::new(&path))?, Source::File));
        } else if let Some(path) = credentials.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists()) {
            environment.insert(name.to_owned(), (secret(&path)?, Source::Credential));
        }
    }
    Ok(())
}

fn secret(path: &Path) -> Result<String, Failure> {
    let bytes = files::read_bounded(path, SECRET_FILE_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| configuration(path, "is not UTF-8 text"))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": run this as the user of the service, such as 'sudo -u rusty-pinch rusty-pinch …'"
        }
        _ => "",
    };
    configuration(path, &format!("cannot be read ({error}){remedy}"))
}

fn configuration(path: &Path, problem: &str) -> Failure {
    Failure::Configuration(format!("{} {problem}", path.display()))
}
