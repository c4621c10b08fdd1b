"""Flags of several processes that do not belong together, or are out of range."""

import pytest

from switch_zoo.errors import UserError
from switch_zoo.launcher import flags, process_flags

PJRT, ADDRESS = '--runtime=pjrt', '--coordinator=10.0.0.1:9000'
MISTAKES = {
  'num_processes alone': ([PJRT, '--num_processes=2'], 'need --coordinator, the HOST:PORT of process 0'),
  'process_id alone': ([PJRT, '--process_id=0'], 'need --coordinator, the HOST:PORT of process 0'),
  'tensorflow': ([ADDRESS, '--num_processes=2', '--process_id=0'], '--coordinator belongs to --runtime=pjrt'),
  'no port': ([PJRT, '--coordinator=host'], '--coordinator=host is not HOST:PORT'),
  'an empty port': ([PJRT, '--coordinator=host:'], '--coordinator=host: is not HOST:PORT'),
  'no host': ([PJRT, '--coordinator=:9000'], '--coordinator=:9000 is not HOST:PORT'),
  'nothing': ([PJRT, '--coordinator='], '--coordinator= is not HOST:PORT'),
  'port 0': ([PJRT, '--coordinator=host:0'], 'a port is a number from 1 to 65535'),
  'a large port': ([PJRT, '--coordinator=host:65536'], 'a port is a number from 1 to 65535'),
  'no numbers': ([PJRT, ADDRESS], 'needs --num_processes, and --process_id'),
  'no process_id': ([PJRT, ADDRESS, '--num_processes=2'], 'needs --num_processes, and --process_id'),
  'no num_processes': ([PJRT, ADDRESS, '--process_id=0'], 'needs --num_processes, and --process_id'),
  'no process': ([PJRT, ADDRESS, '--num_processes=0', '--process_id=0'], '--num_processes=0: a run has 1 process'),
  'negative': ([PJRT, ADDRESS, '--num_processes=-2', '--process_id=0'], '--num_processes=-2: a run has 1 process'),
  'too high': ([PJRT, ADDRESS, '--num_processes=2', '--process_id=2'], 'it is a number from 0 to 1.'),
  'below 0': ([PJRT, ADDRESS, '--num_processes=2', '--process_id=-1'], 'it is a number from 0 to 1.'),
  'auto and a number': ([PJRT, '--coordinator=auto', '--process_id=-1'], '--coordinator=auto finds out'),
  'no time': ([PJRT, ADDRESS, '--coordinator_timeout=0'], '--coordinator_timeout=0: it is a number of seconds'),
}
RIGHT = [
  [],
  [PJRT],
  [PJRT, '--coordinator=auto'],
  [PJRT, ADDRESS, '--num_processes=2', '--process_id=1'],
  [PJRT, '--coordinator=[::1]:9000', '--num_processes=1', '--process_id=0', '--coordinator_timeout=5'],
]


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes(name):
  arguments, words = MISTAKES[name]
  with pytest.raises(UserError) as caught:
    process_flags.check(flags.parse(['t5_mesh_transformer', *arguments]))
  assert words in str(caught.value)


@pytest.mark.parametrize('arguments', RIGHT)
def test_what_belongs_together(arguments):
  process_flags.check(flags.parse(['t5_mesh_transformer', *arguments]))
