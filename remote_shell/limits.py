"""Every bound and deadline, in one place; docs/protocol.md lists those that a peer can see.

Imports only the standard library. Sizes are bytes, times are seconds, unless the name says otherwise. A `Limits` is
frozen: who needs other figures (a test, a config) makes another one with `dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one end of a connection."""

    # --- frames and messages
    frame_max: int = 1 * MIB  # payload of any frame after login
    frame_max_before_login: int = 4 * KIB  # payload of any frame before login
    data_frame_max: int = 64 * KIB  # data that we put into one frame, so that channels take turns
    unsent_max: int = 64 * KIB  # encoded, and not sent by the kernel: what Ctrl-C may have to wait behind
    unsent_local_max: int = 256 * KIB  # the same on a Unix socket, where as much is gone in a fraction of a millisecond

    # --- sessions
    unacked_bytes_max: int = 16 * MIB  # replay buffer; no new frame is numbered above it
    unacked_frames_max: int = 4096
    ack_frames: int = 64  # acknowledge at the latest after so many frames
    ack_bytes: int = 512 * KIB  # or so many bytes, or a quarter of what the sender may leave unacknowledged
    channels_max: int = 1024  # open at once in a session
    window: int = 256 * KIB  # first window of a channel
    window_max: int = 8 * MIB  # a window grows up to this
    windows_max: int = 16 * MIB  # all grown windows of a session together
    queue_max: int = 256 * KIB  # unsent data in a channel's queue above which its writer should pause
    grace: float = 60.0  # a session without a connection lives so long
    grace_max: float = 7 * 24 * 3600.0  # what a client may ask for
    ping_interval: float = 15.0  # silence after which the peer is asked for a sign of life
    silence_max: float = 45.0  # silence after which a prompt peer counts as gone

    # --- before login
    login_time: float = 10.0  # from accept to welcome
    strangers_max: int = 1000  # connections before login, in total
    refusal_time: float = 1.0  # every refusal is told so long after accept, whatever its reason
    arrivals_window: float = 60.0  # arrivals are counted per source over so long
    arrivals_sources_max: int = 4096  # sources that are counted

    # --- after login
    sessions_max: int = 10_000
    sessions_per_principal_max: int = 1000
    commands_remembered_max: int = 100_000  # ids of ended commands that at-most-once still knows
    commands_remembered_time: float = 7 * 24 * 3600.0

    # --- processes
    exit_report_time: float = 0.1  # from a command's end to its exit status, whoever holds its pipes
    kill_grace: float = 2.0  # from TERM to KILL on a timeout or a lost client
    bye_kill_time: float = 0.25  # from `disconnect(bye)` to a dead tree
    interrupt_grace: float = 2.0  # live shell: from INT to KILL of the command's processes
    shell_kill_grace: float = 2.0  # live shell: from KILL of the children to KILL of the shell
    shell_watch_first: float = (
        0.05  # live shell: first look whether a bash that owes a report idles instead; then less often
    )
    shell_watch_time: float = 1.0  # and at least so often
    shell_waiting_max: int = 64  # live shell: commands that wait for their turn
    shell_waiting_bytes_max: int = 4 * MIB  # and their lines together
    drain_time: float = 5.0  # TERM to the server: running commands may end within
    end_time: float = 1.0  # the server's end waits so long for trees that were killed and do not go
    kill_give_up: float = 10.0  # from the first KILL of a tree until we stop looking for its survivors
    orphan_reap_time: float = 1.0  # a dead orphan that the server adopted is a zombie for so long at most
    pipe_read: int = 64 * KIB  # read from a command's pipe at once
    pipe_grown: int = 256 * KIB  # a pipe that was found full grows to this, its reads to half of it
    pipes_grown_max: int = (
        64  # grown pipes at once: the kernel gives one account 64 MiB of pipes before it shrinks new ones
    )
    stdin_parts_max: int = 64  # queued pieces of stdin that one system call writes

    # --- clients
    connect_time: float = 10.0
    report_output_max: int = 64 * MIB  # output of each stream that `run --json` holds in memory
    backoff_first: float = 0.1
    backoff_max: float = 5.0
    bye_time: float = 1.0  # a closing client waits so long for its goodbye to leave

    # --- the person's terminal
    escape_sequence_max: int = 96  # an escape sequence that we understand; no more of an unfinished one is held
    terminal_leave_time: float = 0.5  # leaving, we wait so long for a terminal that takes nothing

    # --- files of keys and settings, and the agent
    key_file_max: int = 64 * KIB  # a private key, a client's secret
    list_file_max: int = 1 * MIB  # authorized_keys, secrets, known_hosts, hosts.toml, the server's settings
    file_lock_time: float = 5.0  # known_hosts is waited for so long while another client writes it
    agent_reply_max: int = 256 * KIB  # one answer of ssh-agent, as in OpenSSH
    agent_list_time: float = 2.0  # ssh-agent names its keys within
    agent_sign_time: float = 60.0  # and signs within: it may ask a person first


DEFAULT_LIMITS = Limits()
