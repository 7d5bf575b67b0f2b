//! Key files of vendors, compiled in. `src/vendor/keys/README.md` says where each is from.

/// Key files, each of one primary key that an entry of `vendors.toml` pins.
pub(super) const SHIPPED: [(&str, &[u8]); 14] = [
    ("almalinux-10.asc", include_bytes!("../keys/almalinux-10.asc")),
    ("almalinux-8.asc", include_bytes!("../keys/almalinux-8.asc")),
    ("almalinux-9.asc", include_bytes!("../keys/almalinux-9.asc")),
    ("centos.asc", include_bytes!("../keys/centos.asc")),
    ("debian-cd.asc", include_bytes!("../keys/debian-cd.asc")),
    ("fedora-43.asc", include_bytes!("../keys/fedora-43.asc")),
    ("fedora-44.asc", include_bytes!("../keys/fedora-44.asc")),
    ("fedora-45.asc", include_bytes!("../keys/fedora-45.asc")),
    ("opensuse-2022.asc", include_bytes!("../keys/opensuse-2022.asc")),
    ("rocky-10.asc", include_bytes!("../keys/rocky-10.asc")),
    ("rocky-8.asc", include_bytes!("../keys/rocky-8.asc")),
    ("rocky-9.asc", include_bytes!("../keys/rocky-9.asc")),
    ("ubuntu-cloud-builder.asc", include_bytes!("../keys/ubuntu-cloud-builder.asc")),
    ("ubuntu-cloud-images.asc", include_bytes!("../keys/ubuntu-cloud-images.asc")),
];
