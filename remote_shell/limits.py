"""Every bound and deadline, in one place; docs/protocol.md lists those that a peer can see.

Imports only the standard library. Sizes are bytes, times are seconds, unless the name says otherwise. A `Limits` is
frozen: who needs other figures (a test, a config) makes another one with `dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, repr=False)
class Limits:
    """The bounds of one end of a connection."""

    # --- frames and messages
    frame_max: int = 1 * MIB  # payload of any frame after login
    frame_max_before_login: int = 4 * KIB  # payload of any frame before login
    json_depth_max: int = 32  # arrays and objects within one another in a message; ours have five
    data_frame_max: int = 64 * KIB  # data that we put into one frame, so that channels take turns
    unsent_max: int = 64 * KIB  # encoded, and not sent by the kernel: what Ctrl-C may have to wait behind
    unsent_local_max: int = 256 * KIB  # the same on a Unix socket, where as much is gone in a fraction of a millisecond
    turn_time: float = 0.005  # what a connection brought is seen to for so long, then the others have their turn

    # --- sessions
    unacked_bytes_max: int = 16 * MIB  # replay buffer; no new frame is numbered above it
    unacked_frames_max: int = 4096
    unacked_total_max: int = 1024 * MIB  # replay buffers of all sessions of a server together; above it each one has
    unacked_spared: int = 64 * KIB  # so much, and asks for an acknowledgement at once
    ack_frames: int = 64  # acknowledge at the latest after so many frames
    ack_bytes: int = 512 * KIB  # or so many bytes, or a quarter of what the sender may leave unacknowledged
    channels_max: int = 1024  # open at once in a session
    window: int = 256 * KIB  # first window of a channel
    window_max: int = 8 * MIB  # a window grows up to this
    windows_max: int = 16 * MIB  # all grown windows of a session together
    unsaid_max: int = (
        32 * MIB
    )  # of messages that wait for a peer which does not read or acknowledge; above it the session ends
    queue_max: int = 256 * KIB  # unsent data in a channel's queue above which its writer should pause
    terminal_queue_max: int = 16 * KIB  # the same for a terminal's output, which lies ahead of what follows Ctrl-C
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

    # --- invitations
    invitation_time: float = 600.0  # one is good for so long, unless `keys invite` says otherwise
    invitation_time_max: float = 7 * 24 * 3600.0  # and at most for so long
    invitations_max: int = 1000  # that are kept, those that were used or expired in the last day among them
    invitation_addresses_max: int = 8  # that one names
    wrong_invitations_max: int = (
        30  # from one source within `arrivals_window`; above it they are refused without a look
    )

    # --- after login
    guests_max: int = 10_000  # keys and secrets whose last login is remembered; above it the oldest are forgotten
    sessions_max: int = 10_000
    sessions_per_principal_max: int = 1000
    revocation_look_time: float = 1.0  # a session whose key may not go on ends after two looks, so far apart
    session_idle_time: float = (
        0.0  # without a command that runs and without traffic for so long, a session is ended; 0: never
    )
    commands_max: int = 10_000  # commands and live shells at once, in one server
    commands_per_principal_max: int = 2000
    commands_remembered_max: int = 100_000  # ids of ended commands that a server knows as long as it lives
    commands_remembered_time: float = 7 * 24 * 3600.0  # all ids, those on disk too

    # --- ids that people chose, on disk
    ids_per_principal_max: int = 100_000  # above it no new one is taken: to forget one early would let it run again
    ids_file_max: int = 256 * MIB  # size of the database of all principals
    ids_busy_time: float = 2.0  # another process's lock on it is waited for so long

    # --- shells with a terminal that no session has
    terminal_missed_max: int = 256 * KIB  # of its output, the last, for who attaches
    terminal_context_max: int = 4 * KIB  # and of what the holder before had seen of the command that runs
    terminals_left_max: int = 32  # of one principal; above it the one left first is ended
    terminals_left_time: float = 7 * 24 * 3600.0  # then it is ended

    # --- detached jobs
    job_log_max: int = 64 * MIB  # of a job's output, the last; a reader is told what was dropped before
    job_segment_max: int = 8 * MIB  # the log is dropped in pieces of so much
    jobs_kept_time: float = 7 * 24 * 3600.0  # after its end a job is forgotten, with its log
    jobs_size_max: int = 1024 * MIB  # logs of ended jobs of one principal; above it the oldest are forgotten
    jobs_kept_max: int = 1000  # ended jobs of one principal; above it the oldest are forgotten
    jobs_running_max: int = 1000  # jobs of one principal at once
    jobs_listings_max: int = 16  # that are made at once for one session
    job_start_time: float = 10.0  # its keeper says within whether it started
    job_answer_time: float = 2.0  # its keeper answers within, or what is on the disk is told without it
    job_leave_time: float = (
        0.5  # a job that has ended and is to be removed: its keeper leaves within, or its output is held
    )
    job_retry_time: float = 1.0  # on a full disk a job waits, and its keeper tries again so often
    job_watchers_max: int = 256  # connections to one keeper
    job_sweep_time: float = 60.0  # old jobs are looked for so often at most, when new ones come

    # --- audit and recordings
    audit_line_max: int = 256 * KIB  # above it a line keeps the beginnings of its texts, and a hash of the whole
    audit_refusals_max: int = 100  # refused logins that have a line each, in
    audit_refusals_window: float = 60.0  # so long; those above are counted
    audit_keys_time: float = 2.0  # authorized_keys is looked at so often
    audit_job_tries: int = 60  # a job's keeper tries so often to write of the job's end, `job_retry_time` apart
    recording_max: int = 64 * MIB  # one recording's size; what would follow is dropped, which its last line says
    recording_line_max: int = 1 * MIB  # of a recording that is played

    # --- tunnels
    tunnel_connect_time: float = 10.0  # the server's connection to where a tunnel leads is there within
    tunnel_queue_max: int = 64 * KIB  # bytes of a tunnel that the server holds for its other end
    tunnel_listeners_max: int = 64  # that one session may have
    tunnel_waiting_max: int = 64  # connections to one listener that the client has not taken yet
    tunnel_waiting_time: float = 10.0  # and how long each waits for that
    # --- put and get
    files_resume_min: int = (
        1 * MIB
    )  # a file that large is announced first, and what came of it is kept when it is cut off
    files_ahead_max: int = 256  # entries of one transfer that may wait for their answer
    files_depth_max: int = 256  # folders within folders: each is an open descriptor of the side that reads
    files_path_max: int = 4096  # bytes of a path below a source
    transfers_max: int = 32  # at once, in one server: each has a thread
    transfers_ahead_max: int = 32 * MIB  # of messages about files that came before those before them were seen to

    # --- processes
    young_time: float = (
        0.01  # a command is young so long, up to twice as long: the end of its output is seen with its exit alone
    )
    end_hold: float = 0.002  # the end of a stream is told so much later, if the command does not end before
    exit_report_time: float = 0.1  # from a command's end to its exit status, whoever holds its pipes
    kill_grace: float = 2.0  # from TERM to KILL on a timeout or a lost client
    bye_kill_time: float = 0.25  # from `disconnect(bye)` to a dead tree
    interrupt_grace: float = 2.0  # live shell: from INT to KILL of the command's processes
    shell_kill_grace: float = 2.0  # live shell: from KILL of the children to KILL of the shell
    shell_watch_first: float = (
        0.05  # live shell: first look whether a shell that owes a report idles instead; then less often
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

    # --- commands in a sandbox
    sandbox_tmp_max: int = 256 * MIB  # of a command's own /tmp, of its own HOME and of its /dev/shm, each in memory

    # --- clients
    connect_time: float = 10.0
    untaken_max: int = 64 * MIB  # of a command's messages that wait for who asked; no window bounds them
    ssh_ask_time: float = 150.0  # ssh may ask a person for so long; sshd itself waits for two minutes
    ssh_words_max: int = 64 * KIB  # of what ssh says on its stderr
    ssh_end_time: float = 0.3  # from TERM to KILL of an ssh that is of no more use
    spin_time: float = 0.002  # blocking client: a wait's first part, in which it looks for the answer without sleeping
    spin_channels_max: int = 2  # and no longer with more commands than that: a live shell, and one beside it
    report_output_max: int = 64 * MIB  # output of each stream that `run --json` holds in memory
    backoff_first: float = 0.25  # the first attempt is at once; from the second to the third, and at least between two
    backoff_max: float = 5.0
    mux_idle_time: float = 60.0  # a shared connection that nobody uses is closed
    mux_request_max: int = 16 * MIB  # one command line and its environment: execve(2) takes less
    mux_calls_max: int = 256  # commands at once over a shared connection
    bye_time: float = 1.0  # a closing client waits so long for its goodbye to leave

    # --- many hosts at once
    many_parallel: int = 64  # hosts at once, unless told otherwise
    many_targets_max: int = 10_000  # that one word of a list stands for, and all of it
    many_memory_max: int = 64 * KIB  # of each stream of a host held in memory; what is beyond goes to a temporary file
    many_output_max: int = (
        16 * MIB
    )  # of each stream of a host that is kept; the rest is counted, and the host has failed
    many_kept_max: int = 4096 * MIB  # of all hosts together
    many_input_max: int = 16 * MIB  # our stdin, where every host gets a copy
    many_result_max: int = 64 * MIB  # of each stream that a program's `run` on many hosts holds; more ends the command

    # --- the person's terminal
    terminal_grace: float = (
        600.0  # the grace that a shell at a terminal asks for: lids are closed, trains go through tunnels
    )
    escape_sequence_max: int = 96  # an escape sequence that we understand; no more of an unfinished one is held
    terminal_cut_max: int = 4 * KIB  # of a title, or another string that is cut, whose end does not come
    terminal_payload_max: int = 16 * MIB  # the same of one that carries a file, or the clipboard
    terminal_leave_time: float = 0.5  # leaving, we wait so long for a terminal that takes nothing

    # --- files of keys and settings, and the agent
    key_file_max: int = 64 * KIB  # a private key, a client's secret, an invitation
    list_file_max: int = 1 * MIB  # authorized_keys, secrets, known_hosts, hosts.toml, the server's settings
    file_lock_time: float = 5.0  # known_hosts is waited for so long while another client writes it
    agent_reply_max: int = 256 * KIB  # one answer of ssh-agent, as in OpenSSH
    agent_list_time: float = 2.0  # ssh-agent names its keys within
    agent_sign_time: float = 60.0  # and signs within: it may ask a person first

    def __post_init__(self) -> None:
        """Raises TypeError for what is no figure: told here, and not where the peer or the kernel refuses it."""
        for name, kind in self.__annotations__.items():
            value = getattr(self, name)
            if type(value) is not int and not (kind == "float" and type(value) is float):
                raise TypeError(f"limits: {name}={value!r} is no {'whole ' if kind == 'int' else ''}number")

    def __repr__(self) -> str:
        """What differs from the defaults: a hundred figures would stand in the middle of `help(connect)`."""
        own = [
            f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if getattr(self, one.name) != one.default
        ]
        return f"Limits({', '.join(own)})"


DEFAULT_LIMITS = Limits()
