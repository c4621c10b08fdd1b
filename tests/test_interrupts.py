import gc
import os
import signal
import subprocess
import sys

import pytest

from switch_zoo import interrupts


@pytest.fixture(autouse=True)
def handler():
  before = signal.getsignal(signal.SIGINT)
  interrupts.install()
  yield
  signal.signal(signal.SIGINT, before)
  interrupts.install()


def press_ctrl_c():
  os.kill(os.getpid(), signal.SIGINT)


def test_without_ctrl_c_nothing_happens():
  interrupts.check()


def test_it_is_raised_at_once():
  with pytest.raises(KeyboardInterrupt):
    press_ctrl_c()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
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


def test_installing_again_forgets():
  with pytest.raises(KeyboardInterrupt):
    press_ctrl_c()
  interrupts.install()
  interrupts.check()


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
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
