//! Parts that requests of their own bring, far ahead of the transfer.

use bytes::Bytes;

use super::*;
use crate::cache::fake::{Ranges, Script, Upstream, file, noise};
use crate::cache::fill::{Fill, Terms};
use crate::cache::shelf::Shelf;

const SIZE: usize = 24_000_000;
const END: Range<u64> = SIZE as u64 - 100_000..SIZE as u64;

/// A transfer that stands still near its beginning, and is cut there when it goes on; and a reader of it.
async fn standing(bytes: &[u8], sums: bool) -> (Place, Served) {
    let script = Script { gate: Some(100_000), cuts: [110_000].into(), ..file(bytes) };
    let place = Place::new(Upstream::with(script));
    if sums {
        place.expect(bytes);
    }
    let served = place.get().await.unwrap();
    place.until(|place| place.here() > 90_000).await;
    // So slow that its end does not come soon.
    tokio::time::sleep(Duration::from_millis(300)).await;
    (place, served)
}

/// What lies behind a gap is not compared with a content that begins as the old one did: it goes with the old one.
#[tokio::test]
async fn a_part_of_a_content_that_changed_is_never_glued() {
    let old = noise(91, 1_000_000).repeat(24);
    let new = [&old[..SIZE - 1_000_000], &noise(92, 1_000_000)[..]].concat();
    for another_run in [false, true] {
        for (ranges, has_tag) in
            [(Ranges::Right, true), (Ranges::Ignored, true), (Ranges::Unconditional, true), (Ranges::Right, false)]
        {
            let (place, served) = standing(&old, false).await;
            assert!(read(&served, Some(END)).await.unwrap() == old[END.start as usize..]);
            let changed = file(&new);
            let etag = changed.etag.clone().filter(|_| has_tag);
            let changed = Script { ranges, etag, ..changed };
            if another_run {
                place.cache.set_offline(true).unwrap();
                place.until(|place| place.cache.stats().fills == 0).await;
                place.upstream.put("f-1.img", changed);
                place.cache.set_offline(false).unwrap();
            } else {
                let reading = tokio::spawn(async move { read(&served, None).await });
                place.upstream.put("f-1.img", changed);
                assert!(reading.await.unwrap().is_err(), "the first reader is cut off");
            }
            place.until(|place| place.cache.stats().fills == 0 || place.upstream.heads("f-1.img").len() > 2).await;
            let mut got = place.bytes().await;
            if got.is_err() {
                got = place.bytes().await;
            }
            assert!(got.unwrap().1 == new, "{another_run} {has_tag}");
        }
    }
}

/// The sums decide over parts too, and what was hashed is what is judged.
#[tokio::test]
async fn a_part_of_other_bytes_is_no_file() {
    let bytes = noise(93, 1_000_000).repeat(24);
    let (place, served) = standing(&bytes, true).await;
    place.upstream.change("f-1.img", |file| file.ranges = Ranges::OtherBytes);
    let part = read(&served, Some(END)).await.unwrap();
    assert!(part.iter().zip(&bytes[END.start as usize..]).all(|(lie, byte)| *lie == !byte));
    place.upstream.change("f-1.img", |file| (file.ranges, file.gate) = (Ranges::Right, None));
    let error = read(&served, None).await.unwrap_err();
    assert!(error.contains("hash to"), "{error}");
    let stats = place.cache.stats();
    assert_eq!((stats.entries, stats.quarantine_bytes), (0, SIZE as u64));
    // Its server means it again.
    place.cache.slot(&place.key(), |slot| slot.quiet = None);
    assert!(place.bytes().await.unwrap().1 == bytes);
}

#[test]
fn bytes_that_are_here_are_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(dir.path()).unwrap();
    let key = Key::parse("https://host/f-1.img").unwrap();
    let fill = Fill::new(&shelf, &key, &Terms::default(), None).unwrap();
    let (first, second) = (Bytes::from(noise(94, 300)), Bytes::from(noise(95, 300)));
    fill.write(100, &[first.slice(..100), first.slice(100..)]).unwrap();
    fill.write(0, &[second.slice(..150), second.slice(150..)]).unwrap();
    fill.write(300, std::slice::from_ref(&second)).unwrap();
    let written = std::fs::read(dir.path().join("partial").join(&fill.id)).unwrap();
    assert!(written[..100] == second[..100] && written[100..400] == first && written[400..] == second[100..]);
    assert_eq!(fill.prefix(), 600);
    fill.close();
    fill.write(600, &[first]).unwrap();
    assert_eq!(fill.here(), 600, "nothing is written any more");
}
