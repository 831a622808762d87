"""Packaging: dependencies with their lower bounds, and the configs that the wheel carries."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "det2lite/__init__.py").read_text()).group(1)


def data_files() -> dict[str, list[str]]:
    """Files beside the code: those of configs/ become the package `det2lite.model_zoo.configs`."""
    return {
        "det2lite.model_zoo.configs": ["**/*.yaml", "*.yaml"],
        "det2lite.model_zoo": ["*.json"],
        "det2lite.data.datasets": ["*.txt"],
    }


setup(
    name="det2lite",
    version=VERSION,
    description="Object detection and segmentation: Detectron2's configs, checkpoints and numbers by pip alone",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["det2lite", "det2lite.*"]), "det2lite.model_zoo.configs"],
    package_dir={"det2lite.model_zoo.configs": "configs"},
    package_data=data_files(),
    install_requires=[
        "torch>=2.7",
        "torchvision>=0.22",
        "yacs>=0.1.8",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.10",
        "pycocotools>=2.0.8",
        "opencv-python>=4.8",
        "termcolor>=2.0",
        "tabulate>=0.9",
        "tensorboard>=2.14",
        "hotcoco>=1.3",
        "msgspec>=0.18",
        "numpy>=1.26",
        "Pillow>=10.0",
        "matplotlib>=3.7",
        "tqdm>=4.65",
        "psutil>=5.9",
        "scipy>=1.11",
        "shapely>=2.0",
    ],
    entry_points={"console_scripts": ["det2lite = det2lite.cli.main:main"]},
    extras_require={
        "cityscapes": ["cityscapesscripts>=2.2"],  # its own evaluation
        "dev": ["pytest>=8.0", "pytest-xdist>=3.5", "ruff>=0.6"],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.1"],
    },
)
