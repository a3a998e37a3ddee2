//! The environment and the files it names, read once at start into a value: process variables, the `.env` file, files
//! named by `NAME_FILE`, and systemd credentials. The only reader of all of them.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::config::env_file;
use crate::config::keys::{Environment, Kind, Source, known_names};
use crate::config::surroundings::{Purpose, ReadFile, Surroundings};
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
pub fn read() -> Result<Surroundings, Failure> {
    let mut found = Surroundings { variables: process_variables(), ..Surroundings::default() };
    if let Some(path) = env_file_path(&found.variables)? {
        add_env_file(&mut found, &path)?;
    }
    add_secret_files(&mut found)?;
    Ok(found)
}

/// Variables that are not UTF-8 are nothing that we could use. Of ours the value is kept, marked with what stands for
/// broken text, so that it is refused and does not pass for an unset one.
pub fn process_variables() -> Environment {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the process environment")]
    let variables = env::vars_os();
    let of_ours = |name: &str, value: OsString| match value.into_string() {
        Err(value) if name.starts_with("RUSTY_PINCH_") => Some(value.to_string_lossy().into_owned()),
        other => other.ok(),
    };
    let read = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        let value = of_ours(&name, value)?;
        Some((name, (value, Source::Environment)))
    };
    variables.filter_map(read).collect()
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

fn add_env_file(found: &mut Surroundings, path: &Path) -> Result<(), Failure> {
    let text = read_text(found, path, Purpose::Settings, ENV_FILE_BYTES_MAX)?;
    let file = env_file::read(&text, &|name| found.variables.get(name).map(|(value, _)| value.clone()))
        .map_err(|error| configuration(path, &error.to_string()))?;
    found.repeats = file.repeats;
    for entry in file.entries {
        let is_secret = known_names().any(|(name, kind)| name == entry.name && matches!(kind, Kind::Secret));
        if let Some(file) = found.files.last_mut().filter(|_| is_secret && !entry.value.trim().is_empty()) {
            file.purpose = Purpose::SettingsAndSecrets;
        }
        found.underlay(entry.name, entry.value, Source::EnvFile { line: entry.line }, is_secret);
    }
    Ok(())
}

/// A secret's file beats its variable; a file named by the operator beats a credential.
fn add_secret_files(found: &mut Surroundings) -> Result<(), Failure> {
    let credentials = found.variables.get("CREDENTIALS_DIRECTORY").map(|(folder, _)| PathBuf::from(folder));
    for (name, _) in known_names().filter(|(_, kind)| matches!(kind, Kind::Secret)) {
        let named = found.variables.get(&format!("{name}_FILE")).map(|(path, _)| PathBuf::from(path.trim()));
        let named = named.filter(|path| !path.as_os_str().is_empty());
        let credential = credentials.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
        for (path, source) in [(credential, Source::Credential), (named, Source::File)] {
            if let Some(path) = path {
                let text = read_text(found, &path, Purpose::Secret, SECRET_FILE_BYTES_MAX)?;
                if text.trim().is_empty() {
                    // Passed over, another key would be used in its place.
                    return Err(configuration(&path, "is empty: write the secret into it, or do not name it"));
                }
                found.overrule(name, text.strip_suffix('\n').unwrap_or(&text).to_owned(), source);
            }
        }
    }
    Ok(())
}

fn read_text(found: &mut Surroundings, path: &Path, purpose: Purpose, bytes_max: u64) -> Result<String, Failure> {
    let (bytes, known) = files::read_bounded(path, bytes_max).map_err(|error| unreadable(path, &error))?;
    found.files.push(ReadFile { path: path.to_owned(), purpose, owner: known.uid(), mode: known.mode() });
    String::from_utf8(bytes).map_err(|_| configuration(path, "is not UTF-8 text"))
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
