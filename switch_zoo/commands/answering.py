"""Options that `export`, `generate` and `score` share."""

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from switch_zoo.errors import UserError

if TYPE_CHECKING:
  from switch_zoo.keras.generation import Beam, Sampling

MODEL = typer.Option(None, '--model', help='A name, or a gin file. By default the shape is read from SRC.')
VOCAB = typer.Option(
  None, '--vocab', help="A sentencepiece model, or 'bytes'. By default that of SRC, or of SWITCH_ZOO_VOCAB."
)
DTYPE = typer.Option(
  'auto',
  '--dtype',
  metavar='{auto,float32,bfloat16}',
  help='Type of weights and activations. auto: bfloat16 on machines with instructions for it, else float32.',
)
EXPERT_CAPACITY = typer.Option(
  'none',
  '--expert-capacity',
  metavar='{none,checkpoint,N}',
  help='Tokens of a text that an expert has room for: all, as many as config.json states, or a number.',
)
MAX_NEW_TOKENS = typer.Option(64, '--max-new-tokens', help='Length of the longest answer.')
MAX_INPUT_TOKENS = typer.Option(1024, '--max-input-tokens', help='Longer inputs are truncated.')
BEAM_SIZE = typer.Option(1, '--beam-size', help='Beam search with this many beams; 1: no beam search.')
LENGTH_PENALTY = typer.Option(0.6, '--length-penalty', help='Alpha of the beam search.')
TEMPERATURE = typer.Option(0.0, '--temperature', help='Above 0: sample from the probabilities at this temperature.')
TOP_K = typer.Option(0, '--top-k', help='Sample from this many of the most likely tokens; 0: from all.')
TOP_P = typer.Option(1.0, '--top-p', help='Sample from the most likely tokens that together have this probability.')


def show_note(note: str) -> None:
  """Prints a note about the number format on stderr; nothing for ''."""
  if note:
    Console(stderr=True, highlight=False, soft_wrap=True).print(note, markup=False)


def beam(size: int, length_penalty: float) -> 'Beam | None':
  """The beam search for more than one beam, else None."""
  from switch_zoo.keras.generation import Beam

  return None if size == 1 else Beam(size, length_penalty)


def sampling(temperature: float, top_k: int, top_p: float) -> 'Sampling | None':
  """The sampling, if one was requested, else None.

  Raises:
    UserError: top-k or top-p without a temperature, where nothing is sampled
  """
  from switch_zoo.keras.generation import Sampling

  chosen = Sampling(temperature, top_k, top_p)
  if not temperature and chosen != Sampling():
    raise UserError('--top-k and --top-p choose what to sample from: give --temperature too, such as 1.0.')
  return chosen if temperature else None
