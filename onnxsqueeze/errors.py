"""Every error a user can meet: one sentence that names the offender and says what to do."""

from __future__ import annotations


class SqueezeError(Exception):
    """Base of all errors raised on purpose; its text is one sentence, fit to print as it is."""


class ModelError(SqueezeError):
    """The model (or its external data) cannot be read, is not valid ONNX, or cannot be written."""


class PipelineError(SqueezeError):
    """The text of a pipeline names an unknown pass or option, or an impossible value."""


class PassError(SqueezeError):
    """A pass failed, or left the model invalid."""


class FormatError(SqueezeError):
    """Packed bytes are corrupt, or of a version that this reader does not know."""


class DeviceError(SqueezeError):
    """A device profile is unknown, or is not one."""


class RuntimeUnavailable(SqueezeError):
    """The native library cannot be found or loaded."""
