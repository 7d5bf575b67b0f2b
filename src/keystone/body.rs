//! A token in Keystone's JSON, as far as it matters here.

use serde::Deserialize;

use super::Roles;
use super::no_answer::NoAnswer;
use crate::account::Role;
use crate::image::Timestamp;

/// Longest id of a project that is taken: Keystone's have 64 characters at most.
const PROJECT_BYTES_MAX: usize = 255;

#[derive(Deserialize)]
struct Body {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    expires_at: String,
    #[serde(default)]
    project: Option<Project>,
    #[serde(default)]
    roles: Vec<NamedRole>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

#[derive(Deserialize)]
struct NamedRole {
    name: String,
}

/// Facts about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenFacts {
    /// Time at which it ends.
    pub(super) expires_at: Timestamp,
    /// Id of the project that it is for.
    pub(super) project: Option<String>,
    /// Rights that its roles give.
    pub(super) role: Role,
    /// Set for the token of a service.
    pub(super) is_service: bool,
}

/// Reads the answer to a question, `what`, with a token in it.
pub(super) fn read(what: &'static str, bytes: &[u8], roles: &Roles) -> Result<TokenFacts, NoAnswer> {
    let body: Body =
        serde_json::from_slice(bytes).map_err(|error| NoAnswer::Garbled(what, format!("{:?}", error.classify())))?;
    let token = body.token;
    let expires_at: jiff::Timestamp =
        token.expires_at.parse().map_err(|_| NoAnswer::Garbled(what, "expires_at is no time".into()))?;
    let project = token.project.map(|project| project.id);
    let usable = |id: &String| !id.is_empty() && id.len() <= PROJECT_BYTES_MAX && !id.chars().any(char::is_control);
    if project.as_ref().is_some_and(|id| !usable(id)) {
        return Err(NoAnswer::Garbled(what, "the id of the project can't be one".into()));
    }
    let has = |role: &NamedRole, names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(&role.name));
    let role = if token.roles.iter().any(|role| has(role, &roles.admin)) {
        Role::Administrator
    } else if token.roles.iter().all(|role| has(role, &roles.reader)) {
        Role::Reader
    } else {
        Role::Member
    };
    Ok(TokenFacts {
        expires_at: Timestamp(expires_at.as_microsecond()),
        project,
        role,
        is_service: token.roles.iter().any(|role| has(role, &roles.service)),
    })
}
