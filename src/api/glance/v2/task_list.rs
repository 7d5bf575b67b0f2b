//! The query of a list of tasks: filters, order and page over their rendered form. Knows no job.

use std::cmp::Reverse;

use serde_json::Value;

use super::super::params::{LIMIT, direction, limit, no_marker, pairs};
use super::query::link;
use crate::error::{Error, Result};
use crate::image::query::Direction;

const PATH: &str = "/v2/tasks";

/// Names that tasks are sorted by.
const SORT_KEYS: [&str; 7] = ["id", "type", "status", "owner", "created_at", "updated_at", "expires_at"];

/// Names that tasks are filtered by.
const FILTERS: [&str; 5] = ["id", "type", "status", "owner", "image_id"];

const STATUSES: [&str; 4] = ["pending", "processing", "success", "failure"];

/// A list as a request asks for it.
#[derive(Debug)]
pub(super) struct TaskQuery {
    filters: Vec<(String, String)>,
    limit: usize,
    marker: Option<String>,
    key: String,
    direction: Direction,
}

impl TaskQuery {
    /// Reads a query string. Like Glance, it knows the states of a task, and finds nothing by names that tasks do not have.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn parse(query: &str) -> Result<Self> {
        let mut read = Self {
            filters: Vec::new(),
            limit: LIMIT,
            marker: None,
            key: "created_at".to_owned(),
            direction: Direction::Descending,
        };
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "limit" => read.limit = limit(&value)?,
                "marker" => read.marker = Some(value),
                "sort_dir" => read.direction = direction(&value)?,
                "sort_key" if SORT_KEYS.contains(&value.as_str()) => read.key = value,
                "sort_key" => return Err(Error::invalid(format!("Invalid sort key: {}.", value.escape_default()))),
                "status" if !STATUSES.contains(&value.as_str()) => {
                    return Err(Error::invalid(format!("Invalid status value: {}", value.escape_default())));
                }
                _ => read.filters.push((name, value)),
            }
        }
        Ok(read)
    }

    /// The page of these tasks, the newest of which is the first, and whether there are more.
    ///
    /// # Errors
    /// `Invalid` for a marker that names none of them.
    pub(super) fn page(&self, mut tasks: Vec<Value>) -> Result<(Vec<Value>, bool)> {
        tasks.retain(|task| {
            self.filters.iter().all(|(name, value)| FILTERS.contains(&name.as_str()) && task[name] == value.as_str())
        });
        let text = |task: &Value| task[&self.key].as_str().unwrap_or_default().to_owned();
        // Stable: tasks that are equal in the key stay in the order of their begin.
        match self.direction {
            Direction::Descending => tasks.sort_by_key(|task| Reverse(text(task))),
            Direction::Ascending => {
                tasks.reverse();
                tasks.sort_by_key(text);
            }
        }
        if let Some(marker) = &self.marker {
            let at = tasks.iter().position(|task| task["id"] == marker.as_str()).ok_or_else(|| no_marker(marker))?;
            tasks.drain(..=at);
        }
        let more = tasks.len() > self.limit;
        tasks.truncate(self.limit);
        Ok((tasks, more))
    }
}

/// Paths of the first page, and of the page after this task.
pub(super) fn next(query: &str, last: Option<&Value>) -> (String, Option<String>) {
    let after = last.and_then(|task| task["id"].as_str()).map(|id| link(PATH, query, Some(id)));
    (link(PATH, query, None), after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(query: &str) -> Result<(String, bool)> {
        let task = |id: &str, kind: &str, status: &str, at: &str| json!({ "id": id, "type": kind, "status": status, "created_at": at });
        let all = vec![
            task("d", "import", "success", "2026-11-30T00:00:04Z"),
            task("c", "api_image_import", "failure", "2026-11-30T00:00:02Z"),
            task("b", "api_image_import", "success", "2026-11-30T00:00:02Z"),
            task("a", "import", "processing", "2026-11-30T00:00:01Z"),
        ];
        let (page, more) = TaskQuery::parse(query)?.page(all)?;
        Ok((page.iter().map(|task| task["id"].as_str().unwrap()).collect(), more))
    }

    #[test]
    fn lists_of_tasks_are_filtered_sorted_and_paged() {
        for (query, expected, more) in [
            ("", "dcba", false),
            ("limit=2", "dc", true),
            ("limit=2&marker=c", "ba", false),
            ("sort_dir=asc", "abcd", false),
            ("sort_key=type&sort_dir=asc&limit=3", "bca", true),
            ("status=success", "db", false),
            ("type=import&status=processing", "a", false),
            ("nonsense=1", "", false),
            ("limit=0", "", true),
        ] {
            assert_eq!(ids(query).unwrap(), (expected.to_owned(), more), "{query}");
        }
        for bad in ["limit=x", "marker=z", "sort_dir=up", "sort_key=size", "status=done"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
    }
}
