//! The environment and the files it names, read once at start into a value: process variables, the `.env` file, files
//! named by `NAME_FILE`, and systemd credentials. The only reader of all of them. What cannot be used is noted, and the
//! rest is read all the same, so that all can be mended at once.

use std::env;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::config::codex_accounts;
use crate::config::env_file::{self, Gone};
use crate::config::keys::{Environment, KEYS, Reader, Source, is_secret, secret_names};
use crate::config::secret::Secret;
use crate::config::secret_file::{self, Access};
use crate::config::surroundings::{ReadFile, SecretFile, Surroundings};
use crate::config::values::Kind;
use crate::sys::{files, users};

/// Largest `.env` file accepted.
pub const ENV_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Largest secret file accepted.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where settings of an installed package are.
pub const SYSTEM_FILE: &str = "/etc/rusty-pinch/rusty-pinch.env";

/// Names the env file; heeded in the process environment only, like the next one.
pub const ENV_FILE: &str = "RUSTY_PINCH_ENV_FILE";

/// Systemd's name for the folder of credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Reads everything.
///
/// # Errors
/// The first thing that cannot be used is a configuration failure.
pub fn read() -> Result<Surroundings, Failure> {
    let found = look();
    match found.problems.first() {
        None => Ok(found),
        Some(problem) => Err(Failure::Configuration(problem.sentence.clone())),
    }
}

/// Reads what can be read, and notes what cannot be used.
pub fn look() -> Surroundings {
    let found = Surroundings { variables: process_variables(), ..Surroundings::default() };
    let file = env_file_path(&found);
    look_at(found, file)
}

/// The same, of these variables and this env file.
pub fn look_with(variables: Environment, file: Option<PathBuf>) -> Surroundings {
    look_at(Surroundings { variables, ..Surroundings::default() }, Ok(file))
}

fn look_at(mut found: Surroundings, file: Result<Option<PathBuf>, String>) -> Surroundings {
    let hidden = file.and_then(|file| file.map_or(Ok(Environment::new()), |path| add_env_file(&mut found, path)));
    let hidden = hidden.unwrap_or_else(|sentence| {
        found.problem("config.value", sentence);
        Environment::new()
    });
    let own_names = codex_accounts::own_names(&Reader(&found.variables));
    if let Some(file) = &mut found.file {
        let is_of_file = |name: &String| matches!(found.variables.get(name), Some((_, Source::EnvFile { .. })));
        file.has_secrets |= own_names.iter().any(is_of_file);
    }
    add_secrets(&mut found, &own_names, hidden);
    found
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

/// A variable that names a file or a folder; `None` if it is unset.
fn place(found: &Surroundings, name: &str) -> Result<Option<(PathBuf, Source)>, String> {
    Reader(&found.variables).check_value(name, Kind::Text).map_err(|error| error.to_string())?;
    let set = found.variables.get(name).filter(|(value, _)| !value.trim().is_empty());
    Ok(set.map(|(value, source)| (PathBuf::from(value.trim()), source.clone())))
}

fn env_file_path(found: &Surroundings) -> Result<Option<PathBuf>, String> {
    if let Some((named, _)) = place(found, ENV_FILE)? {
        return Ok(Some(named));
    }
    for candidate in [".env", SYSTEM_FILE].map(Path::new) {
        match candidate.try_exists() {
            Ok(true) => return Ok(Some(candidate.to_owned())),
            Ok(false) => {}
            // There may be settings that we must not go without.
            Err(error) => return Err(format!("{} {}", candidate.display(), unreadable(&error))),
        }
    }
    Ok(None)
}

/// What the env file sets and the process does not. Returns what both set: of secrets both are known.
fn add_env_file(found: &mut Surroundings, path: PathBuf) -> Result<Environment, String> {
    let told = |problem: String| format!("{} {problem}", path.display());
    let (bytes, known) = files::read_bounded(&path, ENV_FILE_BYTES_MAX).map_err(|error| told(unreadable(&error)))?;
    let mut read = ReadFile { path: path.clone(), has_secrets: false, mode: known.mode(), owner: known.uid() };
    let text = String::from_utf8(bytes).map_err(|_| told("is not UTF-8 text".to_owned()))?;
    let file = env_file::read(&text, &|name| found.variables.get(name).map(|(value, _)| value.clone()))
        .map_err(|error| told(error.to_string()))?;
    let mut hidden = Environment::new();
    for entry in file.entries {
        let is_secret = is_secret(&entry.name);
        read.has_secrets |= is_secret && !entry.value.trim().is_empty();
        if [ENV_FILE, CREDENTIALS].contains(&entry.name.as_str()) {
            let sentence = format!("{} has no effect in the env file, where line {} sets it", entry.name, entry.line);
            found.remark("config.no_effect", sentence);
            continue;
        }
        let value = (entry.value, Source::EnvFile { line: entry.line });
        let is_set = found.variables.contains_key(&entry.name);
        let place = if is_set { &mut hidden } else { &mut found.variables };
        place.insert(entry.name, value);
    }
    file.gone.iter().for_each(|gone| note_gone(found, gone));
    found.repeats = file.repeats;
    found.file = Some(read);
    Ok(hidden)
}

/// A `$NAME` that stands for nothing. A secret cut short is never meant; of other values it is told, and the name only
/// where it cannot be a part of a secret.
fn note_gone(found: &mut Surroundings, gone: &Gone) {
    let Gone { name, line, variable } = gone;
    let source = Source::EnvFile { line: *line };
    let what = match KEYS.iter().any(|key| key.name == name) && !is_secret(name) {
        true => format!("${variable}"),
        false => "a '$' and a name".to_owned(),
    };
    let sentence = format!(
        "{name} ({source}) holds {what}, and no such variable is set: if it is meant literally, put the value into single quotes"
    );
    match secret_names().any(|secret| secret == name) {
        true => found.problem("config.value", sentence),
        false => found.remark("config.surprise", sentence),
    }
}

/// A secret's file beats its credential, that beats its variable, and that beats the env file (`hidden`).
fn add_secrets(found: &mut Surroundings, own_names: &[String], mut hidden: Environment) {
    let folder = credentials_folder(found).unwrap_or_else(|sentence| {
        found.problem("config.value", sentence);
        None
    });
    let mut names: Vec<&str> = secret_names().collect();
    names.extend(own_names.iter().map(String::as_str));
    for name in names {
        let mut candidates = Vec::new();
        candidates.extend(named_file(found, name));
        candidates.extend(folder.as_deref().and_then(|folder| credential(found, name, folder)));
        let line = hidden.remove(name);
        if candidates.is_empty() && line.is_none() {
            // At most one source, which is in its place already.
            continue;
        }
        candidates.extend(found.variables.get(name).cloned());
        candidates.extend(line);
        found.settle(name, candidates);
    }
    hidden.retain(|name, _| is_secret(name));
    found.hidden.extend(hidden.into_values().map(|(value, _)| Secret::new(value)));
}

/// The folder, if a supervisor names one, and if it can be looked into.
fn credentials_folder(found: &Surroundings) -> Result<Option<PathBuf>, String> {
    let Some((folder, source)) = place(found, CREDENTIALS)? else { return Ok(None) };
    if !folder.is_absolute() {
        return Err(format!("{CREDENTIALS} ({source}) must be an absolute path, as systemd sets it"));
    }
    match folder.join("any").try_exists() {
        Ok(_) => Ok(Some(folder)),
        Err(error) => {
            let problem = unreadable(&error);
            Err(format!("{CREDENTIALS} ({source}) names a folder that {problem}: {}", folder.display()))
        }
    }
}

fn named_file(found: &mut Surroundings, name: &str) -> Option<(String, Source)> {
    let variable = format!("{name}_FILE");
    found.variables.get(&variable)?;
    let (path, source) = place(found, &variable).unwrap_or_else(|sentence| {
        found.problem("config.value", sentence);
        None
    })?;
    let subject = format!("{variable} ({source}) names a file that");
    read_secret(found, name, &path, &subject).map(|text| (text, Source::File))
}

fn credential(found: &mut Surroundings, name: &str, folder: &Path) -> Option<(String, Source)> {
    let path = folder.join(name);
    let subject = format!("{name} ({})", Source::Credential);
    match path.try_exists() {
        Ok(true) => read_secret(found, name, &path, &subject).map(|text| (text, Source::Credential)),
        Ok(false) => None,
        // Passed over, another key would be used in its place.
        Err(error) => {
            found.problem("config.value", format!("{subject} {}: {}", unreadable(&error), path.display()));
            None
        }
    }
}

fn read_secret(found: &mut Surroundings, name: &str, path: &Path, subject: &str) -> Option<String> {
    match secret_text(path) {
        Ok((text, known)) => {
            let (name, path) = (name.to_owned(), path.to_owned());
            found.secret_files.push(SecretFile { name, path, mode: known.mode(), owner: known.uid() });
            Some(text)
        }
        Err((check, problem)) => {
            found.problem(check, format!("{subject} {problem}"));
            None
        }
    }
}

/// The text without its last line break and what is known of the file, or a check and what is wrong.
fn secret_text(path: &Path) -> Result<(String, Metadata), (&'static str, String)> {
    // Somebody may have put the secret itself where its file should be named.
    let looks_like_a_path = path.as_os_str().as_encoded_bytes().first().is_some_and(|first| b"/.".contains(first));
    let shown = if looks_like_a_path { format!(": {}", path.display()) } else { String::new() };
    let wrong = |problem: &str| ("config.value", format!("{problem}{shown}"));
    let is_protected = secret_file::is_protected(path);
    let read = if is_protected { files::read_bounded } else { files::read_bounded_itself };
    let (bytes, known) = read(path, SECRET_FILE_BYTES_MAX).map_err(|error| wrong(&unreadable(&error)))?;
    let access = Access {
        owner: known.uid(),
        group: known.gid(),
        mode: known.mode(),
        user: users::own_id(),
        is_our_group: users::is_own_group(known.gid()),
    };
    match secret_file::refusal(path, access) {
        Some(refusal) if !is_protected => return Err(("secret.mode", refusal)),
        _ => {}
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    match text.trim().is_empty() {
        // Passed over, another key would be used in its place.
        true => Err(wrong("is empty; write the secret into it, or do not name it")),
        false => Ok((text.strip_suffix('\n').unwrap_or(&text).to_owned(), known)),
    }
}

fn unreadable(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run this as the user of the service, such as 'sudo -u rusty-pinch rusty-pinch …'"
        }
        _ => "",
    };
    format!("cannot be read ({error}{remedy})")
}
