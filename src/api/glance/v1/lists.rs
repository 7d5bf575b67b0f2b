//! Lists of images in v1: query strings and pages. Which images a caller sees is the core's rule.

use std::ops::Bound;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value as Json, json};

use super::super::Glance;
use super::super::params::{LIMIT, direction, limit, no_marker, pairs, sortable};
use super::super::spell;
use super::meta::is_yes;
use super::names::attr_of;
use super::render::{self, status_word};
use crate::error::{Error, Result};
use crate::http::route::answer_json;
use crate::http::time::read_iso_8601;
use crate::image::query::{Direction, Filter, Query, Sort};
use crate::image::{Attr, Image, ImageId, Status, Value, Visibility};
use crate::registry::{Caller, ListScope};

/// `GET /v1/images`
pub(super) async fn brief(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    list(&request, &glance, render::brief).await
}

/// `GET /v1/images/detail`
pub(super) async fn detail(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    list(&request, &glance, render::detail).await
}

async fn list(request: &HttpRequest, glance: &Glance, shape: fn(&Image) -> Json) -> HttpResponse {
    let listed = glance.answer(request, async |who| {
        let V1ListQuery { filter, public, sort, limit, marker } = V1ListQuery::parse(request.query_string())?;
        let (shown, more) = public.of(&who);
        let query = Query { filter: filter.and(more), sort, limit, after: None };
        let images = glance.page(&who, shown, query, marker).await?;
        let images: Vec<Json> = images.iter().map(shape).collect();
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "images": images })))
    });
    listed.await
}

/// The query string of a list, read.
#[derive(Debug, PartialEq)]
struct V1ListQuery {
    filter: Filter,
    public: PublicFilter,
    sort: Sort,
    limit: usize,
    marker: Option<ImageId>,
}

/// Choice of images by `is_public`. It counts for administrators only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum PublicFilter {
    /// Public images, the caller's own, and images shared with the caller.
    #[default]
    Usual,
    /// Images that are not public.
    No,
    /// All images.
    Any,
}

impl PublicFilter {
    fn of(self, who: &Caller) -> (ListScope, Filter) {
        // A membership needs no acceptance in v1.
        let usual = ListScope { community: false, member_status: None };
        let all = ListScope { community: true, ..usual };
        match (self, who) {
            (_, Caller::Anonymous | Caller::Reader(_) | Caller::User(_)) => (usual, Filter::everything()),
            (Self::No, _) => (all, Filter::spelled(Attr::Visibility, Visibility::Public.name()).negated()),
            (Self::Usual, Caller::Admin(Some(name))) => (all, Caller::User(name.clone()).listed(usual)),
            // Without accounts all images are the caller's own.
            (Self::Usual | Self::Any, _) => (all, Filter::everything()),
        }
    }
}

impl V1ListQuery {
    /// Reads a query string. Unknown names are ignored, as in Glance.
    ///
    /// # Errors
    /// `Invalid`.
    fn parse(query: &str) -> Result<Self> {
        let mut list = Self {
            filter: Filter::everything(),
            public: PublicFilter::default(),
            sort: Sort::by(Attr::CreatedAt, Direction::Descending),
            limit: LIMIT,
            marker: None,
        };
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "limit" => list.limit = limit(&value)?,
                "marker" => list.marker = Some(value.parse().map_err(|()| no_marker(&value))?),
                "sort_key" => list.sort.by = sortable(&value, attr_of)?,
                "sort_dir" => list.sort.direction = direction(&value)?,
                "is_public" if value.eq_ignore_ascii_case("none") => list.public = PublicFilter::Any,
                "is_public" if flag(&name, &value)? => list.public = PublicFilter::Usual,
                "is_public" => list.public = PublicFilter::No,
                _ => list.filter = list.filter.and(condition(&name, value)?),
            }
        }
        Ok(list)
    }
}

/// Filter of a pair of name and value.
fn condition(name: &str, value: String) -> Result<Filter> {
    match attr_of(name) {
        None => other_condition(name, value),
        Some(attr @ (Attr::Name | Attr::Format | Attr::Container)) => Ok(Filter::spelled(attr, &value)),
        Some(attr @ Attr::Status) => {
            let meant = Status::ALL.into_iter().filter(|status| status_word(*status) == value);
            Ok(Filter::Any(meant.map(|status| Filter::spelled(attr, status.word())).collect()))
        }
        Some(attr @ (Attr::MinRam | Attr::MinDisk)) => Ok(Filter::Equals(attr, Value::Int(number(name, &value)?))),
        Some(attr @ Attr::Protected) => Ok(Filter::Equals(attr, Value::Flag(flag(name, &value)?))),
        // Read before, as a parameter of its own.
        Some(Attr::Visibility) => Ok(Filter::everything()),
        // No filter of Glance, or no name in v1.
        Some(Attr::Id | Attr::Owner | Attr::Size | Attr::VirtualSize | Attr::CreatedAt) => Ok(Filter::everything()),
        Some(Attr::UpdatedAt | Attr::Checksum | Attr::Architecture | Attr::Kernel) => Ok(Filter::everything()),
        Some(Attr::Ramdisk | Attr::Location | Attr::Store | Attr::Kind | Attr::Hidden) => Ok(Filter::everything()),
        Some(Attr::UploadedAt | Attr::Sha256 | Attr::Sha512 | Attr::Fingerprint) => Ok(Filter::everything()),
        Some(Attr::Alias | Attr::ExpiresAt | Attr::Offered) => Ok(Filter::everything()),
    }
}

/// Filter of a name that no attribute has.
fn other_condition(name: &str, value: String) -> Result<Filter> {
    match name {
        // An image without a size is shown with 0.
        "size_min" => Ok(match number(name, &value)? {
            0 => Filter::everything(),
            size => Filter::Within(Attr::Size, Bound::Included(Value::Int(size)), Bound::Unbounded),
        }),
        "size_max" => {
            let over = Bound::Excluded(Value::Int(number(name, &value)?));
            Ok(Filter::Within(Attr::Size, over, Bound::Unbounded).negated())
        }
        "changes-since" => {
            let since = Bound::Included(Value::Time(read_iso_8601(&value).ok_or_else(|| bad(name, &value))?));
            let within = |attr| Filter::Within(attr, since.clone(), Bound::Unbounded);
            Ok(Filter::Any(vec![within(Attr::CreatedAt), within(Attr::UpdatedAt)]))
        }
        // Deleted images have no record. Other images would be a wrong answer, none is a correct one.
        "deleted" if is_yes(&value) => Ok(Filter::nothing()),
        _ => Ok(match name.strip_prefix("property-") {
            Some(name) => spell::property_is(name.to_owned(), value),
            None => Filter::everything(),
        }),
    }
}

fn bad(name: &str, value: &str) -> Error {
    Error::invalid(format!("Bad value passed to filter {name} got {}", value.escape_default()))
}

fn number(name: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| bad(name, value))
}

/// Reads a flag, and refuses every word that is neither yes nor no.
fn flag(name: &str, value: &str) -> Result<bool> {
    let is_no = || ["0", "f", "false", "off", "n", "no"].iter().any(|no| no.eq_ignore_ascii_case(value.trim()));
    if is_yes(value) || is_no() { Ok(is_yes(value)) } else { Err(bad(name, value)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::image::Timestamp;
    use crate::image::change::tests::sample;

    #[test]
    fn pairs_become_conditions() {
        let mut image = sample("a b");
        image.properties.insert("os".into(), "linux".into());
        (image.protected, image.min_ram) = (true, 64);
        image.updated_at = Some(Timestamp(1_795_246_208_000_000));
        for (query, passes) in [
            ("", true),
            ("name=a+b&unheard=x&owner=me", true),
            ("name=a", false),
            ("status=queued", true),
            ("status=killed", false),
            ("status=unheard", false),
            ("protected=True&min_ram=64&min_disk=0", true),
            ("protected=off", false),
            ("size_min=0&size_max=0", true),
            ("size_min=1", false),
            ("property-os=linux", true),
            ("property-os=plan9", false),
            ("disk_format=raw", false),
            ("changes-since=2026-11-21T07:30:08", true),
            ("changes-since=2026-11-21T07:30:09Z", false),
            ("deleted=False", true),
            ("deleted=True", false),
        ] {
            assert_eq!(V1ListQuery::parse(query).unwrap().filter.passes(&image), passes, "{query}");
        }
        for bad in [
            "size_min=abc",
            "size_max=-1",
            "min_ram=x",
            "protected=maybe",
            "is_public=maybe",
            "changes-since=yesterday",
            "limit=-1",
            "marker=x",
            "sort_key=owner",
            "sort_dir=up",
            "name=%ff",
        ] {
            assert_eq!(V1ListQuery::parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    /// A row per image, a column per query: usual, not public, all.
    #[test]
    fn administrators_choose_what_they_see() {
        let image = |visibility, owner: Option<&str>| {
            let image = sample("a");
            Image { visibility, owner: owner.map(Into::into), ..image }
        };
        let queries = ["", "is_public=False", "is_public=None"];
        let columns = |who: &Caller, image: &Image| {
            queries.map(|query| {
                let (shown, more) = V1ListQuery::parse(query).unwrap().public.of(who);
                who.listed(shown).and(more).passes(image)
            })
        };
        let (admin, user) = (Caller::Admin(Some("root".into())), Caller::User("me".into()));
        for (image, of_admin, of_user) in [
            (image(Visibility::Public, Some("me")), [true, false, true], [true; 3]),
            (image(Visibility::Shared, Some("me")), [false, true, true], [true; 3]),
            (image(Visibility::Private, Some("root")), [true; 3], [false; 3]),
            (image(Visibility::Private, Some("you")), [false, true, true], [false; 3]),
            (image(Visibility::Community, Some("you")), [false, true, true], [false; 3]),
            (image(Visibility::Private, None), [false, true, true], [false; 3]),
        ] {
            assert_eq!(columns(&admin, &image), of_admin, "{image:?}");
            assert_eq!(columns(&user, &image), of_user, "{image:?}");
            let open = columns(&Caller::Admin(None), &image);
            assert_eq!(open, [true, image.visibility != Visibility::Public, true], "{image:?}");
        }
    }
}
