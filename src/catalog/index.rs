//! The index entries of an image. One function of the row, so that indexes can't drift from rows: a change
//! commits the difference between the entries of the old row and those of the new one.

use std::collections::BTreeSet;

use super::engine::{Batch, KeyRange, Table};
use super::keys::{ID_BYTES, TAIL_BYTES, put_tail, put_text, put_value, put_value_turned};
use crate::image::attr::{ATTRS, Index, Row};
use crate::image::query::{AliasScope, Cursor, Sort};
use crate::image::{Attr, Image, MemberStatus, Value};

/// Tag of the index over free attributes; far above those of attributes.
const PROPERTY_TAG: u8 = 0xf0;

/// Tag of the index over tags.
const WORD_TAG: u8 = 0xf1;

/// Tag of the index over members.
const MEMBER_TAG: u8 = 0xf2;

/// Tag of the index over aliases.
const ALIAS_TAG: u8 = 0xf3;

/// Bytes of a free attribute's value in its key. Longer values share a range of keys; the row, which every answer
/// is tested against, tells them apart.
const PROPERTY_KEY_BYTES: usize = 64;

/// Key of an image in the order of an attribute: its index entry, or for the id its row.
pub(crate) fn sort_key(attr: Attr, image: &Image) -> Vec<u8> {
    let Some(tag) = attr.row().indexed.tag() else {
        return image.id.as_bytes().to_vec();
    };
    let mut key = Vec::with_capacity(64);
    key.push(tag);
    put_value(&mut key, attr.read(image).as_ref());
    put_tail(&mut key, image);
    key
}

/// Key of an image in an order. With one attribute it is the index entry's key; with several the values of the others
/// precede the tail, inverted where their direction differs from the first.
pub(crate) fn place(sort: &Sort, image: &Image) -> Cursor {
    let mut key = sort_key(sort.by, image);
    let first = key.len().saturating_sub(TAIL_BYTES);
    if !sort.is_simple() {
        let tail = key.split_off(first);
        for (attr, direction) in &sort.then {
            let put = if *direction == sort.direction { put_value } else { put_value_turned };
            put(&mut key, attr.read(image).as_ref());
        }
        key.extend(tail);
    }
    Cursor { key, first }
}

/// Prefix of all entries with the image's value of `attr`, in the order of that attribute. In the order of creation it is
/// the prefix of all entries, whose tails have the time.
pub(crate) fn group_of(attr: Attr, entry: &[u8]) -> &[u8] {
    let behind = if attr == Attr::CreatedAt { ID_BYTES } else { TAIL_BYTES };
    &entry[..entry.len().saturating_sub(behind)]
}

/// End of a sort key, which orders the entries of one value.
pub(crate) fn tail(sort_key: &[u8]) -> &[u8] {
    &sort_key[sort_key.len().saturating_sub(TAIL_BYTES)..]
}

/// All keys in the order of an attribute.
pub(crate) fn whole_order(attr: Attr) -> KeyRange {
    match attr.row().indexed.tag() {
        None => KeyRange::all(Table::Image),
        Some(tag) => KeyRange::prefix(Table::Index, &[tag]),
    }
}

/// Prefix of the entries of all images with this value; `None` if the attribute has no index.
pub(crate) fn value_prefix(attr: Attr, value: &Value<'_>) -> Option<Vec<u8>> {
    let mut key = vec![attr.row().indexed.tag()?];
    put_value(&mut key, Some(value));
    Some(key)
}

/// Prefix of the entries of all images that have the attribute; `None` if it has no index.
pub(crate) fn any_value_prefix(attr: Attr) -> Option<Vec<u8>> {
    // This byte is 0 for an absent value.
    Some(vec![attr.row().indexed.tag()?, 1])
}

/// Prefix of the entries of all images with this free attribute.
pub(crate) fn property_prefix(name: &str, value: &str) -> Vec<u8> {
    let mut key = vec![PROPERTY_TAG];
    put_text(&mut key, name);
    put_text(&mut key, &value[..value.floor_char_boundary(PROPERTY_KEY_BYTES)]);
    key
}

/// Prefix of the entries of all images with this tag.
pub(crate) fn word_prefix(word: &str) -> Vec<u8> {
    let mut key = vec![WORD_TAG];
    put_text(&mut key, word);
    key
}

/// Prefix of the entries of all images with this member, in this status or in any.
pub(crate) fn member_prefix(account: &str, status: Option<MemberStatus>) -> Vec<u8> {
    let mut key = vec![MEMBER_TAG];
    put_text(&mut key, account);
    if let Some(status) = status {
        put_text(&mut key, status.name());
    }
    key
}

/// Prefix of the entries of all images with this alias in a scope. An alias has an entry in each of its image's two scopes:
/// the names of other accounts' private images are never read for a caller that may not see them.
pub(crate) fn alias_prefix(alias: &str, scope: &AliasScope) -> Vec<u8> {
    let mut key = vec![ALIAS_TAG];
    put_text(&mut key, alias);
    match scope {
        AliasScope::Owner(owner) => {
            key.push(0);
            put_value(&mut key, owner.as_deref().map(|owner| Value::Text(owner.into())).as_ref());
        }
        AliasScope::Visibility(visibility) => {
            key.push(1);
            put_text(&mut key, visibility.name());
        }
    }
    key
}

fn alias_scopes(image: &Image) -> [AliasScope; 2] {
    [AliasScope::Owner(image.owner.clone()), AliasScope::Visibility(image.visibility)]
}

/// Every index entry of an image.
pub(crate) fn entries_of(image: &Image) -> BTreeSet<Vec<u8>> {
    let has_entry = |row: &&Row| match row.indexed {
        Index::Nothing | Index::Table => false,
        Index::Whole(_) => true,
        Index::Sparse(_) => (row.read)(image).is_some(),
    };
    let attributes = ATTRS.iter().filter(has_entry).map(|row| sort_key(row.attr, image));
    let properties = image.properties.iter().map(|(name, value)| property_prefix(name, value));
    let words = image.tags.iter().map(|word| word_prefix(word));
    let members = image.members.iter().map(|(account, member)| member_prefix(account, Some(member.status)));
    let aliases = alias_scopes(image);
    let aliases = image.aliases.keys().flat_map(|alias| aliases.iter().map(|scope| alias_prefix(alias, scope)));
    let with_tail = |mut key: Vec<u8>| {
        put_tail(&mut key, image);
        key
    };
    attributes.chain(properties.chain(words).chain(members).chain(aliases).map(with_tail)).collect()
}

/// Adds to a batch the changes from the entries of `old` to those of `new`.
pub(crate) fn update(batch: &mut Batch, old: Option<&Image>, new: Option<&Image>) {
    let old = old.map(entries_of).unwrap_or_default();
    let new = new.map(entries_of).unwrap_or_default();
    for key in old.difference(&new) {
        batch.delete(Table::Index, key.as_slice());
    }
    for key in new.difference(&old) {
        batch.put(Table::Index, key.as_slice(), []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::keys::id_of;
    use crate::image::change::tests::sample;

    #[test]
    fn tags_are_unique() {
        let mut seen = BTreeSet::from([PROPERTY_TAG, WORD_TAG, MEMBER_TAG, ALIAS_TAG]);
        for tag in ATTRS.iter().filter_map(|row| row.indexed.tag()) {
            assert!(seen.insert(tag), "tag {tag} stands twice");
        }
    }

    #[test]
    fn an_update_touches_only_what_differs() {
        let old = sample("a");
        let mut new = old.clone();
        new.name = Some("b".into());
        new.properties.insert("os".into(), "debian".into());
        new.tags.insert("t".into());
        let mut batch = Batch::default();
        update(&mut batch, Some(&old), Some(&new));
        assert_eq!(batch.writes.len(), 4, "the old name goes; the new name, the property and the tag come");
        assert!(batch.writes.iter().all(|write| id_of(&write.key) == Some(old.id)));
    }

    #[test]
    fn long_values_share_a_prefix_and_split_no_character() {
        let long = "ä".repeat(100);
        assert_eq!(property_prefix("k", &long), property_prefix("k", &format!("{long}x")));
    }
}
