//! The page of what clients ask for: its requests are routes of the program, so that a row can't outlive its route.

const PAGE: &str = include_str!("../../docs/protocols/asked.md");

/// A path as the page has it: without the patterns of its parts.
fn plain(path: &str) -> String {
    let (mut plain, mut depth, mut in_pattern) = (String::new(), 0, false);
    for c in path.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ':' if depth == 1 => in_pattern = true,
            _ => {}
        }
        if c == '}' && depth == 0 {
            in_pattern = false;
        }
        if !in_pattern {
            plain.push(c);
        }
    }
    plain.replace("{minor}", "")
}

/// Tells whether a text fits a pattern, in which `*` stands for any text, as in `tests/clients/asked.py`.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(after, &rest[at..]))
}

#[test]
fn every_row_is_about_a_request_that_is_served() {
    let routes = visor::api::routes();
    let served = |request: &str| {
        let (method, path) = request.split_once(' ').unwrap_or((request, "*"));
        routes.iter().any(|(_, route)| {
            let methods = &route.methods;
            let has_method = method == "*" || methods.is_empty() || methods.iter().any(|one| one.as_str() == method);
            has_method && fits(path, &plain(&route.path))
        })
    };
    let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        let requests = row.trim_start_matches('|').split('|').next().unwrap();
        for request in requests.split('`').skip(1).step_by(2) {
            assert!(served(request), "no route of the program is {request}: {row}");
        }
    }
    for gone in ["* */v3/auth/nothing", "GET */v4/*", "POST /1.0/images/*/nothing"] {
        assert!(!served(gone), "{gone}");
    }
    assert_eq!(plain("/v2{minor:(\\.[0-9]+)?}/images/{id}"), "/v2/images/{id}");
    assert_eq!(plain("/a/{name:.{1,3}}/b"), "/a/{name}/b");
}
