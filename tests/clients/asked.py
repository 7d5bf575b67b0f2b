#!/usr/bin/env python3
"""What clients ask for, compared with what docs/protocols/asked.md says becomes of it.

A server whose log takes `visor::asked=trace` names the headers, parameters and members of each request's body. What the page does not have is
what Visor may drop without a word: it has to be done, refused, or argued there.

usage: asked.py LOG…    prints rows for what the page does not have, and fails if there is anything
"""

import collections
import json
import os
import re
import sys

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "protocols", "asked.md")
# In the environment of a server.
LOGGED = "visor::asked=trace"
PLACES = ("header", "query", "body")
VERDICTS = ("done", "refused", "harmless")
# Whole families of headers that may be left out. In any other, a name could hide that means something.
HARMLESS_FAMILIES = ("sec-fetch-*", "x-forwarded-*")


def pattern(text):
    return re.compile(re.escape(text).replace(r"\*", ".*") + r"\Z", re.IGNORECASE)


def rows(page=PAGE):
    """The rows of the page: requests, a place, names, and a verdict."""
    with open(page) as file:
        lines = [line.strip() for line in file]
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| `") else []
        if len(cells) == 4 and cells[1] in PLACES:
            verdict, names = cells[3].split()[0].strip(":,.;"), re.findall(r"`([^`]+)`", cells[2])
            assert verdict in VERDICTS, f"no verdict: {line}"
            if (cells[1], verdict) == ("header", "harmless"):
                assert not [name for name in names if name.endswith("*") and name not in HARMLESS_FAMILIES], f"name them: {line}"
            yield re.findall(r"`([^`]+)`", cells[0]), cells[1], names, cells[3]


class Known:
    """What the page has."""

    def __init__(self):
        self.rows = [([pattern(request) for request in requests], place, [pattern(name) for name in names], names)
                     for requests, place, names, _ in rows()]

    def has(self, request, place, name):
        for requests, where, names, texts in self.rows:
            if where == place and any(one.match(request) for one in requests):
                # A member is known with the members in it.
                if any(one.match(name) for one in names) or any(text.startswith((name + ".", name + "[")) for text in texts):
                    return True
        return False


def plain(route):
    """A route as the page has it: without the patterns of its parts, and without the slash that VISOR's may have at their end."""
    named = re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", route).replace("/v2{minor}", "/v2").replace("/v1{minor}", "/v1")
    return re.sub(r"^(/images.*)/$", r"\1", named)


def unknown(text):
    """What a log names that the page does not have, by request and place."""
    known, missing = Known(), collections.defaultdict(set)
    for line in set(re.findall(r"\basked (\{.*\})$", text, re.MULTILINE)):
        asked = json.loads(line)
        if not asked["route"]:
            # Refused as a path that is not served.
            continue
        request = f'{asked["method"]} {plain(asked["route"])}'
        for place in PLACES:
            missing[request, place].update(name for name in asked[place] if not known.has(request, place, name))
    return {key: sorted(names) for key, names in missing.items() if names}


def report(missing):
    return [f"| `{request}` | {place} | {' '.join(f'`{name}`' for name in names)} | ? |" for (request, place), names in sorted(missing.items())]


def check(text):
    """Fails when the log names what the page does not have. VISOR_ASKED names a file to write it to instead."""
    found = report(unknown(text))
    if os.environ.get("VISOR_ASKED"):
        with open(os.environ["VISOR_ASKED"], "a") as file:
            file.writelines(line + "\n" for line in found)
        return
    assert not found, "clients ask for what docs/protocols/asked.md does not have:\n" + "\n".join(found)


if __name__ == "__main__":
    said = report(unknown("".join(open(log).read() for log in sys.argv[1:])))
    print("\n".join(said))
    sys.exit(bool(said))
