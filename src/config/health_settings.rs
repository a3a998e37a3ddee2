//! [`HealthSettings`]: where the health endpoint listens, and who may ask it.

use core::net::IpAddr;

use crate::config::keys::{KeyError, Reader};
use crate::config::settings::{Credential, credential};

const ADDRESS: &str = "RUSTY_PINCH_HEALTH_ADDR";

/// Settings of the health endpoint.
#[derive(Clone, Debug)]
pub struct HealthSettings {
    /// Host and port; `None`: there is no endpoint.
    pub address: Option<String>,
    /// What everybody has to bring who asks.
    pub token: Option<Credential>,
}

impl HealthSettings {
    /// Reads and checks them.
    ///
    /// # Errors
    /// When others could ask without a token.
    pub fn load(reader: &Reader<'_>) -> Result<HealthSettings, KeyError> {
        let token = credential(reader, "RUSTY_PINCH_HEALTH_TOKEN");
        let Some((address, source)) = reader.text(ADDRESS) else { return Ok(HealthSettings { address: None, token }) };
        if token.is_none() && !is_own(&address) {
            let problem = "is an address that others can reach: set RUSTY_PINCH_HEALTH_TOKEN, too".to_owned();
            return Err(KeyError { name: ADDRESS.to_owned(), source, problem });
        }
        Ok(HealthSettings { address: Some(address), token })
    }
}

/// Whether only this machine can reach it.
fn is_own(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(|c| matches!(c, '[' | ']'));
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Environment, Source};

    #[test]
    fn only_this_machine_may_ask_without_a_token() {
        let load = |address: &str, token: &str| {
            let pairs = [(ADDRESS, address), ("RUSTY_PINCH_HEALTH_TOKEN", token)];
            let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let environment: Environment =
                set.map(|(name, value)| (name.to_owned(), (value.to_owned(), Source::Environment))).collect();
            HealthSettings::load(&Reader(&environment)).map_err(|error| error.to_string())
        };
        for address in ["127.0.0.1:9464", "[::1]:9464", "localhost:9464", "127.1.2.3:1"] {
            assert_eq!(load(address, "").expect("fits").address.as_deref(), Some(address));
        }
        for address in ["0.0.0.0:9464", "[::]:9464", "192.168.1.5:9464", "raspberrypi:9464"] {
            assert!(load(address, "").is_err_and(|error| error.contains("HEALTH_TOKEN")), "{address}");
            assert!(load(address, "secret").is_ok_and(|settings| settings.token.is_some()), "{address}");
        }
        assert!(load("", "").is_ok_and(|settings| settings.address.is_none()));
    }
}
