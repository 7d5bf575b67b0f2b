"""Vendors' sites as they are, small: the folders, lists, sums and signatures of each, over http on this machine, signed by keys of the test.

A `Tree` is one vendor's. It is written again for other builds by `publish`, so that lists become newer, or older again. Images are
real disks of a few hundred KiB. `configure` makes a server believe that these are the vendors.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from calendar import timegm
from email.utils import formatdate
from random import Random
from time import gmtime, strftime, strptime

from lxd_harness import Images
from vendor_keys import Keys, Signify, unpadded
from vendor_site import Generated, Site, sha256

SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "vendor", "vendors.toml")
# Names are those of this machine's architecture, as `visor pull` takes it.
ARCH, DEBIAN_ARCH = os.uname().machine, {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


class Build:
    """A build: its day, and the time at which it was signed."""

    def __init__(self, day):
        self.day, self.time = day, timegm(strptime(day + " 1200", "%Y%m%d %H%M"))

    @property
    def text(self):
        return strftime("%Y-%m-%d", gmtime(self.time))


OLDER, NEWER = Build("20251201"), Build("20260105")


class Disks:
    """Real disks, each with bytes of its own, and made once."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def get(self, name, format_="qcow2"):
        """The bytes of a disk that is partly used."""
        path = os.path.join(self.directory, f"{re.sub('[^a-z0-9]', '-', name)}.{format_}")
        if not os.path.exists(path):
            raw = path + ".filling"
            with open(raw, "wb") as file:
                file.write(Random(name).randbytes(300_001))
                file.truncate(2 << 20)
            subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", format_, raw, path], check=True)
            os.unlink(raw)
        with open(path, "rb") as file:
            return file.read()


class World:
    """Shared by all vendors of a test: a directory, the keys and the disks. Ends the sites by `close`."""

    def __init__(self, directory):
        self.directory = directory
        self.keys = Keys(os.path.join(directory, "gnupg"))
        for name in ("vendor", "other"):
            self.keys.good(name)
        self.disks = Disks(os.path.join(directory, "disks"))
        self.trees = {}

    def tree(self, name, *builds, key="vendor"):
        """The site of a vendor, with these builds."""
        if name in self.trees:
            self.trees.pop(name).close()
        tree = Tree(self, name, VENDORS[name], key)
        tree.publish(*(builds or (OLDER, NEWER)))
        self.trees[name] = tree
        return tree

    def close(self):
        for tree in self.trees.values():
            tree.close()
        self.keys.close()


class Tree:
    """A vendor's site.

    `pull` is the name of its newest build, `image` the path of that file as it is published, `content` the bytes of the disk in it,
    `level` how far it can be verified. `sums` and `signature` are paths of the documents that this is known by. `more` are settings of
    an operator who has the key of a vendor that the program does not have one of."""

    def __init__(self, world, name, write, key):
        self.world, self.name, self.write, self.key = world, name, write, key
        self.site = Site(os.path.join(world.directory, "sites", name))
        self.mirror = None
        self.signify = None

    @property
    def sites(self):
        return [site for site in (self.site, self.mirror) if site]

    def close(self):
        for site in self.sites:
            site.down()
            shutil.rmtree(site.directory)

    def publish(self, *builds):
        """Has these builds and no others, the last of them the newest; signed when that was made."""
        for site in self.sites:
            shutil.rmtree(site.directory)
            os.makedirs(site.directory)
        self.builds, self.now = builds, builds[-1]
        self.hosts, self.sums, self.signature, self.level, self.more = [], None, None, "checksum", {}
        self.write(self)

    # -- what vendors write ----------------------------------------------------------------------------------------
    def put(self, path, content, build=None):
        self.site.put(path, content, (build or self.now).time)

    def link(self, path, target):
        os.makedirs(os.path.dirname(self.site.path(path)), exist_ok=True)
        os.symlink(target, self.site.path(path))

    def disk(self, build, format_="qcow2", variant=""):
        return self.world.disks.get(f"{self.name} {build.day}{variant}", format_)

    def json(self, path, value, build=None):
        self.put(path, json.dumps(value, indent=1) + "\n", build)

    def detached(self, path, suffix=".gpg", armor=True, build=None):
        """A signature beside a file."""
        when = (build or self.now).time
        self.put(path + suffix, self.world.keys.detached(self.key, self.site.read(path), armor, when), build)
        return path + suffix

    def clearsigned(self, path, text, build=None):
        when = (build or self.now).time
        self.put(path, self.world.keys.clearsigned(self.key, text.encode(), when), build)

    # -- what goes wrong -------------------------------------------------------------------------------------------
    def at(self, path):
        """The site that has a file."""
        return next(site for site in reversed(self.sites) if os.path.exists(site.path(path)))

    def tamper(self, path):
        """Another byte in the middle: same length, same time."""
        def change(content):
            middle = len(content) // 2
            return content[:middle] + bytes([content[middle] ^ 0x20]) + content[middle + 1:]
        self.at(path).change(path, change)

    def tamper_digest(self, path):
        """Another digest for the image, in a document that still has the form that it should."""
        def change(content):
            for form in digests(self.at(self.image).read(self.image)):
                content = content.replace(form, form.translate(OTHER))
            return content
        before = self.at(path).read(path)
        self.at(path).change(path, change)
        assert self.at(path).read(path) != before, f"{path} does not have the image"

    def twice(self, path):
        """Two digests for the image: the right one, and the one of something else."""
        name = os.path.basename(self.image).encode()
        def change(content):
            line, old = next((line, found[0]) for line in content.splitlines() if name in line and (found := re.search(rb"[0-9a-f]{32,}", line)))
            return content + line.replace(old, hashlib.sha512(b"else").hexdigest().encode()[:len(old)]) + b"\n"
        self.at(path).change(path, change)

    def long_sums(self, path, size=100 << 20):
        """Sums of so many files that they are 100 MB; nowhere stored."""
        line = b"%064x  file-of-many.img\n" % 7
        site = self.at(path)
        site.remove(path)
        site.generated["/" + path.lstrip("/")] = Generated(size, lambda offset, length: (line * (length // len(line) + 2))[offset % len(line):][:length])

    def crlf(self, path, mark=True):
        """As written by an editor on Windows: with a mark at the front, and two characters at the end of each line."""
        self.at(path).change(path, lambda content: b"\xef\xbb\xbf" * mark + content.replace(b"\n", b"\r\n"))


# Another digest of the same form.
OTHER = bytes.maketrans(b"0123456789abcdef", b"123456789abcdef0")


def digests(content):
    """A file's digests, in every form in which a document has one."""
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, content)
        yield digest.hexdigest().encode()
        yield unpadded(digest.digest()).encode()


# -- forms of sums -------------------------------------------------------------------------------------------------
def gnu(algorithm, files, binary=False):
    """`files` are contents by name."""
    return "".join(f"{hashlib.new(algorithm, content).hexdigest()} {'*' if binary else ' '}{name}\n" for name, content in files.items())


def bsd(algorithm, files, comment=False):
    lines = []
    for name, content in files.items():
        if comment:
            lines.append(f"# {name}: {len(content)} bytes\n")
        lines.append(f"{algorithm.upper()} ({name}) = {hashlib.new(algorithm, content).hexdigest()}\n")
    return "".join(lines)


def sections(files, algorithms):
    return "".join(f"# {algorithm.upper()} HASH\n" + gnu(algorithm, files) for algorithm in algorithms)


def packed(content, tool):
    return subprocess.run([tool, "-c", *(("-1",) if tool == "xz" else ())], input=content, stdout=subprocess.PIPE, check=True).stdout


# -- the vendors ---------------------------------------------------------------------------------------------------
VENDORS = {}


def vendor(name):
    def known(write):
        VENDORS[name] = write
        return write
    return known


def lxd_files(tree, build):
    """An image for LXD's clients, as bytes: its description, and its file system."""
    directory = os.path.join(tree.world.directory, "lxd", tree.name, build.day)
    if not os.path.isdir(directory):
        os.makedirs(directory)
        images = Images(directory)
        # Each differs by a number in it, which begins anew in each directory.
        images.numbers = iter(range(int(build.day), int(build.day) + 100))
        os.rename(images.metadata(), os.path.join(directory, "meta.tar.xz"))
        os.rename(images.rootfs(), os.path.join(directory, "rootfs.squashfs"))
    contents = []
    for name in ("meta.tar.xz", "rootfs.squashfs"):
        with open(os.path.join(directory, name), "rb") as file:
            contents.append(file.read())
    return contents


def item(ftype, path, content, **more):
    return {"ftype": ftype, "md5": hashlib.md5(content).hexdigest(), "path": path, "sha256": sha256(content), "size": len(content), **more}


@vendor("ubuntu")
def ubuntu(tree):
    """Products whose files are named from the folder `releases`, in which `server/releases` is the folder itself."""
    tree.hosts = ["cloud-images.ubuntu.com"]
    prefix, versions = f"ubuntu-24.04-server-cloudimg-{DEBIAN_ARCH}", {}
    for build in tree.builds:
        meta, root = lxd_files(tree, build)
        disk = tree.disk(build)
        files = {f"{prefix}.img": disk, f"{prefix}-lxd.tar.xz": meta, f"{prefix}.squashfs": root}
        for folder in (f"releases/noble/release-{build.day}", "releases/noble/release"):
            for name, content in files.items():
                tree.put(f"{folder}/{name}", content, build)
            sums = f"{folder}/SHA256SUMS"
            tree.put(sums, gnu("sha256", files, binary=True), build)
            tree.detached(sums, build=build)
        folder = f"server/releases/noble/release-{build.day}"
        versions[build.day] = {"label": "release", "pubname": f"ubuntu-noble-24.04-{DEBIAN_ARCH}-server-{build.day}", "items": {
            "disk1.img": item("disk1.img", f"{folder}/{prefix}.img", disk),
            "squashfs": item("squashfs", f"{folder}/{prefix}.squashfs", root),
            "lxd.tar.xz": item("lxd.tar.xz", f"{folder}/{prefix}-lxd.tar.xz", meta, **{
                "combined_sha256": sha256(meta + root), "combined_squashfs_sha256": sha256(meta + root),
                "combined_disk1-img_sha256": sha256(meta + disk)})}}
    product, updated = f"com.ubuntu.cloud:server:24.04:{DEBIAN_ARCH}", formatdate(tree.now.time)
    content_id = "com.ubuntu.cloud:released:download"
    products = {"content_id": content_id, "creator": "synthetic", "datatype": "image-downloads", "format": "products:1.0", "updated": updated,
                "products": {product: {
                    "aliases": "24.04,n,noble,lts,default", "arch": DEBIAN_ARCH, "os": "ubuntu", "release": "noble", "release_codename": "Noble Numbat",
                    "release_title": "24.04 LTS", "support_eol": "2029-05-31", "supported": True, "version": "24.04", "versions": versions}}}
    for end in ("json", "sjson"):
        streams = f"releases/streams/v1/{content_id}.{end}"
        index = {"format": "index:1.0", "updated": updated, "index": {content_id: {
            "datatype": "image-downloads", "format": "products:1.0", "path": f"streams/v1/{content_id}.{end}", "products": [product], "updated": updated}}}
        write = tree.json if end == "json" else lambda path, value: tree.clearsigned(path, json.dumps(value, indent=1))
        write(streams, products)
        write(f"releases/streams/v1/index.{end}", index)
    tree.link("releases/server/releases", "../../releases")
    tree.image, tree.content = f"releases/server/releases/noble/release-{tree.now.day}/{prefix}.img", tree.disk(tree.now)
    tree.sums, tree.level, tree.pull = f"releases/streams/v1/{content_id}.sjson", "signature", "ubuntu/24.04"


def image_server(tree, meta_name, host):
    """The image servers of LXD and Incus: products without a signature, over https."""
    tree.hosts = [host]
    versions, ftype = {}, meta_name
    for build in tree.builds:
        meta, root = lxd_files(tree, build)
        disk = tree.disk(build)
        serial = f"{build.day}_05:24"
        folder = f"images/debian/trixie/{DEBIAN_ARCH}/default/{serial}"
        files = {meta_name: meta, "rootfs.squashfs": root, "disk.qcow2": disk}
        for name, content in files.items():
            tree.put(f"{folder}/{name}", content, build)
        tree.put(f"{folder}/SHA256SUMS", gnu("sha256", files), build)
        versions[serial] = {"items": {
            meta_name: item(ftype, f"{folder}/{meta_name}", meta, **{
                "combined_sha256": sha256(meta + root), "combined_squashfs_sha256": sha256(meta + root),
                "combined_disk-kvm-img_sha256": sha256(meta + disk)}),
            "root.squashfs": item("squashfs", f"{folder}/rootfs.squashfs", root),
            "disk.qcow2": item("disk-kvm.img", f"{folder}/disk.qcow2", disk)}}
        tree.image = f"{folder}/disk.qcow2"
    product = f"debian:trixie:{DEBIAN_ARCH}:default"
    tree.json("streams/v1/images.json", {
        "content_id": "images", "datatype": "image-downloads", "format": "products:1.0", "products": {product: {
            "aliases": "debian/trixie/default,debian/trixie,debian/13/default,debian/13", "arch": DEBIAN_ARCH, "os": "Debian", "release": "trixie",
            "release_title": "trixie", "requirements": {}, "variant": "default", "versions": versions}}})
    tree.json("streams/v1/index.json", {"format": "index:1.0", "index": {"images": {
        "datatype": "image-downloads", "path": "streams/v1/images.json", "format": "products:1.0", "products": [product]}}})
    tree.content, tree.sums = tree.disk(tree.now), "streams/v1/images.json"


@vendor("lxd-images")
def lxd_images(tree):
    image_server(tree, "lxd.tar.xz", "images.lxd.canonical.com")
    tree.pull = "lxd-images/debian/13"


@vendor("images")
def images(tree):
    image_server(tree, "incus.tar.xz", "images.linuxcontainers.org")
    tree.pull = "images/debian/13"


@vendor("debian")
def debian(tree):
    tree.hosts = ["cloud.debian.org"]
    for build in tree.builds:
        serial = f"{build.day}-2348"
        for folder, end in ((serial, f"-{serial}"), ("latest", "")):
            files = {}
            for variant in ("generic", "genericcloud", "nocloud"):
                name = f"debian-13-{variant}-{DEBIAN_ARCH}{end}"
                files[f"{name}.qcow2"] = disk = tree.disk(build, variant=variant)
                if variant != "nocloud":
                    files[f"{name}.raw"] = raw = tree.disk(build, "raw", variant)
                    digests_ = {"qcow2": disk, "raw": raw}
                else:
                    digests_ = {"qcow2": disk}
                uploads = [{
                    "apiVersion": "cloud.debian.org/v1alpha1", "kind": "Upload",
                    "data": {"provider": "cloud.debian.org", "ref": f"trixie/{serial}/debian-13-{variant}-{DEBIAN_ARCH}-{serial}.{format_}"},
                    "metadata": {"annotations": {"cloud.debian.org/digest": "sha512:" + unpadded(hashlib.sha512(content).digest())}, "labels": {
                        "cloud.debian.org/vendor": variant, "cloud.debian.org/version": serial, "debian.org/arch": DEBIAN_ARCH, "debian.org/dist": "debian",
                        "debian.org/release": "trixie", "upload.cloud.debian.org/image-format": format_}}} for format_, content in digests_.items()]
                about = {"apiVersion": "cloud.debian.org/v1alpha1", "kind": "Build", "metadata": {}, "data": {"info": {
                    "arch": DEBIAN_ARCH, "build_id": serial, "release": "trixie", "release_baseid": "13", "release_id": "13", "type": "official",
                    "vendor": variant, "version": serial}, "packages": []}}
                tree.json(f"images/cloud/trixie/{folder}/{name}.json", {"apiVersion": "v1", "kind": "List", "items": [about, *uploads]}, build)
            for name, content in files.items():
                tree.put(f"images/cloud/trixie/{folder}/{name}", content, build)
            tree.put(f"images/cloud/trixie/{folder}/SHA512SUMS", gnu("sha512", files), build)
    serial = f"{tree.now.day}-2348"
    folder = f"images/cloud/trixie/{serial}"
    tree.image, tree.content = f"{folder}/debian-13-generic-{DEBIAN_ARCH}-{serial}.qcow2", tree.disk(tree.now, variant="generic")
    tree.sums, tree.pull = f"images/cloud/trixie/latest/debian-13-generic-{DEBIAN_ARCH}.json", "debian/13"


@vendor("fedora")
def fedora(tree):
    """The first server says where a mirror is; the mirror has the files, and sums that are signed inside."""
    tree.hosts = ["fedoraproject.org", "download.fedoraproject.org", "dl.fedoraproject.org"]
    if not tree.mirror:
        tree.mirror = Site(os.path.join(tree.world.directory, "sites", tree.name + "-mirror"))
        tree.site.redirects["/pub/fedora/"] = tree.mirror.url + "/fedora/"
    rows = []
    for number, build in enumerate(tree.builds, 44 - len(tree.builds) + 1):
        name, folder = f"Fedora-Cloud-Base-Generic-{number}-1.7.{ARCH}.qcow2", f"linux/releases/{number}/Cloud/{ARCH}/images"
        disk = tree.disk(build)
        tree.mirror.put(f"fedora/{folder}/{name}", disk, build.time)
        text = bsd("sha256", {name: disk}, comment=True).encode()
        tree.mirror.put(f"fedora/{folder}/Fedora-Cloud-{number}-1.7-{ARCH}-CHECKSUM", tree.world.keys.clearsigned(tree.key, text, build.time), build.time)
        rows.append({"version": str(number), "arch": ARCH, "link": f"{tree.site.url}/pub/fedora/{folder}/{name}", "variant": "Cloud",
                     "subvariant": "Cloud_Base", "sha256": sha256(disk), "size": str(len(disk))})
        tree.image, tree.sums = f"fedora/{folder}/{name}", f"fedora/{folder}/Fedora-Cloud-{number}-1.7-{ARCH}-CHECKSUM"
    rows.append({**rows[-1], "version": "45 Beta"})
    tree.json("releases.json", rows)
    tree.content, tree.level, tree.pull = tree.disk(tree.now), "signature", "fedora/44"


@vendor("coreos")
def coreos(tree):
    """A document for each stream, and files that are signed themselves, as they are packed."""
    tree.hosts = ["builds.coreos.fedoraproject.org"]
    for build in tree.builds:
        release = f"44.{build.day}.3.1"
        name = f"fedora-coreos-{release}-qemu.{ARCH}.qcow2.xz"
        path = f"prod/streams/stable/builds/{release}/{ARCH}/{name}"
        disk = tree.disk(build)
        tree.put(path, packed(disk, "xz"), build)
        tree.signature = tree.detached(path, ".sig", armor=False, build=build)
        location = f"{tree.site.url}/{path}"
        tree.json("streams/stable.json", {"stream": "stable", "metadata": {"last-modified": build.text + "T12:00:00Z"}, "architectures": {ARCH: {"artifacts": {
            "qemu": {"release": release, "formats": {"qcow2.xz": {"disk": {
                "location": location, "signature": location + ".sig", "sha256": sha256(tree.site.read(path)), "uncompressed-sha256": sha256(disk)}}}}}}}}, build)
        tree.image = path
    tree.content, tree.sums, tree.level, tree.pull = tree.disk(tree.now), "streams/stable.json", "signature", "coreos/stable"


def listed(tree, host, folder, dated, moving, release, form, sidecar=None, signed=True):
    """A folder as those of CentOS, Rocky and AlmaLinux: everything is in it, and sums of everything."""
    tree.hosts = [host]
    files = {}
    for build in tree.builds:
        tree.image = f"{folder}/{dated.format(day=build.day)}"
        for name in (dated.format(day=build.day), moving):
            files[name] = tree.disk(build)
            tree.put(f"{folder}/{name}", files[name], build)
            if sidecar:
                tree.put(f"{folder}/{name}{sidecar}", form({name: files[name]}), build)
    tree.sums = f"{folder}/CHECKSUM"
    # Rocky's has each line twice.
    tree.put(tree.sums, form(files) + (form(files) if sidecar == ".CHECKSUM" else ""))
    tree.level = "checksum"
    if signed:
        tree.signature, tree.level = tree.detached(tree.sums, ".asc"), "signature"
    if "10.1" in folder:
        tree.link(folder.split("10.1")[0] + "10", "10.1")
    tree.content, tree.pull = tree.disk(tree.now), release


@vendor("centos")
def centos(tree):
    listed(tree, "cloud.centos.org", f"centos/10-stream/{ARCH}/images", f"CentOS-Stream-GenericCloud-10-{{day}}.0.{ARCH}.qcow2",
           f"CentOS-Stream-GenericCloud-10-latest.{ARCH}.qcow2", "centos/10", lambda files: bsd("sha256", files, comment=True), ".SHA256SUM")


@vendor("rocky")
def rocky(tree):
    listed(tree, "dl.rockylinux.org", f"pub/rocky/10.1/images/{ARCH}", f"Rocky-10-GenericCloud-Base-10.1-{{day}}.0.{ARCH}.qcow2",
           f"Rocky-10-GenericCloud-Base.latest.{ARCH}.qcow2", "rocky/10", lambda files: bsd("sha256", files, comment=True), ".CHECKSUM")


@vendor("almalinux")
def almalinux(tree):
    listed(tree, "repo.almalinux.org", f"almalinux/10.1/cloud/{ARCH}/images", f"AlmaLinux-10-GenericCloud-10.1-{{day}}.0.{ARCH}.qcow2",
           f"AlmaLinux-10-GenericCloud-latest.{ARCH}.qcow2", "almalinux/10", lambda files: gnu("sha256", files))


@vendor("oracle")
def oracle(tree):
    """A description whose base is a path on its host."""
    tree.hosts = ["yum.oracle.com"]
    for number, build in enumerate(tree.builds, 269):
        folder, name = f"OL10/u1/{ARCH}", f"OL10U1_{ARCH}-kvm-b{number}.qcow2"
        tree.image = f"templates/OracleLinux/{folder}/{name}"
        tree.put(tree.image, tree.disk(build), build)
        tree.json("templates/OracleLinux/ol10-template.json", {
            "base_url": f"/templates/OracleLinux/{folder}", "kvm": {"image": name, "sha256": sha256(tree.disk(build))}}, build)
    tree.content, tree.sums, tree.pull = tree.disk(tree.now), "templates/OracleLinux/ol10-template.json", "oracle/10"


@vendor("leap")
def leap(tree):
    """A name that moves, beside names that go away."""
    tree.hosts = ["download.opensuse.org"]
    folder = "distribution/leap/16.0/appliances"
    for number, build in enumerate(tree.builds, 5):
        for name in (f"Leap-16.0-Minimal-VM.{ARCH}-16.0.0-Cloud-Build16.{number}.qcow2", f"Leap-16.0-Minimal-VM.{ARCH}-Cloud.qcow2"):
            tree.image = f"{folder}/{name}"
            tree.put(tree.image, tree.disk(build), build)
            tree.put(tree.image + ".sha256", gnu("sha256", {name: tree.disk(build)}), build)
            tree.signature = tree.detached(tree.image + ".sha256", ".asc", build=build)
    tree.content, tree.sums, tree.level, tree.pull = tree.disk(tree.now), tree.image + ".sha256", "signature", "leap/16.0"


@vendor("arch")
def arch(tree):
    """Sums and a signature of the file itself, not packed in letters."""
    tree.hosts = ["geo.mirror.pkgbuild.com"]
    for build in tree.builds:
        serial = f"{build.day}.482148"
        for folder, end in (("images/latest", ""), (f"images/v{serial}", f"-{serial}")):
            name = f"Arch-Linux-x86_64-cloudimg{end}.qcow2"
            tree.image = f"{folder}/{name}"
            tree.put(tree.image, tree.disk(build), build)
            tree.put(tree.image + ".SHA256", gnu("sha256", {name: tree.disk(build)}), build)
            tree.signature = tree.detached(tree.image, ".sig", armor=False, build=build)
    tree.content, tree.sums, tree.level, tree.pull = tree.disk(tree.now), tree.image + ".SHA256", "signature", "arch/latest"
    tree.more = {"signature": ["{file}.sig"], "require": "signature"}


@vendor("alpine")
def alpine(tree):
    """A sum without a name."""
    tree.hosts = ["dl-cdn.alpinelinux.org"]
    for number, build in enumerate(tree.builds, 3 - len(tree.builds)):
        for variant in ("bios-cloudinit", "bios-tiny", "uefi-cloudinit", "uefi-tiny"):
            for base in ("v3.23", "latest-stable"):
                tree.image = f"alpine/{base}/releases/cloud/nocloud_alpine-3.23.{number}-{ARCH}-{variant}-r0.qcow2"
                tree.put(tree.image, tree.disk(build, variant=variant), build)
                tree.put(tree.image + ".sha512", hashlib.sha512(tree.disk(build, variant=variant)).hexdigest() + "\n", build)
    tree.image = tree.image.replace("uefi-tiny", "uefi-cloudinit").replace("latest-stable", "v3.23")
    tree.content, tree.sums, tree.pull = tree.disk(tree.now, variant="uefi-cloudinit"), tree.image + ".sha512", "alpine/3.23"


@vendor("freebsd")
def freebsd(tree):
    tree.hosts = ["download.freebsd.org"]
    folder, files = f"releases/VM-IMAGES/14.3-RELEASE/{DEBIAN_ARCH}/Latest", {}
    for kind in ("ufs", "zfs"):
        for middle in ("", "-BASIC-CLOUDINIT"):
            name = f"FreeBSD-14.3-RELEASE-{DEBIAN_ARCH}{middle}-{kind}.qcow2.xz"
            files[name] = packed(tree.disk(tree.now, variant=kind + middle), "xz")
            tree.put(f"{folder}/{name}", files[name])
    tree.put(f"{folder}/CHECKSUM.SHA256", bsd("sha256", files))
    tree.put(f"{folder}/CHECKSUM.SHA512", bsd("sha512", files))
    tree.image, tree.content = f"{folder}/FreeBSD-14.3-RELEASE-{DEBIAN_ARCH}-BASIC-CLOUDINIT-ufs.qcow2.xz", tree.disk(tree.now, variant="ufs-BASIC-CLOUDINIT")
    tree.sums, tree.pull = f"{folder}/CHECKSUM.SHA512", "freebsd/14.3"


@vendor("openbsd")
def openbsd(tree):
    """Sums inside a signature of signify's."""
    tree.hosts = ["cdn.openbsd.org"]
    tree.signify = tree.signify or Signify(os.path.join(tree.world.directory, "signify"))
    folder = f"pub/OpenBSD/7.8/{DEBIAN_ARCH}"
    files = {name: tree.disk(tree.now, "raw", name) for name in ("install78.img", "miniroot78.img")}
    for name, content in files.items():
        tree.put(f"{folder}/{name}", content)
    tree.put(f"{folder}/SHA256", bsd("sha256", files))
    tree.put(f"{folder}/SHA256.sig", tree.signify.embedded(bsd("sha256", files).encode()))
    tree.image, tree.content = f"{folder}/install78.img", files["install78.img"]
    tree.sums, tree.level, tree.pull = f"{folder}/SHA256.sig", "signature", "openbsd/7.8"


@vendor("kali")
def kali(tree):
    """A tar with one disk in it."""
    tree.hosts = ["kali.download"]
    for number, build in enumerate(tree.builds, 1):
        name = f"kali-linux-2026.{number}-cloud-genericcloud-{DEBIAN_ARCH}.tar.xz"
        inside = os.path.join(tree.world.directory, "kali")
        os.makedirs(inside, exist_ok=True)
        with open(os.path.join(inside, "disk.raw"), "wb") as file:
            file.write(tree.disk(build, "raw"))
        tar = subprocess.run(["tar", "-c", "-C", inside, "disk.raw"], stdout=subprocess.PIPE, check=True).stdout
        for folder in ("cloud-images/current", f"cloud-images/kali-2026.{number}"):
            content = packed(tar, "xz")
            tree.put(f"{folder}/{name}", content, build)
            tree.put(f"{folder}/SHA256SUMS", gnu("sha256", {name: content}), build)
            tree.detached(f"{folder}/SHA256SUMS", build=build)
            tree.image, tree.sums = f"{folder}/{name}", f"{folder}/SHA256SUMS"
    tree.signature, tree.content, tree.level, tree.pull = tree.sums + ".gpg", tree.disk(tree.now, "raw"), "signature", "kali/latest"
    tree.more = {"signature": ["{sums}.gpg"], "require": "signature"}


@vendor("gentoo")
def gentoo(tree):
    """Sums in sections, of the file and of the list of what is in it, signed inside."""
    tree.hosts = ["distfiles.gentoo.org"]
    top = f"releases/{DEBIAN_ARCH}/autobuilds"
    for build in tree.builds:
        stamp = f"{build.day}T170105Z"
        name = f"di-{DEBIAN_ARCH}-console-{stamp}.qcow2"
        tree.image = f"{top}/{stamp}/{name}"
        files = {name: tree.disk(build), f"{name}.CONTENTS.gz": b"what is in it"}
        for one, content in files.items():
            tree.put(f"{top}/{stamp}/{one}", content, build)
        tree.sums = tree.image + ".DIGESTS"
        tree.clearsigned(tree.sums, sections(files, ("blake2b", "sha512")), build)
        tree.detached(tree.image, ".asc", build=build)
        tree.clearsigned(f"{top}/latest-di-{DEBIAN_ARCH}-console.txt", f"# Latest as of {build.text}\n{stamp}/{name} {len(files[name])}\n", build)
    tree.content, tree.level, tree.pull = tree.disk(tree.now), "signature", "gentoo/latest"


@vendor("flatcar")
def flatcar(tree):
    """A host for each channel, which is a folder here; `current` is a folder, and says in a file which version it is."""
    tree.hosts = {"{release}.release.flatcar-linux.net": "/{release}"}
    name = "flatcar_production_qemu_image.img"
    board = f"stable/{DEBIAN_ARCH}-usr"
    for number, build in enumerate(tree.builds, 1):
        version = f"4459.2.{number}"
        for folder in (f"{board}/{version}", f"{board}/current"):
            files = {name: tree.disk(build), name + ".bz2": packed(tree.disk(build), "bzip2")}
            tree.put(f"{folder}/version.txt", f"FLATCAR_BUILD=4459\nFLATCAR_BRANCH=2\nFLATCAR_PATCH={number}\nFLATCAR_VERSION={version}\n"
                     f'FLATCAR_VERSION_ID={version}\nFLATCAR_BUILD_ID=""\nFLATCAR_SDK_VERSION=4459.0.0\n', build)
            for one, content in files.items():
                tree.put(f"{folder}/{one}", content, build)
                tree.detached(f"{folder}/{one}", ".sig", armor=False, build=build)
                digests_ = sections({one: content}, ("md5", "sha1", "sha512"))
                tree.put(f"{folder}/{one}.DIGESTS", digests_, build)
                tree.detached(f"{folder}/{one}.DIGESTS", ".sig", armor=False, build=build)
                tree.clearsigned(f"{folder}/{one}.DIGESTS.asc", digests_, build)
        tree.image = f"{board}/{version}/{name}.bz2"
    tree.content, tree.sums, tree.level, tree.pull = tree.disk(tree.now), tree.image + ".DIGESTS", "signature", "flatcar/stable"


@vendor("cirros")
def cirros(tree):
    """Sums that guard against accidents only."""
    tree.hosts = ["download.cirros-cloud.net"]
    for number, build in enumerate(tree.builds, 4 - len(tree.builds)):
        version = f"0.6.{number}"
        name = f"cirros-{version}-{ARCH}-disk.img"
        tree.image, tree.sums = f"{version}/{name}", f"{version}/MD5SUMS"
        tree.put(tree.image, tree.disk(build), build)
        tree.put(tree.sums, gnu("md5", {name: tree.disk(build)}), build)
        tree.put("version/released", version + "\n", build)
    tree.content, tree.level, tree.pull = tree.disk(tree.now), "weak", "cirros/0.6.3"


# -- servers that believe in them ----------------------------------------------------------------------------------
def shipped():
    """The vendors that the program has, by name."""
    with open(SHIPPED, "rb") as file:
        return tomllib.load(file)


def moved(value, hosts):
    """A setting with the places of vendors' hosts replaced; `None` if it names none."""
    if isinstance(value, list):
        changed = [moved(one, hosts) for one in value]
        return None if all(one is None for one in changed) else [new or old for new, old in zip(changed, value)]
    if isinstance(value, dict):
        changed = {name: new for name, old in value.items() if (new := moved(old, hosts)) is not None}
        return changed or None
    if isinstance(value, str):
        new = re.sub(r"https?://([^/\s]+)", lambda found: hosts.get(found[1], found[0]), value)
        return None if new == value else new
    return None


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value)


def configure(data, *trees, keys=("vendor",), known=None, **more):
    """Settings by which a server takes these trees for the vendors, with `keys` for those that they sign with. Writes the keys to where a
    server with the directory `data` looks for them: all, or those that are `known`. `more` goes into each vendor's settings."""
    world = trees[0].world
    folder = os.path.join(data, "keys", "vendors")
    os.makedirs(folder, exist_ok=True)
    for name in keys if known is None else known:
        with open(os.path.join(folder, f"{name}.asc"), "wb") as file:
            file.write(world.keys.public(name))
    lines, entries = ['[fetch]\nallow = ["127.0.0.0/8"]\n'], shipped()
    for tree in trees:
        entry = entries[tree.name]
        hosts = tree.hosts if isinstance(tree.hosts, dict) else dict.fromkeys(tree.hosts, "")
        settings = moved(entry, {host: tree.site.url + folder for host, folder in hosts.items()})
        assert settings, f"{tree.name} of vendors.toml is at none of {tree.hosts}"
        settings |= tree.more
        if entry.get("keys") or "signature" in tree.more:
            settings["keys"] = [tree.signify.key] if tree.signify else [world.keys.fingerprints[name] for name in keys]
        lines.append(f"[vendors.{tree.name}]\n" + "".join(f"{name} = {toml(value)}\n" for name, value in {**settings, **more}.items()))
    return "\n".join(lines)
