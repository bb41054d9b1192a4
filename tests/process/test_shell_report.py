"""Reports as bytes; that shells write them is shown in test_shell and test_zsh_shell."""

from __future__ import annotations

from remote_shell.process.shell_report import Report, ReportReader


def reports(*pieces: bytes) -> list[Report]:
    reader = ReportReader()
    return [report for piece in pieces for report in reader.feed(piece)]


def test_reports_survive_any_cut() -> None:
    stream = b"7\x000\x00hBs\x00/a\nb \xff\x00\x008\x00255\x00ehBs\x00\x001 0 256\x00"
    whole = [Report(7, 0, b"hBs", b"/a\nb \xff"), Report(8, 255, b"ehBs", b"", (1, 0, 0))]
    assert reports(stream) == whole
    assert reports(*[bytes([byte]) for byte in stream]) == whole
    for at in range(len(stream)):
        assert reports(stream[:at], stream[at:]) == whole


def test_nonsense_is_no_report() -> None:
    assert reports(b"x\x000\x00h\x00/\x00\x001\x00y\x00h\x00/\x00\x002\x003\x00h\x00/\x00-x\x00") == [
        Report(2, 3, b"h", b"/")
    ]
