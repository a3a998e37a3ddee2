//! [`Place`]: where `setup` writes, and how commands of ours are tried with what it wrote: as the user of the service, who may
//! not be us. Files are replaced in one step each, secrets before the env file that names them; of what was there a copy is kept.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::cli::Failure;
use crate::cli::environment::{self, ENV_FILE, ENV_FILE_BYTES_MAX, SYSTEM_FILE};
use crate::config::env_edit::{self, Edit, Refusal};
use crate::config::keys::{Environment, Source, is_secret, secret_names};
use crate::config::questions::Draft;
use crate::config::secret::Secret;
use crate::config::surroundings::Surroundings;
use crate::sys::child::{self, End, Program, TERM_GRACE};
use crate::sys::system_clock::SystemClock;
use crate::sys::{files, users};

/// Most that is taken of what a command says.
const SAID_BYTES_MAX: usize = 256 * 1024;

/// Where a service of the package works.
const PACKAGE_HOME: &str = "/var/lib/rusty-pinch";

/// Where settings and secrets go.
pub struct Place {
    /// The file of the settings, absolute.
    pub env_file: PathBuf,
    /// The folder of the secrets.
    secrets: PathBuf,
    /// Whether it is that of the Debian package, whose units get every file of the folder as a credential.
    pub is_package: bool,
    /// The folder in which the service runs.
    pub home: PathBuf,
}

/// What became of a command.
pub struct Tried {
    /// How it ended.
    pub end: End,
    /// What it wrote on standard output.
    pub said: String,
    /// Why it failed, in its own words; blank if it said nothing about that.
    pub why: String,
}

impl Place {
    /// The operator's folder, that of the package for root, or the first of the usual places.
    pub fn find(into: &str) -> Result<Place, Failure> {
        let here = env::current_dir().map_err(|error| Failure::Failed(format!("the folder we are in: {error}")))?;
        let package = Path::new(SYSTEM_FILE).parent().unwrap_or(Path::new("/"));
        let named = environment::process_variables().remove(ENV_FILE).map(|(path, _)| path);
        let named = named.filter(|path| !path.trim().is_empty());
        let env_file = match (into, named) {
            ("", Some(path)) => here.join(path.trim()),
            ("", None) if !package.is_dir() => here.join(".env"),
            ("", None) if users::own_id() == 0 => PathBuf::from(SYSTEM_FILE),
            ("", None) if here.join(".env").exists() => here.join(".env"),
            ("", None) => {
                let sentence = "the settings of the package are in /etc/rusty-pinch: use 'sudo rusty-pinch setup', or \
                                --into FOLDER for settings of your own";
                return Err(Failure::Usage(sentence.to_owned()));
            }
            (folder, _) => here.join(folder).join("rusty-pinch.env"),
        };
        // A link stays, and what it leads to is replaced.
        let env_file = fs::canonicalize(&env_file).unwrap_or(env_file);
        let is_package = env_file == Path::new(SYSTEM_FILE);
        let secrets = env_file.with_file_name("secrets.d");
        let home = if is_package { PathBuf::from(PACKAGE_HOME) } else { here };
        Ok(Place { env_file, secrets, is_package, home })
    }

    /// The folder of the data, as the service sees it.
    pub fn data(&self, configured: &Path) -> PathBuf {
        self.home.join(configured)
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.secrets.join(name.strip_prefix("RUSTY_PINCH_").unwrap_or(name))
    }

    /// The file that a secret is read from, or will be.
    fn path_of(&self, found: &Surroundings, name: &str) -> PathBuf {
        let known = found.secret_files.iter().find(|file| file.name == name).map(|file| file.path.clone());
        known.unwrap_or_else(|| self.secret(name))
    }

    /// Secrets that a unit gets as credentials, for those who are no unit.
    fn credentials(&self) -> Vec<(String, PathBuf)> {
        let names = secret_names().filter(|_| self.is_package).map(|name| (format!("{name}_FILE"), self.secret(name)));
        names.filter(|(_, path)| path.exists()).collect()
    }

    /// What is set now.
    pub fn look(&self) -> Surroundings {
        let mut variables: Environment = environment::process_variables();
        for (name, path) in self.credentials() {
            variables.insert(name, (path.to_string_lossy().into_owned(), Source::Environment));
        }
        let exists = self.env_file.exists();
        environment::look_with(variables, exists.then(|| self.env_file.clone()))
    }

    /// Runs a command of ours with what is written here, and `more`, as the user of the service, for `patience` at most.
    pub fn run(
        &self,
        arguments: &[&str],
        draft: &Draft,
        more: &[(&str, &str)],
        patience: Duration,
    ) -> io::Result<Tried> {
        let is_answered = |name: &String| draft.changes.iter().any(|(changed, _)| changed == name);
        let own = environment::process_variables().into_iter().filter(|(name, _)| !is_answered(name));
        let mut variables: Vec<(String, String)> = own.map(|(name, (value, _))| (name, value)).collect();
        let files = self
            .credentials()
            .into_iter()
            .chain(self.env_file.exists().then(|| (ENV_FILE.to_owned(), self.env_file.clone())));
        variables.extend(files.map(|(name, path)| (name, path.to_string_lossy().into_owned())));
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let user = self.user(draft);
        variables.extend(user.and_then(|(id, _)| users::home(id)).map(|home| ("HOME".to_owned(), home)));
        let program = Program {
            binary: env::current_exe()?.to_string_lossy().into_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            environment: variables,
            directory: self.home.is_dir().then(|| self.home.clone()),
            grace: TERM_GRACE,
            user,
            ..Program::default()
        };
        let (clock, mut said) = (SystemClock::new(), Vec::new());
        let mut keep = |bytes: &[u8]| {
            said.extend_from_slice(bytes);
            if said.len() > SAID_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let finished = child::run(&program, b"", clock.mono().after(patience), &clock, &Cancel::new(), &mut keep)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(Tried { end: finished.end, said, why: reason(&finished.stderr) })
    }

    /// Who works with the data, if we only prepare it for them.
    fn user(&self, draft: &Draft) -> Option<(u32, u32)> {
        let data = draft.variables.get("RUSTY_PINCH_DATA_DIR").map_or("data", |(folder, _)| folder.trim());
        users::service_of(&self.data(Path::new(data)))
    }

    /// Writes what was answered; returns what was written.
    pub fn write(&self, found: &Surroundings, draft: &Draft) -> Result<Vec<PathBuf>, Failure> {
        let group = self.user(draft).map(|(_, group)| group);
        let text = self.text(found, draft)?;
        let mut written = Vec::new();
        for (name, value) in draft.changes.iter().filter(|(name, _)| is_secret(name)) {
            let path = self.path_of(found, name);
            let content = Secret::new(format!("{}\n", value.reveal()));
            put(&path, content.reveal(), group).map_err(|error| failed(&path, &error))?;
            written.push(path);
        }
        if let Some(text) = text {
            put(&self.env_file, &text, group).map_err(|error| failed(&self.env_file, &error))?;
            written.push(self.env_file.clone());
        }
        Ok(written)
    }

    /// The env file as it is to be; `None`: as it is. Worked out before anything is written.
    fn text(&self, found: &Surroundings, draft: &Draft) -> Result<Option<String>, Failure> {
        let before = match files::read_bounded(&self.env_file, ENV_FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => {
                let (bytes, _) = read.map_err(|error| failed(&self.env_file, &error))?;
                // What is not text was refused when it was looked at.
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let mut edits: Vec<Edit> = Vec::new();
        for (name, value) in &draft.changes {
            if !is_secret(name) {
                edits.push(((*name).to_owned(), Some(value.reveal().to_owned())));
                continue;
            }
            edits.push(((*name).to_owned(), None));
            let has_file = found.secret_files.iter().any(|file| file.name == *name);
            // A unit has it as a credential, too. Commands by hand have not, and SIGHUP reads files only.
            if self.is_package || !has_file {
                let path = self.path_of(found, name).to_string_lossy().into_owned();
                edits.push((format!("{name}_FILE"), Some(path)));
            }
        }
        let after = env_edit::apply(&before, &edits).map_err(|refusal| {
            let what = match refusal {
                Refusal::Broken(error) => error.to_string(),
                Refusal::Long(line) => format!("line {line} begins a value of several lines: take it out first"),
            };
            Failure::Configuration(format!("{}: {what}", self.env_file.display()))
        })?;
        Ok((after != before).then_some(after))
    }
}

/// What the last event on standard error gives as its reason.
fn reason(errors: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let event: Option<Value> = errors.lines().last().and_then(|line| serde_json::from_str(line).ok());
    event.and_then(|event| event["reason"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Storage(format!("{}: {error}", path.display()))
}

/// Replaces a file. One that is there keeps owner and mode, and a copy stays beside it; a new one is for us alone, or for the
/// group of the service, too.
fn put(path: &Path, content: &str, group: Option<u32>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder, group)?;
    let (mode, owner) = match fs::metadata(path) {
        Ok(known) => {
            let (mode, owner) = (known.mode() & 0o777, (known.uid(), known.gid()));
            let (old, _) = files::read_bounded(path, ENV_FILE_BYTES_MAX)?;
            if old == content.as_bytes() {
                return Ok(());
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.trim_start_matches('.');
            // Hidden, so that no unit takes the copy of a secret for one.
            let copy = format!(".{name}.before-{}", SystemClock::new().wall().0 / 1000);
            files::replace_as(&folder.join(copy), &old, mode, owner)?;
            (mode, owner)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (if group.is_some() { 0o640 } else { 0o600 }, (users::own_id(), group.unwrap_or_else(users::own_group)))
        }
        Err(error) => return Err(error),
    };
    files::replace_as(path, content.as_bytes(), mode, owner)
}

fn make_folder(folder: &Path, group: Option<u32>) -> io::Result<()> {
    if folder.is_dir() || group.is_none() {
        return files::make_folder(folder);
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent, group)?;
    }
    DirBuilder::new().mode(0o700).create(folder)?;
    chown(folder, None, group)?;
    fs::set_permissions(folder, Permissions::from_mode(0o750))
}
