//! Indexes that come before the files that they name.

use super::*;
use crate::cache::entry::{AheadIndex, Entry};
use crate::cache::fake::{Script, Upstream, file};

/// An index with the builds of a product, and their files.
fn index(serials: &[u32]) -> Script {
    let builds: Vec<_> = serials
        .iter()
        .map(|serial| {
            let item = format!(r#""disk":{{"path":"{serial}.img","sha256":"{}"}}"#, "a".repeat(64));
            format!(r#""{serial}":{{"items":{{{item}}}}}"#)
        })
        .collect();
    file(format!(r#"{{"products":{{"p":{{"versions":{{{}}}}}}}}}"#, builds.join(",")).as_bytes())
}

#[tokio::test]
async fn an_index_is_held_back_until_its_files_are_there() {
    const INDEX: &str = "streams/v1/images.json";
    for (is_used, is_late) in [(true, false), (false, false), (true, true)] {
        let place = Place::new(Upstream::new());
        let key = Key::parse(&place.upstream.url(INDEX)).unwrap();
        let get = || async {
            let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
            let outcome = served.outcome.clone();
            (outcome, String::from_utf8(read(&served, None).await.unwrap()).unwrap().contains("2.img"))
        };
        let age = |by: i64| {
            let change = |entry: &mut Entry| {
                entry.checked_at -= 24 * 3600 * 1_000_000;
                let earlier =
                    |ahead: AheadIndex| AheadIndex { since: ahead.since - by, seen_at: ahead.seen_at - 301_000_000 };
                entry.ahead = entry.ahead.map(earlier);
            };
            place.cache.held(&key).unwrap().change(change).unwrap();
        };
        place.upstream.put(INDEX, index(&[1]));
        place.upstream.put("1.img", file(b"one"));
        assert!(!get().await.1);
        if is_used {
            let file = Key::parse(&place.upstream.url("1.img")).unwrap();
            read(&place.cache.get(&file, &Lookup::default()).await.unwrap(), None).await.unwrap();
        }
        age(0);
        place.upstream.put(INDEX, index(&[1, 2]));
        if !is_used {
            assert!(get().await.1, "no client has a file of it");
            assert!(place.upstream.heads("2.img").is_empty());
            continue;
        }
        let held_back = Outcome::Stale { detail: "upstream-differs" };
        assert_eq!(get().await, (held_back.clone(), false));
        assert_eq!((get().await, place.upstream.heads("2.img").len()), ((held_back.clone(), false), 1), "for a while");
        age(29 * 60 * 1_000_000);
        assert_eq!(get().await, (held_back, false));
        match is_late {
            true => age(60 * 1_000_000),
            false => {
                age(0);
                place.upstream.put("2.img", file(b"two"));
            }
        }
        assert_eq!(get().await, (Outcome::Fill, true));
    }
}

#[tokio::test]
async fn the_older_index_serves_while_the_newer_one_comes() {
    const INDEX: &str = "streams/v1/images.json";
    for must_revalidate in [false, true] {
        let headers = if must_revalidate { "Cache-Control: max-age=60, must-revalidate\r\n" } else { "" };
        let script = |serials: &[u32]| Script { headers: headers.to_owned(), ..index(serials) };
        let place = Place::under(
            Upstream::new(),
            |settings| settings.stale_after = Duration::from_millis(300),
            Sums::default(),
        );
        let key = Key::parse(&place.upstream.url(INDEX)).unwrap();
        place.upstream.put(INDEX, script(&[1]));
        let get = || async {
            let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
            (served.outcome.clone(), served)
        };
        read(&get().await.1, None).await.unwrap();
        place.cache.held(&key).unwrap().change(|entry| entry.checked_at -= 24 * 3600 * 1_000_000).unwrap();
        place.upstream.put(INDEX, Script { gate: Some(10), ..script(&[1, 2]) });
        let asked = || place.upstream.heads(INDEX).len();
        if must_revalidate {
            // Its server forbids the older one.
            let (outcome, served) = get().await;
            assert_eq!(outcome, Outcome::Fill);
            place.upstream.change(INDEX, |file| file.gate = None);
            assert!(read(&served, None).await.unwrap().ends_with(b"}"));
            continue;
        }
        for _ in 0..2 {
            assert_eq!((get().await.0, asked()), (Outcome::Stale { detail: "upstream-slow" }, 2), "it is asked once");
        }
        // A pull waits for it.
        let pull = tokio::spawn({
            let (cache, url) = (Arc::clone(&place.cache), key.url().to_owned());
            async move { cache.documents.get_anew(&url, 1 << 20).await }
        });
        tokio::time::sleep(Duration::from_millis(600)).await;
        place.upstream.change(INDEX, |file| file.gate = None);
        let pulled = pull.await.unwrap().unwrap().unwrap();
        assert!(String::from_utf8_lossy(&pulled.bytes).contains("2.img"));
        assert_eq!(asked(), 2);
    }
}
