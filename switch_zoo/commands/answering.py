"""Options that `export`, `generate` and `score` share."""

import typer

MODEL = typer.Option(None, '--model', help='A name, or a gin file. Without it the shape is read from SRC.')
VOCAB = typer.Option(None, '--vocab', help="A sentencepiece model, or 'bytes'; else SRC's own, or SWITCH_ZOO_VOCAB.")
DTYPE = typer.Option(None, '--dtype', metavar='{float32,bfloat16}', help='Of weights and activations; else as in SRC.')
MAX_NEW_TOKENS = typer.Option(64, '--max-new-tokens', help='Longest answer.')
MAX_INPUT_TOKENS = typer.Option(1024, '--max-input-tokens', help='Longer inputs are cut there.')
BEAM_SIZE = typer.Option(1, '--beam-size', help='Beam search with so many beams; 1: none.')
LENGTH_PENALTY = typer.Option(0.6, '--length-penalty', help='Alpha of the beam search.')
TEMPERATURE = typer.Option(0.0, '--temperature', help='Above 0: draw from the probabilities at this temperature.')
TOP_K = typer.Option(0, '--top-k', help='Draw from so many likeliest tokens; 0: from all.')
TOP_P = typer.Option(1.0, '--top-p', help='Draw from the likeliest tokens that together have this probability.')


def beam(size, length_penalty):
  """A Beam for more than one beam."""
  from switch_zoo.keras.generation import Beam

  return None if size == 1 else Beam(size, length_penalty)


def sampling(temperature, top_k, top_p):
  """A Sampling, if anything of it was asked for.

  Raises:
    UserError: top-k or top-p without a temperature, which would draw nothing
  """
  from switch_zoo.errors import UserError
  from switch_zoo.keras.generation import Sampling

  chosen = Sampling(temperature, top_k, top_p)
  if not temperature and chosen != Sampling():
    raise UserError('--top-k and --top-p choose what to draw from: give --temperature too, such as 1.0.')
  return chosen if temperature else None
