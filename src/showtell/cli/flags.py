"""Names of the library and what they are called on the command line."""

from __future__ import annotations

_PARAMETER_OF = {
    "confidence": "confidence_from",
    "sampling_temperature": "temperature",
    "requests_per_minute": "rpm",
    "tokens_per_minute": "tpm",
    "run_folder": "run",
    "rule": "score",
    "n_calibration": "calibrate",
    "wait": "no_wait",
}
_OPTION_OF = {parameter: name for name, parameter in _PARAMETER_OF.items()}


def parameter_of(name: str) -> str:
    """Say what an argument of the library is called as a parameter of a command."""
    return _PARAMETER_OF.get(name, name)


def option_of(parameter: str) -> str:
    """Say what a parameter of a command is called as an argument of the library."""
    return _OPTION_OF.get(parameter, parameter)


def flag_of(name: str) -> str:
    """Say how an argument of the library is typed.

    Examples
    --------
    >>> flag_of("max_cost"), flag_of("sampling_temperature")
    ('--max-cost', '--temperature')
    """
    return f"--{parameter_of(name).replace('_', '-')}"
