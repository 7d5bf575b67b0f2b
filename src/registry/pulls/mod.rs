//! Pulls: vendors' images by their names, and files under URLs, brought through the cache and made images like any other. Knows
//! the cache and what vendors publish; knows no protocol of our clients.

mod ask;
mod cached;
mod find;
mod here;
mod locks;
mod make;
mod place;
pub(in crate::registry) mod provenance;
mod pull;
mod recheck;
mod report;
mod room;
mod service;
mod stem;
mod through;
mod views;
mod work;

pub use self::ask::{PullAsk, PullChange, PullProgress, PullState, Pulled};
pub use self::cached::{CacheChange, check_cached, check_pullable};
pub use self::locks::register_lock;
pub use self::provenance::{Provenance, is_superseded};
pub use self::recheck::Rechecked;
pub use self::service::Pulls;
pub use self::through::PullThrough;
pub use self::views::{BuildView, CacheView, CachedView, PrunedView, PulledView, VendorView};
