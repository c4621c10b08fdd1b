"""Run files: the recipes of the papers, and every name in them known to gin."""

import pytest

from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec import gin_files
from switch_zoo.spec.zoo import list_models, model_file

RUNS = sorted(path.name for path in (gin_files.configs_folder() / 'runs').glob('*.gin'))
REQUIRED = {
    'MIXTURE_NAME': "'zoo_c4_span'", 'INIT_CHECKPOINT': 'None', 'INPUT_FILE': "'in'", 'OUTPUT_FILE': "'out'",
    'TEACHER_CHECKPOINT': "'teacher'", 'TARGET_FILE': "'targets'", 'SCORES_FILE': "'scores'",
}  # fmt: skip


def read(*files, parameters=()):
  return gin_files.read(['models/switch_base_8.gin', *files], parameters)


def test_the_runs_of_the_zoo_are_there():
  wanted = {'pretrain.gin', 'finetune.gin', 'eval.gin', 'infer.gin', 'score.gin', 'perplexity.gin', 'tiny.gin'}
  assert wanted <= set(RUNS)


@pytest.mark.parametrize(
  'run', ['pretrain', 'finetune', 'distill', 'distill_finetune', 'eval', 'infer', 'score', 'perplexity']
)
def test_gin_knows_every_name_of_a_run(run):
  name = f'runs/{run}.gin'
  bound = read(name)
  given = [f'{key} = {value}' for key, value in REQUIRED.items() if key in bound.bindings]
  read(name, parameters=given).check()
  mesh_graph.configure([model_file('switch_base_8'), name, 'layouts/cpu.gin', 'runs/tiny.gin'], given)


def test_pretraining_is_the_recipe_of_the_paper():
  run = read('runs/pretrain.gin')
  _, sequences = run.value('utils.run.batch_size')
  lengths = run.value('utils.run.sequence_length')
  assert sequences * lengths['inputs'] == 2**20
  assert lengths == {'inputs': 512, 'targets': 114}
  assert run.value('utils.run.train_steps') == 550_000
  assert run.value('utils.run.optimizer').name == 'optimize.AdafactorOptimizer'
  assert run.value('utils.run.learning_rate_schedule').name.endswith('learning_rate_schedule_noam')
  assert run.value('learning_rate_schedule_noam.warmup_steps') == 10_000
  assert run.value('learning_rate_schedule_noam.linear_decay_fraction') == 0.0


def test_spans_of_pretraining_fill_the_lengths():
  # 568 tokens, 15 percent of them in spans of 3: 85 tokens in 28 spans. A span leaves a sentinel, a text gets an end.
  noise, spans = 85, 28
  assert (round(568 * 0.15), round(noise / 3)) == (noise, spans)
  assert (568 - noise + spans + 1, noise + spans + 1) == (512, 114)


def test_finetuning_is_the_recipe_of_the_paper():
  run = read('runs/finetune.gin')
  assert run.value('utils.run.train_steps') == 16_000
  assert run.value('utils.run.save_checkpoints_steps') == 200
  assert run.value('learning_rate_schedules.constant_learning_rate.learning_rate') == 0.001
  assert run.value('transformer.sublayer_dropout.dropout_rate') == 0.1
  assert run.value('experts.SwitchFeedForward.expert_dropout_rate') == 0.4


@pytest.mark.parametrize(
  ('parameters', 'expected'),
  [([], (1, 0.0)), (['BEAM_SIZE = 4'], (4, 0.0)), (['TEMPERATURE = 0.7', 'TOP_K = 20'], (1, 0.7))],
  ids=['greedy', 'beam', 'sample'],
)
def test_inference_is_greedy_beam_or_sample(parameters, expected):
  run = read('runs/infer.gin', parameters=parameters)
  assert (run.value('Bitransformer.decode.beam_size'), run.value('Bitransformer.decode.temperature')) == expected
  assert run.value('Bitransformer.decode.sampling_keep_top_k') == (20 if 'TOP_K = 20' in parameters else -1)


def test_expert_dropout_is_for_finetuning_only():
  for model in list_models():
    assert gin_files.read([f'models/{model}.gin']).value('expert_dropout_rate', 0.0) == 0.0
