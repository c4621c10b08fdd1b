"""`switch_zoo export SRC EXPORT_DIR`: a SavedModel, text in and text out, from weights of any format."""

import typer
from rich.console import Console

from switch_zoo.commands import answering


def command(
  source: str = typer.Argument(..., metavar='SRC', help='Folder of Mesh-TensorFlow, Keras or Hugging Face weights.'),
  folder: str = typer.Argument(..., metavar='EXPORT_DIR', help='Folder to create.'),
  model: str | None = answering.MODEL,
  vocab: str | None = answering.VOCAB,
  dtype: str = answering.DTYPE,
  expert_capacity: str = answering.EXPERT_CAPACITY,
  max_new_tokens: int = answering.MAX_NEW_TOKENS,
  max_input_tokens: int = answering.MAX_INPUT_TOKENS,
  beam_size: int = answering.BEAM_SIZE,
  length_penalty: float = answering.LENGTH_PENALTY,
  temperature: float = answering.TEMPERATURE,
  top_k: int = answering.TOP_K,
  top_p: float = answering.TOP_P,
  seed: int | None = typer.Option(
    None, '--seed', help='Seed of sampling: the same batch gets the same answers every time.'
  ),
) -> None:
  """Exports a SavedModel that needs only tensorflow and tensorflow_text, in the layout of TensorFlow Serving."""
  from switch_zoo.keras import export

  export.check_destination(folder)
  sampling = answering.sampling(temperature, top_k, top_p)
  settings = export.ExportSettings(
    dtype,
    max_new_tokens,
    max_input_tokens,
    answering.beam(beam_size, length_penalty),
    sampling,
    seed,
    expert_capacity=expert_capacity,
  )
  opened = export.open_model(source, model, vocab, settings)
  answering.show_note(opened.note)
  export.export(opened, folder)
  Console(highlight=False).print(f'Exported to {folder}; {folder}/README.md says how to query it.', soft_wrap=True)
