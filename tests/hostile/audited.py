"""A session of an executor that writes down whom it contacts: run by ``test_hosts``.

Audit hooks cannot be removed, and the environment is hostile: so in a process of its own.
"""

import asyncio
import json
import os
import sys
from typing import Any

CONTACTS = frozenset(
    f"socket.{name}"
    for name in (
        *("connect", "getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo"),
        *("sendto", "sendmsg"),
    )
) | {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
contacts: list[tuple[str, Any]] = []


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in CONTACTS:
        with_socket = event in {"socket.connect", "socket.sendto", "socket.sendmsg"}
        whom = arguments[1] if with_socket else arguments[:2]
        contacts.append((event, whom))


async def session(settings: dict[str, Any], token: str) -> dict[str, Any]:
    import polyexec as px

    async with px.Executor(px.ExecutorConfig(**settings)) as executor:
        leg = px.Leg(token, "BUY", "0.45", 10, tick_size="0.01", fee_rate="0.07")
        result = await executor.submit(px.LegsSignal([leg]))
        resting = px.Leg(token, "BUY", "0.10", 10, tick_size="0.01", fee_rate="0.07")
        await executor.submit(px.LegsSignal([resting]))
        await executor.reconcile()
        await executor.cancel_all()
        await executor.refresh_balance()
        return {"states": [str(leg.state) for leg in result.legs]}


def main() -> None:
    given = json.load(sys.stdin)
    sys.addaudithook(hook)
    try:
        told = asyncio.run(session(given["settings"], given["token"]))
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    told |= {"contacts": contacts, "proxies": "HTTPS_PROXY" in os.environ}
    print(json.dumps(told, default=str))


if __name__ == "__main__":
    main()
