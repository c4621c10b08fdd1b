"""A process that JAX aborts while it ends by itself says once why."""

import subprocess
import sys

import pytest

# C++ code aborts in a thread of its own.
_ABORT = """
import ctypes, os, sys, threading, time
from switch_zoo.pjrt import aborts

asked = threading.Event()

def slowly(reason):
  asked.set()
  time.sleep(1)
  return f'JAX has lost another process ({reason})'

aborts.answer(slowly, 1)
cpp = threading.Thread(target=ctypes.CDLL(None).abort)
"""
_SPEAK = "aborts.speak(2)\nprint('no folder of this name', file=sys.stderr, flush=True)\n"


@pytest.mark.parametrize(
  ('order', 'code', 'said'),
  [
    ('cpp.start()\ncpp.join()', 1, 't5_mesh_transformer: JAX has lost another process (it does not say why)\n'),
    (_SPEAK + 'cpp.start()\ncpp.join()', 2, 'no folder of this name\n'),
    (
      'cpp.start()\nasked.wait()\n' + _SPEAK + 'os._exit(2)',
      1,
      't5_mesh_transformer: JAX has lost another process (it does not say why)\n',
    ),
  ],
  ids=['aborted', 'aborted while it ends', 'ends while it is aborted'],
)
def test_one_paragraph(order, code, said):
  done = subprocess.run([sys.executable, '-c', _ABORT + order], stderr=subprocess.PIPE, text=True, check=False)
  assert (done.returncode, done.stderr) == (code, said)
