//! `GET /images` and `GET /images/detail`: the query string, and answers of any length in bounded memory.

use std::ops::Bound;
use std::sync::Arc;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

use super::wire::{
    Record, Surroundings, access_word, announce, attr_of, brief, detail, format_of, list_foot, list_head, list_items,
};
use crate::error::{Error, Reason, Result};
use crate::http::accept::Format;
use crate::http::query;
use crate::http::time::read_ruby;
use crate::image::query::{Direction, Filter, Query, Sort};
use crate::image::{Attr, BlobKey, Image, ImageId, Status, Timestamp, Value, Visibility, Vocabulary};
use crate::registry::{Caller, ListScope, Pages, Registry};

/// Number of images that are read and written together, whatever the length of the list.
const PAGE: usize = 500;

/// Name of the list in answers.
const NAME: &str = "images";

/// A parsed query of a list.
#[derive(Debug, PartialEq)]
pub(super) struct VisorListQuery {
    filter: Filter,
    sort: Sort,
    limit: usize,
    marker: Option<ImageId>,
}

/// Names and values of a query string, decoded. Later ones replace earlier ones.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in query::pairs(query)? {
        pairs.retain(|(earlier, _)| *earlier != name);
        pairs.push((name, value));
    }
    Ok(pairs)
}

impl VisorListQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// `Invalid` sort, direction, limit, marker or bound. An unknown name is a free attribute's.
    pub(super) fn parse(query: &str) -> Result<Self> {
        let mut list = Self { filter: Filter::everything(), sort: Sort::default(), limit: usize::MAX, marker: None };
        let (mut size_min, mut size_max) = (0, u64::MAX);
        let pairs = pairs(query)?;
        let has = |name: &str| pairs.iter().any(|(given, _)| given == name);
        if has("name") && !has("sort") && !has("dir") {
            // Of images that share a name, the newest one is meant.
            list.sort = Sort::by(Attr::CreatedAt, Direction::Descending);
        }
        for (name, value) in pairs {
            match name.as_str() {
                "sort" => list.sort.by = sortable(&value)?,
                "dir" => list.sort.direction = direction(&value)?,
                "limit" => list.limit = number(&name, &value)?.clamp(0, usize::MAX as u64) as usize,
                "marker" => list.marker = Some(value.parse().map_err(|()| no_marker(&value))?),
                "size_min" => size_min = number(&name, &value)?,
                "size_max" => size_max = number(&name, &value)?,
                _ => list.filter = list.filter.and(condition(name, value)),
            }
        }
        if list.limit == 0 {
            return Err(Error::invalid("The limit must be at least 1."));
        }
        if (size_min, size_max) != (0, u64::MAX) {
            list.filter = list.filter.and(within(Attr::Size, Value::Int(size_min), Value::Int(size_max)));
        }
        Ok(list)
    }
}

/// A filter on values within these bounds, both included.
fn within(attr: Attr, low: Value<'static>, high: Value<'static>) -> Filter {
    Filter::Within(attr, Bound::Included(low), Bound::Included(high))
}

fn sortable(name: &str) -> Result<Attr> {
    attr_of(name)
        .filter(|attr| attr.row().indexed.orders_all())
        .ok_or_else(|| Error::invalid(format!("Images can't be sorted by '{}'.", name.escape_default())))
}

fn direction(text: &str) -> Result<Direction> {
    if text.eq_ignore_ascii_case("asc") {
        Ok(Direction::Ascending)
    } else if text.eq_ignore_ascii_case("desc") {
        Ok(Direction::Descending)
    } else {
        Err(Error::invalid(format!("The dir must be 'asc' or 'desc', not '{}'.", text.escape_default())))
    }
}

fn number(name: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| Error::invalid(format!("The {name} must be a number, not '{}'.", value.escape_default())))
}

fn no_marker(text: &str) -> Error {
    Reason::MarkerNotFound.about(text.escape_default())
}

/// Translates a pair into a filter.
fn condition(name: String, value: String) -> Filter {
    match attr_of(&name) {
        Some(Attr::Status) => {
            let meant = Status::ALL.into_iter().filter(|status| super::wire::status_word(*status) == value);
            Filter::Any(meant.map(|s| Filter::Equals(Attr::Status, Value::Text(s.word().into()))).collect())
        }
        Some(attr @ (Attr::CreatedAt | Attr::UpdatedAt | Attr::UploadedAt)) => match read_ruby(&value) {
            // Answers show times to the second; records keep them to the microsecond.
            Some(from) => within(attr, Value::Time(from), Value::Time(Timestamp(from.0 + 999_999))),
            None => Filter::nothing(),
        },
        Some(Attr::Visibility) => {
            let meant = Visibility::ALL.iter().filter(|known| access_word(**known).eq_ignore_ascii_case(&value));
            Filter::OneOf(Attr::Visibility, meant.map(|known| Value::Text(known.name().into())).collect())
        }
        Some(Attr::Location) => {
            // Answers show the key after the address of its store; records keep the key alone.
            let key = value.rsplit('/').next().filter(|last| last.parse::<BlobKey>().is_ok());
            Filter::spelled(Attr::Location, key.unwrap_or(value.strip_prefix("file://").unwrap_or(&value)))
        }
        Some(attr) => Filter::spelled(attr, &value),
        None if name == "uri" => Filter::spelled(Attr::Id, value.rsplit('/').next().unwrap_or_default()),
        None => Filter::Property(name, value),
    }
}

/// Form of the records in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Brief,
    Detail,
}

/// State between the pages of a list.
struct Listing {
    registry: Arc<Registry>,
    who: Caller,
    pages: Pages,
    shape: Shape,
    format: Format,
    base: String,
    begun: bool,
}

impl Listing {
    async fn page(&mut self) -> Result<Vec<Image>> {
        Ok(self.pages.next().await?.unwrap_or_default())
    }

    fn record(&self, image: &Image) -> Record {
        match self.shape {
            Shape::Brief => brief(image),
            Shape::Detail => {
                let location = self.registry.location(&self.who, image);
                detail(image, &Surroundings { base: self.base.clone(), location })
            }
        }
    }

    /// Renders a page, with the head of the list before the first one and its foot after the last one.
    fn text(&mut self, images: &[Image]) -> Bytes {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.push_str(&list_head(self.format, NAME));
        } else if self.format == Format::Json && !images.is_empty() {
            text.push(',');
        }
        text.push_str(&list_items(self.format, images.iter().map(|image| self.record(image))));
        if self.pages.is_at_end() {
            text.push_str(&list_foot(self.format, NAME));
        }
        text.into()
    }
}

/// Answers a list. One page is sent whole; a longer list is written page by page while the client reads.
///
/// # Errors
/// `Invalid` query; `NotFound` without a match, as the original's client expects.
pub(super) async fn list(
    registry: Arc<Registry>,
    who: Caller,
    request: &HttpRequest,
    shape: Shape,
    base: String,
) -> Result<HttpResponse> {
    let query = VisorListQuery::parse(request.query_string())?;
    let after = match query.marker {
        Some(id) => Some(registry.cursor(&who, id, &query.sort).await?),
        None => None,
    };
    let (format, VisorListQuery { filter, sort, limit, .. }) = (format_of(request), query);
    let pages = registry.pages(&who, ListScope::default(), Query { filter, sort, limit: PAGE, after }, limit);
    let mut listing = Listing { registry, who, pages, shape, format, base, begun: false };
    let first = listing.page().await?;
    if first.is_empty() {
        return Err(Reason::NothingMatches.saying("No public images found with given parameters."));
    }
    let text = listing.text(&first);
    let mut response = HttpResponse::Ok();
    announce(&mut response, format);
    if listing.pages.is_at_end() {
        return Ok(response.body(text));
    }
    Ok(response.streaming(stream::unfold((Some(text), listing), |(ready, mut listing)| async move {
        if let Some(text) = ready {
            return Some((Ok(text), (None, listing)));
        }
        if listing.pages.is_at_end() {
            return None;
        }
        let text = match listing.page().await {
            Ok(images) => Ok(listing.text(&images)),
            // The list can't be finished: the connection is cut, so that the client does not take a part for the whole.
            Err(error) => Err(Box::new(error) as Box<dyn std::error::Error>),
        };
        Some((text, (None, listing)))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn filter(query: &str) -> Filter {
        VisorListQuery::parse(query).unwrap().filter
    }

    #[test]
    fn pairs_become_conditions() {
        assert_eq!(filter(""), Filter::everything());
        assert_eq!(filter("name=a&name=b+c%2F"), Filter::All(vec![Filter::spelled(Attr::Name, "b c/")]));
        assert_eq!(filter("os=linux"), Filter::All(vec![Filter::Property("os".into(), "linux".into())]));
        assert_eq!(filter("format=xml"), Filter::All(vec![Filter::nothing()]), "format is only ever a filter");
        let bounds = within(Attr::Size, Value::Int(5), Value::Int(u64::MAX));
        assert_eq!(filter("size_min=5"), Filter::All(vec![bounds]));
        let id = ImageId::random();
        let key = Filter::spelled(Attr::Location, &format!("{id}.iso"));
        assert_eq!(filter(&format!("location=file:///srv/images/{id}.iso")), Filter::All(vec![key]));
    }

    /// Every value that a record shows finds its image.
    #[test]
    fn every_attribute_with_a_name_is_shown_and_asked_for() {
        let image = crate::image::full_tests::full();
        let location = Attr::Location.read(&image).map(|key| format!("file:///srv/{}", as_text(&key)));
        let around = super::super::wire::Surroundings { base: "http://h".into(), location };
        let record = super::super::wire::detail(&image, &around);
        for row in &crate::image::attr::ATTRS {
            let Some(name) = super::super::wire::name_of(row.attr) else { continue };
            let shown = record.iter().find(|(shown, _)| shown == name);
            let (_, field) = shown.unwrap_or_else(|| panic!("{name} is not shown"));
            assert!(condition(name.to_owned(), field.text().into_owned()).passes(&image), "{name}: {field:?}");
            assert!(!condition(name.to_owned(), "other".to_owned()).passes(&image), "{name}");
        }
    }

    fn as_text(value: &Value<'_>) -> String {
        match value {
            Value::Text(text) => text.to_string(),
            other => panic!("a location is a text: {other:?}"),
        }
    }

    #[test]
    fn order_and_pages() {
        let list = VisorListQuery::parse("sort=size&dir=DESC&limit=20").unwrap();
        assert_eq!((list.sort.by, list.sort.direction, list.limit), (Attr::Size, Direction::Descending, 20));
        for bad in [
            "sort=os",
            "sort=location",
            "sort=",
            "dir=up",
            "limit=0",
            "limit=-1",
            "limit=x",
            "marker=x",
            "size_min=a",
            "name=%ff",
        ] {
            assert_eq!(VisorListQuery::parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
