//! The protocols. Each is a folder of translators: parse, call the registry, render. None knows another; what
//! they have to agree on about callers is in [`auth`].

pub mod auth;
pub mod glance;
pub mod identity;
pub mod visor;
