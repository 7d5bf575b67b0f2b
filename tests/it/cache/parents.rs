//! Servers that ask one another: no request goes in a circle, and each server learns through which others a request came.

mod relay;

use self::relay::Relay;
use super::with;
use crate::harness::noise;
use crate::upstream::{Asked, File, Upstream};

/// Settings of a server with a parent at this address.
fn parent(address: impl std::fmt::Display) -> String {
    format!("parents = [\"http://{address}\"]\n")
}

/// Members of the `Via` of a request, from all of its lines.
fn via(asked: &Asked) -> Vec<String> {
    let values = asked.headers.iter().filter(|(name, _)| name == "via").map(|(_, value)| value.as_str());
    values.flat_map(|value| value.split(',')).map(|member| member.trim().to_owned()).collect()
}

/// Each of two servers has the other as its parent. The second one's question comes back to the first, which refuses it, and the second asks
/// the host then. Were it not refused, both would wait for one another until their patience ends.
#[test]
fn a_circle_of_parents_ends_where_it_began() {
    let content = noise(101, 300_000);
    for method in ["GET", "HEAD"] {
        let (upstream, relay) = (Upstream::start(), Relay::open());
        upstream.put("/f", File::new(content.clone()));
        let second = with(&[], &parent(relay.address()));
        let first = with(&[], &parent(second.address()));
        relay.lead_to(first.address());
        let answer = first.send(method, &upstream.door("/f"), &[], b"");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("300000")), "{method}: {answer:?}");
        assert!(method == "HEAD" || answer.body == content);
        let circled = relay.answers(&upstream.door("/f"));
        assert_eq!(circled.len(), 1, "{method}: {circled:?}");
        let refused = circled[0].starts_with("508 ") && circled[0].contains("x-visor-error: cache-loop");
        assert!(refused, "{method}: {circled:?}");
        // By each of the two once at most.
        let asked = upstream.asked("/f");
        assert!((1..=2).contains(&asked.len()), "{method}: {asked:?}");
    }
}

#[test]
fn a_request_that_names_this_server_is_refused() {
    let (above, upstream) = (Upstream::start(), Upstream::start());
    let server = with(&[], &parent(above.address()));
    for path in ["/here", "/elsewhere"] {
        above.put(&upstream.door(path), File::new("bytes"));
    }
    assert_eq!(server.get(&upstream.door("/here")).body, b"bytes");
    let own = via(&above.asked(&upstream.door("/here"))[0]);
    assert!(own.len() == 1 && own[0].starts_with("1.1 visor-"), "{own:?}");
    let own = &own[0];
    let send =
        |method: &str, path: &str, headers: &[(&str, &str)]| server.send(method, &upstream.door(path), headers, b"");
    // Alone, between others in one line, and in a line of its own.
    let among = format!("1.1 other, {own} (a comment), 1.0 another");
    for headers in [&[("Via", own.as_str())][..], &[("Via", &among)], &[("Via", "1.1 other"), ("via", own)]] {
        for (method, path) in [("GET", "/here"), ("HEAD", "/here"), ("GET", "/elsewhere"), ("HEAD", "/elsewhere")] {
            let answer = send(method, path, headers);
            let error = answer.header("x-visor-error");
            assert_eq!((answer.status, error), (508, Some("cache-loop")), "{method} {path} {headers:?}: {answer:?}");
        }
    }
    assert!(above.asked(&upstream.door("/elsewhere")).is_empty() && upstream.asked("/elsewhere").is_empty());
    // Other servers of this kind are no reason to refuse.
    for others in ["1.1 visor", "1.1 visor-0123456789abcdef0123456789abcdef", "1.1 a, 1.0 b"] {
        assert_eq!(send("GET", "/elsewhere", &[("Via", others)]).body, b"bytes", "{others}");
    }
}

#[test]
fn a_parent_learns_through_which_servers_a_request_came() {
    for method in ["GET", "HEAD"] {
        let (above, upstream) = (Upstream::start(), Upstream::start());
        let server = with(&[], &parent(above.address()));
        // The parent has the one, and the host the other.
        above.put(&upstream.door("/f"), File::new("bytes"));
        upstream.put("/g", File::new("bytes"));
        let send = |path: &str, headers: &[(&str, &str)]| server.send(method, &upstream.door(path), headers, b"");
        for path in ["/f", "/g"] {
            assert_eq!(send(path, &[("Via", "1.0 first, 1.1 second"), ("Via", "1.1 third")]).status, 200);
            let asked = above.asked(&upstream.door(path));
            assert_eq!(asked.len(), 1, "{asked:?}");
            let members = via(&asked[0]);
            assert_eq!(members.len(), 4, "{method} {path}: {members:?}");
            assert_eq!(members[..3], ["1.0 first", "1.1 second", "1.1 third"], "{method} {path}");
            assert!(members[3].starts_with("1.1 visor-"), "{method} {path}: {members:?}");
        }
        let told: Vec<_> = upstream.all().into_iter().filter(|asked| !via(asked).is_empty()).collect();
        assert!(!upstream.asked("/g").is_empty() && told.is_empty(), "the host learns nothing of parents: {told:?}");
    }
}
