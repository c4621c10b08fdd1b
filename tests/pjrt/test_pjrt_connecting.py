"""Processes that cannot be connected, and what is said where JAX aborts one because it has lost another."""

import socket

import pjrt_harness as harness
import pytest

from switch_zoo.pjrt import joining

MESH, SOON = 'batch:2', '--coordinator_timeout=8'
# A mistake that only the first process has, when all are connected.
MISTAKE = """
from switch_zoo.errors import UserError

def check(*_):
  raise UserError('The data is not on this host.')

if '--process_id=0' in sys.argv:
  command.launcher_run.check = check
"""


def process(address, number, count):
  flags = [f'--coordinator={address}', f'--num_processes={count}', f'--process_id={number}', SOON]
  return harness.pretrain('none', 1, harness.NO_NOISE, MESH, flags)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """(name -> [(exit code, output) of each process], folder)."""
  folder = tmp_path_factory.mktemp('connecting')
  round_of = lambda *numbers, address=None: harness.at_once(
    *(process(address or shared, number, count) for shared in [harness.free_address()] for number, count in numbers)
  )
  with socket.create_server(('127.0.0.1', 0)) as other:
    rounds = {
      'a port in use': round_of((0, 2), address=f'127.0.0.1:{other.getsockname()[1]}'),
      'no such host': round_of((0, 2), (1, 2), address='no.such.host.invalid:9000'),
      'one number twice': round_of((0, 3), (1, 3), (1, 3)),
      'a number too high': round_of((0, 2), (2, 3)),
      'nothing to detect': harness.at_once(
        harness.pretrain('none', 1, harness.NO_NOISE, MESH, ['--coordinator=auto', SOON])
      ),
      'a mistake of the first': harness.together(lambda _: process('', 0, 0)[:-4], statements=MISTAKE),
    }
    return harness.run_rounds(rounds, folder), folder


# What JAX's service says, in the words of its versions 0.4.34 and 0.12.
@pytest.mark.parametrize(
  ('reason', 'words'),
  [
    (
      'ABORTED: /job:jax_worker/replica:0/task:1 unexpectedly tried to connect with a different incarnation.',
      'two of them have --process_id=1, or that one was started again while the others waited',
    ),
    (
      'ABORTED: /job:jax_worker/replica:0/task:1 unexpectedly tried to connect while it is already in error. '
      'ResetTask() should be called before a subsequent connect attempt.',
      'two of them have --process_id=1, or that one was started again while the others waited',
    ),
    (
      'ALREADY_EXISTS: Aborted connect attempt as there is a request from a newer incarnation',
      'two of them have --process_id=2, or that one was started again while the others waited',
    ),
    (
      'INVALID_ARGUMENT: Unexpected task registered with task_name=/job:jax_worker/replica:0/task:2',
      '--process_id=2 is too high for the --num_processes of process 0',
    ),
    ('INTERNAL: Barrier failed because service is shutting down.', 'another of them ended meanwhile'),
    ('INTERNAL: Something\n new.', 'INTERNAL: Something new'),
  ],
)
def test_reasons(reason, words):
  assert joining.in_our_words(reason, 2) == words


@pytest.mark.slow
class TestConnecting:
  @pytest.mark.parametrize(
    ('name', 'words'),
    [
      ('a port in use', 'of this host cannot be used (Address already in use). Give all processes another one'),
      ('no such host', '--coordinator=no.such.host.invalid:9000: there is no host no.such.host.invalid'),
      ('nothing to detect', '--coordinator=auto: nothing here says which process this is'),
    ],
  )
  def test_refusals(self, runs, name, words):
    for result in runs[0][name]:
      assert words in harness.refused(result)

  @pytest.mark.parametrize(
    ('name', 'words'),
    [
      ('one number twice', 'could not be connected: two of them have --process_id=1, or that one was started again'),
      ('a number too high', '--process_id=2 is too high for the --num_processes of process 0'),
    ],
  )
  def test_flags_that_do_not_fit_each_other(self, runs, name, words):
    """At least one process is told so; the others may wait for the one that is missing."""
    refusals = [harness.refused(result) for result in runs[0][name]]
    told = [refusal for refusal in refusals if words in refusal]
    assert told
    assert [refusal for refusal in refusals if refusal not in told and 'within 8 seconds' not in refusal] == []
    assert all(output.count('t5_mesh_transformer:') == 1 for _, output in runs[0][name])

  def test_the_others_are_told_that_the_first_has_ended(self, runs):
    first, (code, output) = runs[0]['a mistake of the first']
    assert harness.refused(first).endswith('The data is not on this host.')
    assert code == 1 and 'another process of this run ended or cannot be reached' in output.splitlines()[-1]
    assert 'stack trace' not in output and output.count('t5_mesh_transformer:') == 1

  def test_nothing_is_written(self, runs):
    assert not (runs[1] / 'none').exists()
