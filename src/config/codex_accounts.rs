//! The accounts that Codex may use: `RUSTY_PINCH_CODEX_ACCOUNTS`, or the one that needs no list.

use std::path::PathBuf;

use crate::config::codex_environment::{key_variable, value_of};
use crate::config::keys::{KeyError, Reader, Source, is_secret};
use crate::config::live_secret::LiveSecret;
use crate::config::secret::Secret;
use crate::config::values::is_variable;

/// The account of those who list none.
pub const IMPLICIT: &str = "default";

/// One account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name in files, logs and reports.
    pub id: String,
    /// The variable that holds its key, if one is named.
    pub key_variable: Option<String>,
    /// Its key, in the place that all copies of this account share.
    pub key: Option<LiveSecret>,
    /// Where its key came from.
    pub key_source: Source,
    /// Whether it may use the login that `codex login` has left in its folder.
    pub own_login: bool,
    /// Requests in one window; at least 1.
    pub requests_max: u64,
    /// Its model, if it has one of its own.
    pub model: Option<String>,
    /// Its CODEX_HOME, if it has one of its own.
    pub home: Option<PathBuf>,
}

/// All of them; never none.
///
/// # Errors
/// A count that does not fit. The list itself was checked before (`values.rs`).
pub fn read(reader: &Reader<'_>) -> Result<Vec<Account>, KeyError> {
    let requests_max = reader.number("RUSTY_PINCH_CODEX_ACCOUNT_MAX_REQUESTS")?;
    let listed = reader.text("RUSTY_PINCH_CODEX_ACCOUNTS").map(|(text, _)| text).unwrap_or_default();
    let listed = listed.split(';').filter(|account| !account.trim().is_empty());
    let accounts: Vec<Account> = listed.map(|account| one(reader, account, requests_max)).collect();
    Ok(if accounts.is_empty() { vec![implicit(reader, requests_max)] } else { accounts })
}

/// `id|key variable|requests|model|home`; what is left out has its default.
fn one(reader: &Reader<'_>, text: &str, requests_max: u64) -> Account {
    let mut fields = text.split('|').map(|field| Some(field.trim().to_owned()).filter(|field| !field.is_empty()));
    let mut next = || fields.next().flatten();
    let (id, key_variable) = (next().unwrap_or_default(), next());
    Account {
        id,
        key: key_variable.as_ref().and_then(|name| key(reader, name)),
        key_source: key_variable.as_ref().map_or(Source::Default, |name| source(reader, name)),
        own_login: key_variable.is_none(),
        key_variable,
        requests_max: next().and_then(|count| count.parse().ok()).unwrap_or(requests_max),
        model: next(),
        home: next().map(PathBuf::from),
    }
}

/// With a key if there is one, else with the login of the program, whichever the operator has set up.
fn implicit(reader: &Reader<'_>, requests_max: u64) -> Account {
    let name = key_variable(reader);
    let key = key(reader, &name);
    let named = key.is_some() || reader.text("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV").is_some();
    Account {
        id: IMPLICIT.to_owned(),
        own_login: key.is_none(),
        key,
        key_source: source(reader, &name),
        key_variable: named.then_some(name),
        requests_max,
        model: reader.text("RUSTY_PINCH_CODEX_ACCOUNT_MODEL").map(|(model, _)| model),
        home: None,
    }
}

fn key(reader: &Reader<'_>, name: &str) -> Option<LiveSecret> {
    let value = value_of(reader, name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| LiveSecret::new(Secret::new(value.to_owned())))
}

fn source(reader: &Reader<'_>, name: &str) -> Source {
    reader.0.get(name).map_or(Source::Default, |(_, source)| source.clone())
}

/// Names of the operator's own for the keys of accounts: secrets like those of the table. Asked before anything is checked,
/// so what cannot be the name of a variable is passed over.
pub fn own_names(reader: &Reader<'_>) -> Vec<String> {
    let named = reader.text("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV").map(|(name, _)| name);
    let accounts = reader.text("RUSTY_PINCH_CODEX_ACCOUNTS").map(|(accounts, _)| accounts).unwrap_or_default();
    let of_accounts = accounts.split(';').filter_map(|account| account.split('|').nth(1));
    let mut names: Vec<String> = of_accounts.map(|name| name.trim().to_owned()).chain(named).collect();
    names.retain(|name| !name.is_empty() && is_variable(name) && !is_secret(name));
    names.sort_unstable();
    names.dedup();
    names
}

/// The variables that hold keys of accounts, for those who check their values.
pub fn key_variables(reader: &Reader<'_>) -> Vec<String> {
    let accounts = read(reader).unwrap_or_default();
    accounts.into_iter().filter_map(|account| account.key_variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Environment;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], want: &str) {
        let of = |(name, value): &(&str, &str)| ((*name).to_owned(), ((*value).to_owned(), Source::Environment));
        let environment: Environment = pairs.iter().map(of).collect();
        let accounts = read(&Reader(&environment)).expect("they fit");
        let told = accounts.iter().map(|account| {
            let key = account.key.as_ref().map_or("-".to_owned(), |key| key.current().reveal().to_owned());
            let home = account.home.as_ref().map_or("-".into(), |home| home.to_string_lossy());
            let variable = account.key_variable.as_deref().unwrap_or("-");
            let (id, model) = (&account.id, account.model.as_deref().unwrap_or("-"));
            format!("{id} {variable} {key} {} {} {model} {home}", account.own_login, account.requests_max)
        });
        assert_eq!(told.collect::<Vec<_>>().join("; "), want);
    }

    const LIST: &str = "RUSTY_PINCH_CODEX_ACCOUNTS";
    const VARIABLE: &str = "RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV";

    #[test]
    fn own_names_are_those_of_variables_that_no_table_knows() {
        let list = "a|KEY_OF_A|5;b||9;c|../c;d| KEY_OF_D ;e|CODEX_API_KEY;f|KEY_OF_A;g";
        let pairs = [(LIST, list), (VARIABLE, "MINE")];
        let of = |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Source::Environment));
        let environment: Environment = pairs.map(of).into();
        assert_eq!(own_names(&Reader(&environment)), ["KEY_OF_A", "KEY_OF_D", "MINE"]);
    }

    #[test]
    fn accounts_are_listed_or_there_is_one() {
        check(&[], "default - - true 200 - -");
        check(&[("CODEX_API_KEY", " k ")], "default CODEX_API_KEY k false 200 - -");
        check(&[(VARIABLE, "MY"), ("MY", "m"), ("CODEX_API_KEY", "k")], "default MY m false 200 - -");
        check(&[(VARIABLE, "MY"), ("CODEX_API_KEY", "k")], "default MY - true 200 - -");
        check(&[("RUSTY_PINCH_CODEX_ACCOUNT_MODEL", "m"), (LIST, " ; ")], "default - - true 200 m -");
        let max = ("RUSTY_PINCH_CODEX_ACCOUNT_MAX_REQUESTS", "9");
        let list = (LIST, "a|KEY|5|gpt|/h/a; b ||| ;c|GONE||m|");
        check(
            &[list, max, ("KEY", "k"), ("CODEX_API_KEY", "x"), ("RUSTY_PINCH_CODEX_ACCOUNT_MODEL", "other")],
            "a KEY k false 5 gpt /h/a; b - - true 9 - -; c GONE - false 9 m -",
        );
    }
}
