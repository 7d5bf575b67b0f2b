"""The differences from LXD and Incus that are meant, each with its reason. docs/protocols/lxd.md says the same in words."""

import urllib.parse


class Rule:
    """A reason for many differences: `applies` tells them by a name, and by the outcomes of Visor, LXD and Incus."""

    def __init__(self, reason, applies):
        self.reason, self.applies, self.used = reason, applies, 0


def refuses(outcome):
    """Whether it is a refusal, in whichever way the server has for it: a status, an operation that fails, an end of the connection."""
    return outcome.get("status", 200) in (0, *range(400, 600)) or outcome.get("ended") == 400 or "refused" in outcome or "failed" in outcome


def unescaped(value):
    """A value with the URLs in it as they are meant."""
    if isinstance(value, dict):
        return {name: unescaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted(map(unescaped, value), key=str)
    if not isinstance(value, str) or not value.startswith("/1.0/images/aliases/"):
        return value
    while (plain := urllib.parse.unquote(value)) != value:
        value = plain
    return value


RULES = [
    Rule("All of them refuse. Visor says so at once and with the status for it, where daemons say 500, begin an operation that fails, or end the connection.",
         lambda name, visor, lxd, incus: all(map(refuses, (visor, lxd, incus))) and visor.get("status", visor.get("refused", 400)) in (400, 403, 404, 409, 412, 416, 501)),
    Rule("Names in URLs are escaped once, their slashes are not: LXD escapes twice, Incus slashes too. Each client reads all three.",
         lambda name, visor, lxd, incus: unescaped(visor) in (unescaped(lxd), unescaped(incus))),
    Rule("A method that a path does not have is 501; LXD has no word for `OPTIONS`, which it answers for browsers.",
         lambda name, visor, lxd, incus: name.startswith("methods: OPTIONS") and visor["status"] in (405, 501)),
    Rule("The root belongs to several protocols, and says so.", lambda name, visor, lxd, incus: name.endswith(" /") and visor["status"] in (300, 405)),
]

#: Single files, by the names that lxd_odd_files has for them.
FILES = {
}

#: Single requests, by the names of lxd_odd_requests.
REQUESTS = {
}

#: Where LXD and Incus differ: which of them Visor is like, and why.
BETWEEN = {
}
