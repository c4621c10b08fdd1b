"""ModelConfig and the commands that show it, compared with figures counted by hand and by Hugging Face."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from switch_zoo import cli, load_config
from switch_zoo.commands import describe, models
from switch_zoo.errors import UserError
from switch_zoo.spec import gin_files
from switch_zoo.spec.config_reader import parse_header
from switch_zoo.spec.zoo import list_models, load_configs

# Counted with the formula below; switch_base_8 to _256, switch_large_128 and T5 1.0 also with Hugging Face's models on
# PyTorch's meta device.
PARAMETERS = {
  't5_small': 60_506_624,
  't5_base': 222_903_552,
  't5_large': 737_668_096,
  't5_xxl': 11_135_332_352,
  'mt5_base': 582_401_280,
  'switch_base_2': 279_545_088,
  'switch_base_4': 392_809_728,
  'switch_base_8': 619_339_008,
  'switch_base_16': 1_072_397_568,
  'switch_base_32': 1_978_514_688,
  'switch_base_64': 3_790_748_928,
  'switch_base_128': 7_415_217_408,
  'switch_base_256': 14_664_154_368,
  'switch_large_128': 26_309_291_008,
  'switch_xxl_128': 394_675_073_024,
  'switch_c_2048': 1_571_327_875_360,
  'switch_base_128_paper': 7_415_217_408,
  'switch_large_128_paper': 27_120_888_832,
  'switch_c_2048_paper': 1_571_375_798_688,
  'moe_base_128': 7_415_217_408,
  'mswitch_base_128': 7_774_715_136,
}
ACTIVE_PARAMETERS = {
  'switch_base_2': 222_921_984,
  'switch_base_8': 222_977_280,
  'switch_base_64': 223_493_376,
  'switch_base_256': 225_262_848,
  'switch_large_128': 740_813_824,
  'switch_xxl_128': 11_147_915_264,
  'switch_c_2048': 1_747_228_960,
}
EXPERT_PARAMETERS = {
  'switch_base_128': 7_247_757_312,
  'switch_xxl_128': 386_547_056_640,
  'switch_c_2048': 1_570_347_417_600,
  # GShard, arXiv:2006.16668: layers with experts x experts x 2 x 1024 x 8192.
  'gshard_12b5': 6 * 128 * 2 * 1024 * 8192,
  'gshard_600b': 18 * 2048 * 2 * 1024 * 8192,
}
# Billions, as printed in Table 9 of the Switch paper. Its T5-Large and Switch-Large rows have GEGLU 2816.
TABLE_9_FLOPS = {
  't5_base': 124,
  't5_large': 425,
  't5_xxl': 6300,
  'switch_base_128': 124,
  'switch_base_128_paper': 124,
  'switch_large_128': 425,
  'switch_large_128_paper': 425,
  'switch_xxl_128': 6300,
  'switch_c_2048': 890,
  'switch_c_2048_paper': 890,
}
# Billions, as printed in the tables of the GShard paper.
GSHARD_BILLIONS = {
    'gshard_12b5': 12.5, 'gshard_37b': 37, 'gshard_50b': 50, 'gshard_150b': 150, 'gshard_200b': 200, 'gshard_600b': 600,
}  # fmt: skip
NAMED_IN_THE_PAPERS = [
    't5_base', 't5_large', 't5_xxl', 'switch_large_128', 'switch_xxl_128', 'switch_c_2048', 'switch_base_128_paper',
    'switch_large_128_paper', 'switch_xxl_64_paper', 'switch_c_2048_paper', 'moe_base_128', 'mt5_base',
    'mswitch_base_128', 'tiny_dense', 'tiny_switch_8',
]  # fmt: skip
TINY = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'num_encoder_layers = 4', 'num_decoder_layers = 4']


def formula(config):
  """Weights counted by kind, without a list of variables: a second way to the same number."""
  d, inner, kernels = config.d_model, config.num_heads * config.d_kv, 3 if config.gated else 2
  encoder, decoder = config.num_encoder_layers, config.num_decoder_layers
  sparse = len(config.encoder_sparse_layers) + len(config.decoder_sparse_layers)
  embeddings = config.vocab_size * d + (0 if config.shared_embedding else config.target_vocab_size * d)
  logits = 0 if config.tied_embeddings else config.target_vocab_size * d
  attention = 4 * d * inner * (encoder + 2 * decoder)
  dense = kernels * d * config.d_ff * (encoder + decoder - sparse)
  experts = kernels * d * config.expert_d_ff * config.num_experts * sparse
  routers = d * config.num_experts * sparse
  norms = d * (2 * encoder + 3 * decoder + 2)
  positions = 2 * config.relative_attention_num_buckets * config.num_heads
  return embeddings + logits + attention + dense + experts + routers + norms + positions


def test_all_models_of_the_papers_are_there():
  names = NAMED_IN_THE_PAPERS + [f'switch_base_{2**n}' for n in range(1, 9)] + list(GSHARD_BILLIONS)
  assert set(names) <= set(list_models())


@pytest.mark.parametrize('model', list_models())
def test_parameters(model):
  config = load_config(model)
  assert config.num_parameters == PARAMETERS.get(model, formula(config))
  assert config.num_parameters == formula(config)
  assert parse_header(pathlib.Path(config.path).read_text())['Parameters'] == f'{config.num_parameters:,}'


@pytest.mark.parametrize(('model', 'expected'), ACTIVE_PARAMETERS.items())
def test_active_parameters(model, expected):
  assert load_config(model).num_active_parameters == expected


@pytest.mark.parametrize(('model', 'expected'), EXPERT_PARAMETERS.items())
def test_parameters_in_experts(model, expected):
  assert load_config(model).num_expert_parameters == expected


def test_a_token_of_top2_uses_two_experts():
  switch, top2 = load_config('switch_base_128'), load_config('moe_base_128')
  one_expert = 2 * 768 * 3072
  assert top2.num_active_parameters - switch.num_active_parameters == 12 * one_expert
  assert load_config('t5_base').num_active_parameters == load_config('t5_base').num_parameters


@pytest.mark.parametrize(('model', 'billions'), TABLE_9_FLOPS.items())
def test_flops_agree_with_table_9(model, billions):
  assert load_config(model).flops_per_sequence(512, 114) == pytest.approx(billions * 1e9, rel=0.06)


def test_flops_of_a_small_model_by_hand():
  # Per token and layer of the encoder: attention 4 x 8 x 8 = 256, feed-forward 2 x 8 x 16 = 256. Decoder: 256 more.
  config = load_config('t5_small', TINY + ['vocab_size = 128'])
  weights = 2 * (4 * 512 * 10 + 4 * 768 * 5)
  logits = 2 * 128 * 8 * 5
  pairs = 4 * (10 * 10 + 5 * 5 + 10 * 5)
  assert config.flops_per_sequence(10, 5) == weights + logits + 4 * 8 * pairs
  assert config.flops_per_sequence(0, 0) == 0
  with pytest.raises(ValueError, match='inputs=-1'):
    config.flops_per_sequence(-1, 5)


@pytest.mark.parametrize(('model', 'billions'), GSHARD_BILLIONS.items())
def test_gshard_sizes_agree_with_the_paper(model, billions):
  # The paper prints "600B" for 618.5B in experts and 0.9B elsewhere; the others are as close.
  config = load_config(model)
  assert config.num_parameters == pytest.approx(billions * 1e9, rel=0.08)
  assert (config.vocab_size, config.target_vocab_size, config.d_kv) == (64_000, 32_000, 128)
  assert (config.router, config.capacity_factor_train, config.d_ff) == ('top2', 2.0, 8192)


@pytest.mark.parametrize(
    ('dense', 'sparse'),
    [('t5_base', 'switch_base_8'), ('t5_base', 'moe_base_128'), ('t5_large', 'switch_large_128'),
     ('t5_xxl', 'switch_xxl_128'), ('mt5_base', 'mswitch_base_128'), ('tiny_dense', 'tiny_switch_8')],
)  # fmt: skip
def test_dense_twin_shares_everything_but_the_experts(dense, sparse):
  dense, sparse = load_config(dense), load_config(sparse)
  own = {'name', 'path', 'title', 'source', 'departures', 'places', 'encoder_block', 'decoder_block', 'num_experts',
         'expert_d_ff', 'router', 'router_kernels', 'experts_per_token', 'capacity_factor_train',
         'capacity_factor_eval', 'min_expert_capacity', 'group_size', 'balance_loss_coef',
         'expert_dropout_rate'}  # fmt: skip
  shared = lambda config: {k: v for k, v in vars(config).items() if k not in own}
  assert shared(dense) == shared(sparse)
  assert sparse.expert_d_ff == dense.d_ff


def test_released_settings_of_the_experts():
  settings = lambda name: (lambda c: (c.capacity_factor_train, c.capacity_factor_eval, c.min_expert_capacity,
                                      c.group_size))(load_config(name))  # fmt: skip
  assert settings('switch_base_64') == (1.25, 2.0, 4, 8192)
  assert settings('switch_large_128') == (1.25, 2.0, 4, 4096)
  assert settings('switch_xxl_128') == (1.25, 4.0, 2, 4096)
  assert settings('switch_c_2048') == (1.0, 2.0, 2, 2048)


def test_which_layers_have_experts():
  assert load_config('switch_base_8').encoder_sparse_layers == (1, 3, 5, 7, 9, 11)
  assert load_config('switch_c_2048').decoder_sparse_layers == tuple(range(15))
  assert load_config('t5_base').encoder_sparse_layers == ()


def test_layers_are_read_from_the_lists_of_the_file():
  """Experts in every fourth layer, which only the list of layers says."""
  block = ['@transformer_layers.SelfAttention, @transformer_layers.DenseReluDense'] * 4
  block[3] = '@transformer_layers.SelfAttention, @experts.SwitchFeedForward'
  lists = f'encoder/transformer.make_layer_stack.layers = [{", ".join(block)}]'
  config = load_config('switch_base_8', [lists, 'encoder/stacks.num_blocks.layers_per_block = 4'])
  assert config.encoder_sparse_layers == (3, 7, 11)
  assert config.num_encoder_blocks == 3
  assert config.num_parameters == formula(config)


def test_sizes_come_from_what_the_run_uses():
  """A parameter that is bound directly counts, whatever the macro of that name says."""
  assert load_config('t5_base', ['transformer_layers.DenseReluDense.hidden_size = 2048']).d_ff == 2048
  assert load_config('t5_base', ['DenseReluDense.hidden_size = 2048']).d_ff == 2048


def test_tiny_cross_check_with_hugging_face():
  # transformers 5.23 builds these sizes, with a vocabulary of 32, from 8,880 parameters.
  config = load_config('switch_base_8', TINY + ['num_experts = 4', 'vocab_size = 32'])
  assert config.vocab_size == 128, 'padded to a multiple of 128'
  assert config.num_parameters - (128 - 32) * 8 == 8_880
  assert config.num_expert_parameters == 4_096


@pytest.mark.slow
def test_parameters_against_hugging_face():
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  tied = ['t5_small', 't5_base', 't5_large', 'switch_large_128'] + [f'switch_base_{2**n}' for n in range(3, 9)]
  for name in tied:
    config = load_config(name)
    sizes = {
        'vocab_size': config.vocab_size, 'd_model': config.d_model, 'd_ff': config.d_ff, 'd_kv': config.d_kv,
        'num_heads': config.num_heads, 'num_layers': config.num_encoder_layers,
        'num_decoder_layers': config.num_decoder_layers,
    }  # fmt: skip
    kind = 'SwitchTransformers' if config.num_experts else 'T5'
    if config.num_experts:
      sizes |= {'num_experts': config.num_experts, 'num_sparse_encoder_layers': len(config.encoder_sparse_layers),
                'num_sparse_decoder_layers': len(config.decoder_sparse_layers)}  # fmt: skip
    with torch.device('meta'):
      theirs = getattr(transformers, f'{kind}ForConditionalGeneration')(
          getattr(transformers, f'{kind}Config')(**sizes))  # fmt: skip
    assert sum(p.numel() for p in theirs.parameters()) == config.num_parameters, name


def test_list_is_sorted_by_number():
  names = [name for name in list_models() if re.fullmatch(r'switch_base_\d+', name)]
  assert names == [f'switch_base_{2**n}' for n in range(1, 9)]


@pytest.mark.parametrize('model', list_models())
def test_model_files_say_where_they_come_from(model):
  config = load_config(model)
  assert config.title.endswith('.') or config.title.endswith('weights.')
  assert config.source and config.departures
  assert len(pathlib.Path(config.path).read_text().splitlines()) <= 25, 'short'


@pytest.mark.parametrize('model', list_models())
def test_includes_are_at_most_three_deep(model):
  folder = gin_files.configs_folder()
  includes = lambda path: re.findall(r"^include '(.+)'", path.read_text(), re.MULTILINE)
  depth = lambda path: max((1 + depth(folder / name) for name in includes(path)), default=0)
  assert depth(folder / 'models' / f'{model}.gin') <= 3


def test_t5_large_says_that_739_million_matches_no_count():
  assert '739M matches no count' in load_config('t5_large').departures


MISTAKES = {
    'not gin': ('num_heads == 3', r'bad\.gin, line 2 is not gin'),
    'missing size': ('d_model = %gin.REQUIRED', r'd_model has no value: .*bad\.gin, line 2'),
    'text for a number': ("d_model = 'big'", r"bad\.gin, line 2: Unitransformer.d_model is 'big'; it must be a wh"),
    'negative': ('num_heads = -3', r'bad\.gin, line 2: SelfAttention.num_heads is -3'),
    'flag for a number': ('d_ff = True', r'bad\.gin, line 2: DenseReluDense.hidden_size is True'),
    'no such macro': ('d_ff = %d_f', r'bad\.gin, line 2: d_ff uses %d_f.*Did you mean d_ff'),
    'layers do not divide': ('num_encoder_layers = 5', r'bad\.gin, line 2: 5 layers .* blocks of 2. Use 4 or 6'),
    'unknown layer': (
        'encoder/transformer.make_layer_stack.layers = [@x.SelfAttenton]', r'line 2: "x.SelfAttenton".*Did you mean'),
    'unknown router': ('router = @routing.Top9()', r'line 2: "Top9" is not a router .*Did you mean Top'),
    'layer with arguments': (
        'encoder/transformer.make_layer_stack.layers = [[@x.SelfAttention, "a"]]', r'line 2: a layer of the encoder'),
    'two activations': (
        "transformer_layers.DenseReluDense.activation = 'gelu'", r"line 2: the dense layers use 'gelu', the experts"),
    'missing include': ("include 'models/none.gin'", r'no gin file "models/none.gin" \(included from .*, line 2\)'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_file_that_is_not_a_model_is_rejected_with_its_line(mistake, tmp_path):
  line, message = MISTAKES[mistake]
  path = tmp_path / 'bad.gin'
  path.write_text(f"include 'models/switch_base_8.gin'\n{line}\n")
  with pytest.raises(UserError, match=message):
    load_config(str(path))


def test_a_run_file_is_not_a_model(tmp_path):
  path = tmp_path / 'run.gin'
  path.write_text("utils.run.mode = 'train'\n")
  with pytest.raises(UserError, match='run.gin is not a model'):
    load_config(str(path))


def test_unknown_model_names_the_closest():
  with pytest.raises(UserError, match='Did you mean switch_base_8'):
    load_config('switch_bse_8')
  with pytest.raises(UserError, match='The models are: gshard_12b5'):
    load_config('zzz')


def test_a_users_own_file_and_files_on_top(tmp_path):
  own = tmp_path / 'mine.gin'
  own.write_text("# Mine.\n# Source: a notebook\n#   of mine\n\ninclude 'models/t5_small.gin'\nd_ff = 1024\n")
  config = load_config(str(own))
  assert (config.name, config.title, config.source, config.d_ff) == ('mine', 'Mine.', 'a notebook of mine', 1024)
  over = tmp_path / 'over.gin'
  over.write_text('d_ff = 512\n')
  assert load_configs([str(own), str(over)]).d_ff == 512
  assert config.places['d_ff'] == f'{own}, line 6'


def run_cli(capsys, *arguments):
  sys.argv = ['switch_zoo', *arguments]
  code = cli.run()
  out, err = capsys.readouterr()
  return code, out, err


def test_models_json(capsys):
  code, out, _ = run_cli(capsys, 'models', '--json')
  rows = {row['name']: row for row in json.loads(out)}
  assert code == 0
  assert list(rows) == list_models()
  assert rows['switch_c_2048'] == {
    'name': 'switch_c_2048',
    'parameters': 1_571_327_875_360,
    'active_parameters': 1_747_228_960,
    'experts': 2048,
    'flops_per_sequence': 888_286_955_520,
    'source': load_config('switch_c_2048').source,
  }
  assert rows['t5_base']['experts'] == 0


@pytest.mark.parametrize('width', [80, 120])
def test_tables_fit_the_screen(capsys, monkeypatch, width):
  monkeypatch.setenv('COLUMNS', str(width))
  for arguments in (['models'], ['describe', 'switch_xxl_128'], ['describe', 't5_base']):
    _, out, _ = run_cli(capsys, *arguments)
    assert max(map(len, out.splitlines())) <= width
    if arguments == ['models']:
      assert all(name in out for name in list_models())
      assert '1.57T' in out
    else:
      assert 'models/t5_' in out and '…' not in out


def test_describe_json(capsys):
  code, out, _ = run_cli(capsys, 'describe', 'switch_base_8', '--json')
  shown = json.loads(out)
  assert code == 0
  assert shown['num_parameters'] == 619_339_008
  assert shown['encoder_sparse_layers'] == [1, 3, 5, 7, 9, 11]
  assert shown['places']['num_experts'].endswith('models/switch_base_8.gin, line 8')


def test_describe_an_unknown_model(capsys):
  code, out, err = run_cli(capsys, 'describe', 'switch_xl_128')
  assert (code, out) == (2, '')
  assert 'Did you mean switch_xxl_128' in err


def test_commands_load_no_tensorflow_and_take_less_than_two_processor_seconds():
  script = (
    'import sys\nfrom switch_zoo import cli\nsys.argv = ["switch_zoo", "models"]\ncode = cli.run()\n'
    'heavy = {"tensorflow", "mesh_tensorflow", "t5", "seqio", "torch", "numpy"} & set(sys.modules)\n'
    'import time\nprint(time.process_time(), file=sys.stderr)\n'
    'sys.exit(f"loaded {heavy}" if heavy else code)'
  )
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  assert float(done.stderr) < 2


def test_figures_in_short():
  assert [models.short(n) for n in (0, 999, 1000, 819_000_000, 9_996_000_000, 1_571_327_875_360)] == [
      '0', '999', '1k', '819M', '10.0B', '1.57T']  # fmt: skip
  assert describe.short_place('/x/y.gin, line 3') == '/x/y.gin:3'


def test_readme_table_is_the_models_table():
  text = (pathlib.Path(__file__).parents[2] / 'README.md').read_text(encoding='utf-8')
  shown = text.split('<!-- models -->')[1].split('<!-- /models -->')[0].strip()
  assert shown == models.markdown_table([load_config(name) for name in list_models()])
