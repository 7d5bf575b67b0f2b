//! The query string of a list in v2: filters, order, page. Knows no handler; the core decides which images a caller sees.

use std::ops::Bound;

use super::super::params::{self, LIMIT, PARAMETERS_MAX, count, direction, no_marker, pairs, sortable};
use super::super::spell;
use super::names::attr_of;
use super::render::statuses;
use crate::error::{Error, Result};
use crate::http::time::read_iso_8601;
use crate::image::query::{Direction, Filter, Sort};
use crate::image::{Attr, ImageId, MemberStatus, Timestamp, Value, ValueType, Visibility};
use crate::percent::escaped;
use crate::registry::ListScope;

/// The query string of a list, read.
#[derive(Debug, PartialEq)]
pub(super) struct V2ListQuery {
    pub(super) shown: ListScope,
    pub(super) filter: Filter,
    pub(super) sort: Sort,
    pub(super) limit: usize,
    pub(super) marker: Option<ImageId>,
}

impl V2ListQuery {
    /// Reads a query string. An unknown name is a property's.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn parse(query: &str) -> Result<Self> {
        let mut shown = ListScope::default();
        let (mut filter, mut hidden) = (Filter::everything(), false);
        let (mut limit, mut marker) = (LIMIT, None);
        let (mut sort, mut keys, mut directions) = (None, Vec::new(), Vec::new());
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "limit" => limit = params::limit(&value)?,
                "marker" => marker = Some(value.parse().map_err(|()| no_marker(&value))?),
                "sort" => sort = Some(value),
                "sort_key" => keys.push(sortable(&value, attr_of)?),
                "sort_dir" => directions.push(direction(&value)?),
                "visibility" => {
                    let only = visibility(&value)?;
                    shown.community = only.is_none_or(|only| only == Visibility::Community);
                    if let Some(only) = only {
                        filter = filter.and(Filter::spelled(Attr::Visibility, only.name()));
                    }
                }
                "member_status" => shown.member_status = member_status(&value)?,
                "os_hidden" => hidden = flag(&name, &value.to_ascii_lowercase())?,
                // Clients repeat the id of the path here.
                "image_id" => {}
                _ => filter = filter.and(condition(name, value)?),
            }
        }
        let keys = match (sort, keys.is_empty() && directions.is_empty()) {
            (Some(sort), true) => sort_list(&sort)?,
            (Some(_), false) => return Err(Error::invalid("Old and new sorting syntax cannot be combined.")),
            (None, _) => paired(keys, &directions)?,
        };
        if keys.iter().enumerate().any(|(at, (key, _))| keys[..at].iter().any(|(earlier, _)| earlier == key)) {
            return Err(Error::invalid("A sort key can appear only once."));
        }
        let filter = filter.and(Filter::Equals(Attr::Hidden, Value::Flag(hidden)));
        Ok(Self { shown, filter, sort: Sort::by_all(keys), limit, marker })
    }
}

/// Pairs sort keys with directions. The default is newest first.
fn paired(keys: Vec<Attr>, directions: &[Direction]) -> Result<Vec<(Attr, Direction)>> {
    let keys = if keys.is_empty() { vec![Attr::CreatedAt] } else { keys };
    match directions.len() {
        0 | 1 => {
            let direction = directions.first().copied().unwrap_or(Direction::Descending);
            Ok(keys.into_iter().map(|key| (key, direction)).collect())
        }
        count if count == keys.len() => Ok(keys.into_iter().zip(directions.iter().copied()).collect()),
        _ => Err(Error::invalid("Number of sort dirs does not match the number of sort keys.")),
    }
}

/// Reads `sort`, such as `name:asc,size`.
fn sort_list(text: &str) -> Result<Vec<(Attr, Direction)>> {
    let keys = text.split(',').map(str::trim).map(|one| match one.split_once(':') {
        Some((key, way)) => Ok((sortable(key, attr_of)?, direction(way)?)),
        None => Ok((sortable(one, attr_of)?, Direction::Descending)),
    });
    keys.collect()
}

fn flag(name: &str, value: &str) -> Result<bool> {
    value.parse().map_err(|_| Error::invalid(format!("Invalid value for {name}: it is 'true' or 'false'.")))
}

/// Reads a visibility, or `all`.
fn visibility(word: &str) -> Result<Option<Visibility>> {
    if word == "all" {
        return Ok(None);
    }
    let visibility = Visibility::parse(word).filter(|visibility| visibility.name() == word);
    let wrong = || Error::invalid(format!("Invalid visibility value: {}.", word.escape_default()));
    visibility.map(Some).ok_or_else(wrong)
}

fn member_status(word: &str) -> Result<Option<MemberStatus>> {
    if word == "all" {
        return Ok(None);
    }
    let status = MemberStatus::parse(word).filter(|status| status.name() == word);
    status.map(Some).ok_or_else(|| Error::invalid(format!("Invalid status: {}.", word.escape_default())))
}

/// Filter of a pair of name and value.
fn condition(name: String, value: String) -> Result<Filter> {
    let of_any = |attr: Attr| Ok(any(words(&value)?.iter().map(|word| Filter::spelled(attr, word)).collect()));
    let Some((attr, bound)) = measured(&name) else {
        return Ok(if name == "tag" { Filter::Tag(value) } else { spell::property_is(name, value) });
    };
    match attr {
        Attr::Name | Attr::Id | Attr::Format | Attr::Container => of_any(attr),
        Attr::Status => {
            let meant = words(&value)?.into_iter().flat_map(|word| statuses(&word).iter());
            Ok(any(meant.map(|status| Filter::spelled(attr, status.word())).collect()))
        }
        Attr::Owner | Attr::Checksum => Ok(Filter::spelled(attr, &value)),
        Attr::Sha256 | Attr::Sha512 => {
            let digests = [Attr::Sha256, Attr::Sha512].map(|attr| Filter::spelled(attr, &value));
            Ok(Filter::Any(digests.to_vec()))
        }
        Attr::Protected => Ok(Filter::Equals(attr, Value::Flag(flag(&name, &value)?))),
        Attr::CreatedAt | Attr::UpdatedAt => times(&name, &value),
        Attr::Size | Attr::VirtualSize | Attr::MinDisk | Attr::MinRam => {
            let number = Value::Int(count(&name, &value)?);
            Ok(match bound {
                None => Filter::Equals(attr, number),
                Some(true) => Filter::Within(attr, Bound::Included(number), Bound::Unbounded),
                Some(false) => Filter::Within(attr, Bound::Unbounded, Bound::Included(number)),
            })
        }
        // Read before, as parameters of their own.
        Attr::Visibility | Attr::Hidden => Ok(Filter::spelled(attr, &value)),
        // No filter of Glance: the name is a property's.
        Attr::Store | Attr::Architecture | Attr::Kernel | Attr::Ramdisk | Attr::Location | Attr::Kind => {
            Ok(spell::property_is(name, value))
        }
        Attr::UploadedAt | Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered => {
            Ok(spell::property_is(name, value))
        }
    }
}

/// Filter for any of the choices. A single choice stands alone, because the planner has more indexes for it.
fn any(mut choices: Vec<Filter>) -> Filter {
    if choices.len() == 1 { choices.remove(0) } else { Filter::Any(choices) }
}

/// The attribute of a name, and for a number its bound, if the name has one: `true` for the lower, `false` for the upper.
fn measured(name: &str) -> Option<(Attr, Option<bool>)> {
    let is_number = |attr: &Attr| matches!(attr.row().value, ValueType::Count);
    let bound = |suffix: &str| name.strip_suffix(suffix).and_then(attr_of).filter(is_number);
    let lower = bound("_min").map(|attr| (attr, Some(true)));
    lower.or_else(|| Some((bound("_max")?, Some(false)))).or_else(|| Some((attr_of(name)?, None)))
}

/// Reads `a` or `in:a,"b,c"`. Any other colon is part of the text, unlike in Glance.
fn words(value: &str) -> Result<Vec<String>> {
    let Some(list) = value.strip_prefix("in:") else { return Ok(vec![value.to_owned()]) };
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in list.chars() {
        match (c, words.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    if words.len() > PARAMETERS_MAX {
        return Err(Error::invalid(format!("A filter has at most {PARAMETERS_MAX} words.")));
    }
    if quoted {
        return Err(Error::invalid("Invalid filter value: the quote is not closed."));
    }
    Ok(words)
}

/// Reads a time such as `gte:2026-11-21T04:10:08Z`. Without an operator, a time stands for its whole second.
fn times(name: &str, value: &str) -> Result<Filter> {
    let wrong = || Error::invalid(format!("Invalid time for {name}: {}.", value.escape_default()));
    let (operator, text) = match value.split_once(':') {
        Some((operator @ ("gt" | "gte" | "lt" | "lte" | "eq" | "neq"), text)) => (operator, text),
        _ => ("eq", value),
    };
    let from = read_iso_8601(text).ok_or_else(wrong)?;
    let (first, last) = (Value::Time(from), Value::Time(Timestamp(from.0.saturating_add(999_999))));
    // Times are written to the second and stored to the microsecond.
    let (low, high) = match operator {
        "gt" => (Bound::Excluded(last), Bound::Unbounded),
        "gte" => (Bound::Included(first), Bound::Unbounded),
        "lt" => (Bound::Unbounded, Bound::Excluded(first)),
        "lte" => (Bound::Unbounded, Bound::Included(last)),
        _ => (Bound::Included(first), Bound::Included(last)),
    };
    let created = Filter::Within(Attr::CreatedAt, low.clone(), high.clone());
    let within = match name {
        "created_at" => created,
        // An image that never changed counts by its creation.
        _ => {
            let changed = Filter::Within(Attr::UpdatedAt, Bound::Unbounded, Bound::Unbounded);
            Filter::Any(vec![Filter::Within(Attr::UpdatedAt, low, high), created.and(changed.negated())])
        }
    };
    Ok(if operator == "neq" { within.negated() } else { within })
}

/// The path of a page of a list: its query with another marker.
pub(super) fn link(path: &str, query: &str, marker: Option<&str>) -> String {
    let kept = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("marker"));
    let marker = marker.map(|marker| format!("marker={}", escaped(marker)));
    let query: Vec<&str> = kept.chain(marker.as_deref()).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::super::super::params::LIMIT_MAX;
    use super::*;
    use crate::error::Kind;
    use crate::image::Status;

    fn filter(query: &str) -> Filter {
        let Filter::All(mut filters) = V2ListQuery::parse(query).unwrap().filter else { panic!("{query}") };
        assert_eq!(filters.pop(), Some(Filter::Equals(Attr::Hidden, Value::Flag(false))));
        assert_eq!(filters.len(), 1, "{query}");
        filters.remove(0)
    }

    #[test]
    fn pairs_become_conditions() {
        let any = |attr, words: &[&str]| any(words.iter().map(|word| Filter::spelled(attr, word)).collect());
        assert_eq!(filter("name=a%3Ab+c"), any(Attr::Name, &["a:b c"]), "a colon is part of a name");
        assert_eq!(filter("name=in:a,%22b,c%22"), any(Attr::Name, &["a", "b,c"]));
        assert_eq!(filter("status=queued"), any(Attr::Status, &[Status::Queued.word(), Status::Failed.word()]));
        assert_eq!(filter("status=unheard"), Filter::nothing());
        assert_eq!(filter("tag=t"), Filter::Tag("t".into()));
        assert_eq!(filter("os=linux"), Filter::Property("os".into(), "linux".into()));
        assert_eq!(filter("foo_max=linux"), Filter::Property("foo_max".into(), "linux".into()));
        let bound = Filter::Within(Attr::MinRam, Bound::Unbounded, Bound::Included(Value::Int(5)));
        assert_eq!(filter("min_ram_max=5"), bound);
        for bad in [
            "size_min=a",
            "protected=True",
            "created_at=gt:x",
            "name=in:%22a",
            "limit=-1",
            "limit=x",
            "marker=x",
            "visibility=x",
            "member_status=x",
            "sort_key=owner",
            "sort_dir=up",
            "sort=name:up",
            "name=%ff",
            "sort=name&sort_key=name",
            "sort=name,size,name",
            "sort_key=id&sort_key=id",
            "sort_key=name&sort_dir=asc&sort_dir=asc",
        ] {
            assert_eq!(V2ListQuery::parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn what_is_asked_is_bounded() {
        let tags = |count: usize| (0..count).map(|n| format!("tag={n}")).collect::<Vec<_>>().join("&");
        assert!(V2ListQuery::parse(&tags(PARAMETERS_MAX)).is_ok());
        assert_eq!(V2ListQuery::parse(&tags(PARAMETERS_MAX + 1)).unwrap_err().kind(), Kind::Invalid);
        let words = |count: usize| format!("name=in:{}", vec!["x"; count].join(","));
        assert!(V2ListQuery::parse(&words(PARAMETERS_MAX)).is_ok());
        assert_eq!(V2ListQuery::parse(&words(PARAMETERS_MAX + 1)).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn orders_and_pages() {
        let sort = |query: &str| V2ListQuery::parse(query).unwrap().sort;
        let (up, down) = (Direction::Ascending, Direction::Descending);
        assert_eq!(sort(""), Sort::by(Attr::CreatedAt, down));
        assert_eq!(sort("sort=name:asc,size"), Sort::by_all(vec![(Attr::Name, up), (Attr::Size, down)]));
        assert_eq!(sort("sort_key=name&sort_dir=asc"), Sort::by(Attr::Name, up));
        assert_eq!(
            sort("sort_key=name&sort_key=id&sort_dir=asc"),
            Sort::by_all(vec![(Attr::Name, up), (Attr::Id, up)])
        );
        assert_eq!(V2ListQuery::parse("limit=5000").unwrap().limit, LIMIT_MAX);
        assert_eq!(V2ListQuery::parse("").unwrap().limit, LIMIT);
    }

    #[test]
    fn links_keep_everything() {
        assert_eq!(link("/v2/images", "", None), "/v2/images");
        let asked = "tag=a&marker=x&tag=b%20c";
        assert_eq!(link("/v2/images", asked, None), "/v2/images?tag=a&tag=b%20c");
        let next = "/v2/images?tag=a&tag=b%20c&marker=edfa919a-A%3A%3Ab";
        assert_eq!(link("/v2/images", asked, Some("edfa919a-A::b")), next);
    }
}
