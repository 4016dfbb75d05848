"""The executable companion to progressive knowledge distillation for compressed video."""

__version__ = "0.1.0"
