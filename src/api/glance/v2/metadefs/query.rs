//! Query strings of lists of metadata definitions. Knows no namespace.

use super::super::super::params::{self, LIMIT, PARAMETERS_MAX, direction, pairs};
use crate::error::{Error, Result};
use crate::image::query::Direction;
use crate::metadefs::{Page, SortKey, Visibility};
use crate::registry::NamespaceQuery;

/// Reads filter and page of a list of namespaces. Unknown names are ignored.
///
/// # Errors
/// `Invalid`.
pub(super) fn namespaces(query: &str) -> Result<(NamespaceQuery, Page)> {
    let mut wanted = NamespaceQuery::default();
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "visibility" => wanted.visibility = Some(visibility(&value)?),
            "resource_types" => wanted.resource_types = Some(words(&value)?),
            _ => {}
        }
    }
    Ok((wanted, page(query, LIMIT, "namespace")?))
}

/// Reads the page of a list of a namespace's members. The default is all.
///
/// # Errors
/// `Invalid`.
pub(super) fn members(query: &str) -> Result<Page> {
    page(query, usize::MAX, "name")
}

/// Reads the resource type whose prefix the names of properties get.
///
/// # Errors
/// `Invalid`.
pub(super) fn resource_type(query: &str) -> Result<Option<String>> {
    let last = pairs(query)?.into_iter().rfind(|(name, _)| name == "resource_type");
    Ok(last.map(|(_, value)| value).filter(|value| !value.is_empty()))
}

fn page(query: &str, limit: usize, name_key: &str) -> Result<Page> {
    let mut page = Page { key: SortKey::CreatedAt, descending: true, limit, after: None };
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "limit" => page.limit = params::limit(&value)?,
            "marker" => page.after = Some(value),
            "sort_key" => page.key = sort_key(&value, name_key)?,
            "sort_dir" => page.descending = direction(&value)? == Direction::Descending,
            _ => {}
        }
    }
    Ok(page)
}

/// Reads a list of resource types. Each is compared with every namespace.
fn words(list: &str) -> Result<Vec<String>> {
    if list.split(',').count() > PARAMETERS_MAX {
        return Err(Error::invalid(format!("A list has at most {PARAMETERS_MAX} resource types.")));
    }
    Ok(list.split(',').map(ToOwned::to_owned).collect())
}

fn sort_key(key: &str, name_key: &str) -> Result<SortKey> {
    match key {
        "created_at" => Ok(SortKey::CreatedAt),
        "updated_at" => Ok(SortKey::UpdatedAt),
        key if key == name_key => Ok(SortKey::Name),
        other => Err(Error::invalid(format!("Invalid sort key: {}.", other.escape_default()))),
    }
}

fn visibility(word: &str) -> Result<Visibility> {
    match word {
        "public" => Ok(Visibility::Public),
        "private" => Ok(Visibility::Private),
        other => Err(Error::invalid(format!("Invalid visibility value: {}.", other.escape_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn queries_are_read() {
        let all = Page { key: SortKey::CreatedAt, descending: true, limit: LIMIT, after: None };
        assert_eq!(namespaces("").unwrap(), (NamespaceQuery::default(), all.clone()));
        let (wanted, page) =
            namespaces("visibility=public&resource_types=OS%3A%3AA,b&limit=5000&marker=a%3Ab&x=y").unwrap();
        let types = Some(vec!["OS::A".to_owned(), "b".to_owned()]);
        assert_eq!(wanted, NamespaceQuery { visibility: Some(Visibility::Public), resource_types: types });
        assert_eq!(page, Page { limit: params::LIMIT_MAX, after: Some("a:b".into()), ..all.clone() });
        let by_name = Page { key: SortKey::Name, descending: false, limit: usize::MAX, after: None };
        assert_eq!(members("sort_key=name&sort_dir=asc").unwrap(), by_name);
        assert_eq!(resource_type("resource_type=a&resource_type=b").unwrap().as_deref(), Some("b"));
        assert_eq!(resource_type("resource_type=").unwrap(), None);
        assert_eq!(namespaces(&format!("resource_types={}", ",".repeat(64))).unwrap_err().kind(), Kind::Invalid);
        for bad in ["limit=-1", "limit=x", "sort_key=name", "sort_dir=up", "visibility=shared", "marker=%ff"] {
            assert_eq!(namespaces(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
