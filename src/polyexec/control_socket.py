"""A local socket through which the same user's processes command a bot.

It answers in a thread of its own: a bot whose loop is stuck can still be halted. Only the kernel is
trusted about who asks: the folder is closed to others, the socket too, and each peer's user id is
looked at.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from polyexec.commands import Request, parse_request
from polyexec.errors import ConfigError, InputError, NotSentError, PolyexecError, UsageError

__all__ = ["ControlSocket", "ask", "find_socket", "find_sockets"]

_log = logging.getLogger("polyexec.control")

_LONGEST_LINE: Final = 4096
_LONGEST_PATH: Final = 100
"""The kernel's limit for the address of a Unix socket is 108 bytes, on some systems 104."""
_MOST_PEERS: Final = 16
_IDLE_S: Final = 60.0
_CREDENTIALS: Final = struct.Struct("3i")


class ControlSocket:
    """Listens at ``path``; use ``await open()`` and ``await close()`` on the loop of its thread.

    Parameters
    ----------
    path : Path
        In a folder that this user alone can enter; it is made when it is not there.
    carry_out : async callable
        Carries out a request and returns what to tell of it.

    Raises
    ------
    ConfigError
        Others can enter the folder, the path is too long, or another process listens there.
    """

    def __init__(
        self, path: Path, carry_out: Callable[[Request], Awaitable[dict[str, Any]]]
    ) -> None:
        self._path = path
        self._carry_out = carry_out
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()
        self._lock_fd = -1

    @property
    def path(self) -> Path:
        """Where it listens."""
        return self._path

    async def open(self) -> None:
        """Begin to listen."""
        path = self._path
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise ConfigError(
                f"control_socket={str(path)!r}: longer than {_LONGEST_PATH} bytes, which no socket "
                "can be; set CONTROL_SOCKET to a shorter path"
            )
        try:
            check_folder(path.parent)
            self._take_lock()
            path.unlink(missing_ok=True)  # of a process that was killed: the lock is ours
            self._server = await asyncio.start_unix_server(
                self._serve, path=str(path), limit=_LONGEST_LINE
            )
            path.chmod(0o600)
        except OSError as error:
            await self.close()
            raise ConfigError(
                f"control_socket={str(path)!r}: cannot be opened ({error.strerror}); set "
                "CONTROL_SOCKET to another path, or to off"
            ) from error
        except ConfigError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening; what is being carried out is given up."""
        if self._server is not None:
            self._server.close()
            for task in tuple(self._peers):
                task.cancel()
            await asyncio.gather(*self._peers, return_exceptions=True)
            self._path.unlink(missing_ok=True)
            self._server = None
        if self._lock_fd >= 0:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock_fd)
            self._lock_fd = -1

    @property
    def _lock_path(self) -> Path:
        return self._path.with_name(self._path.name + ".lock")

    def _take_lock(self) -> None:
        path = self._lock_path
        while self._lock_fd < 0:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_file_of(path, fd):  # or another process has removed it meanwhile
                    self._lock_fd = fd
            except BlockingIOError:
                raise ConfigError(
                    f"control_socket={str(self._path)!r}: another process listens there; set "
                    "CONTROL_SOCKET to another path"
                ) from None
            finally:
                if self._lock_fd < 0:
                    os.close(fd)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a connection is always served by a task
        self._peers.add(task)
        try:
            if len(self._peers) > _MOST_PEERS:
                _log.warning("control_crowded", extra={"peers": len(self._peers)})
            elif self._is_friend(writer):
                await self._answer(reader, writer)
        except (OSError, TimeoutError):
            pass  # the peer went away, or has nothing to say
        finally:
            self._peers.discard(task)
            writer.close()

    @staticmethod
    def _is_friend(writer: asyncio.StreamWriter) -> bool:
        option = getattr(socket, "SO_PEERCRED", None)
        if option is None:  # not Linux: the folder's permissions stand alone
            return True
        peer = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        if uid in (os.geteuid(), 0):
            return True
        _log.error("control_refused_peer", extra={"pid": pid, "uid": uid})
        return False

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(_IDLE_S):
                    line = await reader.readline()
            except ValueError:
                line = b""
                writer.write(_reply(f"a line of more than {_LONGEST_LINE} bytes is no command"))
            if not line.endswith(b"\n"):  # the end, or half a line: nobody waits for an answer
                return
            writer.write(await self._replied(line))
            await writer.drain()

    async def _replied(self, line: bytes) -> bytes:
        try:
            told = await self._carry_out(parse_request(line))
        except InputError as error:
            _log.warning("control_bad_command", extra={"detail": str(error)})
            return _reply(str(error))
        except Exception as error:
            _log.exception("control_failed")
            return _reply(_refusal(error))
        return msgspec.json.encode({"ok": True, **told}) + b"\n"


def check_folder(folder: Path) -> None:
    """Make the folder of a socket, or make sure that nobody else can enter it.

    Raises
    ------
    ConfigError
        Somebody else can, or it is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = folder.stat()
    if told.st_uid != os.geteuid() or stat.S_IMODE(told.st_mode) & 0o077:
        raise ConfigError(
            f"control_socket: the folder {str(folder)!r} must belong to this user and be closed to "
            f"others: chown it and `chmod 700 {folder}`"
        )


def _is_file_of(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def find_socket(folder: Path) -> Path:
    """Return the socket of the one bot that runs.

    Raises
    ------
    UsageError
        None does, or several.
    """
    sockets = find_sockets(folder)
    if not sockets:
        raise UsageError(f"no bot of this user listens in {folder}: name its socket (--socket)")
    if len(sockets) > 1:
        listed = " ".join(map(str, sockets))
        raise UsageError(f"several bots run: choose by --socket PATH, or --all: {listed}")
    return sockets[0]


def find_sockets(folder: Path) -> list[Path]:
    """Return the sockets of every bot that runs."""
    return [path for path in sorted(folder.glob("*.sock")) if _is_alive(path)]


def ask(path: Path, request: Request, *, timeout_s: float = 40.0) -> dict[str, Any]:
    """Send a command to the bot at ``path``; return its answer, in which ``ok`` is true.

    Parameters
    ----------
    timeout_s : float
        Seconds without a byte.

    Raises
    ------
    NotSentError
        Nobody listens there.
    UsageError
        The bot refused, or its answer cannot be read.
    """
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(timeout_s)
        try:
            peer.connect(str(path))
        except OSError as error:
            raise NotSentError(f"no bot listens at {path} ({error.strerror})") from error
        try:
            peer.sendall(msgspec.json.encode(request) + b"\n")
            with peer.makefile("rb") as stream:
                answer = msgspec.json.decode(stream.readline(), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(
                f"{request.command}: no answer from {path} ({error}); it may have been carried out"
            ) from error
    if not answer.get("ok"):
        raise UsageError(f"{request.command}: {answer.get('error')}")
    return answer


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
        peer.settimeout(1.0)
        peer.connect(str(path))
        return True
    return False


def _reply(error: str) -> bytes:
    return msgspec.json.encode({"ok": False, "error": error}) + b"\n"


def _refusal(error: Exception) -> str:
    """Return an error in a line for who asked; one that is not ours is named, not shown."""
    if isinstance(error, PolyexecError):
        return str(error)
    return f"{type(error).__name__}: see the log of the bot"
