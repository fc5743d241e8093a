"""`python -m srlm.cli`: the command line if the script `srlm` is not on the PATH."""

from srlm.cli.main import main

main()
