"""Proxies from the environment: which one a URL is asked through."""

import ipaddress
import re
from contextlib import suppress
from urllib.request import getproxies

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["PORTS", "Proxies"]

PORTS = {"http": 80, "https": 443}
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>[0-9]{1,5})")


class Proxies:
    """The variables as they were at the start."""

    def __init__(self) -> None:
        self._found = getproxies()
        self._excluded = self._found.get("no", "").replace(",", " ").split()

    def proxy_for(self, url: Url) -> Url | None:
        """Raises NoModel, without the value of the variable, which may have a password."""
        scheme = next((each for each in (url.scheme or "", "all") if self._found.get(each)), None)
        if scheme is None or self._excluded == ["*"] or any(_excludes(each, url) for each in self._excluded):
            return None
        proxy = self._found[scheme]
        with suppress(LocationParseError):
            parsed = parse_url(proxy if "://" in proxy else f"http://{proxy}")
            if parsed.scheme in PORTS and parsed.host:
                return parsed
        message = f"{scheme.upper()}_PROXY is not the URL of a proxy: use http://host:port"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{message}, and escape / ? # @ in a password")


def _excludes(entry: str, url: Url) -> bool:
    """Whether an entry of NO_PROXY is for the server of a URL."""
    if match := _HOST_AND_PORT.fullmatch(entry):
        if int(match["port"]) != (url.port or PORTS.get(url.scheme or "")):
            return False
        entry = match["host"]
    host = (url.host or "").strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:  # one of them is a name
        name = entry.lower().removeprefix("*").lstrip(".").rstrip(".")
        return bool(name) and f".{host}".endswith(f".{name}")
