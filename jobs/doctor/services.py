"""Servers that a run talks to: chat endpoints, and the store of runs."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.doctor.finding import Finding, good, stops, warning
from pipeline.chat.address import KEY_VARIABLE, key_from_environment, proxy_of
from pipeline.chat.endpoints import EndpointList
from pipeline.errors import ConfigError, PipelineError
from pipeline.tracking import OFFLINE, check_store, redact

SECONDS = 10.0


def endpoints(urls: Sequence[str], model: str) -> Iterator[Finding]:
    """A row for each address: whether it answers, takes the key, and serves the model."""
    given: list[str | Path] = [url if "://" in url else Path(url) for url in urls]
    try:
        addresses = EndpointList(given).urls if given else []
    except ConfigError as error:
        yield stops("endpoint", str(error), "mend the address or the file")
        return
    for url in addresses:
        yield _endpoint(url, model)


def _endpoint(url: str, model: str) -> Finding:
    key, proxy = key_from_environment(), proxy_of(url)
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {}))
    try:
        with opener.open(request, timeout=SECONDS) as reply:
            listed = json.loads(reply.read(1 << 20))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return stops("endpoint", f"{url}: does not take the key ({error.code})", f"set {KEY_VARIABLE} to this server's key")
        return warning("endpoint", f"{url}: answers {error.code} where models are listed", "check that the address ends in /v1")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return stops(
            "endpoint", f"{url}: {redact(str(reason))}", "start the server, or check host, port and firewall from this node"
        )
    names = [str(item.get("id")) for item in listed.get("data", []) if isinstance(item, dict)] if isinstance(listed, dict) else []
    if model not in names:
        return stops("endpoint", f"{url}: serves {', '.join(names) or 'no model'}", f"name one with --teacher, or serve {model}")
    return good("endpoint", f"{url}: serves {model}")


def tracking(uri: str) -> Finding:
    """Whether the store of runs answers. One that does not stops no run: notes are kept for crem sync."""
    if uri == OFFLINE:
        return good("tracked runs", "kept in the work folder, for crem sync")
    try:
        check_store(uri)
    except PipelineError as error:
        return warning("tracked runs", str(error), "runs are kept in <work>/unsent; send them with crem sync when it answers")
    return good("tracked runs", f"{redact(uri)} answers")
