"""The table of jobs: a folder for each, below the server's state. All of it is on the disk, so a server that starts anew knows them all.

    jobs/PRINCIPAL/=ID/    claim     what was asked for, made by the server before the start
                           lock      held (flock) by the keeper as long as it lives
                           started   the keeper's proof that it runs
                           log.*     what it wrote
                           status    how it ended, renamed in after the log's fsync
                           socket    where the keeper listens
                           errors    its stderr: empty, unless it has a fault

No status and no lock means that its keeper died: what became of the job is unknown, and never guessed. Several servers of one account may
share a table. Neighbours: `keeper` fills the folders, `server.jobs` starts keepers and talks to them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from remote_shell.jobs import durable
from remote_shell.limits import Limits

State = Literal["running", "finished", "unknown"]


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a job's folder says."""

    id: str
    principal: str
    state: State
    claim: dict[str, Any]  # as it was given to `Table.claim`, with `claimed_at_ms`
    started: dict[str, Any] | None  # pid, keeper, started_at_ms
    status: dict[str, Any] | None  # status or -1, signal or 0, timed_out, duration_us, ended_at_ms, stdout, stderr
    kept: bool  # its keeper lives: it runs, or processes that it left hold its output

    @property
    def last_change(self) -> float:
        """Unix time of its end, or of its claim."""
        if self.status is not None:
            return float(self.status["ended_at_ms"]) / 1000
        return float(self.claim.get("claimed_at_ms", 0)) / 1000


class Slot:
    """A claimed folder whose keeper is to be started: its descriptor, and the lock that the keeper inherits."""

    __slots__ = ("folder", "lock", "path")

    def __init__(self, path: str, folder: int, lock: int) -> None:
        self.path = path
        self.folder = folder
        self.lock = lock

    def close(self) -> None:
        """Let go. The lock is the keeper's from here on, or nobody's."""
        os.close(self.folder)
        os.close(self.lock)


class Table:
    """All jobs below one folder."""

    def __init__(self, root: str, limits: Limits) -> None:
        """Makes nothing before the first claim."""
        self.root = root
        self._limits = limits

    def path_of(self, principal: str, ident: str) -> str:
        """The job's folder, whether it is there or not."""
        return os.path.join(self._folder(principal), f"={ident}")

    def _folder(self, principal: str) -> str:
        return os.path.join(self.root, hashlib.sha256(principal.encode()).hexdigest()[:32])

    def has(self, principal: str, ident: str) -> bool:
        """Something was started, or tried, under this id."""
        return os.path.isdir(self.path_of(principal, ident))

    def claim(self, principal: str, ident: str, facts: dict[str, Any]) -> Slot:
        """Claim an id, at once and whole. Raises FileExistsError: it is taken; OSError. The keeper makes it durable."""
        final = self.path_of(principal, ident)
        os.makedirs(os.path.dirname(self.root), 0o700, exist_ok=True)
        for folder in (self.root, os.path.dirname(final)):
            if not os.path.isdir(folder):
                os.makedirs(folder, 0o700, exist_ok=True)
        draft = os.path.join(os.path.dirname(final), f".new-{secrets.token_hex(8)}")
        os.mkdir(draft, 0o700)
        opened: list[int] = []
        try:
            opened.append(os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            opened.append(os.open("lock", flags, 0o600, dir_fd=opened[0]))
            fcntl.flock(opened[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            claim = {**facts, "principal": principal, "id": ident, "claimed_at_ms": time.time_ns() // 1_000_000}
            with open(os.open("claim", flags, 0o600, dir_fd=opened[0]), "w", encoding="utf-8") as file:
                json.dump(claim, file)
            os.rename(draft, final)
        except BaseException as error:
            for fd in opened:
                os.close(fd)
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, OSError) and os.path.isdir(final):
                raise FileExistsError(17, "a job of this id is there", final) from None
            raise
        return Slot(final, *opened)

    def find(self, principal: str, ident: str) -> JobFacts | None:
        """What is known of a job; None: there is none."""
        return facts_of(self.path_of(principal, ident))

    def of(self, principal: str) -> list[JobFacts]:
        """All jobs of a principal, the oldest first."""
        return _jobs_in(self._folder(principal))

    def has_running(self, principal: str, count: int, starting: Collection[str] = ()) -> bool:
        """Whether so many keepers live, those of the ids that are `starting` among them.

        Mostly without a look at their locks, since each new job asks.
        """
        folder = self._folder(principal)
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return len(starting) >= count
        # a keeper takes its socket away when it ends; one that was killed leaves it, and so does a machine that went down
        begun = {f"={ident}" for ident in starting}
        others = {name for name in names if name.startswith("=") and os.path.exists(f"{folder}/{name}/socket")} - begun
        if len(begun) + len(others) < count:
            return False
        return len(begun) + sum(_lives(f"{folder}/{name}") for name in others) >= count

    def remove(self, facts: JobFacts) -> None:
        """Forget a job and all that it wrote. Its keeper must be gone. Raises OSError."""
        path = self.path_of(facts.principal, facts.id)
        gone = os.path.join(os.path.dirname(path), f".gone-{secrets.token_hex(8)}")
        try:
            os.rename(path, gone)  # at once: nobody finds half of it
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self) -> int:
        """Forget what is too old, then the oldest of what is too much or too many; never what runs. Returns how many."""
        count = 0
        try:
            folders = [entry.path for entry in os.scandir(self.root)]
        except FileNotFoundError:
            return 0
        for folder in folders:
            count += self._sweep_folder(folder)
        return count

    def _sweep_folder(self, folder: str) -> int:
        limits, now, count = self._limits, time.time(), 0
        for entry in os.scandir(folder):
            if entry.name.startswith((".new-", ".gone-")) and now - entry.stat().st_mtime > limits.job_start_time:
                shutil.rmtree(entry.path, ignore_errors=True)
        jobs = sorted((job for job in _jobs_in(folder) if not job.kept), key=lambda job: job.last_change)
        sizes = {job.id: self._size(job) for job in jobs}
        total = sum(sizes.values())
        for index, job in enumerate(jobs):
            old = now - job.last_change > limits.jobs_kept_time
            if not old and total <= limits.jobs_size_max and len(jobs) - index <= limits.jobs_kept_max:
                continue
            self.remove(job)
            total -= sizes[job.id]
            count += 1
        return count

    def _size(self, job: JobFacts) -> int:
        try:
            with os.scandir(self.path_of(job.principal, job.id)) as entries:
                return sum(entry.stat().st_size for entry in entries if entry.name.startswith("log."))
        except OSError:
            return 0


def _jobs_in(folder: str) -> list[JobFacts]:
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith("=")]
    except FileNotFoundError:
        return []
    found = [facts_of(os.path.join(folder, name)) for name in names]
    return sorted((one for one in found if one is not None), key=lambda one: int(one.claim.get("claimed_at_ms", 0)))


def open_folder(path: str) -> int | None:
    """A descriptor of a job's folder; None: there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None


def facts_of(path: str) -> JobFacts | None:
    """Read a job's folder. None: there is none, or it is being removed."""
    folder = open_folder(path)
    if folder is None:
        return None
    try:
        return read_facts(folder)
    finally:
        os.close(folder)


def read_facts(folder: int) -> JobFacts | None:
    """The same, from its descriptor."""
    claim = _json(folder, "claim")
    if claim is None:
        return None
    # In this order: a status that comes in between is read after its keeper is seen to be gone.
    kept = is_kept(folder)
    status = _json(folder, "status")
    state: State = "finished" if status is not None else "running" if kept else "unknown"
    return JobFacts(
        str(claim.get("id", "")), str(claim.get("principal", "")), state, claim, _json(folder, "started"), status, kept
    )


def _lives(path: str) -> bool:
    folder = open_folder(path)
    if folder is None:
        return False
    try:
        return is_kept(folder)
    finally:
        os.close(folder)


def is_kept(folder: int) -> bool:
    """Its keeper lives."""
    try:
        fd = os.open("lock", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _json(folder: int, name: str) -> dict[str, Any] | None:
    raw = durable.read(folder, name)
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except (
        ValueError,
        RecursionError,
    ):  # a claim of which a crash of the machine left a part; what a command has put there
        return {} if name == "claim" else None
    return value if isinstance(value, dict) else {}
