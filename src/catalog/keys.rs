//! Order-preserving keys: bytes that sort as the values do. Knows values, and no table.
//!
//! An index entry is all key: `tag · value · creation time · id`. The creation time makes each index ordered by
//! recency within a value, so "this value, newest first" is one range of keys; the id makes entries unique.

use crate::image::{Image, ImageId, Timestamp, Value};

/// Creation time and id: the end of every index key.
pub(crate) const TAIL_BYTES: usize = 8 + ID_BYTES;

/// The end of every key that leads to an image.
pub(crate) const ID_BYTES: usize = 16;

/// Appends text so that it sorts bytewise and ends unmistakably: a zero byte becomes `00 ff`, the end is `00 00`.
pub(crate) fn put_text(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend([0, 0]);
}

/// Appends a moment; flipping the sign bit makes earlier sort first.
fn put_time(key: &mut Vec<u8>, time: Timestamp) {
    key.extend((time.0.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

/// Appends an attribute's value. Absent sorts before every value.
pub(crate) fn put_value(key: &mut Vec<u8>, value: Option<&Value<'_>>) {
    let Some(value) = value else {
        key.push(0);
        return;
    };
    key.push(1);
    match value {
        Value::Text(text) => put_text(key, text),
        Value::Int(number) => key.extend(number.to_be_bytes()),
        Value::Time(time) => put_time(key, *time),
        Value::Id(id) => key.extend(id.as_bytes()),
        Value::Flag(flag) => key.push(u8::from(*flag)),
    }
}

/// Appends an attribute's value for descending order. No value's bytes are a prefix of another's, so inverting all bits
/// inverts the order.
pub(crate) fn put_value_turned(key: &mut Vec<u8>, value: Option<&Value<'_>>) {
    let from = key.len();
    put_value(key, value);
    key[from..].iter_mut().for_each(|byte| *byte = !*byte);
}

/// Appends the tail of an index key.
pub(crate) fn put_tail(key: &mut Vec<u8>, image: &Image) {
    put_time(key, image.created_at);
    key.extend(image.id.as_bytes());
}

/// The id at the end of an index key, or in a key of the image table.
pub(crate) fn id_of(key: &[u8]) -> Option<ImageId> {
    key.last_chunk::<ID_BYTES>().map(|bytes| ImageId::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value<'static>> {
        prop_oneof![
            "[\\x00-\\x02a-c\u{ff}]{0,6}".prop_map(|t| Value::Text(t.into())),
            any::<u64>().prop_map(Value::Int),
            any::<i64>().prop_map(|t| Value::Time(Timestamp(t))),
            any::<[u8; 16]>().prop_map(|b| Value::Id(ImageId::from_bytes(b))),
            any::<bool>().prop_map(Value::Flag),
        ]
    }

    fn key(put: fn(&mut Vec<u8>, Option<&Value<'_>>), value: Option<&Value<'_>>, tail: u8) -> Vec<u8> {
        let mut key = Vec::new();
        put(&mut key, value);
        key.push(tail);
        key
    }

    proptest! {
        /// Keys sort as (value, tail) does, for values of one type; a shorter text never swallows the tail.
        #[test]
        fn keys_sort_as_values_do(a in proptest::option::of(value()), b in proptest::option::of(value()), x: u8, y: u8) {
            let same_type = match (&a, &b) {
                (Some(a), Some(b)) => std::mem::discriminant(a) == std::mem::discriminant(b),
                _ => true,
            };
            prop_assume!(same_type);
            let order = (&a, x).cmp(&(&b, y));
            prop_assert_eq!(order, key(put_value, a.as_ref(), x).cmp(&key(put_value, b.as_ref(), y)));
            let turned = a.cmp(&b).reverse().then(x.cmp(&y));
            prop_assert_eq!(turned, key(put_value_turned, a.as_ref(), x).cmp(&key(put_value_turned, b.as_ref(), y)));
        }
    }
}
