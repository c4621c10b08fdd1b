"""A training on the PJRT runtime next to the same one on the TensorFlow runtime, and changes from one to the other.

Both start from the same weights and read the same data. On PJRT the model is cut over four CPU devices: sums have
another order, and nothing else differs while dropout and router noise are off.
"""

import json

import numpy as np
import pjrt_harness as harness
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import tensor_bundle

STEPS = 300
QUIET = {**harness.NO_NOISE, 'SAVE_STEPS': 150}
# Room for every token with each of the four experts: two cores cut batches this small into other groups than one does.
TOPICS = {'MIXTURE_NAME': 'zoo_demo_topics', 'TARGETS_LENGTH': 4, 'capacity_factor_eval': 4.0}
PERPLEXITY, METRICS = {**TOPICS, 'NUM_BATCHES': 3}, {**TOPICS, 'NUM_EXAMPLES': 6}
ANSWERS = {**TOPICS, 'INPUT_FILE': 'questions'}
SCORES = {**ANSWERS, 'TARGET_FILE': 'targets', 'TARGETS_LENGTH': 8}
TUNING = {
  'MIXTURE_NAME': 'zoo_demo_topics', 'TRAIN_STEPS': 3, 'INIT_CHECKPOINT': 'kept', 'SAVE_STEPS': 2, 'progress.every': 1,
  'SEED': 1, 'KEEP_CHECKPOINTS': 1, **harness.NOISE,
}  # fmt: skip
VALIDATION = {'EVAL_STEPS': 2, 'EVAL_EXAMPLES': 6}
BY_PERPLEXITY = {
  'EVAL_SPLIT': 'train', 'EVAL_STEPS': 2, 'EVAL_EXAMPLES': 8, 'BEST_METRIC': '-neg_log_perplexity', 'PATIENCE': 1,
}  # fmt: skip
SPANS = {'MIXTURE_NAME': 'zoo_demo_span', 'SPLIT': 'train'}
COMMANDS = {
  'tensorflow': harness.pretrain('tf', STEPS, QUIET, **{'launcher.Saving.at_start': True}),
  'pjrt': [
    "pathlib.Path('pjrt').mkdir()",
    "[shutil.copy(path, 'pjrt') for path in pathlib.Path('tf').glob('model.ckpt-0.*')]",
    "shutil.copy('tf/data_order.json', 'pjrt')",
    harness.pretrain('pjrt', STEPS, QUIET, 'batch:2;model:2'),
  ],
  'pjrt, then tensorflow': [
    "shutil.copytree('pjrt', 'changed')",
    "shutil.copytree('pjrt', 'kept')",
    harness.pretrain('changed', STEPS + 2, QUIET),
  ],
  'pjrt, then pjrt': harness.pretrain('pjrt', STEPS + 2, QUIET, 'batch:2'),
  'perplexity on tensorflow': harness.command('kept', 'perplexity', PERPLEXITY),
  'perplexity on pjrt': harness.command('kept', 'perplexity', PERPLEXITY, 'batch:2'),
  'metrics on tensorflow': harness.command('kept', 'eval', METRICS),
  'metrics on pjrt': harness.command('kept', 'eval', METRICS, 'batch:2'),
  'answers on tensorflow': [
    "pathlib.Path('questions').write_text('\\n'.join(['a breakpoint', 'the given line', 'of a class'] * 2))",
    harness.command('kept', 'infer', {**ANSWERS, 'OUTPUT_FILE': 'of_tf'}),
  ],
  'answers on pjrt': harness.command('kept', 'infer', {**ANSWERS, 'OUTPUT_FILE': 'of_pjrt'}, 'batch:2'),
  'scores on tensorflow': [
    "pathlib.Path('targets').write_text('\\n'.join(['a class', 'a line', 'of'] * 2))",
    harness.command('kept', 'score', {**SCORES, 'SCORES_FILE': 'of_tf'}),
  ],
  'scores on pjrt': harness.command('kept', 'score', {**SCORES, 'SCORES_FILE': 'of_pjrt'}, 'batch:2'),
  'whole': harness.pretrain('whole', 4, harness.NOISE, 'batch:2'),
  'first half': harness.pretrain('halves', 2, harness.NOISE, 'batch:2'),
  'second half': harness.pretrain('halves', 4, harness.NOISE, 'batch:2'),
  'fine-tuned': harness.command(
    'tuned',
    'finetune',
    TUNING,
    'batch:2',
  ),
  'validated': harness.command('validated', 'finetune', {**TUNING, **VALIDATION}, 'batch:2'),
  'killed in its last validation': [
    "shutil.copytree('validated', 'owing')",
    "rows = pathlib.Path('owing/metrics.jsonl').read_text().splitlines()",
    "rest = [row for row in rows if 'validation' not in json.loads(row) or json.loads(row)['step'] < 3]",
    "pathlib.Path('owing/metrics.jsonl').write_text('\\n'.join([*rest, '']))",
    harness.command('owing', 'finetune', {**TUNING, **VALIDATION}, 'batch:2'),
  ],
  'best': harness.command('validated/best', 'eval', {'MIXTURE_NAME': 'zoo_demo_topics', 'NUM_EXAMPLES': 6}),
  'by perplexity': harness.pretrain('by_perplexity', 6, harness.NOISE, 'batch:2', **BY_PERPLEXITY),
  'best by perplexity': harness.command('by_perplexity/best', 'perplexity', {**SPANS, 'NUM_BATCHES': 2}),
  'nothing left': harness.pretrain('whole', 4, harness.NOISE, 'batch:2'),
  'another model': harness.pretrain('halves', 6, {**harness.NOISE, 'd_model': 16}, 'batch:2'),
  'too few devices': harness.pretrain('none', 1, {**harness.NOISE, 'BATCH_SIZE': 64, 'num_experts': 64}, 'batch:64'),
  'an export': harness.command(
    'kept', 'infer', {**ANSWERS, 'OUTPUT_FILE': 'none', 'utils.run.mode': 'export_infer'}, 'batch:2'
  ),
  'in a bucket': harness.pretrain('gs://bucket/model', 1, harness.NOISE, 'batch:2'),
  'without a coordinator': harness.pretrain('none', 1, harness.NOISE, 'batch:2', ['--process_id=0']),
  'tensorflow with a coordinator': harness.pretrain('none', 1, harness.NOISE, None, ['--coordinator=host:1']),
}


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """name -> (exit code, output), and the folder."""
  folder = tmp_path_factory.mktemp('pjrt')
  return harness.run_all(COMMANDS, folder), folder


def table(output):
  """metric -> value of a table of results."""
  lines = [line.split() for line in output.splitlines() if '(step' in line]
  return {words[1]: float(words[2]) for words in lines}


@pytest.mark.slow
class TestRuntimes:
  def test_the_first_steps_have_the_same_losses(self, job):
    one, other = (harness.losses(harness.succeeded(job[0][name])) for name in ('tensorflow', 'pjrt'))
    assert list(one) == list(other) == list(range(1, STEPS + 1))
    first = lambda losses: np.array([losses[step] for step in range(1, 31)])
    np.testing.assert_allclose(first(one), first(other), rtol=1e-4, atol=1e-4)

  def test_after_many_steps_they_agree_within_the_noise_of_rounding(self, job):
    """A token whose two best experts are equal up to rounding goes to another one: 0.1 for a step, 0.01 on average."""
    one, other = (harness.losses(job[0][name][1]) for name in ('tensorflow', 'pjrt'))
    differences = np.array([one[step][0] - other[step][0] for step in one])
    assert np.abs(differences).max() < 0.1
    assert np.abs(differences.reshape(6, 50).mean(1)).max() < 0.01
    assert one[STEPS][0] < one[1][0] - 0.5

  def test_a_run_changes_runtime_and_layout(self, job):
    one, other = (harness.losses(harness.succeeded(job[0][f'pjrt, then {name}'])) for name in ('tensorflow', 'pjrt'))
    assert list(one) == list(other) == [STEPS + 1, STEPS + 2]
    np.testing.assert_allclose([*one.values()], [*other.values()], rtol=1e-4, atol=1e-4)
    assert f'Skipping the {STEPS} batches' in job[0]['pjrt, then tensorflow'][1]

  def test_tensorflow_reads_what_was_written(self, job):
    """Every tensor, checksums included, under the names of the TensorFlow runtime."""
    prefixes = {name: str(job[1] / name / f'model.ckpt-{STEPS}') for name in ('tf', 'kept')}
    readers = {name: tf.train.load_checkpoint(prefix) for name, prefix in prefixes.items()}
    assert readers['tf'].get_variable_to_shape_map() == readers['kept'].get_variable_to_shape_map()
    bundle = tensor_bundle.TensorBundle(prefixes['kept'])
    for name in bundle.infos:
      value = readers['kept'].get_tensor(name)
      assert value.dtype == readers['tf'].get_tensor(name).dtype
      np.testing.assert_array_equal(value, bundle.read(name))
    assert readers['kept'].get_tensor('global_step') == STEPS

  def test_the_folder_is_that_of_the_other_runtime(self, job):
    files = [
      {path.name.partition('.tfevents')[0] for path in (job[1] / name).iterdir() if '.data-' not in path.name}
      - {'validation_eval', 'eval_zoo_demo_topics_validation_12'}
      for name in ('tf', 'kept')
    ]
    assert files[0] == files[1]
    state = (job[1] / 'kept' / 'checkpoint').read_text().splitlines()
    assert state[0] == f'model_checkpoint_path: "model.ckpt-{STEPS}"' and len(state) == 4

  def test_a_resumed_training_is_the_whole_one_with_noise(self, job):
    whole, first, second = (
      harness.losses(harness.succeeded(job[0][name])) for name in ('whole', 'first half', 'second half')
    )
    assert whole == {**first, **second} and len(whole) == 4
    weights = [tf.train.load_checkpoint(str(job[1] / name / 'model.ckpt-4')) for name in ('whole', 'halves')]
    for name in weights[0].get_variable_to_shape_map():
      np.testing.assert_array_equal(weights[0].get_tensor(name), weights[1].get_tensor(name))
    assert 'is already at step 4' in harness.succeeded(job[0]['nothing left'])

  def test_fine_tuning_takes_the_weights(self, job):
    assert list(harness.losses(harness.succeeded(job[0]['fine-tuned']))) == [1, 2, 3]


@pytest.mark.slow
class TestEvaluations:
  def test_perplexity(self, job):
    one, other = (table(harness.succeeded(job[0][f'perplexity on {name}'])) for name in ('tensorflow', 'pjrt'))
    assert len(one) == 4 and one == pytest.approx(other, abs=2e-4)

  def test_metrics_of_answers(self, job):
    one, other = (harness.succeeded(job[0][f'metrics on {name}']) for name in ('tensorflow', 'pjrt'))
    assert table(one) and table(one) == table(other)

  def test_answers(self, job):
    for name in ('tensorflow', 'pjrt'):
      harness.succeeded(job[0][f'answers on {name}'])
    one, other = ((job[1] / f'of_{name}-{STEPS}').read_text() for name in ('tf', 'pjrt'))
    assert len(one.splitlines()) == 6 and one == other

  def test_scores(self, job):
    for name in ('tensorflow', 'pjrt'):
      harness.succeeded(job[0][f'scores on {name}'])
    one, other = (np.loadtxt(job[1] / f'of_{name}.scores') for name in ('tf', 'pjrt'))
    assert one.shape == (6,)
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert (job[1] / 'of_tf.targets').read_text() == (job[1] / 'of_pjrt.targets').read_text()


def best_of(job, folder):
  return json.loads((job[1] / folder / 'best' / 'best.json').read_text())


def scores_of(job, folder):
  """step -> score of its validation."""
  records = map(json.loads, (job[1] / folder / 'metrics.jsonl').read_text().splitlines())
  return {record['step']: record['score'] for record in records if 'validation' in record}


@pytest.mark.slow
class TestValidation:
  def test_losses_are_those_without_it(self, job):
    plain, validated = (harness.losses(harness.succeeded(job[0][name])) for name in ('fine-tuned', 'validated'))
    assert plain == validated and len(plain) == 3

  def test_the_last_one_is_made_if_it_was_killed(self, job):
    output = harness.succeeded(job[0]['killed in its last validation'])
    assert not harness.losses(output) and 'Validating after step 3' in output
    assert scores_of(job, 'owing') == scores_of(job, 'validated')

  def test_the_best_checkpoint_outlives_the_last_ones(self, job):
    scores, best = scores_of(job, 'validated'), best_of(job, 'validated')
    assert list(scores) == [2, 3] and best['score'] == scores[best['step']] == max(scores.values())
    assert [path.stem for path in (job[1] / 'validated').glob('*.index')] == ['model.ckpt-3']
    assert f'Best: step {best["step"]} in validated/best' in job[0]['validated'][1]

  def test_metrics_are_those_of_tensorflow_at_that_checkpoint(self, job):
    metrics = {name.rpartition('/')[2]: value for name, value in best_of(job, 'validated')['metrics'].items()}
    assert metrics and table(harness.succeeded(job[0]['best'])) == pytest.approx(metrics, abs=1e-4)
    answers = f'validation_eval/zoo_demo_topics_{best_of(job, "validated")["step"]}_predictions'
    one, other = ((job[1] / folder / answers).read_text() for folder in ('validated', 'validated/best'))
    assert len(one.splitlines()) == 6 and one == other

  def test_it_ends_early_where_nothing_gets_better(self, job):
    """Negated, so that what training makes better is worse; dropout as without validations."""
    output = harness.succeeded(job[0]['by perplexity'])
    assert harness.losses(output) == harness.losses(job[0]['whole'][1])
    assert 'Stopping: the last 1 validations were not better' in output

  def test_perplexity_is_that_of_tensorflow(self, job):
    best = best_of(job, 'by_perplexity')
    measured = table(harness.succeeded(job[0]['best by perplexity']))['neg_log_perplexity']
    assert best['step'] == 2 and measured == pytest.approx(-best['score'], abs=2e-4)


@pytest.mark.slow
class TestRefusals:
  @pytest.mark.parametrize(
    ('name', 'words'),
    [
      ('another model', 'halves/model.ckpt-4 is the checkpoint of another model'),
      ('too few devices', 'The mesh "batch:64" has 64 cores, and JAX offers 4 cpu devices.'),
      ('an export', 'utils.run.mode = "export_infer" is not for --runtime=pjrt yet'),
      ('in a bucket', '--model_dir=gs://bucket/model: --runtime=pjrt reads and writes checkpoints in folders'),
      ('without a coordinator', '--num_processes and --process_id need --coordinator'),
      ('tensorflow with a coordinator', '--coordinator belongs to --runtime=pjrt'),
    ],
  )
  def test_one_paragraph_and_nothing_written(self, job, name, words):
    assert words in harness.refused(job[0][name])
    assert not (job[1] / 'none').exists()
