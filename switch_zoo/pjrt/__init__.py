"""`t5_mesh_transformer --runtime=pjrt`: runs on PJRT, the runtime of JAX, on CPUs, GPUs and TPUs of one or more hosts.

A step is the program of one core (`mesh.one_core`), compiled for as many devices as the mesh has cores. Weights stay on
the devices. Everything else is that of the launcher: gin files, checks, tasks, progress, summaries, checkpoints.

  aborts             what a user reads where JAX ends the process
  processes          several processes of one run: agreeing, waiting for each other, ending
  joining            connecting them
  devices            JAX's devices as the cores of a mesh
  executable         a program, compiled and run
  variables          the state of a model on the devices
  initial_blocks     large initial values, of which a process makes its parts
  initial            the first values of a model's variables
  checkpoint_reader  variables from a checkpoint, each device its part
  checkpoint_writer  a checkpoint of variables, each process its parts
  kept_checkpoints   when a training saves, and which checkpoints it keeps
  batches            batches of the input pipeline, prepared while a step runs
  hooks              what the launcher's hooks are given in place of a TensorFlow session
  validation         validation on the way, of the weights on the devices
  training           the loop over steps
  evaluation         the perplexity of targets
  estimator          what Mesh-TensorFlow's `utils.run` takes for an Estimator
  command            from parsed flags to the printed results

Each file imports only files above it.
"""
