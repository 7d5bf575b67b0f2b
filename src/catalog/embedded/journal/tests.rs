//! Journals that were written, torn, damaged and rebuilt.

use super::line::CRC_HEAD_BYTES;
use super::*;
use crate::catalog::row::tests::old_image;
use crate::catalog::stored::SHAPE;
use crate::image::ImageId;
use crate::image::change::tests::sample;

fn replayed(journal: &mut Journal) -> (Vec<(u64, JournalEntry)>, u64) {
    let mut entries = Vec::new();
    let damaged = journal
        .replay(|found| {
            entries.push((found.seq, found.entry));
            Ok(())
        })
        .unwrap();
    (entries, damaged.lines)
}

fn three_lines(dir: &Path) -> (Journal, Image, Image) {
    let (a, b) = (sample("a"), sample("b\n\"\u{fffd}"));
    let mut journal = Journal::begin(dir, 0, 0, std::iter::empty()).unwrap();
    journal
        .append(&[put_line(1, &a, Bond::default()).unwrap(), put_line(2, &b, Bond::default()).unwrap()].concat(), 2)
        .unwrap();
    journal.append(&delete_line(3, a.id, Bond::default()).unwrap(), 1).unwrap();
    (journal, a, b)
}

#[test]
fn lines_come_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, a, b) = three_lines(dir.path());
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap().unwrap();
    let expected = vec![
        (0, JournalEntry::Begin { images: 0 }),
        (1, JournalEntry::Put(Box::new(a.clone()))),
        (2, JournalEntry::Put(Box::new(b))),
        (3, JournalEntry::Delete(a.id)),
    ];
    assert_eq!(replayed(&mut journal), (expected, 0));
}

/// Cut anywhere: every whole line survives, everything else is lost, and later appends succeed.
#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = three_lines(dir.path());
    let path = segment_path(dir.path(), 1);
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    drop(journal);
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap().unwrap();
        let (entries, damaged) = replayed(&mut journal);
        assert_eq!((entries.len(), damaged), (ends.iter().filter(|end| **end <= cut).count(), 0), "cut at {cut}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), cut as u64, "reading changes nothing");
        journal.cut().unwrap();
        journal.append(&delete_line(9, ImageId::random(), Bond::default()).unwrap(), 1).unwrap();
        assert_eq!(replayed(&mut journal).0.len(), entries.len() + 1, "cut at {cut}");
    }
}

/// Cut anywhere: a change of several lines is complete or absent.
#[test]
fn a_change_of_several_lines_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, a, b) = three_lines(dir.path());
    let bond = |rest, more| Bond { rest, more };
    let group = [
        put_line(4, &b, bond(false, true)),
        put_line(5, &a, bond(true, true)),
        delete_line(6, b.id, bond(true, false)),
    ]
    .map(Result::unwrap);
    journal.append(&group.concat(), 3).unwrap();
    let path = segment_path(dir.path(), 1);
    let all = std::fs::read(&path).unwrap();
    let before = all.len() - group.concat().len();
    for cut in before..=all.len() {
        std::fs::write(&path, &all[..cut]).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap().unwrap();
        let (entries, damaged) = replayed(&mut journal);
        assert_eq!((entries.len(), damaged), (if cut == all.len() { 7 } else { 4 }, 0), "cut at {cut}");
        journal.cut().unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(length, if cut == all.len() { cut } else { before } as u64, "cut at {cut}");
    }
    // Damage to any of its lines drops the whole change; later changes count.
    let behind = delete_line(7, a.id, Bond::default()).unwrap();
    let mut at = before;
    for line in &group {
        let mut bytes = [&all[..], &behind].concat();
        bytes[at + 30] ^= 1;
        at += line.len();
        std::fs::write(&path, &bytes).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap().unwrap();
        let (entries, damaged) = replayed(&mut journal);
        assert_eq!((entries.len(), damaged), (5, 3), "{:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn damage_in_the_middle_is_counted_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = three_lines(dir.path());
    let path = segment_path(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 40;
    bytes[second] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (entries, damaged) = replayed(&mut journal);
    assert_eq!((entries.len(), damaged), (3, 1));
}

/// Journals as written by the programs of versions 1, 2 and 3.
#[test]
fn lines_of_earlier_versions_are_read() {
    let image = r#""image":{"id":"07070707-0707-0707-0707-070707070707","revision":3,"name":"a","owner":"me",
            "visibility":"public","status":"saving","format":null,"kind":null,"architecture":null,"store":null,
            "kernel":null,"ramdisk":null,"parts":[{"kind":"whole","location":{"stored":{"store":"file",
            "key":"07070707-0707-0707-0707-070707070707.iso"}},"size_bytes":9,
            "md5":"33333333333333333333333333333333",
            "sha256":"4444444444444444444444444444444444444444444444444444444444444444","etag":null}],
            "properties":{"os":"linux"},"created_at_us":5000000,"updated_at_us":null,"uploaded_at_us":null,
            "ticket":{"boot":"09090909-0909-0909-0909-090909090909","fallback":"fail"}}"#;
    let resumable = r#","resumable":{"offset":4,"size_bytes":9,"md5":"55555555555555555555555555555555",
            "sha256":null,"expires_at_us":8}"#;
    for (v, crc, resumable) in [(1, "98cf4375", ""), (2, "0c42ec0c", resumable)] {
        let rest = format!("\"op\":\"put\",\"seq\":3,\"v\":{v},{image}{resumable}}}").replace("\n            ", "");
        let (found, bond) = parse(format!("{{\"crc\":\"{crc}\",{rest}").as_bytes()).unwrap();
        let expected = JournalEntry::Put(Box::new(old_image(v == 2)));
        assert_eq!((found.seq, found.entry, bond), (3, expected, Bond::default()));
    }
    let third = r#"
            {"crc":"e6adaa8f","op":"put","seq":3,"v":3,"image":{"id":"cfab7f83-9c80-49a8-af89-240d31e459b8","rev
            ision":3,"name":"old","owner":null,"visibility":"public","status":"available","format":null,"contain
            er":null,"kind":null,"architecture":"x86_64","store":"file","kernel":null,"ramdisk":null,
            "parts":[{"kind":"whole","location":{"stored":{"store":"file","key":"cfab7f83-9c80-49a8-af89-240d31e
            459b8.none"}},"size_bytes":5,"virtual_size_bytes":null,"md5":"5d41402abc4b2a76b9719d911017c592","sha
            256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","sha512":null,"etag":null}],
            "properties":{"os":"linux"},"tags":["blue"],"members":{},"protected":false,"hidden":false,"min_disk_
            gib":0,"min_ram_mib":0,"created_at_us":1795288298153414,"updated_at_us":1795288298462242,"uploaded_a
            t_us":1795288298167712,"ticket":null}}"#
        .replace("\n            ", "");
    let (found, _) = parse(third.trim().as_bytes()).unwrap();
    let JournalEntry::Put(image) = found.entry else { panic!("it records an image") };
    assert_eq!((found.seq, image.name.as_deref(), image.size(), image.offer_to_lxd), (3, Some("old"), Some(5), true));
    assert!(image.tags.contains("blue") && image.properties["os"] == "linux");
}

#[test]
fn a_new_segment_replaces_the_old_and_keeps_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _, b) = three_lines(dir.path());
    for seq in 3..6 {
        let mut journal = Journal::begin(dir.path(), seq, 1, std::iter::once(Ok(b.clone()))).unwrap();
        let expected = vec![(seq, JournalEntry::Begin { images: 1 }), (seq, JournalEntry::Put(Box::new(b.clone())))];
        assert_eq!(replayed(&mut journal), (expected, 0));
    }
    assert_eq!(segments(dir.path()).unwrap(), [3, 4]);
}

#[test]
fn a_segment_without_its_beginning_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let images: Vec<_> = ["a", "b"].map(|name| Ok(sample(name))).into();
    let mut journal = Journal::begin(dir.path(), 7, 2, images.into_iter()).unwrap();
    journal.append(&delete_line(8, ImageId::random(), Bond::default()).unwrap(), 1).unwrap();
    let whole = std::fs::read(segment_path(dir.path(), 1)).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    for (keep, base) in [(0..4, false), (0..3, false), (0..2, true), (0..1, true), (0..0, true), (1..4, true)] {
        std::fs::write(segment_path(dir.path(), 1), lines[keep.clone()].concat()).unwrap();
        let damage = Journal::open(dir.path()).unwrap().unwrap().replay(|_| Ok(())).unwrap();
        assert_eq!((damage.base, damage.loses()), (base, base), "{keep:?}");
    }
}

/// A whole line that is not understood belongs to a newer program: it is never cut or skipped.
#[test]
fn what_is_newer_is_refused() {
    let put = put_line(1, &sample("a"), Bond::default()).unwrap();
    let put = std::str::from_utf8(&put[CRC_HEAD_BYTES..put.len() - 1]).unwrap();
    let (today, later) = (format!("\"v\":{SHAPE}"), format!("\"v\":{}", SHAPE + 1));
    let (whole, renamed) = (format!("{today},\"image\":{{\"id\""), format!("{later},\"image\":{{\"key\""));
    for (from, to) in [
        (today.as_str(), later.as_str()),
        (&whole, &renamed),
        ("\"public\"", "\"secret\""),
        ("\"op\":\"put\"", "\"op\":\"merge\""),
    ] {
        assert!(put.contains(from), "{from}: {put}");
        let newer = put.replace(from, to);
        let line = format!("{{\"crc\":\"{:08x}\",{newer}", crc32fast::hash(newer.as_bytes()));
        assert!(matches!(parse(line.as_bytes()), Err(RowError::Newer(_) | RowError::Malformed(_))), "{to}");
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = three_lines(dir.path());
        journal.append(format!("{line}\n").as_bytes(), 1).unwrap();
        let refused = journal.replay(|_| Ok(())).unwrap_err().to_string();
        assert!(refused.contains("newer"), "{refused}");
    }
}

#[test]
fn a_directory_that_can_not_be_synced_seals_the_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = three_lines(dir.path());
    journal.doubt = Some("lost power".into());
    let error = journal.append(&delete_line(9, ImageId::random(), Bond::default()).unwrap(), 1).unwrap_err();
    assert!(matches!(error, AppendError::Sync(_)));
}
