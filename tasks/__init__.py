"""seqio tasks. Importing this package registers those of the zoo; no data is read and no vocabulary is opened.

What a row of data goes through, from its file to the model:

  data_folder         the data folder, and the gin settings that all tasks share
  raw_files           bytes and lines of a file; RawRow, MalformedRow and BadField
  json_text           one JSON value, or the reason why it cannot be a row
  json_document       a JSON document as a stream
  readers             RowReader: text, JSON lines, JSON lists, TSV and CSV, aligned text -> RawRow
  quote_detection     whether the quotation marks of a TSV file enclose cells
  languages           codes and English names of languages
  parallel_files      line-aligned pairs of files, a language and English

  example_datasets    the fields of an example, and a tf.data.Dataset of those that a generator yields
  fields              checked fields of a record, for the row functions: record -> examples
  classification      row functions of tasks whose answer is one of a few classes
  similarity          row functions of STS-B
  multirc             row functions of MultiRC
  record_cloze        row functions of ReCoRD
  winograd            row functions of WSC

  split_files         SplitFiles, a layout that the files of a split can have; FileFinder looks for them
  file_rows           the rows of a split's files as examples, and the report of malformed ones
  tfds_rows           the same for a split that is read from TensorFlow Datasets
  sources             FileSource and ReleaseSource, what seqio reads tasks from

  vocabularies        from text to ids; found at first use, trained for the demo
  span_corruption     documents to inputs and targets, as T5 does it, a batch at a time
  packing             several examples in one sequence
  metrics             from targets and predictions to percentages
  benchmark_means     from those to the score of a benchmark

  cut_texts           texts as ids of limited length, and how many were longer
  text_task           a task of texts: cut before they are shuffled, shuffled within a pass
  registration        adds tasks and mixtures to seqio's registries

Which tasks there are:

  documents           the sources of C4 and mC4
  plain_text          the source of plain text
  pretraining         zoo_c4_*, zoo_mc4_*, zoo_text_*
  local_texts         the text of a file of this machine: plain, a gettext catalogue, a manual page
  local_files         which files of this machine contain text, and in which language
  made_folder         a folder that is made as a whole or not at all, with its index
  local_corpus        their documents, each once, in shuffled shards; some are held out
  local_text          zoo_local_text_*
  catalogue_pairs     line-aligned pairs from their gettext catalogues
  glue, superglue     zoo_glue_*, zoo_superglue_*
  anli                zoo_anli_*
  multiple_choice     zoo_winogrande_xl, zoo_arc_*
  question_answering  zoo_squad, zoo_natural_questions, zoo_web_questions, zoo_trivia_qa
  summarization       zoo_xsum, zoo_cnn_dailymail
  translation         zoo_translate_*
  own_file_metrics    the metrics that zoo_file can have
  own_file_formats    its formats, by the file's name and first bytes
  field_template      text with fields in it
  own_file            zoo_file, a file of the user's own
  pydoc_source        the text that comes with CPython
  pydoc_topics        its paragraphs and their sections
  demo                zoo_demo_*

  catalogue           what `switch_zoo tasks` lists: the state of every task, and its examples

Each file imports only files above it, switch_zoo.spec, switch_zoo.vocabulary,
switch_zoo.errors and switch_zoo.lfs_pointer.
"""

import switch_zoo.tasks.anli
import switch_zoo.tasks.demo
import switch_zoo.tasks.glue
import switch_zoo.tasks.local_text
import switch_zoo.tasks.multiple_choice
import switch_zoo.tasks.own_file
import switch_zoo.tasks.pretraining
import switch_zoo.tasks.question_answering
import switch_zoo.tasks.summarization
import switch_zoo.tasks.superglue
import switch_zoo.tasks.translation  # noqa: F401
