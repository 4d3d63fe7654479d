import io
import sys

from onebasin.cli.console import Console
from onebasin_studies.cli import progress
from onebasin_studies.runtime.progress import Progress
from onebasin_studies.training import GroupProgress

CONSOLE = Console(as_json=False, quiet=False, stdout=None)
STATE = Progress(total=8, done=3, running=("train(seed=[1])",), left=60.0)


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


def replace_stderr(monkeypatch, is_terminal: bool) -> Stream:
    # In the test itself: pytest sets stderr again after the fixtures.
    stream = Stream(is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_bar_of_a_study_shows_running_tasks_and_notes(monkeypatch):
    stderr = replace_stderr(monkeypatch, is_terminal=True)
    with progress.study_progress(CONSOLE) as show:
        show(STATE)
        CONSOLE.note("a task failed")
    text = stderr.getvalue()
    assert "3 of 8 tasks done, about 1 min left; train(seed=[1])" in text
    assert "onebasin: note: a task failed\n" in text


def test_log_of_a_study_has_a_line_per_interval(monkeypatch):
    stderr = replace_stderr(monkeypatch, is_terminal=False)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with progress.study_progress(CONSOLE) as show:
        show(STATE)
        monkeypatch.setattr(progress, "INTERVAL", 1e9)
        show(STATE)
    assert stderr.getvalue() == "onebasin: note: 3 of 8 tasks done, about 1 min left\n"
    with progress.training_progress(CONSOLE) as update:
        assert update is None


def test_bar_of_training_shows_seeds_and_loss(monkeypatch):
    stderr = replace_stderr(monkeypatch, is_terminal=True)
    with progress.training_progress(CONSOLE) as update:
        assert update is not None
        update(GroupProgress(0, (1, 2, 3), 0, 4, 3, float("nan")))
        update(GroupProgress(0, (1, 2, 3), 2, 4, 3, 0.25))
    text = stderr.getvalue()
    assert "seeds 1 to 3" in text
    assert "2/4 epochs, loss 0.2500" in text


def test_quiet_console_shows_nothing(monkeypatch):
    stderr = replace_stderr(monkeypatch, is_terminal=True)
    quiet = Console(as_json=False, quiet=True, stdout=None)
    with progress.study_progress(quiet) as show:
        show(STATE)
    assert stderr.getvalue() == ""
