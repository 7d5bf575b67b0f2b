//! Words of the program itself: its complaints about its configuration, and the lines of its log.

use crate::harness::{Server, run};

/// The configuration: the parser may say what it misses in a text, and no type of the program.
#[test]
fn toml() {
    for text in [
        "[server",
        "a = ",
        "a = b",
        "[server]\nworkers = \"x\"",
        "[server]\nworkers = -1",
        "[server]\nlisten = 7",
        "[server]\nlisten = [\"x\"]",
        "[server]\ndrain = 7",
        "[server]\ndrain = \"x\"",
        "[upload]\nimage_max = \"x\"",
        "[auth]\npublish = \"all\"",
        "[auth]\npublic_read = \"yes\"",
        "[fetch]\nallow = [\"x\"]",
        "[log]\nlevel = \"loud\"",
        "[inspect]\noff = [\"x\"]",
        "[server]\ncors = [\"*\"]",
        "[lxd]\ninstances = [7]",
    ] {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), text).unwrap();
        let (code, _, said) = run(&["config", "check", "--config", config.path().to_str().unwrap()]);
        assert_ne!(code, 0, "{text}");
        for word in
            ["invalid type", "invalid value", "unknown variant", "expected usize", "u64", "struct", "serde", "Error"]
        {
            assert!(!said.contains(word), "{text}: {said}");
        }
        assert!(!said.trim_end().ends_with(':'), "{text}: {said}");
    }
}

/// A line says what happened, and nothing is left open at its end.
#[test]
fn lines_of_the_log_are_whole() {
    for access in [true, false] {
        let server = Server::configured(&format!("[log]\nlevel = \"debug\"\naccess = {access}\n"));
        let image = server.add("a", &[], b"bytes");
        let path = format!("/images/{}", image["_id"].as_str().unwrap());
        for (method, path, headers, body) in [
            ("GET", "/images/nonsense", &[][..], ""),
            ("GET", "/v2/images/nonsense", &[], ""),
            ("GET", "/v3/users/nonsense", &[], ""),
            ("GET", "/1.0/images/nonsense", &[], ""),
            ("GET", "/streams/v1/nonsense", &[], ""),
            ("POST", "/v2/images", &[], "{"),
            ("POST", "/images", &[], ""),
            ("GET", &path, &[("Range", "bytes=99-")], ""),
            ("GET", "/images", &[("Origin", "http://evil.example")], ""),
            ("POST", "/images", &[("Content-Type", "multipart/form-data; boundary=b")], "--b"),
        ] {
            server.send(method, path, headers, body.as_bytes());
        }
        std::fs::remove_dir_all(server.dir.join("images")).unwrap();
        server.get(&path);
        let log = server.log();
        assert!(log.lines().count() > 3, "{log}");
        for line in log.lines() {
            let text = line.trim_end();
            assert!(!text.ends_with(':'), "{line}");
            assert!(
                !line.contains("request_id= ") && !line.contains("request_id=\"\"") && !line.contains("request_id=}"),
                "{line}"
            );
            assert!(!line.contains(": :"), "{line}");
        }
    }
}
