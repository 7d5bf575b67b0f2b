//! Files on their way in: one transfer for all, and what each reader gets of it meanwhile.

use super::Lab;
use crate::harness::{eventually, noise};
use crate::upstream::{File, Length};

const SIZE: usize = 8 << 20;
const HALF: usize = SIZE / 2;
/// What readers have of a file that is held in its middle: all but what may be on its way between two buffers.
const SURE: usize = HALF - (1 << 20);

/// A lab with a file that is held in its middle.
fn held(seed: u64) -> (Lab, Vec<u8>) {
    let content = noise(seed, SIZE);
    let lab = Lab::start();
    lab.upstream.put("/f", File::new(content.clone()).held_at(HALF));
    (lab, content)
}

#[test]
fn thirty_clients_are_one_request_and_read_while_it_comes() {
    let (lab, content) = held(11);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..30)
            .map(|_| {
                scope.spawn(|| {
                    let mut reading = lab.begin("/f", &[]);
                    assert_eq!(reading.header("content-length"), Some("8388608"));
                    (reading.take(SURE), reading)
                })
            })
            .collect();
        // Every one of them has its beginning before the end exists.
        let begun: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(lab.upstream.sent("/f") <= HALF as u64);
        lab.upstream.release("/f");
        let mut words = Vec::new();
        for (first, reading) in begun {
            assert!(first == content[..SURE]);
            let rest = reading.finish();
            assert!(rest.body == content[SURE..], "{} bytes", rest.body.len());
            words.push(rest.header("cache-status").unwrap().to_owned());
        }
        let collapsed = words.iter().filter(|words| *words == "visor; fwd=miss; collapsed").count();
        assert_eq!(collapsed, 29, "{words:?}");
    });
    assert_eq!((lab.upstream.asked("/f").len(), lab.upstream.sent("/f")), (1, SIZE as u64));
}

#[test]
fn ranges_are_served_while_the_file_comes() {
    let (lab, content) = held(12);
    // So slow that what lies far ahead does not come soon.
    lab.upstream.change("/f", |file| file.rate = Some(1 << 20));
    let mut first = lab.begin("/f", &[]);
    first.take(SURE);
    // Inside of what is here: nobody is asked.
    let inside = lab.read("/f", &[("Range", "bytes=1000000-1999999")]);
    assert_eq!((inside.status, inside.complete), (206, true), "{inside:?}");
    assert!(inside.body == content[1_000_000..2_000_000]);
    assert_eq!(inside.header("content-range"), Some("bytes 1000000-1999999/8388608"));
    assert!(inside.header("cache-status").unwrap().ends_with("detail=unverified"), "{:?}", inside.headers);
    assert_eq!(lab.upstream.asked("/f").len(), 1);
    // Far ahead: by one request beside the transfer, which stands still.
    let ahead = lab.read("/f", &[("Range", "bytes=7500000-7500099")]);
    assert_eq!((ahead.status, ahead.body == content[7_500_000..7_500_100]), (206, true), "{ahead:?}");
    // Several parts are no reason for several requests.
    let before = lab.upstream.asked("/f").len();
    assert!(before <= 2);
    let several = lab.begin("/f", &[("Range", "bytes=0-9,20-29")]);
    assert_eq!((several.status, several.header("content-length")), (200, Some("8388608")));
    lab.upstream.release("/f");
    several.finish().is_all_of(&content);
    assert_eq!(first.finish().body, content[SURE..]);
    assert!(lab.upstream.asked("/f").len() <= before + 1, "{:?}", lab.upstream.asked("/f"));
    lab.read("/f", &[]).is_all_of(&content);
}

#[test]
fn the_tail_of_an_unknown_file_does_not_wait_for_it() {
    let (lab, content) = held(13);
    let tail = lab.read("/f", &[("Range", "bytes=-65536")]);
    assert_eq!((tail.status, tail.complete), (206, true), "{tail:?}");
    assert!(tail.body == content[SIZE - 65_536..]);
    assert!(lab.upstream.asked("/f").len() <= 3, "{:?}", lab.upstream.asked("/f"));
    lab.upstream.release("/f");
    lab.read("/f", &[]).is_all_of(&content);
    assert!(lab.upstream.sent("/f") <= (SIZE + (1 << 20)) as u64);
}

#[test]
fn a_client_that_leaves_takes_nothing_with_it() {
    let (lab, content) = held(14);
    let stays = lab.begin("/f", &[]);
    let mut leaves = lab.begin("/f", &[]);
    leaves.take(SIZE / 3);
    drop(leaves);
    lab.upstream.release("/f");
    let mut stays = stays;
    assert!(stays.take(SIZE) == content);
    assert_eq!((lab.upstream.asked("/f").len(), lab.upstream.sent("/f")), (1, SIZE as u64));
}

#[test]
fn what_the_only_client_leaves_is_not_fetched_twice() {
    let (lab, content) = held(15);
    let mut leaves = lab.begin("/f", &[]);
    leaves.take(SIZE / 3);
    drop(leaves);
    lab.upstream.release("/f");
    lab.read("/f", &[]).is_all_of(&content);
    assert!(lab.upstream.sent("/f") <= (SIZE + SIZE / 4) as u64, "{}", lab.upstream.sent("/f"));
}

/// A file whose length nobody knows has no length here either, and its end is told from a break.
#[test]
fn a_length_that_is_unknown_is_not_invented() {
    let content = noise(16, 3 << 20);
    let lab = Lab::start();
    lab.upstream.put("/f", File::new(content.clone()).length(Length::Chunked).held_at(1 << 20));
    let mut reading = lab.begin("/f", &[("Range", "bytes=0-9")]);
    assert_eq!((reading.status, reading.header("transfer-encoding")), (200, Some("chunked")));
    assert!(reading.header("content-length").is_none());
    reading.wait_for(1000);
    lab.upstream.release("/f");
    reading.finish();
    eventually("the whole file is here", || {
        lab.read("/f", &[("Cache-Control", "only-if-cached")]).header("content-length") == Some("3145728")
    });
    lab.read("/f", &[]).is_all_of(&content);
    assert_eq!(lab.upstream.asked("/f").len(), 1);
}

/// Until the verdict no client has all of a file.
#[test]
fn the_end_is_held_back_until_the_file_is_verified() {
    let content = noise(17, 2 << 20);
    let sums = format!("{}  f\n", crate::harness::sha256(b"something else"));
    let lab = Lab::start();
    lab.upstream.put("/f", File::new(content.clone()));
    lab.upstream.put("/SHA256SUMS", File::new(sums));
    let outcome = lab.read("/f", &[]);
    assert!(outcome.status != 200 || !outcome.complete, "{outcome:?}");
    assert!(outcome.body.len() <= content.len() - (64 << 10), "{} of {}", outcome.body.len(), content.len());
}

/// Programs go on with a beginning that they have, or read in eight places at once, while the file comes for another client and is cut.
#[test]
fn readers_of_many_places_get_the_bytes_while_the_file_comes() {
    for (seed, starts) in [(18, vec![SIZE / 3]), (19, (0..8).map(|part| part * SIZE / 8).collect())] {
        let content = noise(seed, SIZE);
        let lab = Lab::start();
        lab.upstream.put("/f", File::new(content.clone()).at_rate(8 << 20).cut_at([SIZE * 6 / 10]));
        let mut whole = lab.begin("/f", &[]);
        whole.wait_for(1);
        std::thread::scope(|scope| {
            let ends = starts.iter().skip(1).copied().chain([SIZE]);
            for (start, end) in starts.iter().copied().zip(ends) {
                let (lab, content) = (&lab, &content);
                scope.spawn(move || {
                    // A client that goes on names no end.
                    let last = if end == SIZE { String::new() } else { (end - 1).to_string() };
                    let part = lab.read("/f", &[("Range", &format!("bytes={start}-{last}"))]);
                    assert_eq!((part.status, part.complete), (206, true), "{start}-{last}: {:?}", part.headers);
                    assert!(part.body == content[start..end], "{start}-{last}: {} bytes", part.body.len());
                });
            }
        });
        whole.finish().is_all_of(&content);
        assert!(lab.upstream.sent("/f") <= (SIZE + (4 << 20)) as u64, "{}", lab.upstream.sent("/f"));
    }
}
