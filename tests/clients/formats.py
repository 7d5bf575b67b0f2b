#!/usr/bin/env python3
"""Every format and kind of disk that qemu-img writes, and what can be hidden in one, against a running server.

usage: formats.py URL

The server must have no accounts. Needs qemu-img, sfdisk and xorriso. VISOR_TALLY names a file to write
"passed failed" to.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

URL = sys.argv[1]
CHECKED = ("qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso")
UNSAFE = "Image failed safety checks: "


def run(*command, stdin=None):
    subprocess.run(command, input=stdin, check=True, timeout=120, capture_output=True, cwd=DIR)


def write(name, data):
    with open(os.path.join(DIR, name), "wb") as file:
        file.write(data)
    return name


def read(name):
    with open(os.path.join(DIR, name), "rb") as file:
        return file.read()


def changed(name, *pieces):
    """A copy of a file with some bytes put over it."""
    data = bytearray(read(name))
    for at, piece in pieces:
        data[at:at + len(piece)] = piece
    return write("changed-" + name, data)


def upload(name, format_=None):
    """Status, and the message of a refusal. What was taken is removed again."""
    headers = {"x-image-meta-name": name, "x-image-meta-architecture": "x86_64", "Content-Type": "application/octet-stream"}
    if format_:
        headers["x-image-meta-format"] = format_
    try:
        with urllib.request.urlopen(urllib.request.Request(URL + "/images", read(name), headers, method="POST"), timeout=60) as reply:
            image = json.load(reply)["image"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]
    assert image["status"] == "available" and image["size"] == os.path.getsize(os.path.join(DIR, name)), image
    urllib.request.urlopen(urllib.request.Request(URL + "/images/" + image["_id"], method="DELETE"), timeout=60).close()
    return 200, None


class Formats(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        write("disk", os.urandom(300_000) + bytes(1 << 20) + os.urandom((2 << 20) - (1 << 20) - 300_000))

    def convert(self, name, format_, *options, source="disk"):
        options = [word for option in options for word in ("-o", option)]
        run("qemu-img", "convert", "-f", "raw", "-O", format_, *options, source, name)
        return name

    def create(self, name, format_, *options, size=None):
        run("qemu-img", "create", "-q", "-f", format_, *options, name, *([size] if size else []))
        return name

    def taken_as(self, name, format_, found=None):
        """Its own format and those that anything may have take it, the others say what it is."""
        for accepted in (None, "raw", "ami", "tar", *([format_] if format_ else [])):
            self.assertEqual(upload(name, accepted), (200, None), accepted)
        for other in set(CHECKED) - {format_}:
            expected = f"Image disk_format {other} does not match stream data {found or format_}"
            self.assertEqual(upload(name, other), (400, expected))

    def refused(self, name, format_, why):
        """Nobody takes it who might open it as a disk."""
        for asked in (None, "raw", *([format_] if format_ else [])):
            self.assertEqual(upload(name, asked), (400, UNSAFE + why), asked)
        self.assertEqual(upload(name, "tar"), (200, None))

    def test_qcow2(self):
        self.taken_as(self.convert("three", "qcow2"), "qcow2")
        for name, options in {
            "two": ["compat=0.10"], "lazy": ["lazy_refcounts=on"], "zstd": ["compression_type=zstd"],
            "extended": ["extended_l2=on,cluster_size=128k"], "small": ["cluster_size=512"], "large": ["cluster_size=2M"],
            "wide": ["refcount_bits=64"], "preallocated": ["preallocation=metadata"],
        }.items():
            self.assertEqual(upload(self.convert(name, "qcow2", *options), "qcow2"), (200, None), name)
        run("qemu-img", "snapshot", "-c", "kept", "three")
        run("qemu-img", "bitmap", "--add", "three", "changes")
        self.assertEqual(upload("three", "qcow2"), (200, None))

    def test_qcow2_encrypted(self):
        self.create("secret", "qcow2", "--object", "secret,id=s,data=word", "-o",
                    "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", size="4M")
        self.taken_as("secret", "qcow2")

    def test_qcow2_that_names_files(self):
        why = "it has a backing file"
        for name, options in {"backed": [], "backed-two": ["-o", "compat=0.10"]}.items():
            self.refused(self.create(name, "qcow2", *options, "-b", "disk", "-F", "raw"), "qcow2", why)
        self.create("elsewhere", "qcow2", "-u", "-b", "nbd://10.0.0.1/x", "-F", "raw", size="4M")
        self.refused("elsewhere", "qcow2", why)
        for name, more in {"split": "", "split-raw": ",data_file_raw=on"}.items():
            self.create(name, "qcow2", "-o", f"data_file={name}.data{more}", size="4M")
            self.refused(name, "qcow2", "it has an external data file")
        # The bit taken away, the name still there.
        self.refused(changed("split", (79, b"\0")), "qcow2", "it has an external data file")

    def test_qcow2_that_is_odd(self):
        self.convert("plain", "qcow2")
        self.refused(changed("plain", (72, b"\x80")), "qcow2", "it needs features that are not known")
        self.refused(changed("plain", (7, b"\x09")), "qcow2", "its version is not known")
        self.refused(changed("plain", (100, struct.pack(">I", 1 << 30))), "qcow2", "its header makes no sense")
        self.assertEqual(upload(changed("plain", (80, b"\xff"))), (200, None))

    def test_old_formats_of_qemu(self):
        self.refused(self.convert("one", "qcow"), None, "the format qcow version 1 is not allowed")
        self.refused(self.convert("qed", "qed"), None, "the format qed is not allowed")

    def test_vmdk(self):
        for kind in ("monolithicSparse", "streamOptimized"):
            self.taken_as(self.convert(kind, "vmdk", f"subformat={kind}"), "vmdk")

    def test_vmdk_in_several_files(self):
        why = "only monolithicSparse and streamOptimized are allowed of vmdk"
        for kind in ("monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"):
            self.refused(self.convert(kind, "vmdk", f"subformat={kind}"), "vmdk", why)
        self.refused("twoGbMaxExtentSparse-s001", "vmdk", why)

    def test_vmdk_that_names_files(self):
        self.convert("sparse", "vmdk")
        text = read("sparse")
        for old, new, why in (
            (b'SPARSE "sparse"', b'FLAT "/etc/h" 0', "it names other files"),
            (b'SPARSE "sparse"', b'SPARSE "/etc/h"', "it names other files"),
            (b"parentCID=ffffffff", b"parentCID=00000000", "it lies over another disk"),
            (b'createType="monolithicSparse"', b'createType="monolithicFlat"  ',
             "only monolithicSparse and streamOptimized are allowed of vmdk"),
        ):
            self.assertIn(old, text)
            self.assertEqual(len(old), len(new))
            self.refused(write("names", text.replace(old, new)), "vmdk", why)
        self.refused(self.create("over", "vmdk", "-b", "sparse", "-F", "vmdk"), "vmdk", "it lies over another disk")

    def test_vdi(self):
        self.taken_as(self.convert("dynamic.vdi", "vdi"), "vdi")
        self.taken_as(self.convert("static.vdi", "vdi", "static=on"), "vdi")
        for kind in (3, 4):
            self.refused(changed("dynamic.vdi", (0x4c, bytes([kind]))), "vdi", "it lies over another disk")

    def test_vhd(self):
        self.taken_as(self.convert("dynamic.vhd", "vpc"), "vhd")
        self.taken_as(self.convert("fixed.vhd", "vpc", "subformat=fixed"), "vhd")
        end = os.path.getsize(os.path.join(DIR, "dynamic.vhd")) - 512
        differencing = [(at + 60, struct.pack(">I", 4)) for at in (0, end)]
        self.refused(changed("dynamic.vhd", *differencing), "vhd", "it lies over another disk")
        self.refused(changed("dynamic.vhd", differencing[1]), "vhd", "its header and its footer differ")

    def test_vhdx(self):
        self.taken_as(self.convert("dynamic.vhdx", "vhdx", "block_size=1M"), "vhdx")
        self.assertEqual(upload(self.convert("fixed.vhdx", "vhdx", "subformat=fixed", "block_size=1M"), "vhdx"), (200, None))
        # The flags of the file parameters, which are the first item behind the metadata's table.
        metadata = read("dynamic.vhdx").index(b"metadata")
        self.refused(changed("dynamic.vhdx", (metadata + 65540, b"\x03")), "vhdx", "it lies over another disk")

    def cut(self, name, format_, step=65536):
        """The whole is taken; a half, nine tenths and all but a step end early, by what the file itself says."""
        self.assertEqual(upload(name, format_), (200, None), name)
        data = read(name)
        for size in (len(data) // 2, len(data) * 9 // 10, len(data) - step):
            write("cut", data[:size])
            for asked in (format_, None):
                status, message = upload("cut", asked)
                begin = f"The image file ends early: it has {size} bytes, and by its own headers at least "
                self.assertEqual((status, (message or "")[:len(begin)]), (400, begin), (name, size, asked, message))
        # Bytes as they are may end anywhere.
        self.assertEqual(upload("cut", "raw"), (200, None))

    def test_half_a_qcow2(self):
        for name, (options, cluster) in {
            "plain": ([], 64 << 10), "old": (["compat=0.10"], 64 << 10), "small": (["cluster_size=512"], 512),
            "large": (["cluster_size=2M"], 2 << 20), "extended": (["extended_l2=on,cluster_size=128k"], 128 << 10),
            "metadata": (["preallocation=metadata"], 64 << 10), "falloc": (["preallocation=falloc"], 64 << 10),
            "full": (["preallocation=full"], 64 << 10), "wide": (["refcount_bits=64"], 64 << 10),
            "lazy": (["lazy_refcounts=on"], 64 << 10),
        }.items():
            self.cut(self.convert(f"whole-{name}", "qcow2", *options), "qcow2", cluster)
        for name, options in {"packed": [], "packed-zstd": ["-o", "compression_type=zstd"]}.items():
            run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", *options, "disk", name)
            self.cut(name, "qcow2")
        self.cut(self.create("empty", "qcow2", size="10G"), "qcow2")
        self.cut(self.create("empty-tables", "qcow2", "-o", "preallocation=metadata,cluster_size=4k", size="64M"), "qcow2")
        self.cut(self.create("keys", "qcow2", "--object", "secret,id=s,data=word", "-o",
                             "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", size="4M"), "qcow2")
        self.convert("kept", "qcow2")
        run("qemu-img", "snapshot", "-c", "one", "kept")
        run("qemu-img", "bitmap", "--add", "kept", "changes")
        self.assertEqual(upload("kept", "qcow2"), (200, None))
        run("qemu-img", "resize", "-q", "kept", "+1G")
        self.assertEqual(upload("kept", "qcow2"), (200, None))

    def test_half_of_the_others(self):
        self.cut(self.convert("half.vmdk", "vmdk"), "vmdk")
        self.cut(self.convert("half-stream.vmdk", "vmdk", "subformat=streamOptimized"), "vmdk")
        self.cut(self.convert("half.vdi", "vdi"), "vdi")
        self.cut(self.convert("half-static.vdi", "vdi", "static=on"), "vdi")
        self.cut(self.convert("half.vhd", "vpc"), "vhd", 512)
        self.cut(self.convert("half.vhdx", "vhdx", "block_size=1M"), "vhdx", 1 << 20)
        self.cut(self.convert("half-fixed.vhdx", "vhdx", "subformat=fixed", "block_size=1M"), "vhdx", 1 << 20)
        os.makedirs(os.path.join(DIR, "half"), exist_ok=True)
        write("half/read.me", os.urandom(500_000))
        run("xorriso", "-as", "mkisofs", "-quiet", "-r", "-J", "-o", "half.iso", "half")
        self.cut("half.iso", "iso", 2048)
        # The default block of VHDX is larger than this disk, and reaches beyond its end.
        self.assertEqual(upload(self.convert("large-block.vhdx", "vhdx"), "vhdx"), (200, None))

    def test_raw(self):
        self.taken_as("disk", None, "raw")
        for label, found in {"dos": "mbr", "gpt": "gpt"}.items():
            write(label, bytes(4 << 20))
            run("sfdisk", "-q", label, stdin=f"label: {label}\n,1M\n,,\n".encode())
            self.taken_as(label, None, found)
        key = ("--object", "secret,id=s,data=word", "-o", "key-secret=s,iter-time=10")
        self.taken_as(self.create("locked", "luks", *key, size="4M"), None, "luks")
        self.assertEqual(upload(self.convert("parallels", "parallels"), "ploop"), (200, None))

    def test_iso(self):
        os.mkdir(os.path.join(DIR, "files"))
        write("files/read.me", b"hello")
        write("part", os.urandom(300_000))
        run("xorriso", "-as", "mkisofs", "-quiet", "-r", "-J", "-o", "disc", "files")
        self.taken_as("disc", "iso")
        for name, options in {"stick": [], "stick-gpt": ["-appended_part_as_gpt"]}.items():
            run("xorriso", "-as", "mkisofs", "-quiet", "-r", "-partition_offset", "16", "-append_partition", "2", "0xef", "part",
                *options, "-o", name, "files")
            self.assertEqual(read(name)[510:512], b"\x55\xaa")
            self.taken_as(name, "iso")

    def test_two_in_one(self):
        run("xorriso", "-as", "mkisofs", "-quiet", "-o", "inside", "disk")
        for magic, found in ((read(self.convert("header.qcow2", "qcow2"))[:512], "qcow2"), (read(self.convert("header.vdi", "vdi"))[:512], "vdi")):
            name = changed("inside", (0, magic))
            for asked in (None, "raw", found):
                self.assertEqual(upload(name, asked), (400, f"{UNSAFE}it looks like {found} and like iso"), asked)
            self.assertEqual(upload(name, "iso"), (400, f"Image disk_format iso does not match stream data {found}"))

    def test_zz_nothing_is_left(self):
        with self.assertRaises(urllib.error.HTTPError) as none:
            urllib.request.urlopen(URL + "/images", timeout=60)
        self.assertEqual(none.exception.code, 404)
        none.exception.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="visor-formats-") as DIR:
        result = unittest.main(argv=[sys.argv[0], "-v"], exit=False, warnings="ignore").result
    failed = len(result.failures) + len(result.errors)
    if tally := os.environ.get("VISOR_TALLY"):
        with open(tally, "w", encoding="utf-8") as file:
            file.write(f"{result.testsRun - failed} {failed}\n")
    sys.exit(1 if failed else 0)
