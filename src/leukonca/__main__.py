"""``python -m leukonca`` is the same as ``leukonca``."""

from leukonca.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
