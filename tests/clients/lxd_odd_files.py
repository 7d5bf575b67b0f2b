"""Image files for the differential suite of LXD: packings, contents, descriptions and roots, each with its oddities.

Every function yields pairs of a name and the files of an image: one, or a description and a root. A new oddity is a line here."""

import io
import itertools
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile

BASE = "architecture: x86_64\ncreation_date: 1700000000\n"
YAML = BASE + "properties:\n  os: Debian\n  release: bookworm\n"
BLOCK = bytes(512)
#: How the tools compress what they read, by the name of the packing. Each tool is given the bytes on a pipe, so that it does
#: not know how many there are.
TOOLS = {
    "gzip": ["gzip", "-n"], "bzip2": ["bzip2"], "xz": ["xz"], "lzma": ["xz", "--format=lzma"], "zstd": ["zstd", "-q"], "lz4": ["lz4", "-q"],
    "xz of 256 MiB": ["xz", "--lzma2=preset=0,dict=256MiB"], "xz of 1536 MiB": ["xz", "--lzma2=dict=1536MiB,mf=hc3,mode=fast,nice=4,depth=1"],
    "lzma of 256 MiB": ["xz", "--format=lzma", "--lzma1=preset=0,dict=256MiB"], "xz without check": ["xz", "--check=none"], "xz of SHA-256": ["xz", "--check=sha256"],
    "xz for x86": ["xz", "--x86", "--lzma2"], "xz for Arm": ["xz", "--arm", "--lzma2"],
    "zstd of 128 MiB": ["zstd", "-q", "-1", "--long=27"], "zstd of 256 MiB": ["zstd", "-q", "-1", "--long=28"],
    "zstd without checksum": ["zstd", "-q", "--no-check"], "lz4 in dependent blocks": ["lz4", "-q", "-BD", "-B4"], "lz4 with checksums": ["lz4", "-q", "-BX"],
    "legacy lz4": ["lz4", "-q", "-l"],
}
SQUASHFS = {
    "gzip": [], "xz": ["-comp", "xz"], "lzma": ["-comp", "lzma"], "zstd": ["-comp", "zstd"], "lz4": ["-comp", "lz4"], "lz4 at its best": ["-comp", "lz4", "-Xhc"],
    "lzo": ["-comp", "lzo"], "lzo at its quickest": ["-comp", "lzo", "-Xalgorithm", "lzo1x_1"], "nothing": ["-noI", "-noD", "-noF", "-noX"],
    "small blocks": ["-b", "4K"], "large blocks": ["-b", "1M", "-comp", "lzo"], "no fragments": ["-no-fragments", "-comp", "lz4"], "padding": ["-comp", "gzip", "-nopad"],
}


def member(name, content=b"", kind=tarfile.REGTYPE, link="", **more):
    """The bytes of one member of a tarball."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, 0o755 if kind == tarfile.DIRTYPE else 0o644, 1_700_000_000
    for field, value in more.items():
        setattr(info, field, value)
    content = content.encode() if isinstance(content, str) else content
    if kind == tarfile.REGTYPE:
        info.size = len(content)
    padded = content + bytes(-len(content) % 512)
    return info.tobuf(more.get("format", tarfile.GNU_FORMAT)) + padded


def tarball(*members):
    return b"".join(members) + 2 * BLOCK


ROOTFS = member("rootfs", kind=tarfile.DIRTYPE) + member("rootfs/hello", "hello\n")
NO_USTAR = lambda header: header[:257] + bytes(8) + header[265:512]


class OddFiles:
    """Files in a directory that the caller removes."""

    def __init__(self, directory):
        self.directory, self.numbers = directory, itertools.count(1)
        self.noise = os.urandom(150_000)

    def file(self, content):
        path = os.path.join(self.directory, f"{next(self.numbers)}")
        with open(path, "wb") as file:
            file.write(content)
        return path

    def compressed(self, packing, content):
        return subprocess.run([*TOOLS[packing], "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout

    def unified(self, yaml=YAML, *more):
        """A tarball of an image. No two have the same bytes."""
        return tarball(member("metadata.yaml", yaml), ROOTFS, member("rootfs/number", str(next(self.numbers))), *more)

    def squashfs(self, packing, yaml=YAML, root=True, name="metadata.yaml"):
        with tempfile.TemporaryDirectory(dir=self.directory) as inside:
            if yaml is not None:
                with open(os.path.join(inside, name), "w") as file:
                    file.write(yaml)
            if root:
                os.mkdir(os.path.join(inside, "rootfs"))
            for path, content in (("rootfs/noise", self.noise), ("rootfs/text", b"some text " * 30_000), ("rootfs/number", b"%d" % next(self.numbers))):
                with open(os.path.join(inside, path if root else os.path.basename(path)), "wb") as file:
                    file.write(content)
            path = os.path.join(self.directory, f"{next(self.numbers)}.squashfs")
            subprocess.run(["mksquashfs", inside, path, "-quiet", "-no-progress", *SQUASHFS[packing]], stdout=subprocess.DEVNULL, check=True)
        return path

    def qcow2(self, size="1M"):
        path = os.path.join(self.directory, f"{next(self.numbers)}.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, size], check=True)
        return path

    def metadata(self, packing="xz", yaml=YAML):
        """A description by itself."""
        number = member("number", str(next(self.numbers)))
        return self.file(self.compressed(packing, tarball(number, member("metadata.yaml", yaml))))

    # -- what is packed, and how -------------------------------------------------------------------------------------

    def packings(self):
        """One image, packed in every way."""
        yield "tar", [self.file(self.unified())]
        for packing in TOOLS:
            yield packing, [self.file(self.compressed(packing, self.unified(YAML, member("rootfs/noise", self.noise))))]
        for packing in SQUASHFS:
            yield f"squashfs of {packing}", [self.squashfs(packing)]
        long = YAML + "".join(f"  p{n}: {'text ' * 300}\n" for n in range(100))
        for packing in ("gzip", "lzo", "lz4"):
            yield f"squashfs of {packing} with a long description", [self.squashfs(packing, long)]
        for packing in ("gzip", "bzip2", "xz", "zstd", "lz4"):
            whole = self.unified()
            halves = self.compressed(packing, whole[:700]) + self.compressed(packing, whole[700:])
            yield f"{packing} in two streams", [self.file(halves)]
        for packing in ("gzip", "bzip2", "xz", "lzma", "zstd", "lz4"):
            packed = self.compressed(packing, self.unified(YAML, member("rootfs/noise", self.noise)))
            yield f"{packing} with zeros behind it", [self.file(packed + bytes(512))]
            yield f"{packing} that ends in its root", [self.file(packed[:-20_000])]
            yield f"{packing} that ends at once", [self.file(packed[:30])]
            yield f"{packing} in {packing}", [self.file(self.compressed(packing, packed))]
        late = tarball(member("other", os.urandom(1 << 20) * 30), member("metadata.yaml", YAML), ROOTFS)
        for packing in ("xz of 256 MiB", "zstd of 128 MiB", "lz4"):
            yield f"{packing} with its description behind 30 MB", [self.file(self.compressed(packing, late))]
        skipped = struct.pack("<II", 0x184D2A50, 5) + b"hello"
        yield "zstd with a frame to skip in the middle", [self.file(self.compressed("zstd", self.unified()[:512]) + skipped + self.compressed("zstd", self.unified()[512:]))]
        yield "zstd that begins with a frame to skip", [self.file(skipped + self.compressed("zstd", self.unified()))]
        yield "lz4 that begins with a frame to skip", [self.file(skipped + self.compressed("lz4", self.unified()))]
        yield "nothing", [self.file(b"")]
        yield "one byte", [self.file(b"x")]
        yield "noise", [self.file(b"x" + self.noise)]
        yield "a zip", [self.file(b"PK\x03\x04" + self.noise)]
        yield "a disk", [self.qcow2()]

    # -- what is in it -----------------------------------------------------------------------------------------------

    def contents(self):
        """Tarballs with members of all sorts."""
        yaml, root = member("metadata.yaml", YAML), ROOTFS
        number = lambda: member("number", str(next(self.numbers)))
        link, hard, directory = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
        record = lambda name, value: (lambda body: f"{len(body) + len(str(len(body) + 3)) + 1} {body}".encode())(f"{name}={value}\n")
        for name, members in {
            "all below a dot": (member("./", kind=directory), member("./metadata.yaml", YAML), member("./rootfs/", kind=directory), member("./rootfs/a", "a")),
            "the root first": (root, yaml),
            "no description": (root,), "no root": (yaml,), "nothing in it": (),
            "an empty root": (yaml, member("rootfs", kind=directory)),
            "an empty root with a slash": (yaml, member("rootfs/", kind=directory)),
            "a root without its directory": (yaml, member("rootfs/a", "a")),
            "a disk": (yaml, member("rootfs.img", self.noise)), "a disk before": (member("rootfs.img", self.noise), yaml),
            "two roots": (yaml, member("rootfs.img", "x"), root), "two roots before": (member("rootfs.img", "x"), root, yaml),
            "two descriptions": (yaml, member("metadata.yaml", YAML.replace("Debian", "Other")), root),
            "two descriptions with the root between": (yaml, root, member("metadata.yaml", YAML.replace("Debian", "Other"))),
            "a description that is a link": (member("metadata.yaml", kind=link, link="rootfs/x"), root),
            "a description that is a hard link": (member("x", YAML), member("metadata.yaml", kind=hard, link="x"), root),
            "a description that is a directory": (member("metadata.yaml", kind=directory), root),
            "an empty description": (member("metadata.yaml", ""), root),
            "a description below the root": (member("rootfs/metadata.yaml", YAML), root),
            "a description in capitals": (member("METADATA.YAML", YAML), root),
            "a description behind two dots": (member("../metadata.yaml", YAML), root),
            "a description behind slashes": (member(".//metadata.yaml", YAML), root),
            "a description behind a slash": (member("/metadata.yaml", YAML), root),
            "a root that is a link": (yaml, member("rootfs", kind=link, link="/"), member("rootfs/a", "a")),
            "a root that is a file": (yaml, member("rootfs", "x")),
            "a disk that is a link": (yaml, member("rootfs.img", kind=link, link="/dev/sda")),
            "a disk that is a directory": (yaml, member("rootfs.img", kind=directory)),
            "an absolute name": (yaml, member("/etc/passwd", "x"), root), "a name that leads out": (yaml, member("../x", "x"), root),
            "an absolute name behind the root": (yaml, root, member("/etc/passwd", "x")),
            "a long name": (member("d/" * 120 + "x", "x"), yaml, root), "devices": (yaml, member("rootfs/null", kind=tarfile.CHRTYPE), member("rootfs/fifo", kind=tarfile.FIFOTYPE)),
            "a comment in pax": (member("pax", record("comment", "hello"), kind=b"g", size=len(record("comment", "hello"))), yaml, root),
            "a name in pax": (member("pax", record("path", "metadata.yaml"), kind=b"x", size=len(record("path", "metadata.yaml"))), member("x", YAML), root),
            "an owner in pax": (member("pax", record("uid", "70000000"), kind=b"x", size=len(record("uid", "70000000"))), yaml, root),
            "junk behind the root": (yaml, root, b"junk" * 128),
            "junk before the root": (yaml, b"junk" * 128, root),
            "templates": (yaml, member("templates", kind=directory), member("templates/hosts.tpl", "{{ x }}"), root),
        }.items():
            yield name, [self.file(tarball(number(), *members))]
        old = self.unified()
        yield "no ustar in its headers", [self.file(NO_USTAR(old) + old[512:])]
        yield "no end", [self.file(self.unified()[:-1024])]
        yield "an end in a header", [self.file(self.unified()[:-1300])]
        yield "a wrong checksum", [self.file(old[:100] + b"7" + old[101:])]

    # -- how it is described ---------------------------------------------------------------------------------------------

    def descriptions(self):
        """An image with every description."""
        for name, yaml in DESCRIPTIONS.items():
            content = yaml if isinstance(yaml, bytes) else yaml.encode()
            yield name, [self.file(tarball(member("number", str(next(self.numbers))), member("metadata.yaml", content), ROOTFS))]
        for architecture in ARCHITECTURES:
            yield f"architecture {architecture}", [self.file(self.unified(f"architecture: '{architecture}'\ncreation_date: 1700000000\n"))]

    # -- in two files ------------------------------------------------------------------------------------------------

    def splits(self):
        """A description and a root, each in every form."""
        describe = self.metadata
        root = lambda: member("number", str(next(self.numbers))) + member("bin", kind=tarfile.DIRTYPE) + member("bin/sh", self.noise)
        for packing in ("gzip", "bzip2", "xz", "lzma", "zstd", "lz4", "xz of 256 MiB", "zstd of 128 MiB"):
            yield f"a description in {packing}", [describe(packing), self.squashfs("gzip", None, False)]
            yield f"a root in {packing}", [describe(), self.file(self.compressed(packing, tarball(root())))]
        for packing in SQUASHFS:
            yield f"a root in squashfs of {packing}", [describe(), self.squashfs(packing, None, False)]
        yield "a description without compression", [self.file(tarball(member("metadata.yaml", YAML + f"  n: '{next(self.numbers)}'\n"))), self.squashfs("gzip", None, False)]
        for packing in ("gzip", "lz4", "lzo"):
            yield f"a description in squashfs of {packing}", [self.squashfs(packing), self.squashfs("gzip", None, False)]
        yield "a root in tar", [describe(), self.file(tarball(root()))]
        yield "a disk", [describe(), self.qcow2()]
        yield "a disk as rootfs.img", [describe(), ("rootfs.img", self.qcow2())]
        yield "a root as rootfs.img", [describe(), ("rootfs.img", self.squashfs("gzip", None, False))]
        yield "a raw disk as rootfs.img", [describe(), ("rootfs.img", self.file(self.noise))]
        yield "noise for a root", [describe(), self.file(b"x" + self.noise)]
        yield "nothing for a root", [describe(), self.file(b"")]
        yield "nothing for a description", [self.file(b""), self.squashfs("gzip", None, False)]
        yield "noise for a description", [self.file(b"x" + self.noise), self.squashfs("gzip", None, False)]
        yield "a whole image for a description", [self.file(self.unified()), self.squashfs("gzip", None, False)]
        yield "the root first", [("rootfs", self.squashfs("gzip", None, False)), ("metadata", describe())]
        yield "only a description", [("metadata", describe())]
        yield "a part of another name", [("metadata", describe()), ("root", self.squashfs("gzip", None, False))]
        yield "a third part", [("metadata", describe()), ("rootfs", self.squashfs("gzip", None, False)), ("more", self.file(b"more"))]


def properties(text):
    return BASE + "properties:\n" + "".join(f"  {line}\n" for line in text.splitlines())


ARCHITECTURES = (
    "i686", "x86_64", "armv6l", "armv7l", "armv8l", "aarch64", "ppc", "ppc64", "ppc64le", "s390x", "mips", "mips64", "riscv32", "riscv64", "loongarch64",
    "i386", "i586", "386", "x86", "generic_32", "amd64", "generic_64", "armel", "arm", "armhf", "armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp",
    "arm64", "arm64_generic", "powerpc", "powerpc64", "ppc64el", "mipsel", "mips64el", "mipsle", "mips64le", "loong64",
    "X86_64", "AMD64", "x86-64", "pdp11", "linux64", "", " x86_64", "all",
)

DESCRIPTIONS = {
    # Dates.
    **{f"created {date}": f"architecture: x86_64\ncreation_date: {date}\n" for date in (
        "1700000000", "1700000000.75", "1.7e9", "1_700_000_000", "0x6553f100", "0b1100101", "0o14524770400", "014524770400", "+1700000000", "'1700000000'",
        '"1700000000"', "!!int '1700000000'", "!!int 1700000000", "!!float 1700000000", "!!str 1700000000", "0", "0.5", "-1", "-1.5", "~", "", "true",
        "2024-01-01", "2023-11-14T22:13:20Z", "today", "[1]", "{a: 1}", "1e3", ".5e10", "253402300799", "253402300800", "9223372036854775807",
        "9223372036854775808", "1e300", ".inf", "-.inf", ".nan", "1700000000 # then", "1:30:00", "1,700,000,000", "017", "0x", "1__0")},
    **{f"expires {date}": f"{BASE}expiry_date: {date}\n" for date in ("0", "~", "1800000000", "1800000000.9", "-1", "'1800000000'", "2030-01-01", "253402300799", "[]")},
    # Properties.
    "no properties": BASE, "null properties": BASE + "properties:\n", "empty properties": BASE + "properties: {}\n", "a text of properties": BASE + "properties: text\n",
    "an empty text of properties": BASE + "properties: ''\n", "a list of properties": BASE + "properties: [a]\n", "an empty list of properties": BASE + "properties: []\n",
    "values that are no texts": properties("""a: 20240101
b: 1.50
c: yes
d: true
e: ~
f:
g: 2024-01-01
h: 0x10
i: 010
j: No
k: on
l: OFF
m: .inf
n: NaN
o: null
p: 1e3
q: 2001-12-14t21:59:43.10-05:00
r: '~'
s: "yes"
t: y
u: =
v: <<
w: 1_000
x: 0o17"""),
    "names that are no texts": properties("1: a\n1.5: b\ntrue: c\n~: d\n2024-01-01: e\n0x10: f"),
    "an empty name": properties("'': a"), "null as a name": properties("~: a\n'': b"), "a list as a name": properties("? [a]\n: b"),
    "a map as a value": properties("a: {b: c}"), "a list as a value": properties("a: [b]"), "an empty list as a value": properties("a: []"),
    "a property twice": properties("a: 1\na: 2"), "a property twice, null then": properties("a: 1\na: ~"), "properties twice": properties("a: 1\nb: 1") + "properties:\n  a: 2\n",
    "properties twice, null then": properties("a: 1") + "properties: ~\n", "architecture twice": BASE + "architecture: aarch64\n", "architecture twice, null then": BASE + "architecture: ~\n",
    "a date twice": BASE + "creation_date: 1600000000\n",
    "line breaks": properties('a: "one\\ntwo"\nb: |\n  one\n  two\nc: >\n  one\n  two\n\n  three\nd: "tab\\there"\ne: |-\n  one\n  two\nf: "one\\r\\ntwo"'),
    "a name with a line break": properties('"a\\nb": c'), "other control characters": properties('a: "x\\0y\\x01z\\ez"\nb: "\\x7f\\x85"'), "odd characters": properties('a: "\\u2028\\ufeffü😀"\nb: "\\N\\_\\L\\P"'),
    "a name in Unicode": properties("größe: ja\n'名前': 😀"), "words with blanks": properties("a:   x  y  \nb: 'it''s'\nc: \"a\\\n  b\"\nd: one\n  two"),
    "many properties": properties("\n".join(f"p{n}: v{n}" for n in range(150))), "a long value": properties("a: " + "x" * 65_535), "a longer value": properties("a: " + "x" * 65_536),
    "a value that is too long": properties("a: " + "x" * 70_000), "very many properties": properties("\n".join(f"p{n}: v{n}" for n in range(600))), "a long name": properties("x" * 300 + ": a"),
    "a name of 1100 characters": properties("x" * 1100 + ": a"), "an asked name of 1100 characters": properties("? " + "x" * 1100 + "\n: a"),
    # Anchors and merges.
    "an alias": properties("a: &x text\nb: *x"), "an alias of the whole": BASE + "x: &x {a: b}\nproperties: *x\n", "a merge": BASE + "x: &x {a: 1, b: 2}\nproperties:\n  <<: *x\n  b: 3\n",
    "a merge behind": BASE + "x: &x {a: 1, b: 2}\nproperties:\n  b: 3\n  <<: *x\n", "a merge of several": BASE + "x: &x {a: 1, b: 2}\ny: &y {b: 4}\nproperties:\n  <<: [*x, *y]\n  c: 3\n",
    "a merge of a text": BASE + "properties:\n  <<: text\n", "a merge of a list of texts": BASE + "properties:\n  <<: [a]\n", "a merge at the top": "x: &x {architecture: aarch64, creation_date: 1}\n<<: *x\ncreation_date: 1700000000\n",
    "a merge at the top, behind": BASE + "<<: {architecture: aarch64}\n", "a merge in quotes": properties("'<<': a"), "an unknown alias": properties("a: *nothing"), "an alias of itself": BASE + "properties: &x\n  a: *x\n",
    "an anchor twice": properties("a: &x 1\nb: &x 2\nc: *x"), "an alias before its anchor": properties("a: *x\nb: &x 1"), "an alias as a name": properties("a: &x b\n*x : c"),
    # Tags.
    "tags": properties("a: !!str 1\nb: !own text\nc: !!int 12\nd: ! x\ne: !!float 1\nf: !!bool yes\ng: !!null ~"), "a tag of bytes": properties("a: !!binary aGVsbG8="),
    "a tag of wrong bytes": properties("a: !!binary '*'"), "a tag that is wrong": properties("a: !!int text"), "a tag of null that is wrong": properties("a: !!null text"), "a map with a tag": BASE + "properties: !!map {a: b}\n",
    "a map with its own tag": BASE + "properties: !own {a: b}\n", "a tag of text for a date": "architecture: x86_64\ncreation_date: !!str 1\n", "a tag without a name": properties("a: !e!x y"),
    # Documents.
    "several documents": YAML + "---\narchitecture: aarch64\n", "a marked document": "---\n" + YAML, "two marks": "---\n---\n" + YAML, "an ended document": YAML + "...\n", "junk behind its end": YAML + "...\n{{{\n",
    "junk in a second document": YAML + "---\n{{{\n", "a version": "%YAML 1.1\n---\n" + YAML, "version 1.2": "%YAML 1.2\n---\n" + YAML, "version 2.0": "%YAML 2.0\n---\n" + YAML, "a directive": "%FOO bar\n---\n" + YAML,
    "only comments": "# nothing\n", "only a mark": "---\n", "null": "~\n", "a list": "- a\n", "a text": "text\n", "a number": "5\n", "an empty map": "{}\n", "JSON": '{"architecture":"x86_64","creation_date":1700000000,"properties":{"os":"Debian","n":"1"}}',
    "JSON with numbers": '{"architecture":"x86_64","creation_date":1700000000,"properties":{"n":1,"b":true,"z":null}}', "JSON with tabs": '{\n\t"architecture":\t"x86_64",\n\t"creation_date":\t1700000000\n}',
    "flow without blanks": "{architecture: x86_64, creation_date: 1700000000, properties: {a: b,c: d}}", "flow with a colon": "{architecture: x86_64, creation_date: 1700000000, properties: {a: b:c, \"d\":e}}",
    "a flow over lines": "{architecture: x86_64,\ncreation_date: 1700000000,\nproperties: {a: b,\n}}", "a list with a trailing comma": BASE + "x: [1, 2,]\n", "a list with two commas": BASE + "x: [1,,2]\n",
    # Bytes.
    "CRLF": YAML.replace("\n", "\r\n"), "CR": YAML.replace("\n", "\r"), "no line feed at its end": YAML.rstrip("\n"), "a byte order mark": b"\xef\xbb\xbf" + YAML.encode(), "UTF-16": b"\xff\xfe" + YAML.encode("utf-16-le"),
    "UTF-16, the other way": b"\xfe\xff" + YAML.encode("utf-16-be"), "Latin-1": YAML.replace("Debian", "Größe").encode("latin-1"), "a zero byte": YAML.encode() + b"\0", "a zero byte in a value": YAML.replace("Debian", "De\0bian").encode(),
    "a bell": YAML.replace("Debian", "De\abian").encode(), "a delete": YAML.replace("Debian", "De\x7fbian").encode(), "a next line": YAML.replace("Debian", "De\x85bian"), "a line separator": YAML.replace("Debian", "De\u2028bian"),
    "tabs for blanks": YAML.replace("  ", "\t"), "tabs behind a colon": YAML.replace(": ", ":\t"), "a tab at the end": YAML.replace("Debian\n", "Debian\t\n"), "a surrogate": BASE + 'properties: {a: "\\ud800"}\n', "an unassigned character": properties('a: "\\ufffe"'),
    # Other things at the top.
    "unknown names": YAML + "unknown: [1, {2: 3}]\nname: x\n", "capitals": YAML.replace("architecture", "Architecture"), "templates": YAML + "templates:\n  /etc/hosts:\n    when: [create, copy]\n    create_only: true\n    template: hosts.tpl\n    properties: {a: 1}\n",
    "null templates": YAML + "templates:\n", "a text of templates": YAML + "templates: text\n", "a template of null": YAML + "templates: {/etc/hosts: ~}\n", "when as a text": YAML + "templates: {/etc/hosts: {when: create}}\n", "when as a list of lists": YAML + "templates: {/etc/hosts: {when: [[a]]}}\n",
    "create_only as a text": YAML + "templates: {/etc/hosts: {create_only: 'true'}}\n", "create_only as yes": YAML + "templates: {/etc/hosts: {create_only: yes}}\n", "template as a list": YAML + "templates: {/etc/hosts: {template: [a]}}\n",
    "a list as architecture": "architecture: [x86_64]\ncreation_date: 1\n", "no architecture": "creation_date: 1700000000\n", "null for architecture": "architecture: ~\ncreation_date: 1\n", "a number as architecture": "architecture: 386\ncreation_date: 1\n", "a broken line": YAML + "nothing\n",
    "a bad indent": YAML + " bad: 1\n", "an open quote": YAML + 'x: "open\n', "an open list": YAML + "x: [1\n", "a deep list": YAML + "x: " + "[" * 60 + "]" * 60 + "\n", "a very deep list": YAML + "x: " + "[" * 300 + "]" * 300 + "\n", "a map in a line": YAML + "x: a: b\n", "a percent sign": properties("a: %b"), "an at sign": properties("a: @b"),
    "a backquote": properties("a: `b`"), "a colon in a word": properties("a: b:c\nd: :e\nf: g:"), "a hash in a word": properties("a: b#c\nd: e #f"), "a dash": properties("a: -\nb: - x"), "a question mark": properties("a: ?\nb: ?x"), "brackets in a word": properties("a: b[c]\nd: e{f}"), "an exclamation mark": properties("a: b!c"), "an asterisk": properties("a: b*c"),
    "quotes in a word": properties("a: b\"c\nd: e'f"), "a bad escape": properties('a: "\\q"'), "an escaped slash": properties('a: "\\/"'), "an escaped apostrophe": properties("a: \"\\'\""), "a literal with its indent": properties("a: |2\n    x\n   y"), "an indented literal": properties("a: |+\n  x\n\n"), "large": YAML + "".join(f"# {'x' * 100}\n" for _ in range(3000)),
    "larger than a mebibyte": YAML + "# " + "x" * (1 << 20) + "\n",
}
