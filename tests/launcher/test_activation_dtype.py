"""The number format of a run: chosen by the machine, kept in operative_config.gin, said in one line."""

import gin
import pytest

from switch_zoo import machine, number_format
from switch_zoo.errors import UserError
from switch_zoo.launcher import run
from switch_zoo.mesh import gin_setup
from switch_zoo.spec import gin_files
from switch_zoo.spec.zoo import load_config

FAST, SLOW = number_format.of_processor(['avx512_bf16']), number_format.of_processor([])
FILES = ['models/switch_base_8.gin', 'layouts/cpu.gin']


def configured(fast, *parameters, files=FILES):
  """The dtype that the graph is built with, and the note."""
  note = gin_setup.configure(gin_files.read(files, parameters), fast=fast)
  return gin_setup.mesh_dtype(), note


@pytest.mark.parametrize('fast', [FAST, SLOW], ids=['with_instructions', 'without'])
def test_auto_is_what_the_machine_is_fast_in(fast):
  dtype, note = configured(fast)
  assert dtype == fast.dtype
  assert note.startswith(f'Computing in {fast.dtype}: ')
  assert gin.query_parameter('%activation_dtype') == fast.dtype


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_what_is_set_is_used(dtype):
  assert configured(FAST, f"activation_dtype = '{dtype}'") == (dtype, '')


def test_bfloat16_that_is_slow_here_is_used_with_a_word():
  dtype, note = configured(SLOW, "activation_dtype = 'bfloat16'")
  assert dtype == 'bfloat16' and 'float32 would be about twice as fast here' in note


def test_a_configuration_of_t5_that_names_the_dtype_itself():
  assert configured(SLOW, "utils.get_variable_dtype.activation_dtype = 'float32'") == ('float32', '')
  assert configured(SLOW, files=[])[0] == 'bfloat16'  # Mesh-TensorFlow's default


@pytest.mark.parametrize(('on_tpu', 'dtype'), [(True, 'bfloat16'), (False, 'float32')])
def test_a_run_prints_one_line(on_tpu, dtype, monkeypatch, capsys):
  monkeypatch.setattr(machine, 'fast_format', lambda: SLOW)
  run.configure(gin_files.read(FILES), on_tpu=on_tpu)
  assert gin_setup.mesh_dtype() == dtype
  err = capsys.readouterr().err
  assert err.startswith(f'Computing in {dtype}: ') and err.count('\n') == 1


def test_a_mistyped_format_is_refused_with_its_line_and_the_closest_name(tmp_path):
  path = tmp_path / 'model.gin'
  path.write_text("include 'models/switch_base_8.gin'\nactivation_dtype = 'jfloat16'\n")
  with pytest.raises(UserError, match=r"model.gin, line 2: activation_dtype is 'jfloat16'.*Did you mean bfloat16"):
    load_config(str(path))
