"""What is said about a step that fits, and about one that does not."""

import pytest

from switch_zoo.tpu import report
from switch_zoo.tpu.compiler import Memory, OutOfMemoryError, _explained

GIB = 2**30
STEP = report.Step('switch_base_8', 'v3-8', 'data', 'batch:8', 8, 64, 2048, 4, (12, 12))
# Two forms of libtpu's refusal, the first one shortened.
REFUSED = (
  'RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 20.50G of 15.48G '
  'hbm. Exceeds hbm capacity by 5.02G.\n\nTotal hbm usage >= 21.02G:'
)
REFUSED_EARLY = (
  'Ran out of memory on HBM, the total memory required for HLO temporaries (20.50G) exceeds available HBM (15.48G).'
)


def test_a_report_by_hand():
  made = report.Report(
    STEP, Memory(2 * GIB, GIB, GIB // 4, 0), 15 * GIB, {'all-reduce': (3, GIB // 2)}, 12.3, 45.6, '1.2.3'
  )
  assert made.fits
  text = made.text()
  for line in ('arguments      2.00 GiB', 'sum            3.25 GiB', 'all-reduce             3    0.50 GiB'):
    assert line in text
  assert '4 microbatches of 2048 tokens' in text and 'Extrapolated' not in text
  assert made.as_dict()['memory']['total'] == 3.25 * GIB
  assert made.as_dict()['collectives'] == {'all-reduce': {'count': 3, 'bytes': GIB // 2}}


@pytest.mark.parametrize('text', [REFUSED, REFUSED_EARLY])
def test_the_compilers_refusal_is_read(text):
  error = _explained(text)
  assert isinstance(error, OutOfMemoryError)
  assert error.needed == int(20.5 * GIB) and error.limit == int(15.48 * GIB)


@pytest.mark.parametrize(
  ('changes', 'arguments', 'words'),
  [
    ({}, 1, 'smaller microbatches, for instance --microbatch 512'),
    ({'microbatch': None}, 1, 'Divide the step into microbatches, for instance --microbatch 2048'),
    ({'microbatch': 512}, 1, 'already as small as one sequence: use more cores'),
    ({}, 14, 'No batch is small enough. Use more cores, or a layout'),
  ],
)
def test_the_remedy_that_helps_most(changes, arguments, words):
  step = report.dataclasses.replace(STEP, **changes)
  text = report.does_not_fit(step, _explained(REFUSED), arguments * GIB)
  assert 'needs 20.50 GiB of a core, which has 15.48 GiB' in text and words in text and '\n' not in text
