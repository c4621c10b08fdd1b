"""Code in an interpreter of its own."""

import os
import subprocess
import sys
import textwrap

from switch_zoo import tf_compat


def run(code: str, expected_code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
  """Runs code in a new interpreter that inherits no wish about messages; what it printed."""
  inherited = {
    name: value for name, value in os.environ.items() if name not in (tf_compat.DEBUG_VARIABLE, 'TF_CPP_MIN_LOG_LEVEL')
  }
  command = [sys.executable, '-c', textwrap.dedent(code)]
  done = subprocess.run(command, capture_output=True, text=True, env={**inherited, **environment}, timeout=300)
  assert done.returncode == expected_code, done.stderr
  return done
