"""Progress of long work: nothing for a short one, a line now and then in a log, a bar in a terminal."""

import io
import types

import pytest

from switch_zoo import work_progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """A clock that a test sets."""
  clock = types.SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
  monkeypatch.setattr(work_progress, 'time', clock)
  return clock


def take(items, clock, seconds):
  for _ in items:
    clock.now += seconds


def test_a_line_every_ten_seconds_with_the_time_left(clock, capsys):
  take(work_progress.counted(range(8), 'Answering', 'examples', 8), clock, 4.0)
  assert capsys.readouterr().err.splitlines() == [
    'Answering: 3 of 8 examples  00:20 left',
    'Answering: 6 of 8 examples  00:08 left',
  ]


@pytest.mark.parametrize('total', [None, 3], ids=['not known', 'more than was announced'])
def test_a_line_without_a_total(total, clock, capsys):
  take(work_progress.counted(range(5), 'Answering', 'examples', total), clock, 2.5)
  assert capsys.readouterr().err == 'Answering: 4 examples\n'


def test_short_work_prints_nothing(clock, capsys):
  take(work_progress.counted(range(1000), 'Comparing', 'values'), clock, 0.001)
  assert capsys.readouterr().err == ''


def test_a_bar_in_a_terminal(monkeypatch):
  monkeypatch.setattr('sys.stderr', Terminal())
  with work_progress.WorkProgress('Comparing', 'values', 10) as progress:
    progress.advance(4)
    task = progress._bar.tasks[0]
    assert (task.description, task.completed, task.total) == ('Comparing', 4, 10)
  assert progress._bar is None


def test_the_items_are_passed_on_and_errors_too(monkeypatch):
  def failing():
    yield 1
    raise KeyError('2')

  monkeypatch.setattr('sys.stderr', Terminal())
  items = work_progress.counted(failing(), 'Reading', 'rows')
  assert next(items) == 1
  with pytest.raises(KeyError):
    next(items)
