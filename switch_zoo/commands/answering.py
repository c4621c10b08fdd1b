"""Options that `export`, `generate` and `score` share."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from switch_zoo.errors import UserError

if TYPE_CHECKING:
  from switch_zoo.keras.generation import BeamRule, Sampling

EARLY_STOPPING_VALUES = {'false': False, 'true': True, 'never': 'never'}

MODEL = typer.Option(None, '--model', help='A name, or a gin file. By default the shape is read from SRC.')
VOCAB = typer.Option(
  None,
  '--vocab',
  help="A sentencepiece model, a tokenizer.json, or 'bytes'. By default that of SRC, or of SWITCH_ZOO_VOCAB.",
)
TARGET_VOCAB = typer.Option(
  None, '--target-vocab', help='The vocabulary of answers and targets, of a model that has one for each side.'
)
DTYPE = typer.Option(
  'auto',
  '--dtype',
  metavar='{auto,float32,bfloat16,int8}',
  help='Type of weights and activations. auto: bfloat16 on machines with instructions for it, else float32. int8: '
  'only of an export for ONNX Runtime, where auto is float32.',
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
LENGTH_PENALTY = typer.Option(
  None, '--length-penalty', help='Alpha of the beam search.  [default: 0.6; of the rule transformers 1.0]'
)
BEAM_RULE = typer.Option(
  't5', '--beam-rule', metavar='{t5,transformers}', help='Whose beam search: how answers are ranked and when it stops.'
)
EARLY_STOPPING = typer.Option(
  'false', '--early-stopping', metavar='{false,true,never}', help='When the beam search of transformers stops.'
)
TEMPERATURE = typer.Option(0.0, '--temperature', help='Above 0: sample from the probabilities at this temperature.')
TOP_K = typer.Option(0, '--top-k', help='Sample from this many of the most likely tokens; 0: from all.')
NUM_RETURN_SEQUENCES = typer.Option(
  1, '--num-return-sequences', help='Answers to each input: that many of the beams, or samples.'
)
REPETITION_PENALTY = typer.Option(
  1.0, '--repetition-penalty', help='Above 1: tokens that have occurred become less likely.'
)
NO_REPEAT_NGRAM_SIZE = typer.Option(
  0, '--no-repeat-ngram-size', help='No sequence of this many tokens occurs twice in an answer; 0: off.'
)
MIN_NEW_TOKENS = typer.Option(0, '--min-new-tokens', help='The end does not come before this many tokens.')
FORCED_BOS_TOKEN_ID = typer.Option(None, '--forced-bos-token-id', help='Id of the first token of every answer.')
THREADS = typer.Option(
  None, '--threads', min=1, help='Threads of an ONNX export; by default as many as the machine has cores.'
)
TOP_P = typer.Option(1.0, '--top-p', help='Sample from the most likely tokens that together have this probability.')


def show_note(note: str) -> None:
  """Prints a note about the number format on stderr; nothing for ''."""
  if note:
    Console(stderr=True, highlight=False, soft_wrap=True).print(note, markup=False)


def beam(
  size: int,
  length_penalty: float | None,
  rule: str,
  early_stopping: str,
  rules: Mapping[str, Callable[..., Any]] | None = None,
) -> 'BeamRule | Any':
  """The beam search for more than one beam, else None.

  Args:
    size, length_penalty, rule, early_stopping: the options
    rules: name -> class; None: those of `keras.beams`
  Raises:
    UserError: an unknown value, or a setting of a beam search of transformers where there is none
  """
  if rules is None:
    from switch_zoo.keras.generation import Beam, TransformersBeam

    rules = {'t5': Beam, 'transformers': TransformersBeam}
  for name, value, values in (('beam-rule', rule, rules), ('early-stopping', early_stopping, EARLY_STOPPING_VALUES)):
    if value not in values:
      raise UserError(f'--{name}={value}: use one of {", ".join(values)}.')
  if early_stopping != 'false' and rule != 'transformers':
    raise UserError('--early-stopping belongs to the beam search of transformers: give --beam-rule transformers too.')
  if size == 1:
    if rule != 't5':
      raise UserError(f'--beam-rule={rule} chooses a beam search: give --beam-size too, such as 4.')
    return None
  stopping = {} if rule == 't5' else {'early_stopping': EARLY_STOPPING_VALUES[early_stopping]}
  chosen = rules[rule](size, **stopping)
  return chosen if length_penalty is None else chosen._replace(length_penalty=length_penalty)


def sampling(temperature: float, top_k: int, top_p: float, kind: Callable[..., Any] | None = None) -> 'Sampling | Any':
  """The sampling, if one was requested, else None.

  Args:
    temperature, top_k, top_p: the options
    kind: the class; None: that of `keras.sampling`
  Raises:
    UserError: top-k or top-p without a temperature, where nothing is sampled
  """
  if kind is None:
    from switch_zoo.keras.generation import Sampling

    kind = Sampling
  chosen = kind(temperature, top_k, top_p)
  if not temperature and chosen != kind():
    raise UserError('--top-k and --top-p choose what to sample from: give --temperature too, such as 1.0.')
  return chosen if temperature else None
