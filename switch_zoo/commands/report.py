"""`switch_zoo report MODEL_DIR`: what a training and its experts did, as one HTML page."""

import os

import typer
from rich.console import Console

from switch_zoo import whole_package
from switch_zoo.commands import answering, json_output
from switch_zoo.errors import UserError

DATA = typer.Option(None, '--data', help='A file (lines, .jsonl, .tsv, .csv) or a task. Repeated: each is a domain.')


def command(
  source: str = typer.Argument(..., metavar='MODEL_DIR', help='Folder of a training, or of weights of any format.'),
  data: list[str] | None = DATA,
  out: str = typer.Option('report', '--out', help='Folder of the page, new or one of an earlier report.'),
  limit: int = typer.Option(200, '--texts', min=1, help='Texts that are read, of all files together.'),
  max_length: int = typer.Option(128, '--max-length', min=2, help='Tokens of a text; longer ones are truncated.'),
  compared: str | None = typer.Option(None, '--compare', help='Weights of the same model, such as of another seed.'),
  model: str | None = answering.MODEL,
  vocab: str | None = answering.VOCAB,
  as_json: bool = typer.Option(False, '--json', help='The figures on stdout as JSON, and no page.'),
) -> None:
  """Shows what a training and its experts did: losses, load, dropped tokens, what experts take, text by expert.

  Without --data the page has what the training recorded; with it also what the experts do with that text.
  """
  if not as_json:
    _check_out(out)
  if compared is not None and not data:
    raise UserError('--compare compares what two models do with texts: give --data too.')
  if not os.path.isdir(source):
    raise UserError(f'{source} is not a folder. Give the folder of a training, or of weights.')
  console = Console(stderr=True, highlight=False, soft_wrap=True)
  with whole_package.required_by('switch_zoo report'):
    from switch_zoo.checkpoints import sources
    from switch_zoo.report import findings, page, training_record

  record = training_record.read(source)
  config = sources.open_source(source, model).config
  if record.empty and not data:
    raise UserError(
      f'{source} has no metrics.jsonl: it was not trained by this release. Give texts with --data FILE to see what its '
      'experts do with them.'
    )
  training = findings.of_training(record, config)
  texts = None
  if data and config.num_experts:
    report = lambda text: console.print(text, markup=False)
    texts = findings.of_texts(source, model, vocab, data, limit, max_length, compared, report)
  elif data:
    console.print(f'{config.name} has no experts: --data is not used.', markup=False)
  if as_json:
    print(json_output.as_json({'model': config.name, 'training': training, 'text': texts}))
    return
  os.makedirs(out, exist_ok=True)
  path = os.path.join(out, 'index.html')
  with open(f'{path}.partial', 'w', encoding='utf-8') as file:
    file.write(page.html_page(f'{os.path.basename(os.path.abspath(source))}: report', config, training, texts))
  os.replace(f'{path}.partial', path)
  console.print(f'Written: {path}', markup=False)


def _check_out(folder: str) -> None:
  """Checks that the page does not end up among other files."""
  if os.path.isfile(folder):
    raise UserError(f'--out={folder} is a file. Give a folder.')
  others = [name for name in (os.listdir(folder) if os.path.isdir(folder) else []) if not name.startswith('index.html')]
  if others:
    raise UserError(f'--out={folder} has other files, such as {others[0]}. Give a folder that is new or empty.')
