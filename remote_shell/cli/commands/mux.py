"""`remote-shell mux [ssh's options] HOST`: holds a connection over which `remote-shell ssh` with the same options runs its commands.

`remote-shell ssh` starts it, after a login that went well, and it asks nobody anything. It ends a minute after its last command.
Its socket is in the runtime folder (0700), mode 0600, and only this account and root are answered. One thread a command waits for
it as `ssh` itself would; the first one watches the callers. Neighbours: `ssh.mux` is the caller's side, `commands.ssh` says what a
command line means.
"""

from __future__ import annotations

import array
import fcntl
import os
import resource
import selectors
import signal
import socket
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from remote_shell import DEVNULL
from remote_shell.cli.commands.ssh import command_arguments, end_gently
from remote_shell.cli.exit_status import of_error
from remote_shell.cli.main import complain, describe
from remote_shell.client.blocking import Host
from remote_shell.client.remote import RemoteProcess
from remote_shell.errors import (
    AccessDeniedError,
    ConnectError,
    IdentityError,
    ServerIdentityError,
    UsageError,
)
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.ssh import footprint, mux
from remote_shell.ssh.options import CommandLine, parse
from remote_shell.ssh.places import Place, find

HELP = """\
usage: remote-shell mux [ssh's options] [user@]HOST

Holds one connection to HOST, so that `remote-shell ssh` with the same options
starts in a few milliseconds. `remote-shell ssh` starts it by itself; it ends
when nobody has used it for a minute. REMOTE_SHELL_MUX=0, or -S none, does
without.

examples:
  remote-shell mux build-box &
  remote-shell ssh build-box uptime
"""
FAILED = 255  # ssh(1), exit status
LENGTH = 4  # bytes in front of a request
_NO_CONNECTION = (ConnectError, ServerIdentityError, AccessDeniedError, IdentityError)  # nothing was sent to run


def main(words: list[str]) -> int:
    """Run the command line behind `remote-shell mux`, whose options are ssh's; returns the exit status."""
    if words in ([], ["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    try:
        return hold(words)
    except Exception as error:
        complain(describe(error))
        return of_error(error)


def hold(words: list[str], limits: Limits = DEFAULT_LIMITS) -> int:
    """Connect, listen, and end after idling. 0, also where another process does so already."""
    call = mux.split([*words, "a-command"])
    if call is None and any(word.startswith("--trace") for word in words):
        raise UsageError("a connection that many share is not traced: remote-shell ssh --trace makes one of its own")
    if call is None:
        raise UsageError("no host; write: remote-shell mux [ssh's options] [user@]host")
    line = parse([*words, "a-command"])
    if not line.is_shareable:
        raise UsageError("calls with these settings share no connection: -E -f -G -L -N -R -t -v, or ControlMaster no")
    path = mux.socket_path(call)
    lock = footprint.locked(path)
    if lock is None:
        return 0
    try:
        footprint.clear(os.path.dirname(path))
        from remote_shell.ssh.remote import open_remote

        # Facts before what is read: what changes later is seen, and a call that comes does not trust us.
        facts = footprint.facts(_read(words)[2])
        line, place, files = _read(words)
        with open_remote(place, {"ask": None, "confirm": None}, None) as host:
            Mux(host, line, place, path, limits, files, facts).serve()
    finally:
        footprint.remove(f"{path}.lock")
        os.close(lock)  # only now may another one begin
    return 0


def _read(words: list[str]) -> tuple[CommandLine, Place, list[str]]:
    """The command line, where it leads, and the files that this was read from."""
    line = parse([*words, "a-command"])
    place = find(line)
    options = (place.options.get(name) for name in ("identity", "secret_file"))
    return line, place, [*line.settings.files, *place.identities, *(path for path in options if path)]


def _room() -> int:
    """How many callers our descriptors suffice for: four of each, three that are doubled, and one to spare."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        soft = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, (soft - 64) // 8)


class Mux:
    """The listening socket and its callers."""

    def __init__(
        self,
        host: Host,
        line: CommandLine,
        place: Place,
        path: str,
        limits: Limits,
        files: list[str],
        facts: list[tuple[int, int, int] | None],
    ) -> None:
        """`facts` are those of `files` before they were read."""
        self.host = host
        self.line = line
        self.place = place
        self.limits = limits
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._callers: set[Caller] = set()
        self._wake, self._waker = socket.socketpair()
        self._over = False  # its connection is of no more use
        self._stopped_at: float | None = None  # a signal ends us: until then for what runs
        self._most = min(limits.mux_calls_max, _room())
        self._files = files
        self._facts = facts
        self.no_stdin = line.settings.flag("stdinnull")

    def serve(self) -> None:
        """Until it idles, or can't reach the server any more."""
        with socket.socket(socket.AF_UNIX) as listener:
            before = os.umask(0o177)
            try:
                footprint.remove(self._path)  # of one that was killed: we have its lock
                listener.bind(self._path)
            finally:
                os.umask(before)
            listener.listen(128)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                if (
                    threading.current_thread() is threading.main_thread()
                    and signal.getsignal(number) is not signal.SIG_IGN
                ):
                    signal.signal(number, lambda number, frame: self.stop())
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
            self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
            idle_at = time.monotonic() + self.limits.mux_idle_time
            try:
                while not self._over or self._callers:
                    left = None if self._callers else idle_at - time.monotonic()
                    if self._stopped_at is not None:
                        left = self._stopped_at - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    for key, _ in self._selector.select(left):
                        key.data(key.fileobj)
                    if self._over:
                        footprint.remove(self._path)
                    if self._callers:
                        idle_at = time.monotonic() + self.limits.mux_idle_time
            finally:
                self._selector.close()
                self._wake.close()
                self._waker.close()
                footprint.remove(
                    self._path
                )  # before the listener closes: who connects now is refused and goes by itself

    def give_up(self) -> None:
        """The server is out of reach: the next callers connect by themselves, and may be asked."""
        self._over = True

    def stop(self) -> None:
        """For a signal handler: end as a caller would that got the signal."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic() + self.limits.kill_grace + self.limits.bye_time
            self._over = True
            self._waker.send(b"!")

    def finished(self, caller: Caller) -> None:
        """From its thread: the command ended."""
        caller.done = True
        self._waker.send(b".")

    def _woken(self, wake: socket.socket) -> None:
        if b"!" in wake.recv(4096):
            for caller in self._callers:
                caller.leave()
        for caller in [one for one in self._callers if one.done]:
            self._forget(caller)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # it went already
            return
        if footprint.facts(self._files) != self._facts:
            self.give_up()  # they may lead elsewhere now
        if self._over or not mux.is_ours(sock) or len(self._callers) >= self._most:
            sock.close()
            return
        sock.setblocking(False)
        caller = Caller(self, sock)
        self._callers.add(caller)
        self._selector.register(sock, selectors.EVENT_READ, caller.readable)
        try:
            sock.send(mux.READY_WITHOUT_STDIN if self.no_stdin else mux.READY)
        except OSError:  # it did not wait: we were stopped
            self._forget(caller)

    def deaf(self, caller: Caller) -> None:
        """It says nothing more: an end of file is readable for ever."""
        if caller.is_heard:
            caller.is_heard = False
            self._selector.unregister(caller.sock)

    def _forget(self, caller: Caller) -> None:
        if caller in self._callers:
            self._callers.discard(caller)
            self.deaf(caller)
            caller.close()


class Caller:
    """One `remote-shell ssh`: what it asked for, and its descriptors."""

    def __init__(self, owner: Mux, sock: socket.socket) -> None:
        self.sock = sock
        self.done = False
        self.is_heard = True  # its socket is watched
        self._mux = owner
        self._request = bytearray()
        self._descriptors: list[int] = []
        self._begun = False
        self._process: RemoteProcess | None = None
        self._left = False
        self._lock = threading.Lock()  # between its thread, which starts the command, and the first, which ends it

    def readable(self, sock: socket.socket) -> None:
        """Its request, a signal, or its end."""
        if not self.is_heard:  # it was forgotten in this very turn
            return
        try:
            data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(3 * 4))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._descriptors += numbers
        if not data:
            self._gone()
        elif not self._begun:
            self._request += data
            self._begin()
        else:
            for at in range(0, len(data) - 1, 2):
                if data[at : at + 1] == mux.LEAVE:
                    self.leave()

    def close(self) -> None:
        """Everything of it."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self.sock.close()

    def _begin(self) -> None:
        size = int.from_bytes(self._request[:LENGTH], "big")
        if size > self._mux.limits.mux_request_max:
            self._refuse()
            return
        if len(self._request) < LENGTH + size or len(self._request) < LENGTH:
            return
        if len(self._descriptors) != 3:  # we had no room for them
            self._refuse()
            return
        body = bytes(self._request[LENGTH : LENGTH + size])
        self._begun = True
        try:
            threading.Thread(target=self._work, args=(body,), daemon=True).start()
        except RuntimeError:  # "can't start new thread"
            self._begun = False
            self._refuse()

    def _refuse(self) -> None:
        """Nothing was run: it may do it by itself."""
        try:
            self.sock.send(mux.REFUSED)
        except OSError:
            pass
        self._gone()

    def _gone(self) -> None:
        """It was killed, and its command ends with it."""
        self._mux.deaf(self)
        if not self._begun:
            self.done = True
            self._mux.finished(self)
            return
        with self._lock:
            self._left = True
            if self._process is not None:
                self._process.abandon_soon(ConnectionAbortedError("its caller is gone"))

    def leave(self) -> None:
        """A signal ends it: so the command gets a moment to end by itself, as `ssh` gives it."""
        with self._lock:
            self._left = True
            if self._process is not None:
                threading.Thread(target=_take_leave, args=(self._process,), daemon=True).start()

    # --- in a thread of its own

    def _work(self, body: bytes) -> None:
        answer = mux.REFUSED
        try:
            answer = self._run(body)
        finally:
            try:
                self.sock.setblocking(True)
                self.sock.sendall(answer)
            except OSError:
                pass  # it is gone
            self._mux.finished(self)

    def _run(self, body: bytes) -> bytes:
        if (
            not self._mux.host.in_contact
        ):  # a call of its own waits no longer than ConnectTimeout, and says what it waits for
            self._mux.give_up()
            return mux.REFUSED
        try:
            words, environment = mux.decode(body)
            arguments = self._arguments(words, environment)
            stdin, stdout, stderr = self._descriptors
            no_stdin = self._mux.no_stdin or not _can_be_read(stdin)
            process = self._mux.host.popen(
                **arguments, stdin=DEVNULL if no_stdin else stdin, stdout=stdout, stderr=stderr
            )
        except _NO_CONNECTION:
            self._mux.give_up()
            return mux.REFUSED
        except Exception as error:
            return self._failed(error)
        try:
            with self._lock:
                self._process = process
                left = self._left
            if left:  # before it was known here
                end_gently(process, terminal=False)
                process.abandon()
                return mux.STATUS + bytes([FAILED])
            with self._shown(process, (stdout, stderr)):
                process.communicate()
            end = process.result
            assert end is not None, "it ended"
            # also one that we ended, and that says so by 0
            return mux.STATUS + bytes([FAILED if self._left or end.signal is not None else end.status or 0])
        except BrokenPipeError:  # nobody reads its stdout any more
            process.abandon()
            return mux.STATUS + bytes([FAILED])
        except BaseException as error:
            process.abandon()
            return self._failed(error)

    def _shown(self, process: RemoteProcess, descriptors: tuple[int, int]) -> AbstractContextManager[None]:
        if not any(map(os.isatty, descriptors)):
            return nullcontext()
        from remote_shell.cli.showing import shown

        return shown(process, self._mux.place.allowed, terminal=False, descriptors=descriptors)

    def _arguments(self, words: list[str], environment: dict[str, str]) -> dict[str, Any]:
        settings = self._mux.line.settings
        command, remote = " ".join(words), settings.remote_command
        if remote:
            raise UsageError("a command was given, and RemoteCommand names one too; leave one of them away")
        subsystem = settings.text("sessiontype").lower() == "subsystem"
        return command_arguments(settings, command, environment, subsystem=subsystem, terminal=False)

    def _failed(self, error: BaseException) -> bytes:
        if not self._left and not self._mux.line.settings.is_quiet:
            text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in describe(error))
            try:
                os.write(self._descriptors[2], f"remote-shell: {text}\n".encode("utf-8", "backslashreplace"))
            except OSError:
                pass
        return mux.STATUS + bytes([FAILED])


def _take_leave(process: RemoteProcess) -> None:
    end_gently(process, terminal=False)
    process.abandon_soon(ConnectionAbortedError("its caller is gone"))


def _can_be_read(descriptor: int) -> bool:
    """False for what nohup leaves as stdin: to a command that inherits it that matters only if it reads."""
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
