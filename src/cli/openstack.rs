//! `visor use openstack`: settings of OpenStack's clients for a server, as `clouds.yaml` and as lines for a shell.

use serde_json::{Map, Value, json};

use super::failure::{Exit, Failure};
use super::image::PlaceArgs;
use super::{Globals, print};
use crate::config::Client;

/// Name of the cloud in the file.
const CLOUD: &str = "visor";

/// Settings of `clouds.yaml`, each with its name in the environment.
struct Cloud {
    settings: Vec<(&'static str, &'static str, String)>,
    /// Settings below `auth`.
    auth: Vec<(&'static str, &'static str, String)>,
}

impl Cloud {
    fn of(config: &Client, url: &str) -> Result<Self, Failure> {
        let key = &config.access_key;
        let mut settings = Vec::new();
        let mut auth = Vec::new();
        if key.is_empty() {
            settings.push(("auth_type", "OS_AUTH_TYPE", "none".to_owned()));
            auth.push(("endpoint", "OS_ENDPOINT", url.to_owned()));
        } else {
            settings.push(("auth_type", "OS_AUTH_TYPE", "password".to_owned()));
            settings.push(("region_name", "OS_REGION_NAME", "RegionOne".to_owned()));
            settings.push(("identity_api_version", "OS_IDENTITY_API_VERSION", "3".to_owned()));
            auth.push(("auth_url", "OS_AUTH_URL", format!("{url}/v3")));
            auth.push(("username", "OS_USERNAME", key.clone()));
            let secret = config.secret_key.reveal();
            if !secret.is_empty() {
                auth.push(("password", "OS_PASSWORD", secret.to_owned()));
            }
            auth.push(("project_name", "OS_PROJECT_NAME", key.clone()));
            auth.push(("user_domain_name", "OS_USER_DOMAIN_NAME", "Default".to_owned()));
            auth.push(("project_domain_name", "OS_PROJECT_DOMAIN_NAME", "Default".to_owned()));
        }
        if url.starts_with("https:") && !config.ca_file.as_os_str().is_empty() {
            let file = std::path::absolute(&config.ca_file).map_err(Failure::general)?;
            settings.push(("cacert", "OS_CACERT", file.to_string_lossy().into_owned()));
        }
        // A line break would begin another setting.
        if settings.iter().chain(&auth).any(|(_, _, value)| value.chars().any(char::is_control)) {
            return Err(Failure::new(Exit::Usage, "address, keys and ca_file must not contain control characters"));
        }
        Ok(Self { settings, auth })
    }

    /// Writes `clouds.yaml`. Texts in quotes have JSON's form, which YAML reads too.
    fn yaml(&self) -> String {
        let mut lines = vec!["clouds:".to_owned(), format!("  {CLOUD}:")];
        lines.extend(self.settings.iter().map(|(name, _, value)| format!("    {name}: {}", json!(value))));
        lines.push("    auth:".to_owned());
        lines.extend(self.auth.iter().map(|(name, _, value)| format!("      {name}: {}", json!(value))));
        lines.join("\n")
    }

    /// Writes the settings for a shell.
    fn exports(&self) -> Vec<String> {
        let all = self.settings.iter().chain(&self.auth);
        all.map(|(_, name, value)| format!("export {name}='{}'", value.replace('\'', r"'\''"))).collect()
    }

    /// Writes the settings for a program.
    fn json(&self) -> Value {
        let object = |pairs: &[(&str, &str, String)]| -> Map<String, Value> {
            pairs.iter().map(|(name, _, value)| ((*name).to_owned(), json!(value))).collect()
        };
        let mut cloud = object(&self.settings);
        cloud.insert("auth".to_owned(), object(&self.auth).into());
        let all = self.settings.iter().chain(&self.auth);
        let environment: Map<_, _> = all.map(|(_, name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({ "clouds": { CLOUD: cloud }, "environment": environment })
    }
}

/// Prints the settings. Only data goes to standard output, which can be redirected to the file.
pub(super) fn run(globals: &Globals, place: &PlaceArgs, shell: bool) -> Result<(), Failure> {
    let config = globals.load()?.client;
    let cloud = Cloud::of(&config, &place.url(&config)?)?;
    if globals.json {
        return print::line(cloud.json());
    }
    if shell {
        return print::line(cloud.exports().join("\n"));
    }
    print::line(cloud.yaml())?;
    print::line("# Variables for a shell ('visor use openstack --shell' prints only these lines):")?;
    cloud.exports().iter().try_for_each(|line| print::line(format!("# {line}")))?;
    eprintln!(
        "Save this as clouds.yaml, here or in ~/.config/openstack, with mode 0600 if it has a password; then run:"
    );
    eprintln!("  openstack --os-cloud {CLOUD} image list");
    if config.access_key.is_empty() {
        eprintln!(
            "This is for a server without accounts. For a server with accounts, set client.access_key and client.secret_key."
        );
    } else if config.secret_key.reveal().is_empty() {
        eprintln!("client.secret_key is not set, so there is no password in it: clients will ask for one.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Secret;

    fn client(key: &str, secret: &str, ca: &str) -> Client {
        Client {
            address: "lab".into(),
            port: 4568,
            access_key: key.into(),
            secret_key: Secret::new(secret.into()),
            secret_key_file: "".into(),
            ca_file: ca.into(),
        }
    }

    #[test]
    fn without_keys_there_is_nothing_to_log_in_with() {
        let cloud = Cloud::of(&client("", "unused", "/ca"), "http://lab:4568").unwrap();
        assert_eq!(
            cloud.yaml(),
            "clouds:\n  visor:\n    auth_type: \"none\"\n    auth:\n      endpoint: \"http://lab:4568\""
        );
        assert_eq!(cloud.exports(), ["export OS_AUTH_TYPE='none'", "export OS_ENDPOINT='http://lab:4568'"]);
    }

    #[test]
    fn keys_are_user_and_password() {
        let cloud = Cloud::of(&client("alice", "s'e\"c$ret", "/ca.pem"), "https://lab:8443").unwrap();
        let yaml = cloud.yaml();
        for line in [
            "    cacert: \"/ca.pem\"",
            "      auth_url: \"https://lab:8443/v3\"",
            "      username: \"alice\"",
            "      password: \"s'e\\\"c$ret\"",
            "      project_name: \"alice\"",
        ] {
            assert!(yaml.lines().any(|l| l == line), "{line}: {yaml}");
        }
        assert!(cloud.exports().contains(&r#"export OS_PASSWORD='s'\''e"c$ret'"#.to_owned()));
        assert_eq!(cloud.json()["clouds"]["visor"]["auth"]["password"], "s'e\"c$ret");
        assert_eq!(cloud.json()["environment"]["OS_CACERT"], "/ca.pem");
        let without = Cloud::of(&client("alice", "", ""), "http://lab:4568").unwrap().yaml();
        assert!(!without.contains("password:") && !without.contains("cacert"), "{without}");
    }

    #[test]
    fn no_value_becomes_a_line_of_its_own() {
        assert!(Cloud::of(&client("alice", "a\nrm -rf", ""), "http://lab").is_err());
    }
}
