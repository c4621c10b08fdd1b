"""Importing this package registers the zoo's seqio tasks. No data is read and no vocabulary is opened for that."""

import switch_zoo.tasks.anli
import switch_zoo.tasks.demo
import switch_zoo.tasks.glue
import switch_zoo.tasks.multiple_choice
import switch_zoo.tasks.own_file
import switch_zoo.tasks.pretraining
import switch_zoo.tasks.question_answering
import switch_zoo.tasks.summarization
import switch_zoo.tasks.superglue
import switch_zoo.tasks.translation  # noqa: F401
