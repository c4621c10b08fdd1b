"""Which phases a run of the demo does, with phases that take no time."""

import io

import pytest
from rich.console import Console

from switch_zoo import interrupts
from switch_zoo.demo import phases, session, summary
from switch_zoo.demo.budget import DemoBudget
from switch_zoo.demo.folder import open_folder

SEED = 3


class FakePhases:
  """Three phases. `done`: their names in order; `on_second`: what the second one does."""

  def __init__(self):
    self.done = []
    self.on_second = lambda: None

  def all(self):
    return tuple(phases.Phase(name, f'Title of {name}', self.work(name)) for name in ('first', 'second', 'third'))

  def work(self, name):
    def work(demo):
      self.done.append(name)
      if name == 'second':
        self.on_second()
      return {'seed': demo.seed}

    return work


@pytest.fixture
def fake(monkeypatch):
  fake = FakePhases()
  monkeypatch.setattr(phases, 'PHASES', fake.all())
  monkeypatch.setattr(summary, 'show', lambda console, folder, now: console.print(f'summary of {sorted(now)}'))
  return fake


def run(path):
  """What a run prints."""
  out = io.StringIO()
  session.run(path, SEED, DemoBudget(), Console(file=out, width=200))
  return out.getvalue()


def fail():
  raise RuntimeError('no more memory')


def test_phases_are_done_in_order_and_what_they_measured_is_kept(fake, tmp_path):
  text = run(tmp_path / 'demo')
  assert fake.done == ['first', 'second', 'third']
  assert [line for line in text.splitlines() if 'Title' in line] == [
    '1/3 Title of first',
    '2/3 Title of second',
    '3/3 Title of third',
  ]
  assert "summary of ['first', 'second', 'third']" in text and 'This run took 0 s.' in text
  with open_folder(tmp_path / 'demo', SEED, DemoBudget()) as folder:
    assert folder.result('third') == {'seed': SEED}


def test_a_phase_that_fails_is_done_again_and_those_before_it_are_not(fake, tmp_path):
  fake.on_second = fail
  with pytest.raises(RuntimeError, match='no more memory'):
    run(tmp_path / 'demo')
  fake.on_second, fake.done = lambda: None, []
  text = run(tmp_path / 'demo')
  assert fake.done == ['second', 'third']
  assert 'holds a demo that was interrupted; it resumes at: Title of second.' in text
  assert "summary of ['second', 'third']" in text


def test_a_finished_demo_is_only_shown(fake, tmp_path):
  run(tmp_path / 'demo')
  fake.done = []
  text = run(tmp_path / 'demo')
  assert fake.done == [] and 'nothing is done again' in text and 'summary of []' in text and 'This run' not in text


def test_a_ctrl_c_that_got_lost_ends_the_demo_before_the_next_phase(fake, tmp_path, monkeypatch):
  def lose_ctrl_c():
    monkeypatch.setattr(interrupts._CtrlC, 'was_pressed', True)

  fake.on_second = lose_ctrl_c
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / 'demo')
  assert fake.done == ['first', 'second']
  with open_folder(tmp_path / 'demo', SEED, DemoBudget()) as folder:
    assert folder.is_done('second') and not folder.is_done('third')
