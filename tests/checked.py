"""What checks shapes and types while the tests run: as mypy does, it takes an int where a float is asked for."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
