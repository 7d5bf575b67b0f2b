//! The routes of all protocols against the cases of the policy: no route whose row no request asks for in its protocol.

use std::collections::BTreeSet;

use visor::registry::policy::Action;

use crate::policy_cases::{CASES, Protocol};

/// The name of a protocol in its own code.
fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Visor => "visor",
        Protocol::GlanceV1 | Protocol::GlanceV2 => "glance",
        Protocol::Identity => "identity",
        Protocol::Lxd => "lxd",
        Protocol::Simplestreams => "simplestreams",
        Protocol::Cache => "cache",
    }
}

#[test]
fn every_route_has_a_case_of_its_row() {
    let asked: BTreeSet<(&str, Action)> = CASES.iter().map(|case| (name(case.protocol), case.action)).collect();
    let routes = visor::api::routes();
    assert!(routes.len() > 100, "{}", routes.len());
    let missing: Vec<String> = routes
        .into_iter()
        .filter(|(protocol, route)| !asked.contains(&(*protocol, route.action)))
        .map(|(protocol, route)| format!("{protocol}: {} {:?} {}", route.action.name(), route.methods, route.path))
        .collect();
    assert!(missing.is_empty(), "no case of tests/it/policy_cases.rs asks for the row of:\n{}", missing.join("\n"));
}
