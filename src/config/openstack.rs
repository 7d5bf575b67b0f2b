//! Settings of another cloud, as OpenStack's own clients read them: variables of the environment (`OS_…`) over a cloud of a
//! `clouds.yaml`. A setting that would be followed there and can't be here is refused, not left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// Ways to log in.
const AUTH_TYPES: [&str; 7] =
    ["password", "v3password", "token", "v3token", "v3applicationcredential", "admin_token", "none"];

/// Settings that can't be followed, with what to do instead.
const REFUSED: [(&str, &str); 3] = [
    ("cert", "client certificates are not used: log in with a password, a token or an application credential"),
    ("key", "client certificates are not used: log in with a password, a token or an application credential"),
    ("profile", "profiles of vendors are not read: write their settings, such as auth_url, into the cloud itself"),
];

/// Settings by their names, such as `auth_url` and `username`.
pub type CloudSettings = BTreeMap<String, String>;

/// Reads the settings in force, with those of the cloud `name` or `OS_CLOUD` in the first `clouds.yaml` that is found, and in the
/// `secure.yaml` beside it.
///
/// # Errors
/// The cloud is named, and no file has it; a setting that can't be followed.
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
    let secure = variables.remove("client_secure_file").map(PathBuf::from);
    let named = variables.remove("cloud");
    let Some(name) = name.map(ToOwned::to_owned).or(named) else { return checked(today(variables)) };
    let file = files.iter().find(|file| file.is_file());
    let file = file.ok_or_else(|| ConfigError(format!("the cloud '{name}' is named, and there is no clouds.yaml")))?;
    let settings = cloud_in(file, &name)?;
    let mut settings = settings.ok_or_else(|| ConfigError(format!("{}: it has no cloud '{name}'", file.display())))?;
    let secure = secure.unwrap_or_else(|| file.with_file_name("secure.yaml"));
    if secure.is_file() {
        settings.extend(cloud_in(&secure, &name)?.unwrap_or_default());
    }
    // What is given for this one command comes first.
    settings.extend(variables);
    checked(today(settings))
}

/// The settings of a cloud in a file, if it has the cloud.
fn cloud_in(file: &Path, name: &str) -> Result<Option<CloudSettings>, ConfigError> {
    let wrong = |what: &dyn std::fmt::Display| ConfigError(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let yaml: Value = serde_saphyr::from_str(&text).map_err(|_| wrong(&"it can't be parsed as YAML"))?;
    let cloud = yaml.get("clouds").and_then(|clouds| clouds.get(name)).and_then(Value::as_object);
    Ok(cloud.map(|cloud| {
        let auth = cloud.get("auth").and_then(Value::as_object);
        let pairs = cloud.iter().chain(auth.into_iter().flatten());
        pairs.filter_map(|(key, value)| Some((key.clone(), text_of(value)?))).collect()
    }))
}

/// The settings, if all of them can be followed.
fn checked(settings: CloudSettings) -> Result<CloudSettings, ConfigError> {
    let get = |name: &str| settings.get(name).map(String::as_str);
    let refuse = |name: &str, why: &str| Err(ConfigError(format!("{name} (OS_{}): {why}", name.to_ascii_uppercase())));
    if let Some((name, why)) = REFUSED.into_iter().find(|(name, _)| get(name).is_some()) {
        return refuse(name, why);
    }
    let is = |name: &str, words: [&str; 4]| {
        get(name).is_some_and(|value| words.iter().any(|word| value.eq_ignore_ascii_case(word)))
    };
    let always = "certificates of servers are always verified: name the file of the cloud's CA by cacert (OS_CACERT)";
    if is("verify", ["false", "no", "off", "0"]) {
        return refuse("verify", always);
    }
    if is("insecure", ["true", "yes", "on", "1"]) {
        return refuse("insecure", always);
    }
    match get("auth_type") {
        Some(other) if !AUTH_TYPES.contains(&other) => {
            refuse("auth_type", &format!("'{other}' is not one of {}", AUTH_TYPES.join(", ")))
        }
        _ => Ok(settings),
    }
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
    fn secrets_may_lie_in_a_file_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let (clouds, secure) = (dir.path().join("clouds.yaml"), dir.path().join("secure.yaml"));
        std::fs::write(&clouds, YAML.replace("      password: \"1\"\n", "")).unwrap();
        let read = |environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            from_parts(Some("lab"), environment, vec![clouds.clone()]).map_err(|error| error.to_string())
        };
        assert_eq!(read(&[]).unwrap().get("password"), None);
        std::fs::write(&secure, "clouds:\n  other: {}\n").unwrap();
        assert_eq!(read(&[]).unwrap().get("password"), None);
        std::fs::write(&secure, "clouds:\n  lab:\n    auth:\n      password: hidden\n").unwrap();
        assert_eq!((&*read(&[]).unwrap()["password"], &*read(&[]).unwrap()["username"]), ("hidden", "me"));
        assert_eq!(read(&[("OS_PASSWORD", "given")]).unwrap()["password"], "given");
        std::fs::write(&secure, "clouds: [hidden").unwrap();
        let said = read(&[]).unwrap_err();
        assert!(said.contains("secure.yaml") && !said.contains("hidden"), "{said}");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "clouds: {lab: {auth: {password: there}}}").unwrap();
        assert_eq!(read(&[("OS_CLIENT_SECURE_FILE", elsewhere.to_str().unwrap())]).unwrap()["password"], "there");
    }

    #[test]
    fn what_can_not_be_followed_is_refused() {
        for (name, value, word) in [
            ("OS_INSECURE", "True", "OS_CACERT"),
            ("OS_CERT", "/c.pem", "client certificates"),
            ("OS_KEY", "/k.pem", "client certificates"),
            ("OS_AUTH_TYPE", "v3oidcpassword", "v3oidcpassword"),
            ("OS_PROFILE", "vendor", "auth_url"),
        ] {
            let said = read(None, &[(name, value)], YAML).unwrap_err();
            assert!(said.contains(word) && said.contains(name), "{said}");
        }
        let unverified = YAML.replace("verify: true", "verify: false");
        assert!(read(Some("lab"), &[], &unverified).unwrap_err().contains("cacert"));
        for good in [("OS_INSECURE", "0"), ("OS_AUTH_TYPE", "v3token"), ("OS_TRUST_ID", "t")] {
            assert!(read(None, &[good], YAML).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_cloud_that_is_not_there_is_named() {
        assert!(read(Some("other"), &[], YAML).unwrap_err().contains("no cloud 'other'"));
        assert!(read(Some("lab"), &[], "clouds: [s3cret").unwrap_err().contains("YAML"));
        let none = from_parts(Some("lab"), std::iter::empty(), Vec::new()).unwrap_err();
        assert!(none.to_string().contains("no clouds.yaml"), "{none}");
    }
}
