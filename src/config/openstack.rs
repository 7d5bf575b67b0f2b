//! Settings of another cloud, as OpenStack's own clients read them: variables of the environment (`OS_…`) over a cloud of a
//! `clouds.yaml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::ConfigError;

/// Prefix of the variables.
const PREFIX: &str = "OS_";

/// Older names of settings, with those of today.
const OLDER: [(&str, &str); 6] = [
    ("tenant_name", "project_name"),
    ("tenant_id", "project_id"),
    ("auth_token", "token"),
    ("url", "endpoint"),
    ("image_url", "image_endpoint_override"),
    ("endpoint_override", "image_endpoint_override"),
];

/// Settings by their names, such as `auth_url` and `username`.
pub type CloudSettings = BTreeMap<String, String>;

/// Reads the settings in force, with those of the cloud `name` or `OS_CLOUD` in the first `clouds.yaml` that is found.
///
/// # Errors
/// The cloud is named, and no file has it.
pub fn cloud_settings(name: Option<&str>) -> Result<CloudSettings, ConfigError> {
    let variables = std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into()));
    let home = dirs::config_dir().map(|dir| dir.join("openstack/clouds.yaml"));
    let files = [Some("clouds.yaml".into()), home, Some("/etc/openstack/clouds.yaml".into())];
    from_parts(name, variables, files.into_iter().flatten().collect())
}

fn from_parts(
    name: Option<&str>,
    environment: impl Iterator<Item = (String, String)>,
    mut files: Vec<PathBuf>,
) -> Result<CloudSettings, ConfigError> {
    let environment = environment.filter(|(_, value)| !value.is_empty());
    let mut variables: CloudSettings =
        environment.filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_ascii_lowercase(), value))).collect();
    if let Some(file) = variables.remove("client_config_file") {
        files.insert(0, file.into());
    }
    let named = variables.remove("cloud");
    let Some(name) = name.map(ToOwned::to_owned).or(named) else { return Ok(today(variables)) };
    let file = files.iter().find(|file| file.is_file());
    let file = file.ok_or_else(|| ConfigError(format!("the cloud '{name}' is named, and there is no clouds.yaml")))?;
    let wrong = |what: &dyn std::fmt::Display| ConfigError(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let yaml: Value = serde_saphyr::from_str(&text).map_err(|_| wrong(&"it can't be parsed as YAML"))?;
    let cloud = yaml.get("clouds").and_then(|clouds| clouds.get(&name));
    let cloud = cloud.and_then(Value::as_object).ok_or_else(|| wrong(&format!("it has no cloud '{name}'")))?;
    let auth = cloud.get("auth").and_then(Value::as_object);
    let pairs = cloud.iter().chain(auth.into_iter().flatten());
    let mut settings: CloudSettings = pairs.filter_map(|(key, value)| Some((key.clone(), text_of(value)?))).collect();
    // What is given for this one command comes first.
    settings.extend(variables);
    Ok(today(settings))
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The settings under the names of today.
fn today(mut settings: CloudSettings) -> CloudSettings {
    for (older, name) in OLDER {
        if let Some(value) = settings.remove(older) {
            settings.entry(name.to_owned()).or_insert(value);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: Option<&str>, environment: &[(&str, &str)], yaml: &str) -> Result<CloudSettings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        from_parts(name, environment, vec![file.path().into()]).map_err(|error| error.to_string())
    }

    const YAML: &str = "clouds:\n  lab:\n    region_name: One\n    verify: true\n    auth:\n      auth_url: http://k\n      username: me\n      password: \"1\"\n";

    #[test]
    fn the_environment_goes_over_the_file() {
        let environment = [("OS_USERNAME", "you"), ("OS_TENANT_NAME", "p"), ("OS_TOKEN", ""), ("HOME", "/")];
        let settings = read(Some("lab"), &environment, YAML).unwrap();
        let get = |name: &str| settings.get(name).map(String::as_str);
        assert_eq!(
            (get("username"), get("password"), get("auth_url"), get("region_name"), get("project_name")),
            (Some("you"), Some("1"), Some("http://k"), Some("One"), Some("p"))
        );
        assert_eq!((get("token"), get("tenant_name"), get("home")), (None, None, None));
        let without = read(None, &[("OS_AUTH_URL", "http://other")], YAML).unwrap();
        assert_eq!(without.into_iter().collect::<Vec<_>>(), [("auth_url".into(), "http://other".into())]);
        assert_eq!(read(None, &[("OS_CLOUD", "lab")], YAML).unwrap()["username"], "me");
    }

    #[test]
    fn a_cloud_that_is_not_there_is_named() {
        assert!(read(Some("other"), &[], YAML).unwrap_err().contains("no cloud 'other'"));
        assert!(read(Some("lab"), &[], "clouds: [s3cret").unwrap_err().contains("YAML"));
        let none = from_parts(Some("lab"), std::iter::empty(), Vec::new()).unwrap_err();
        assert!(none.to_string().contains("no clouds.yaml"), "{none}");
    }
}
