//! A namenode or datanode that misbehaves, goes away or points elsewhere.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::fault_tests::{blamed, fake, method, store, there};
use super::hdfs_fake::{Hdfs, exception};
use super::tests::{Stores, feed, get, hdfs_at, key, put, sample};
use super::*;
use crate::fetch::fake::{Say, answer};

#[tokio::test]
async fn nobody_is_sent_to_where_this_server_may_not_go() {
    // Another address of this machine, which the namenode does not have.
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}/webhdfs/v1/x?op=CREATE", listener.local_addr().unwrap());
    for noredirect in [true, false] {
        let place = elsewhere.clone();
        let hdfs = Hdfs::disturbed(Arc::new(move |namenode, asked, _| {
            let bytes = ["CREATE", "OPEN", "APPEND"].iter().any(|op| asked.target().contains(&format!("op={op}")));
            (namenode && bytes).then(|| {
                if noredirect && asked.target().contains("noredirect") {
                    answer("200 OK", "", format!("{{\"Location\":\"{place}\"}}"))
                } else {
                    answer("307 Temporary Redirect", &format!("Location: {place}\r\n"), "")
                }
            })
        }));
        let (Stores { remote, .. }, key) = (hdfs_at(&hdfs), key());
        assert!(blamed(put(&remote, &key, b"x", true).await.unwrap_err()).contains("may not reach"));
        hdfs.files.lock().unwrap().insert(format!("/visor/all images/{key}"), Some(vec![1]));
        assert!(blamed(get(&remote, &key).await.unwrap_err()).contains("may not reach"));
    }
    assert!(listener.accept().is_err(), "no connection was made");

    // What is signed for one server goes to no other, not even one that it could reach.
    let other = fake(|_, _| there(1));
    let place = other.url("images/x");
    let moved = fake(move |_, _| answer("307 Temporary Redirect", &format!("Location: {place}\r\n"), ""));
    assert!(blamed(store(&moved).remote.stat(&key()).await.unwrap_err()).contains("elsewhere"));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn bytes_are_appended_once_whatever_becomes_of_the_answer() {
    for heard in [true, false] {
        let lost = Arc::new(AtomicBool::new(false));
        let hdfs = Hdfs::disturbed(Arc::new(move |namenode, asked, files| {
            if namenode || method(asked) != "POST" || lost.swap(true, Ordering::SeqCst) {
                return None;
            }
            if heard {
                let mut files = files.lock().unwrap();
                let staged = files.iter_mut().find(|(path, _)| path.contains(".staging/")).unwrap().1;
                staged.as_mut().unwrap().extend_from_slice(&asked.body);
            }
            Some(Say::Bytes(Vec::new()))
        }));
        let (Stores { remote, .. }, key, bytes) = (hdfs_at(&hdfs), key(), sample(20 << 20));
        put(&remote, &key, &bytes, false).await.unwrap();
        assert!(get(&remote, &key).await.unwrap() == bytes, "{heard}");
    }
}

#[tokio::test]
async fn a_namenode_that_stands_by_is_asked_again() {
    let asked_before = AtomicUsize::new(0);
    let hdfs = Hdfs::disturbed(Arc::new(move |namenode, _, _| {
        let standby = namenode && asked_before.fetch_add(1, Ordering::SeqCst) < 2;
        standby.then(|| exception("403 Forbidden", "StandbyException"))
    }));
    let (Stores { remote, .. }, key) = (hdfs_at(&hdfs), key());
    put(&remote, &key, b"x", true).await.unwrap();
    assert_eq!(get(&remote, &key).await.unwrap(), b"x");

    // A rename whose answer was lost has happened all the same.
    let lost = AtomicBool::new(false);
    let hdfs = Hdfs::disturbed(Arc::new(move |namenode, asked, files| {
        let renames = namenode && asked.target().contains("op=RENAME") && !lost.swap(true, Ordering::SeqCst);
        renames.then(|| {
            let mut files = files.lock().unwrap();
            let staged = files.keys().find(|path| path.contains(".staging/")).unwrap().clone();
            let bytes = files.remove(&staged).unwrap();
            let name = asked.target().split("destination=").nth(1).unwrap().split('&').next().unwrap();
            files.insert(percent_encoding::percent_decode_str(name).decode_utf8().unwrap().into_owned(), bytes);
            Say::Bytes(Vec::new())
        })
    }));
    put(&hdfs_at(&hdfs).remote, &key, b"x", true).await.unwrap();
}

#[tokio::test]
async fn what_was_kept_waits_here_until_the_store_is_back() {
    let down = Arc::new(AtomicBool::new(true));
    let there = Arc::clone(&down);
    let hdfs = Hdfs::disturbed(Arc::new(move |_, _, _| {
        there.load(Ordering::SeqCst).then(|| answer("503 Service Unavailable", "", ""))
    }));
    let (Stores { remote, _dir, .. }, key, bytes) = (hdfs_at(&hdfs), key(), sample(3 << 20));
    let mut writer = remote.begin(&key, None).await.unwrap();
    writer.keep().await.unwrap();
    feed(&mut *writer, &bytes).await.unwrap();
    assert_eq!(writer.keep().await.unwrap(), 3 << 20);
    assert!(blamed(writer.finish().await.unwrap_err()).contains("fails"));

    down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let writer = remote.resume(&key, 3 << 20, None).await.unwrap();
    assert_eq!(writer.finish().await.unwrap(), 3 << 20);
    assert!(get(&remote, &key).await.unwrap() == bytes);
    assert!(matches!(remote.resume(&key, 0, None).await.err(), Some(StoreError::NotFound)), "gone from here");
}
