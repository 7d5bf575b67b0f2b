//! Root file systems that the operator lends, as LXD's clients list instances.

use serde_json::{Value, json};

use crate::harness::Server;

#[test]
fn what_is_lent_is_listed_with_state_and_snapshots() {
    let lent = tempfile::tempdir().unwrap();
    for path in ["rootfs", "snapshots/two/rootfs", "snapshots/one/rootfs", "snapshots/none", "snapshots/.hidden/rootfs"]
    {
        std::fs::create_dir_all(lent.path().join(path)).unwrap();
    }
    std::os::unix::fs::symlink(lent.path(), lent.path().join("snapshots/linked")).unwrap();
    let path = lent.path().to_str().unwrap();
    let config = format!(
        "[lxd]\ninstances = [{{ name = \"web\", path = \"{path}\" }}, {{ name = \"gone\", path = \"/nonexistent\" }}]\n"
    );
    let server = Server::configured(&config);
    assert!(server.lxd("/1.0")["api_extensions"].as_array().unwrap().contains(&json!("container_full")));
    for kind in ["instances", "containers"] {
        let list = format!("/1.0/{kind}");
        assert_eq!(server.lxd(&list), json!([format!("{list}/gone"), format!("{list}/web")]));
        let whole = server.lxd(&format!("{list}?recursion=2&filter=name+eq+%28%5Eweb%24%7C%5Ewe.*%29"));
        let [web] = &whole.as_array().unwrap()[..] else { panic!("{whole}") };
        assert_eq!((&web["name"], &web["status"], &web["backups"]), (&json!("web"), &json!("Stopped"), &json!([])));
        assert_eq!(web["state"], server.lxd(&format!("{list}/web/state")));
        assert_eq!(web["state"]["status_code"], 102);
        let names =
            |list: &Value| -> Vec<Value> { list.as_array().unwrap().iter().map(|one| one["name"].clone()).collect() };
        assert_eq!(names(&web["snapshots"]), ["one", "two"]);
        assert_eq!(names(&server.lxd(&format!("{list}/web/snapshots?recursion=1"))), ["one", "two"]);
        assert_eq!(server.lxd(&format!("{list}/web/snapshots"))[0], format!("{list}/web/snapshots/one"));
        assert_eq!(names(&server.lxd(&format!("{list}?recursion=2"))), ["gone", "web"]);
        assert_eq!(server.lxd(&format!("{list}?recursion=1&filter=name+eq+other")), json!([]));
        for rest in ["none/state", "none/snapshots", "gone/snapshots"] {
            assert_eq!(
                server.refused(&server.get(&format!("{list}/{rest}"))),
                (404, "Instance not found".into()),
                "{rest}"
            );
        }
        assert_eq!(server.get(&format!("{list}?filter=name+eq")).status, 400);
    }
}
