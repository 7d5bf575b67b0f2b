//! The configuration from its parts.

use super::*;
use crate::image::Format;

fn with(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let written = file.map(|text| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    });
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::from_parts(written.as_ref().map(|file| file.path()), environment)
}

fn refusal(file: Option<&str>, environment: &[(&str, &str)]) -> String {
    with(file, environment).unwrap_err().to_string()
}

#[test]
fn the_shipped_file_gives_the_documented_defaults() {
    let config = with(None, &[]).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:4568".parse().unwrap(), "[::1]:4568".parse().unwrap()]);
    assert_eq!(config.server.listen_tls, ["127.0.0.1:8443".parse().unwrap()]);
    assert_eq!(config.catalog.cache.bytes(), 64 << 20);
    assert_eq!(config.upload.image_max.bytes(), 1 << 40);
    assert_eq!(config.auth.date_window.duration().as_secs(), 900);
    assert_eq!(config.auth.publish, Publishers::Owner);
    assert_eq!(with(None, &[("VISOR__AUTH__PUBLISH", "admin")]).unwrap().auth.publish, Publishers::Admin);
    assert!(config.inspect.off.is_empty());
    assert!(config.stores.file.import_dirs.is_empty() && config.fetch.allow.is_empty());
}

#[test]
fn what_is_shown_can_be_loaded_and_says_the_same() {
    let config = with(None, &[("VISOR__UPLOAD__IMAGE_MAX", "3 GiB"), ("VISOR__INSPECT__OFF", "iso, img")]).unwrap();
    assert_eq!(config.inspect.off.iter().map(|name| name.format()).collect::<Vec<_>>(), [Format::Iso, Format::Raw]);
    let again = with(Some(&config.show().unwrap()), &[]).unwrap();
    assert_eq!(config.show().unwrap(), again.show().unwrap());
}

#[test]
fn the_file_goes_over_the_default_and_the_environment_over_the_file() {
    let file = "[upload]\nuploads_max = 3\n[catalog]\ncache = \"1 MiB\"";
    let environment =
        [("VISOR__UPLOAD__UPLOADS_MAX", "5"), ("VISOR__SERVER__LISTEN", "127.0.0.1:1, [::1]:2"), ("HOME", "/")];
    let config = with(Some(file), &environment).unwrap();
    assert_eq!((config.upload.uploads_max, config.catalog.cache.bytes()), (5, 1 << 20));
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.upload.free_min.bytes(), 256 << 20);
}

#[test]
fn what_was_chosen_is_told_from_the_default_even_if_it_is_the_same() {
    assert!(!with(Some("[server]\nworkers = 1"), &[]).unwrap().listen_tls_chosen);
    assert!(with(Some("[server]\nlisten_tls = [\"127.0.0.1:8443\"]"), &[]).unwrap().listen_tls_chosen);
    assert!(with(None, &[("VISOR__SERVER__LISTEN_TLS", "127.0.0.1:1")]).unwrap().listen_tls_chosen);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let text = refusal(Some("[server]\nlisen = []"), &[]);
    assert!(text.contains("server.lisen") && text.contains("server.listen"), "{text}");
    let text = refusal(Some("[sever]\n"), &[]);
    assert!(text.contains("sever") && text.contains("server"), "{text}");
    let text = refusal(None, &[("VISOR__CATALOG__CASHE", "1")]);
    assert!(text.contains("VISOR__CATALOG__CASHE") && text.contains("VISOR__CATALOG__CACHE"), "{text}");
    assert!(refusal(Some("server = 3"), &[]).contains("server"));
}

#[test]
fn wrong_values_are_named() {
    for (file, word) in [
        ("[catalog]\ncache = \"much\"", "much"),
        ("[server]\ndrain = \"soon\"", "soon"),
        ("[server]\nlisten = [\"here\"]", "socket address"),
        ("[upload]\nuploads_max = \"x\"", "uploads_max"),
        ("[auth]\npublish = \"members\"", "`owner` or `admin`"),
        ("[inspect]\noff = [\"raw\", \"floppy\"]", "\"floppy\" is not a format"),
        ("not toml at all", "line 1"),
    ] {
        let text = refusal(Some(file), &[]);
        assert!(text.contains(word), "{text}");
    }
    assert!(refusal(None, &[("VISOR__CLIENT__PORT", "http")]).contains("VISOR__CLIENT__PORT"));
}

#[test]
fn a_file_with_a_secret_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    let load = |text: &str, mode| {
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        Config::from_parts(Some(file.path()), std::iter::empty()).map_err(|error| error.to_string())
    };
    assert!(load("[client]\nsecret_key = \"s3cret\"", 0o600).is_ok());
    assert!(load("[client]\nsecret_key = \"s3cret\"", 0o644).unwrap_err().contains("chmod 600"));
    assert!(load("[client]\naccess_key = \"me\"", 0o644).is_ok());
    assert!(!load("[client]\nsecret_key = 12345", 0o600).unwrap_err().contains("12345"));
}

#[test]
fn what_could_not_work_is_refused() {
    assert!(refusal(Some("[server]\nlisten = []\nlisten_tls = []"), &[]).contains("server.listen"));
    for lifetime in ["0s", "2y"] {
        let text = refusal(Some(&format!("[auth]\ntoken_lifetime = \"{lifetime}\"")), &[]);
        assert!(text.contains("auth.token_lifetime"), "{text}");
    }
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let path = file.path().to_str().unwrap();
    let config = with(None, &[("VISOR__CLIENT__SECRET_KEY_FILE", path)]).unwrap();
    assert_eq!(config.client.secret_key.reveal(), "s3cret");
    assert!(!config.show().unwrap().contains("s3cret"));
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refusal(None, &[("VISOR__CLIENT__SECRET_KEY_FILE", path)]).contains("chmod 600"));
}
