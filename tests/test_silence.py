"""What of TensorFlow's start is seen, on a package that stands for it: the real one takes seconds."""

import os
import signal

import pytest
from fresh_process import run
from hypothesis import given
from hypothesis import strategies as st

from switch_zoo.tf_compat import stderr_filter

INFO = 'I0000 00:00:1795656784.240348    8370 port.cc:153] oneDNN custom operations are on.\n'
WARNING = 'W0000 00:00:1795656784.240348    8370 gpu_device.cc:2433] Cannot dlopen some GPU libraries.\n'
ERROR = 'E0000 00:00:1795656784.240348    8370 cuda_dnn.cc:8579] Unable to register cuDNN factory.\n'
FATAL = 'F0000 00:00:1795656784.240348    8370 cpu_feature_guard.cc:37] AVX is not available.\n'
ANNOUNCEMENT = 'WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n'
LOG_LINES = ANNOUNCEMENT + INFO + WARNING + ERROR
OTHER = [
  'Traceback (most recent call last):\n',
  'Illegal instruction\n',
  '\n',
  'I am no log line\n',
  '\r 3 of 9',
  FATAL,
]


def filtered(text, severities='IWE', size=1 << 16):
  raw = text.encode()
  return b''.join(
    stderr_filter.passed_on((raw[i : i + size] for i in range(0, len(raw), size)), severities.encode())
  ).decode()


@pytest.mark.parametrize('size', [1, 7, 1 << 16])
@pytest.mark.parametrize(
  ('severities', 'expected'), [('I', WARNING + ERROR + FATAL), ('IW', ERROR + FATAL), ('IWE', FATAL)]
)
def test_the_filter_leaves_out_the_severities(severities, expected, size):
  assert filtered(LOG_LINES + FATAL, severities, size) == expected


@given(st.lists(st.sampled_from([INFO, WARNING, ERROR, *OTHER])), st.integers(1, 100))
def test_all_else_passes_in_order_however_it_is_cut(lines, size):
  ends = [i == 0 or lines[i - 1].endswith('\n') for i in range(len(lines))]
  kept = [line for line, at_start in zip(lines, ends, strict=True) if line in OTHER or not at_start]
  assert filtered(''.join(lines), size=size) == ''.join(kept)


def test_text_without_an_end_of_line_passes_at_once():
  parts = stderr_filter.passed_on(iter([b'\r 1 of 9', b'\r 2 of 9', b'I0000', b' a word\n']), b'IWE')
  assert next(parts) == b'\r 1 of 9'
  assert next(parts) == b'\r 2 of 9'
  assert next(parts) == b'I0000'


@pytest.fixture
def start(tmp_path):
  """Runs a process that imports a package `tensorflow` of the given content; what it printed."""

  def start(content, before='tf_compat.quiet()', after='', expected_code=0, **environment):
    package = tmp_path / 'tensorflow'
    package.mkdir()
    package.joinpath('__init__.py').write_text(f'import os, signal, subprocess, sys, time\n{content}\n')
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
    code = f'import os\nfrom switch_zoo import tf_compat\n{before}\nimport tensorflow\n{after}'
    return run(code, expected_code, PYTHONPATH=path, **environment)

  return start


def writes(text):
  return f'os.write(2, {text.encode()!r})'


def test_log_lines_of_the_import_are_not_seen_and_all_else_is(start):
  assert start(f'{writes(LOG_LINES)}\n{writes("a message")}', after=writes('; more')).stderr == 'a message; more'


def test_after_the_import_nothing_is_left_out(start):
  assert start(writes(INFO), after=writes(WARNING)).stderr == WARNING


def test_the_level_chosen_by_the_user_holds(start):
  assert start(writes(LOG_LINES), TF_CPP_MIN_LOG_LEVEL='1').stderr == WARNING + ERROR


@pytest.mark.parametrize('environment', [{'SWITCH_ZOO_DEBUG': '1'}, {'TF_CPP_MIN_LOG_LEVEL': '0'}])
def test_everything_is_seen_on_request(start, environment):
  assert start(writes(LOG_LINES), **environment).stderr == LOG_LINES


def test_a_program_that_did_not_ask_for_silence_sees_everything(start):
  assert start(writes(LOG_LINES), before='', TF_CPP_MIN_LOG_LEVEL='3').stderr == LOG_LINES


def test_the_last_words_of_a_crash_are_seen(start):
  done = start(f'{writes(INFO + FATAL)}\nos.abort()', expected_code=-signal.SIGABRT)
  assert done.stderr == FATAL


def test_a_failing_import_shows_its_traceback(start):
  done = start(f'{writes(INFO)}\nraise ImportError("libcudart.so.12")', expected_code=1)
  assert done.stderr.startswith('Traceback') and done.stderr.endswith('ImportError: libcudart.so.12\n')


def test_ctrl_c_ends_the_import(start):
  # To the whole group, as a terminal does: the filter must not be ended by it.
  content = f'{writes(INFO)}\nos.killpg(0, signal.SIGINT)\ntime.sleep(60)'
  done = start(content, before='os.setpgid(0, 0); tf_compat.quiet()', expected_code=-signal.SIGINT)
  assert done.stderr.startswith('Traceback') and done.stderr.rstrip().endswith('KeyboardInterrupt')


def test_a_process_left_running_by_the_import_does_not_hold_it_up(start):
  content = f'{writes(INFO)}\nchild = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)\nbegan = time.time()'
  done = start(content, after='import time; print(time.time() - tensorflow.began); tensorflow.child.kill()')
  assert float(done.stdout) < 30


def test_without_standard_error_the_import_works(start):
  assert start('print("imported")', before='tf_compat.quiet(); os.close(2)').stdout == 'imported\n'


def test_packages_that_no_command_needs_are_left_out_of_the_import_alone(start, tmp_path):
  for name in ('jax', 'pandas', 'scipy', 'sklearn'):
    tmp_path.joinpath(f'{name}.py').write_text('')
  content = 'try:\n  import jax\nexcept ImportError:\n  jax = None'
  assert start(content, after='import jax, pandas, scipy, sklearn; print(tensorflow.jax)').stdout == 'None\n'
