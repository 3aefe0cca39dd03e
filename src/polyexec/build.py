"""What this installation is made of."""

import platform
from importlib import metadata
from typing import Any

from polyexec import _impl, _secp256k1

__all__ = ["build_info"]

_LIBRARIES = (
    "coincurve",
    "crc32c",
    "eth-account",
    "h2",
    "httpx",
    "msgspec",
    "orjson",
    "pycryptodome",
    "uvloop",
)


def build_info() -> dict[str, Any]:
    """Return which compiled parts and libraries are in use, with their versions.

    Returns
    -------
    dict
        ``version``, ``implementation`` ("fast" or "pure"), ``secp256k1`` (the road to the curve:
        "coincurve-pointer", "coincurve-cffi", "system" or "eth-keys"), ``secp256k1_refused`` (road
        -> why a better one is not in use), ``python``, ``libraries`` (name -> version or None).
    """
    return {
        "version": _version("polyexec"),
        "implementation": _impl.IMPLEMENTATION,
        "secp256k1": _secp256k1.BACKEND,
        "secp256k1_refused": dict(_secp256k1.REFUSED),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
