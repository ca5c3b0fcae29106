"""`python -m tocsin.cli`: the same as `tocsin`."""

from tocsin.cli.main import main

main()
