"""Installs switch_zoo: the package, the tasks (as switch_zoo.tasks) and the gin files (as switch_zoo.configs).

One code base, two stacks: TensorFlow 2.15 below CPython 3.12, a current one from there on. README.md, "Versions", says
what each is. Upper bounds without a remark of their own name the first release that the stack cannot use: without them
pip downloads newer releases one after the other until it arrives at these. benchmarks/downloads.py fails when it does.
"""

import pathlib

import setuptools

REQUIREMENTS = {
  # Both stacks.
  'python_version >= "3.10"': [
    'mesh-tensorflow==0.1.21',
    't5==0.9.4',
    'gin-config==0.5.0',
    'tensorflow-estimator==2.15.0',  # the last; Estimator and TPUEstimator, which Mesh-TensorFlow trains with
    'seqio-nightly>=0.0.18.dev20250227',
    'tfds-nightly==4.9.2.dev202308090034',  # the one release that seqio-nightly takes; goes with the next of that
    'tensorflow-datasets==4.9.3',  # mesh-tensorflow requires it, in the folder of tfds-nightly: its nearest release
    'setuptools<81',  # t5 and mesh-tensorflow import pkg_resources, which setuptools 81 removed
    'babel>=2.9',  # names of languages
    'scikit-learn>=1.0',  # F1 and its relatives
    'typer>=0.12',
    'rich>=13',
    'matplotlib>=3.7',
    'starlette>=0.40',  # switch_zoo serve
    'uvicorn>=0.30,<1',  # the same; its protocol for h11 is built upon
    'h11>=0.14',
  ],
  # TensorFlow 2.15. All of these go when CPython 3.11 does.
  'python_version < "3.12"': [
    'tensorflow==2.15.1',  # the last release with Estimator in it
    'tensorflow-text==2.15.0',  # compiled against tensorflow 2.15
    'h5py>=3.8',  # Keras' files of weights
    'sentencepiece<0.2.1',  # 0.2.1 bundles a protobuf that clashes with tensorflow's in one process
    'tf_keras<2.16',  # 2.16 requires tensorflow 2.16; tensorflow-text gets it by way of tensorflow-hub, of any version
    # tensorflow 2.15 takes numpy below 2.
    'numpy>=1.26,<2',
    'pandas<3.1',
    # It takes protobuf below 5.
    'googleapis-common-protos<1.75.1',
    # It takes ml_dtypes 0.3 (bfloat16 for NumPy).
    'ml_dtypes>=0.3.1,<0.4',
    'tensorstore<0.1.75',  # T5X checkpoints
    # The same; seqio imports clu, and that requires these. Nothing here runs JAX.
    'jax<0.4.35',
    'jaxlib<0.4.35',
    'flax<0.10.5',
    'optax<0.2.6',
    'chex<0.1.91',
    'orbax-checkpoint<0.11.6',
  ],
  'python_version == "3.11"': ['tensorflow-metadata<1.16'],  # the last that the tests ran with on tensorflow 2.15
  # On CPython 3.10, 1.14 and 1.15 take protobuf below 4.21, which googleapis-common-protos does not; 1.13 takes absl-py
  # below 2.
  'python_version < "3.11"': ['tensorflow-metadata<1.14', 'absl-py<2'],
  # TensorFlow 2.21.
  'python_version >= "3.12"': [
    # Estimator and Mesh-TensorFlow reach private names of tensorflow, which 2.22 may move; the bound is raised when the
    # tests pass with it.
    'tensorflow>=2.21,<2.22',
    'tensorflow-text>=2.21,<2.22',  # compiled against tensorflow 2.21
    'h5py>=3.11,<3.15',  # Keras' files of weights; tensorflow 2.21 takes none of 3.15 and later; goes with 2.22
    'sentencepiece>=0.2.1',  # the first with wheels for CPython 3.13
    'numpy>=2',
    'ml_dtypes>=0.5',  # bfloat16 for NumPy
    'tensorstore',  # T5X checkpoints
  ],
}

TEST_REQUIREMENTS = [
  'pytest>=8',
  'pytest-xdist>=3.6',  # the suite on two cores
  'hypothesis>=6',
  'ruff>=0.6',
  'httpx>=0.27',  # the clients of the tests of switch_zoo serve
  'safetensors>=0.8',  # the oracle for files of Hugging Face; switch_zoo reads and writes them itself
  # The oracle for parity tests, on the older stack only; an open range pulls several GB of CUDA.
  'torch==2.13.0; python_version < "3.12"',
  'pyright>=1.1.400',
  'transformers>=5.23; python_version >= "3.11"',  # the first whose Switch router is right; it needs 3.11
]

setuptools.setup(
  name='switch-zoo',
  version='0.1.0',
  description='Switch Transformers and their relatives, from a laptop demo to 1.6 trillion parameters',
  long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.10,<3.14',
  # switch_zoo/tasks and switch_zoo/configs are links to tasks/ and gin/. The folders of gin files have no __init__.py.
  packages=setuptools.find_namespace_packages(include=['switch_zoo', 'switch_zoo.*'], exclude=['*.__pycache__*']),
  package_data={'switch_zoo.configs': ['**/*.gin']},
  install_requires=[f'{name}; {marker}' for marker, names in REQUIREMENTS.items() for name in names],
  extras_require={'test': TEST_REQUIREMENTS},
  entry_points={
    'console_scripts': [
      'switch_zoo = switch_zoo.cli:main',
      't5_mesh_transformer = switch_zoo.t5_mesh_transformer:console_entry_point',
    ]
  },
)
