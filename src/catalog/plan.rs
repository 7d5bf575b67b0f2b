//! The plan of a query: the keys to read, and their order. A plan is a value, so that tests and a debug
//! log can show it.
//!
//! A plan only decides what is *read*. Every image is tested against the whole filter afterwards, so a plan can
//! be slow but never wrong.

use super::engine::{EngineError, KeyRange, Table, after_prefix};
use std::ops::Bound;

use super::index::{
    alias_prefix, any_value_prefix, member_prefix, property_prefix, value_prefix, whole_order, word_prefix,
};
use crate::image::attr::Index;
use crate::image::query::{Filter, Sort};
use crate::image::{Attr, ImageId, Value};

/// Most images of a condition that are read directly and sorted in memory.
/// Above it, walking the order and skipping misses reads less to fill a page.
pub(crate) const GATHER_MAX: usize = 512;

/// Most images of a condition for which reading them directly is always best.
const FEW: usize = 64;

/// A way to answer a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// No image can pass.
    Nothing,
    /// Only these images can pass.
    These(Vec<ImageId>),
    /// Read the images of these index entries, at most [`GATHER_MAX`] of them, and sort them in memory.
    Gather(Vec<KeyRange>),
    /// Walk entries of one value, which are sorted in the order of the query.
    WalkValue {
        /// Prefix of the entries.
        prefix: Vec<u8>,
    },
    /// Walk the whole order.
    WalkOrder(KeyRange),
}

/// Counts the keys of a range, up to a limit.
pub(crate) type Probe<'a> = &'a dyn Fn(&KeyRange, usize) -> Result<usize, EngineError>;

/// Chooses a plan.
pub(crate) fn plan(filter: &Filter, sort: &Sort, probe: Probe<'_>) -> Result<Plan, EngineError> {
    let mut conditions = Vec::new();
    flatten(filter, &mut conditions);

    let mut in_order = None;
    for condition in &conditions {
        match condition {
            Filter::Any(choices) if choices.is_empty() => return Ok(Plan::Nothing),
            Filter::Equals(Attr::Id, Value::Id(id)) => return Ok(Plan::These(vec![*id])),
            Filter::OneOf(Attr::Id, values) => return Ok(Plan::These(ids(values))),
            condition => in_order = in_order.or_else(|| stretch_in_order(condition, sort.by)),
        }
    }
    let gather_max = if in_order.is_some() { FEW } else { GATHER_MAX };
    Ok(match (fewest(&conditions, gather_max, probe)?, in_order) {
        (Some(ranges), _) => Plan::Gather(ranges),
        (None, Some(prefix)) => Plan::WalkValue { prefix },
        (None, None) if matches!(sort.by.row().indexed, Index::Sparse(_)) => {
            return Err(EngineError::Broken("an order of some images only".into()));
        }
        (None, None) => Plan::WalkOrder(whole_order(sort.by)),
    })
}

/// Entries of the condition that the fewest images pass, if they are `most` at most.
///
/// Counting reads keys: no more than could change the plan. "Public, or mine" usually holds for most images, and is not
/// worth a long count either.
fn fewest(conditions: &[&Filter], most: usize, probe: Probe<'_>) -> Result<Option<Vec<KeyRange>>, EngineError> {
    let mut smallest: Option<(usize, Vec<KeyRange>)> = None;
    for condition in conditions {
        let Some(ranges) = ranges_of(condition) else { continue };
        let most = if matches!(condition, Filter::Any(_)) { FEW.min(most) } else { most };
        let best = smallest.as_ref().map_or(most, |(count, _)| most.min(count.saturating_sub(1)));
        if let Some(count) = count(&ranges, best, probe)? {
            smallest = Some((count, ranges));
        }
    }
    Ok(smallest.map(|(_, ranges)| ranges))
}

/// Entries to gather instead of a walk that has become long: those of a condition that `most` images pass at most.
pub(crate) fn instead_of_walk(
    filter: &Filter,
    most: usize,
    probe: Probe<'_>,
) -> Result<Option<Vec<KeyRange>>, EngineError> {
    let mut conditions = Vec::new();
    flatten(filter, &mut conditions);
    fewest(&conditions, most, probe)
}

/// Prefixes of index entries that every image has that passes: of conditions with one prefix, behind which only the time of
/// creation and the id follow.
pub(crate) fn required(filter: &Filter) -> Vec<Vec<u8>> {
    let mut conditions = Vec::new();
    flatten(filter, &mut conditions);
    conditions.into_iter().filter_map(prefix_of).collect()
}

/// The one prefix of all entries of a condition, behind which only the time of creation and the id follow; `None` for conditions
/// that are otherwise.
fn prefix_of(condition: &Filter) -> Option<Vec<u8>> {
    match condition {
        Filter::Equals(attr, value) => value_prefix(*attr, value),
        Filter::OneOf(attr, values) => match &values[..] {
            [value] => value_prefix(*attr, value),
            _ => None,
        },
        Filter::Property(name, value) => Some(property_prefix(name, value)),
        Filter::Tag(word) => Some(word_prefix(word)),
        Filter::Alias(alias, scope) => Some(alias_prefix(alias, scope)),
        Filter::Member { account, status: Some(status) } => Some(member_prefix(account, Some(*status))),
        _ => None,
    }
}

/// Prefix of the entries of a condition, if they are sorted in the order of the query: within a value they are sorted by
/// creation, and sorting by the attribute itself leaves creation to break the ties.
fn stretch_in_order(condition: &Filter, by: Attr) -> Option<Vec<u8>> {
    match condition {
        // An order of the images that have a value: only they can pass.
        Filter::Within(attr, Bound::Unbounded, Bound::Unbounded) if by == *attr => any_value_prefix(*attr),
        Filter::Equals(attr, _) | Filter::OneOf(attr, _) if by == *attr => prefix_of(condition),
        _ if by == Attr::CreatedAt => prefix_of(condition),
        _ => None,
    }
}

fn ids(values: &[Value<'_>]) -> Vec<ImageId> {
    let id = |value: &Value<'_>| if let Value::Id(id) = value { Some(*id) } else { None };
    values.iter().filter_map(id).collect()
}

/// All conditions that have to hold.
fn flatten<'a>(filter: &'a Filter, into: &mut Vec<&'a Filter>) {
    match filter {
        Filter::All(filters) => filters.iter().for_each(|f| flatten(f, into)),
        other => into.push(other),
    }
}

/// Index entries of all images that can pass a condition, if an index has them.
fn ranges_of(condition: &Filter) -> Option<Vec<KeyRange>> {
    let prefix = |prefix: Vec<u8>| vec![KeyRange::prefix(Table::Index, &prefix)];
    match condition {
        Filter::Equals(attr, value) => value_prefix(*attr, value).map(prefix),
        Filter::Property(name, value) => Some(prefix(property_prefix(name, value))),
        Filter::Tag(word) => Some(prefix(word_prefix(word))),
        Filter::Alias(alias, scope) => Some(prefix(alias_prefix(alias, scope))),
        Filter::Member { account, status } => Some(prefix(member_prefix(account, *status))),
        Filter::OneOf(attr, values) => {
            let prefixes = values.iter().map(|value| value_prefix(*attr, value).map(prefix));
            prefixes.collect::<Option<Vec<_>>>().map(|ranges| ranges.concat())
        }
        Filter::Within(attr, low, high) => Some(vec![stretch(*attr, low, high)?]),
        Filter::Any(choices) => {
            let ranges: Option<Vec<_>> = choices.iter().map(ranges_of).collect();
            ranges.map(|ranges| ranges.concat())
        }
        // Within a choice; required conditions are examined one by one.
        Filter::All(filters) => filters.iter().find_map(ranges_of),
        Filter::Not(_) => None,
    }
}

/// Entries of all images that have a value of `attr` within bounds.
fn stretch(attr: Attr, low: &Bound<Value<'_>>, high: &Bound<Value<'_>>) -> Option<KeyRange> {
    let start = match low {
        Bound::Unbounded => Bound::Included(any_value_prefix(attr)?),
        Bound::Included(value) => Bound::Included(value_prefix(attr, value)?),
        // An inclusive end lies after every entry of its value.
        Bound::Excluded(value) => match after_prefix(&value_prefix(attr, value)?) {
            Bound::Excluded(next) => Bound::Included(next),
            other => other,
        },
    };
    let end = match high {
        Bound::Unbounded => after_prefix(&any_value_prefix(attr)?),
        Bound::Included(value) => after_prefix(&value_prefix(attr, value)?),
        Bound::Excluded(value) => Bound::Excluded(value_prefix(attr, value)?),
    };
    Some(KeyRange { table: Table::Index, start, end })
}

/// Number of keys in the ranges together, up to `most`.
fn count(ranges: &[KeyRange], most: usize, probe: Probe<'_>) -> Result<Option<usize>, EngineError> {
    let mut total = 0;
    for range in ranges {
        total += probe(range, most + 1 - total)?;
        if total > most {
            return Ok(None);
        }
    }
    Ok(Some(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemberStatus;
    use crate::image::query::Direction;

    fn by(attr: Attr) -> Sort {
        Sort::by(attr, Direction::Ascending)
    }

    fn plan_with(count: usize, filter: &Filter, sort: Sort) -> Plan {
        plan(filter, &sort, &|_, most| Ok(count.min(most))).unwrap()
    }

    fn machine() -> Filter {
        Filter::spelled(Attr::Kind, "machine")
    }

    #[test]
    fn no_filter_walks_the_order() {
        assert_eq!(plan_with(0, &Filter::everything(), by(Attr::Name)), Plan::WalkOrder(whole_order(Attr::Name)));
        assert_eq!(plan_with(0, &Filter::everything(), Sort::default()), Plan::WalkOrder(KeyRange::all(Table::Image)));
    }

    #[test]
    fn an_id_is_looked_up_and_the_impossible_is_not_read() {
        let id = ImageId::random();
        assert_eq!(plan_with(9, &Filter::spelled(Attr::Id, &id.to_string()), by(Attr::Name)), Plan::These(vec![id]));
        let several = Filter::OneOf(Attr::Id, vec![Value::Id(id), Value::Text("no id".into())]);
        assert_eq!(plan_with(9, &several, by(Attr::Name)), Plan::These(vec![id]));
        let impossible = machine().and(Filter::nothing());
        assert_eq!(plan_with(9, &impossible, by(Attr::Name)), Plan::Nothing);
    }

    #[test]
    fn few_are_gathered_many_are_walked() {
        let prefix = value_prefix(Attr::Kind, &Value::Text("machine".into())).unwrap();
        let gather = Plan::Gather(vec![KeyRange::prefix(Table::Index, &prefix)]);
        assert_eq!(plan_with(GATHER_MAX, &machine(), by(Attr::Name)), gather);
        assert_eq!(plan_with(GATHER_MAX + 1, &machine(), by(Attr::Name)), Plan::WalkOrder(whole_order(Attr::Name)));
        assert_eq!(
            plan_with(GATHER_MAX + 1, &machine(), by(Attr::CreatedAt)),
            Plan::WalkValue { prefix: prefix.clone() }
        );
        assert_eq!(plan_with(FEW + 1, &machine(), by(Attr::CreatedAt)), Plan::WalkValue { prefix: prefix.clone() });
        assert_eq!(plan_with(FEW, &machine(), by(Attr::CreatedAt)), gather);
        assert_eq!(plan_with(GATHER_MAX + 1, &machine(), by(Attr::Kind)), Plan::WalkValue { prefix });
    }

    #[test]
    fn the_rarest_condition_is_gathered() {
        let rare = Filter::Property("os".into(), "plan9".into());
        let rare_range = KeyRange::prefix(Table::Index, &property_prefix("os", "plan9"));
        let probe = |range: &KeyRange, most: usize| Ok(if *range == rare_range { 3 } else { most.min(100) });
        let filter = machine().and(rare);
        assert_eq!(plan(&filter, &by(Attr::Name), &probe).unwrap(), Plan::Gather(vec![rare_range.clone()]));
    }

    #[test]
    fn choices_are_gathered_only_when_few() {
        let visible =
            Filter::Any(vec![Filter::spelled(Attr::Visibility, "public"), Filter::spelled(Attr::Owner, "me")]);
        assert!(matches!(plan_with(FEW / 2, &visible, by(Attr::Name)), Plan::Gather(ranges) if ranges.len() == 2));
        assert!(matches!(plan_with(FEW, &visible, by(Attr::Name)), Plan::WalkOrder(_)));
    }

    #[test]
    fn tags_members_and_free_attributes_are_stretches_of_keys() {
        let accepted = Some(MemberStatus::Accepted);
        let member = |status| Filter::Member { account: "me".into(), status };
        for (filter, prefix, in_order) in [
            (Filter::Tag("t".into()), word_prefix("t"), true),
            (Filter::Property("os".into(), "linux".into()), property_prefix("os", "linux"), true),
            (member(accepted), member_prefix("me", accepted), true),
            // One status after the other, so not in the order of creation.
            (member(None), member_prefix("me", None), false),
        ] {
            let gather = Plan::Gather(vec![KeyRange::prefix(Table::Index, &prefix)]);
            assert_eq!(plan_with(FEW, &filter, by(Attr::Name)), gather);
            let walk =
                if in_order { Plan::WalkValue { prefix } } else { Plan::WalkOrder(whole_order(Attr::CreatedAt)) };
            assert_eq!(plan_with(GATHER_MAX + 1, &filter, by(Attr::CreatedAt)), walk);
        }
    }

    #[test]
    fn shared_images_do_not_spoil_the_choices() {
        let shared = Filter::Member { account: "me".into(), status: None };
        let choices = Filter::Any(vec![
            Filter::spelled(Attr::Visibility, "public"),
            Filter::All(vec![shared, Filter::spelled(Attr::Visibility, "shared")]),
        ]);
        assert!(matches!(plan_with(1, &choices, by(Attr::Name)), Plan::Gather(ranges) if ranges.len() == 2));
    }
}
