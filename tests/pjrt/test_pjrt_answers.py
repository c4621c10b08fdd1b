"""Evaluations and answers of two processes: those of one, and written by the first of them alone.

The second process works in a folder of its own, where a file that it wrote would be found.
"""

import json

import numpy as np
import pjrt_harness as harness
import pytest
import tensorflow.compat.v1 as tf

MESH = 'batch:2'
TOPICS = {'MIXTURE_NAME': 'zoo_demo_topics', 'TARGETS_LENGTH': 4}
METRICS = {**TOPICS, 'NUM_EXAMPLES': 6, 'EVAL_STEPS': 'all'}
# Six samples of a question are in two batches.
SAMPLES = {
  **TOPICS, 'INPUT_FILE': 'questions', 'OUTPUT_FILE': 'samples', 'TEMPERATURE': 1.0, 'NUM_RETURN_SEQUENCES': 6,
  'TARGETS_LENGTH': 8, 'launcher.reproducible.seed': 1,
}  # fmt: skip
SCORES = {
  **TOPICS, 'INPUT_FILE': 'questions', 'TARGET_FILE': 'targets', 'SCORES_FILE': 'scored', 'TARGETS_LENGTH': 8,
}  # fmt: skip
# The second process sees a checkpoint that the first does not see; a process alone sees the same as the first.
FOLDERS = """
pathlib.Path('questions').write_text('\\n'.join(['a breakpoint', 'the given line', 'of a class'] * 2))
pathlib.Path('targets').write_text('\\n'.join(['a class', 'a line', 'of'] * 2))
for name in ('one', 'second', 'odd'):
  shutil.copytree('model', f'{name}/model')
  [shutil.copy(file, name) for file in ('questions', 'targets')]
[shutil.copy(path, f'second/model/model.ckpt-7{path.suffix}') for path in pathlib.Path('model').glob('model.ckpt-2.*')]
pathlib.Path('odd/questions').write_text('a breakpoint')
shutil.copytree('model', 'coming')
shutil.copytree('model', 'lacking/model')
[path.unlink() for path in pathlib.Path('lacking/model').glob('model.ckpt-1.*')]
"""
# While the first process evaluates, a training writes a checkpoint after that of step 2. Then Ctrl-C ends the process.
WHILE_IT_EVALUATES = """
import threading, time

def wait_for(step):
  while not pathlib.Path(f'coming/validation_eval/zoo_demo_topics_{step}_predictions').exists():
    time.sleep(0.1)

def write():
  wait_for(2)
  [shutil.copy(path, f'coming/model.ckpt-9{path.suffix}') for path in pathlib.Path('model').glob('model.ckpt-2.*')]
  pathlib.Path('coming/checkpoint').write_text('model_checkpoint_path: "model.ckpt-9"')
  wait_for(9)
  os.kill(os.getpid(), signal.SIGINT)

if '--process_id=0' in sys.argv:
  threading.Thread(target=write, daemon=True).start()
"""
LOST = 'another process of this run ended or cannot be reached'
IN_ITS_FOLDER = "os.chdir('second') if '--process_id=1' in sys.argv else None"


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """(name -> [(exit code, output) of each process], folder); before: the files of the second process."""
  folder = tmp_path_factory.mktemp('answers')
  commands = {
    'metrics': harness.command('model', 'eval', METRICS, MESH),
    'samples': harness.command('model', 'infer', SAMPLES, MESH),
    'scores': harness.command('model', 'score', SCORES, MESH),
  }
  rounds = {
    'trained': harness.at_once(harness.pretrain('model', 2, harness.NO_NOISE, MESH, SAVE_STEPS=1)),
    'folders': FOLDERS,
    'before': "json.dump(sorted(map(str, pathlib.Path('second').rglob('*'))), open('before.json', 'w'))",
  }
  for name, arguments in commands.items():
    rounds[f'{name} of two'] = harness.together(lambda _, own=arguments: own, statements=IN_ITS_FOLDER)
    rounds[f'{name} of one'] = harness.at_once(arguments, statements="os.chdir('one')")
  coming = harness.command('coming', 'eval', {**METRICS, 'EVAL_STEPS': None}, MESH)
  rounds['as they come'] = harness.together(lambda _: coming, statements=WHILE_IT_EVALUATES)
  missing = harness.command('model', 'eval', {**METRICS, 'EVAL_STEPS': 1}, MESH)
  rounds['a missing file'] = harness.together(lambda _: missing, statements=IN_ITS_FOLDER.replace('second', 'lacking'))
  other = IN_ITS_FOLDER.replace('second', 'odd')
  rounds['other questions'] = harness.together(lambda _: commands['samples'], statements=other)
  return harness.run_rounds(rounds, folder), folder


def both(runs, name):
  """The output of the first of two processes, and that of a process alone."""
  first, second = map(harness.succeeded, runs[0][f'{name} of two'])
  assert all(line.startswith('[Gloo]') for line in second.splitlines())
  return first, harness.succeeded(runs[0][f'{name} of one'][0])


@pytest.mark.slow
class TestTwoProcesses:
  def test_metrics_are_those_of_one(self, runs):
    """Of both checkpoints, which the first process sees."""
    two, one = (_table(output) for output in both(runs, 'metrics'))
    assert two == one and [line.rpartition('  ')[2] for line in two] == ['(step 1)', '(step 2)']

  def test_predictions_are_those_of_one(self, runs):
    two, one = (runs[1] / place / 'validation_eval' for place in ('model', 'one/model'))
    names = [path.name for path in one.glob('zoo_demo_topics_*')]
    assert len(names) == 4
    for name in names:
      assert (two / name).read_bytes() == (one / name).read_bytes()
    assert len((two / 'zoo_demo_topics_2_predictions').read_text().splitlines()) == 6

  def test_tensorboard_gets_the_metrics_of_one(self, runs):
    two, one = (_summaries(runs[1] / place / 'validation_eval') for place in ('model', 'one/model'))
    assert two == one and {step for step, *_ in two} == {1, 2}

  def test_answers_are_those_of_one(self, runs):
    assert all('Written: samples-2' in output for output in both(runs, 'samples'))
    two, one = ((runs[1] / place / 'samples-2').read_bytes() for place in ('.', 'one'))
    assert len(two.splitlines()) == 36 and two == one

  def test_every_batch_is_sampled_anew(self, runs):
    """The samples of a question, of which each batch has four at most."""
    samples = (runs[1] / 'samples-2').read_text().splitlines()
    assert len({*samples[:6]}) > 4

  def test_scores_are_those_of_one(self, runs):
    both(runs, 'scores')
    two, one = (np.loadtxt(runs[1] / place / 'scored.scores') for place in ('.', 'one'))
    assert two.shape == (6,)
    np.testing.assert_allclose(two, one, atol=1e-4)
    two, one = ((runs[1] / place / 'scored.targets').read_bytes() for place in ('.', 'one'))
    assert len(two.splitlines()) == 6 and two == one

  def test_the_second_writes_nothing(self, runs):
    before = json.loads((runs[1] / 'before.json').read_text())
    after = sorted(str(path.relative_to(runs[1])) for path in (runs[1] / 'second').rglob('*'))
    assert after == before and len(after) > 6

  def test_checkpoints_are_evaluated_as_they_come(self, runs):
    """Both processes read the one that is written meanwhile, and end when the first is interrupted."""
    (code, _), (other_code, output) = runs[0]['as they come']
    assert (code, other_code) == (130, 1) and LOST in output

  def test_a_file_that_only_one_misses(self, runs):
    (code, output), second = runs[0]['a missing file']
    assert 'model.ckpt-1.index cannot be opened' in harness.refused(second)
    assert code == 1 and LOST in output

  def test_other_questions_on_another_host(self, runs):
    for result in runs[0]['other questions']:
      assert 'Process 1 reads other data than process 0.' in harness.refused(result)


def _table(output):
  return [line for line in output.splitlines() if '(step' in line]


def _summaries(folder):
  """(step, tag, value) of all events in a folder, of which there is one file."""
  (path,) = folder.glob('events.*')
  return [
    (event.step, value.tag, value.simple_value)
    for event in tf.train.summary_iterator(str(path))
    for value in event.summary.value
  ]
