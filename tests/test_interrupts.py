import contextlib
import gc
import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from switch_zoo import cli, interrupts, t5_mesh_transformer
from switch_zoo.commands import demo, generate
from switch_zoo.demo import session


@pytest.fixture(autouse=True)
def handler():
  before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
  interrupts.install()
  yield
  interrupts.install()  # forgets
  signal.signal(signal.SIGINT, before)
  sys.unraisablehook = hook


def press_ctrl_c():
  os.kill(os.getpid(), signal.SIGINT)


def test_without_ctrl_c_nothing_happens():
  interrupts.check()


def test_it_is_raised_at_once():
  with pytest.raises(KeyboardInterrupt):
    press_ctrl_c()


def test_one_that_got_lost_in_the_garbage_collector_is_raised_again():
  def callback(phase, info):
    if phase == 'start':
      press_ctrl_c()

  gc.callbacks.append(callback)
  try:
    gc.collect()
  finally:
    gc.callbacks.remove(callback)
  with pytest.raises(KeyboardInterrupt):
    interrupts.check()


# JAX has such a callback. What Python prints about it would end up next to the one line that a command prints.
LOST = """
import gc, os, signal, sys
from switch_zoo import interrupts
interrupts.install()
error = {'Ctrl-C': lambda: os.kill(os.getpid(), signal.SIGINT), 'other': lambda: 1 / 0}[sys.argv[1]]
gc.callbacks.append(lambda phase, info: error() if phase == 'start' else None)
gc.collect()
gc.callbacks.clear()
interrupts.check()
"""


def run_lost(error):
  return subprocess.run([sys.executable, '-c', LOST, error], capture_output=True, text=True)


def test_nothing_is_printed_where_it_got_lost():
  done = run_lost('Ctrl-C')
  assert done.returncode == -signal.SIGINT
  assert 'Exception ignored' not in done.stderr and done.stderr.count('Traceback') == 1  # the one of check()


def test_other_errors_that_got_lost_are_still_printed():
  done = run_lost('other')
  assert done.returncode == 0
  assert 'Exception ignored' in done.stderr and 'ZeroDivisionError' in done.stderr


def fail_after_ctrl_c(*_, **__):
  """As C++ code that calls Python does."""
  with contextlib.suppress(KeyboardInterrupt):
    press_ctrl_c()
  raise RuntimeError('a callback failed')


def test_an_error_after_it_counts_as_an_interruption():
  with pytest.raises(KeyboardInterrupt), interrupts.outrank_errors():
    fail_after_ctrl_c()


def test_it_also_does_for_the_command_line(monkeypatch, capsys):
  monkeypatch.setattr(cli, 'app', fail_after_ctrl_c)
  assert cli.run() == 130
  assert capsys.readouterr() == ('', '')


def test_it_also_does_for_the_demo(monkeypatch, capsys, tmp_path):
  monkeypatch.setattr(session, 'run', fail_after_ctrl_c)
  with pytest.raises(typer.Exit) as ended:
    demo.command(str(tmp_path / 'out'), 0)
  assert ended.value.exit_code == 130
  assert 'Interrupted. The same command resumes' in capsys.readouterr().out


def test_it_also_does_for_the_trainer(monkeypatch, capsys):
  monkeypatch.setattr(t5_mesh_transformer, '_run', fail_after_ctrl_c)
  assert t5_mesh_transformer.main(['t5_mesh_transformer']) == 130
  assert 'interrupted; the checkpoints so far are kept' in capsys.readouterr().err


def test_an_error_without_it_stays_that_error():
  with pytest.raises(RuntimeError), interrupts.outrank_errors():
    raise RuntimeError


def test_installing_again_forgets():
  with pytest.raises(KeyboardInterrupt):
    press_ctrl_c()
  interrupts.install()
  interrupts.check()


def test_a_process_that_ignores_ctrl_c_keeps_ignoring_it():
  code = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from switch_zoo import interrupts
interrupts.install()
os.kill(os.getpid(), signal.SIGINT)
interrupts.check()
print('alive')
"""
  assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'alive\n'


def test_generate_and_score_check_for_it_before_each_batch():
  groups = generate.batches(['a', 'b', 'c'], 2, 'answering')
  assert next(groups) == ['a', 'b']
  with contextlib.suppress(KeyboardInterrupt):  # it gets lost while a batch is answered
    press_ctrl_c()
  with pytest.raises(KeyboardInterrupt):
    next(groups)


# The main thread is inside C for a minute and hears nothing there; the signal wakes another thread.
BUSY = """
import hashlib, threading
from switch_zoo import interrupts
interrupts.install()
threading.Timer(0.5, print, ['ready'], {'flush': True}).start()
hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)
"""


def test_the_first_is_answered_at_once_and_the_second_ends_the_process():
  pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
  with subprocess.Popen([sys.executable, '-c', BUSY], **pipes) as process:
    assert process.stdout.readline() == 'ready\n'
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == '\n'
    assert process.stderr.readline() == 'Ctrl-C: stopping. Press it again to end at once.\n'
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - began < 10


def test_those_before_are_forgotten():
  """With each pressed once, none is the second."""
  for _ in range(3):
    interrupts.install()
    with pytest.raises(KeyboardInterrupt):
      press_ctrl_c()
  time.sleep(0.2)


def test_a_handler_of_another_is_left_alone():
  heard = []
  signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
  for _ in range(3):
    press_ctrl_c()
  time.sleep(0.2)
  assert len(heard) == 3
