"""What checks shapes and types while tests run: beartype, with an int wherever Python takes it for a float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
