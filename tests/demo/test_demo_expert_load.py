"""The picture and the table of the expert load."""

import io
import subprocess
import sys

import pytest
from PIL import Image
from rich.console import Console

from switch_zoo.demo import expert_load

ENCODER, DECODER = 'encoder/block_000/layer_003/MoE1D', 'decoder/block_000/layer_005/MoE1D'


def curve(*loads):
  return [{'step': step, 'load': {ENCODER: load}} for step, load in enumerate(loads)]


def test_mean_of_the_second_half():
  # The first record, [1, 0], is from before routing settled; ([0.5, 0.5] + [0.3, 0.7]) / 2 = [0.4, 0.6].
  assert expert_load.mean_load(curve([1.0, 0.0], [0.5, 0.5], [0.3, 0.7]))[ENCODER] == pytest.approx([0.4, 0.6])
  assert expert_load.mean_load([]) == {}


def test_titles():
  assert expert_load.layer_title(ENCODER) == 'encoder block 0, sublayer 3'
  assert expert_load.layer_title('something/else') == 'something/else'


def test_bars():
  assert expert_load.bar(0.25, 0.25) == '████████████  25.0%'
  assert expert_load.bar(0.0, 0.25) == '               0.0%'


def test_table():
  out = io.StringIO()
  Console(file=out, width=100).print(expert_load.table({ENCODER: [0.25, 0.75], DECODER: [0.5, 0.5]}))
  rows = [line.split() for line in out.getvalue().splitlines() if '%' in line]
  assert rows == [['0', '████', '25.0%', '████████', '50.0%'], ['1', '████████████', '75.0%', '████████', '50.0%']]


def test_picture_needs_no_display(tmp_path):
  program = (
    'import pathlib, sys; from switch_zoo.demo import expert_load\n'
    f'load = {{{ENCODER!r}: [0.25, 0.75], {DECODER!r}: [0.5, 0.5]}}\n'
    f'expert_load.picture({{"pre-training": load, "fine-tuning": load}}, pathlib.Path({str(tmp_path / "a.png")!r}))\n'
    'assert "matplotlib.pyplot" not in sys.modules and "tensorflow" not in sys.modules'
  )
  subprocess.run([sys.executable, '-c', program], check=True)
  with Image.open(tmp_path / 'a.png') as image:
    assert image.size == (950, 360)
    assert len(image.convert('RGB').getcolors(1 << 20)) > 10
