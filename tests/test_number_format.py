"""Which number format a machine gets, from made-up processors and GPUs."""

import pytest

from switch_zoo import machine, number_format
from switch_zoo.number_format import BFLOAT16, FLOAT32, NumberFormat

SAPPHIRE_RAPIDS = 'fpu sse2 avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8'
COOPER_LAKE = 'fpu sse2 avx2 avx512f avx512_vnni avx512_bf16'
ICE_LAKE = 'fpu sse2 avx2 avx512f avx512_vnni avx512_vbmi2'
# A name that only contains the right one, and a conversion without a product.
LOOK_ALIKES = 'fpu sse2 not_avx512_bf16 avx512_bf16x avx_ne_convert'
GRAVITON = 'fp asimd sve i8mm bf16'


@pytest.mark.parametrize(
  'flags, dtype',
  [
    pytest.param(SAPPHIRE_RAPIDS, BFLOAT16, id='amx'),
    pytest.param(COOPER_LAKE, BFLOAT16, id='avx512'),
    pytest.param(ICE_LAKE, FLOAT32, id='without'),
    pytest.param(LOOK_ALIKES, FLOAT32, id='look_alikes'),
    pytest.param(GRAVITON, FLOAT32, id='arm_has_not_been_measured'),
    pytest.param('', FLOAT32, id='unknown'),
  ],
)
def test_a_processor_gets_what_it_multiplies(flags, dtype):
  assert number_format.of_processor(flags.split()).dtype == dtype


@pytest.mark.parametrize(
  'text, flags',
  [
    ('processor\t: 0\nflags\t\t: fpu avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n', {'fpu', 'avx512_bf16'}),
    ('processor: 0\nFeatures : fp bf16\n', {'fp', 'bf16'}),
    ('vmx flags\t: avx512_bf16\nflags\t: fpu\n', {'fpu'}),
    ('model name: flags avx512_bf16\n', set()),
    ('', set()),
  ],
  ids=['x86', 'arm', 'other_flags', 'no_flags', 'empty'],
)
def test_flags_are_read_as_linux_lists_them(text, flags, tmp_path):
  (tmp_path / 'cpuinfo').write_text(text)
  assert machine.processor_flags(tmp_path / 'cpuinfo') == flags


def test_a_system_without_a_list_has_no_flags(tmp_path):
  assert machine.processor_flags(tmp_path / 'absent') == frozenset()


@pytest.mark.parametrize('capability, dtype', [((7, 5), FLOAT32), ((8, 0), BFLOAT16), ((9, 0), BFLOAT16)])
def test_a_gpu_gets_what_it_multiplies(capability, dtype):
  assert number_format.of_gpu(capability).dtype == dtype


def test_a_tpu_gets_bfloat16():
  assert number_format.OF_TPU.dtype == BFLOAT16


class Gpus:
  """Stands for tf.config of a machine with these GPUs."""

  def __init__(self, *capabilities):
    self.capabilities = capabilities
    self.experimental = self

  def list_physical_devices(self, kind):
    assert kind == 'GPU'
    return range(len(self.capabilities))

  def get_device_details(self, device):
    capability = self.capabilities[device]
    return {'compute_capability': capability} if capability else {}


@pytest.mark.parametrize(
  'gpus, flags, dtype',
  [
    (Gpus((9, 0)), ICE_LAKE, BFLOAT16),
    (Gpus((7, 0)), SAPPHIRE_RAPIDS, FLOAT32),
    (Gpus(None), SAPPHIRE_RAPIDS, BFLOAT16),
    (Gpus(), ICE_LAKE, FLOAT32),
  ],
  ids=['gpu_before_processor', 'old_gpu', 'gpu_that_says_nothing', 'no_gpu'],
)
def test_the_machine_is_its_gpu_or_else_its_processor(gpus, flags, dtype, monkeypatch):
  monkeypatch.setattr(machine.tf, 'config', gpus)
  monkeypatch.setattr(machine, 'processor_flags', lambda: frozenset(flags.split()))
  assert machine.fast_format().dtype == dtype


FAST, SLOW = NumberFormat(BFLOAT16, 'it has instructions'), NumberFormat(FLOAT32, 'it has none')


def test_auto_is_the_fast_format_and_says_so_and_how_to_change_it():
  choice = number_format.choose('auto', SLOW, '--dtype')
  assert choice.dtype == FLOAT32
  assert choice.note == 'Computing in float32: it has none. --dtype sets another format.'


def test_what_is_set_is_used_with_a_word_where_it_is_slow():
  choice = number_format.choose(BFLOAT16, SLOW, 'activation_dtype')
  assert choice.dtype == BFLOAT16
  assert 'twice as fast' in choice.note


@pytest.mark.parametrize('setting, fast', [(BFLOAT16, FAST), (FLOAT32, SLOW), (FLOAT32, FAST)])
def test_what_is_set_and_fast_enough_is_used_without_a_word(setting, fast):
  assert number_format.choose(setting, fast, '--dtype') == (setting, '')
