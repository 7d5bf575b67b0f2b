//! The protocols. Each is a folder of translators: parse, call the registry, render. None knows another.

pub mod visor;
