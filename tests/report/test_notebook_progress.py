"""The line that says how far notebooks are that are executed side by side."""

import pytest

from mnist_s7.report.notebook_progress import Overview, in_words


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_the_line_says_how_far_the_whole_is(clock):
    overview = Overview({"MNIST_S7_T1": 100.0, "MNIST_S7_T2": 200.0, "MNIST_S7_T3": 100.0}, 2, clock)
    assert str(overview) == "0%, how long it takes is not known yet (T1 waits, T2 waits, T3 waits)"

    overview.starts("MNIST_S7_T1")
    overview.starts("MNIST_S7_T2")
    clock.now = 300.0
    overview.update("MNIST_S7_T1", 0.75 / 0.95)
    overview.update("MNIST_S7_T2", 0.375 / 0.95)

    # This machine takes 4 s for an expected one: of T1 100 s are left, of T2 500 s, and of T3 all 400 s.
    assert overview.seconds_left() == pytest.approx(500)
    assert str(overview) == "38%, about 8 min left (T1 75%, T2 38%, T3 waits)"

    overview.ends("MNIST_S7_T1", "done")
    assert overview.seconds_left() == pytest.approx(125 * 600 / 175)  # of T2: the other core has T3
    for name in ("MNIST_S7_T2", "MNIST_S7_T3"):
        overview.starts(name)
        overview.ends(name, "failed")
    assert str(overview) == "100%, about 0 s left (T1 done, T2 failed, T3 failed)"


def test_in_a_log_there_is_a_line_every_half_minute(clock, capsys):
    overview = Overview({"one": 1.0}, 1, clock)
    overview.starts("one")
    for clock.now in range(95):
        overview.show()
    overview.close()

    lines = capsys.readouterr().out.splitlines()
    assert lines == ["0%, how long it takes is not known yet (one starts)"] * 3


def test_on_a_terminal_it_is_one_line_that_fits(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "39")
    overview = Overview(dict.fromkeys("abcdefgh", 1.0), 1, clock)
    overview.show()
    overview.show()
    overview.close()

    shown = capsys.readouterr().out
    assert "\n" not in shown
    lines = shown.split("\r\033[K")
    assert lines == ["", *["0%, how long it takes is not known yet"] * 2, ""]


def test_times_are_in_words():
    assert [in_words(seconds) for seconds in (0.4, 89, 90, 3600)] == ["0 s", "89 s", "2 min", "60 min"]
