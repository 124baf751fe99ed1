"""Addresses of chat endpoints and the key they are asked with, which comes from the environment and is never written anywhere."""

import contextlib
import ipaddress
import os
import urllib.parse
import urllib.request

from pipeline.errors import ConfigError

KEY_VARIABLE = "CREM_API_KEY"
_FALLBACK_KEY_VARIABLE = "OPENAI_API_KEY"


def key_from_environment() -> str:
    """The API key from CREM_API_KEY (else OPENAI_API_KEY); empty where neither is set, which local servers accept."""
    return (os.environ.get(KEY_VARIABLE) or os.environ.get(_FALLBACK_KEY_VARIABLE) or "").strip()


def checked_key(key: str) -> str:
    """The key itself. Raises ConfigError, which does not show it, for one that no request can carry."""
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY_VARIABLE}: the key holds a line break or another character that no request can carry")
    return key


def checked_url(url: str) -> str:
    """The base of an endpoint (`http://host:8000/v1`) without a slash at its end. Raises ConfigError for anything else."""
    try:
        parts = urllib.parse.urlsplit(url)
        url.encode("ascii")
        (parts.hostname or "").encode("idna")
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"--url: not an address ({error}); expected one such as http://127.0.0.1:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--url {url}: expected an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ConfigError(f"--url: no user or password in the address; set {KEY_VARIABLE} instead")
    return url.rstrip("/")


def proxy_of(url: str) -> str | None:
    """The environment's proxy for an address; none for a server on this machine."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if _is_local(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _is_local(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"
